"""Which confidences are judged, and by what: labels that end early, answers that stop early, products without a label."""

import numpy as np
import pytest

from prodcat.evaluation.answers import Answers, Labels
from prodcat.evaluation.confidence import confidence_figures
from prodcat.evaluation.metrics import NO_PATH, UNLABELLED
from prodcat.taxonomy import HeadLayout, Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d",)])


def judged(pairs: list[tuple[tuple[str, ...] | None, tuple[str, ...] | None, list[float]]], stops: tuple[int, ...] = (), holds=None) -> dict:
    """(answer, label, confidences) a product; stops: where answers may end; holds: (holds_precision,
    stopped_at_parent) a product."""
    size = len(pairs)
    none, yes = np.array([None] * size), np.ones(size, dtype=bool)
    pred = np.array([NO_PATH if answer is None else TREE.index(answer) for answer, _, _ in pairs])
    target = np.array([UNLABELLED if label is None else TREE.index(label) for _, label, _ in pairs])
    rows = [{"confidences": confidences, "holds_precision": None, "stopped_at_parent": None} for _, _, confidences in pairs]
    for row, (held, stopped) in zip(rows, holds or [], strict=False):
        row.update(holds_precision=held, stopped_at_parent=stopped)
    labels = Labels(HeadLayout(TREE, stops), [str(i) for i in range(size)], target, [label for _, label, _ in pairs], none, none, none, yes, yes, yes)
    return confidence_figures(Answers(pred, np.ones(size, dtype=int), rows, "v"), labels)


def test_each_level_is_judged_where_both_name_a_category() -> None:
    found = judged(
        [(("a", "b"), ("a", "b"), [0.9, 0.8]), (("a", "b"), ("a", "c"), [0.9, 0.8]), (("d",), ("d",), [0.7]), (("a", "b"), None, [1.0, 1.0])]
    )
    assert {level: (part["products"], part["accuracy"]) for level, part in found["levels"].items()} == {"1": (3, 1.0), "2": (2, 0.5)}
    assert found["ece"]["2"] == pytest.approx(0.3)
    assert (found["answers"]["products"], found["answers"]["accuracy"]) == (3, pytest.approx(2 / 3))
    assert found["risk_coverage"]["curve"][-1]["risk"] == pytest.approx(1 / 3)


def test_an_answer_below_the_end_of_its_label_is_not_judged_and_one_above_it_is() -> None:
    found = judged([(("a", "b"), ("a",), [0.9, 0.8]), (("a",), ("a", "c"), [0.9]), (("d",), ("a", "c"), [0.6])])
    assert found["levels"]["1"]["products"] == 3
    assert "2" not in found["levels"]
    assert (found["answers"]["products"], found["answers"]["accuracy"]) == (2, 0.5)


def test_where_answers_may_end_a_label_says_all_and_an_answer_below_it_is_wrong() -> None:
    pairs = [(("a", "b"), ("a",), [0.9, 0.8]), (("a",), ("a",), [0.9])]
    found = judged(pairs, stops=(TREE.index(("a",)),))
    assert (found["answers"]["products"], found["answers"]["accuracy"]) == (2, 0.5)
    assert judged(pairs)["answers"]["products"] == 1


def test_an_answer_that_is_no_path_is_wrong() -> None:
    assert judged([(None, ("a", "b"), [0.9, 0.8])])["answers"]["accuracy"] == 0.0


def test_without_a_label_there_is_nothing_to_say() -> None:
    found = judged([(("d",), None, [0.9])])
    assert (found["levels"], found["answers"]["ece"], found["risk_coverage"]["curve"]) == ({}, None, [])


def test_back_off_is_judged_on_what_is_to_hold() -> None:
    pairs = [
        (("a", "b"), ("a", "b"), [0.9, 0.8]),
        (("a", "b"), ("a", "c"), [0.9, 0.8]),
        (("a",), ("a", "c"), [0.9]),
        (("d",), ("a", "c"), [0.4]),
        (("d",), None, [0.9]),
    ]
    found = judged(pairs, holds=[(True, False), (True, False), (True, True), (False, False), (True, False)])["backoff"]
    assert found == {
        "products": 3,
        "judged": 3,
        "precision": pytest.approx(2 / 3),
        # Clopper and Pearson's for 2 of 3.
        "precision_ci": pytest.approx([0.0943, 0.9916], abs=1e-4),
        "share": 0.75,
        "leaf_share": 0.5,
        "depths": {"1": {"judged": 1, "right": 1}, "2": {"judged": 2, "right": 1}},
    }
    assert judged(pairs)["backoff"] is None
    assert judged(pairs, holds=[(False, True)] * 5)["backoff"]["precision"] is None
