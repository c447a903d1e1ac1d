"""The comparison's table: seeds are pooled, intervals draw groups, and an ensemble may be better than each of its seeds."""

import numpy as np
import pytest

from prodcat.evaluation.comparison import Compared, comparison, markdown
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])
LEAVES = np.flatnonzero(TREE.is_leaf)
TARGET = np.tile(LEAVES, 10)
GROUPS = np.array([f"g{row // 2}" for row in range(40)])


def logits(nodes: np.ndarray, strength: float = 5.0) -> np.ndarray:
    """Answers these nodes, with all above them."""
    found = np.zeros((len(nodes), len(TREE)), np.float32)
    for row, path in enumerate(TREE.path_indices[nodes]):
        found[row, path] = strength
    return found


def wrong_at(rows: slice, strength: float = 5.0) -> np.ndarray:
    nodes = TARGET.copy()
    # Another leaf of another branch: nothing of its path is right.
    nodes[rows] = np.roll(LEAVES, 2)[np.searchsorted(LEAVES, TARGET[rows])]
    found = logits(nodes)
    found[rows] *= strength / 5.0
    return found


def test_seeds_are_pooled_and_counted_once() -> None:
    model = Compared("late", "text", ("words",), 1234, [logits(TARGET), wrong_at(slice(0, 8))])
    (row,) = comparison([model], TARGET, GROUPS, TREE, 0)["rows"]
    assert row["by_seed"] == [1.0, 0.8]
    assert row["hierarchical"]["f1"] == pytest.approx(0.9)
    low, high = row["hierarchical"]["f1_ci"]
    assert 0.75 < low < 0.9 < high <= 1.0
    assert row["levels"]["2"]["products"] == 40
    assert row["levels"]["2"]["accuracy"] == pytest.approx(0.9)
    assert (row["fusion"], row["modalities"], row["features"], row["parameters"], row["seeds"]) == ("late", "text", ["words"], 1234, 2)


def test_the_ensemble_is_what_the_seeds_answer_together() -> None:
    # Each is unsure where it errs and sure where it is right.
    model = Compared("early", "both", ("words", "photo"), 1, [wrong_at(slice(0, 8), 1.0), wrong_at(slice(8, 16), 1.0)])
    (row,) = comparison([model], TARGET, GROUPS, TREE, 0)["rows"]
    assert max(row["by_seed"]) < 1
    assert row["ensemble"]["hierarchical"]["f1"] == 1.0


def test_the_same_seed_gives_the_same_figures_and_the_table_has_a_line_a_model() -> None:
    models = [Compared(kind, "text", ("words",), 5_000, [logits(TARGET), wrong_at(slice(0, 4))]) for kind in ("early", "late")]
    found = comparison(models, TARGET, GROUPS, TREE, 3)
    assert found == comparison(models, TARGET, GROUPS, TREE, 3)
    assert (found["products"], found["groups"], found["classes"]) == (40, 20, {"1": 2, "2": 4})
    lines = markdown(found).splitlines()
    assert lines[0].startswith("40 test products in 20 near-duplicate groups, classes level 1: 2, level 2: 4; 2 seeds a model")
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["early", "late"]
    assert "| 5,000 | 0.9500 [" in lines[4]
    assert "| 0.9000 to 1.0000 |" in lines[4]
