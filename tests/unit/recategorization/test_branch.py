"""`examine`: a branch of products to clusters, names, figures and proposals; odd branches have a defined answer."""

import json
from pathlib import Path

import numpy as np
import pytest

from prodcat.recategorization.branch import FIGURES, MAP, BranchConfig, BranchProducts, Examined, examine
from prodcat.recategorization.changes import Split
from prodcat.recategorization.online import Assigner
from prodcat.recategorization.selection import SelectionConfig
from prodcat.recategorization.vectors import Joint, unit
from prodcat.taxonomy import Taxonomy

SHOES = ("Footwear", "Shoes")
TREE = Taxonomy([SHOES, ("Footwear", "Sandals")])
CONFIG = BranchConfig(judged_seeds=(), selection=SelectionConfig(draws=2, most=(4,)))


def products(vectors: np.ndarray, titles: list[str]) -> BranchProducts:
    n = len(vectors)
    keys = [f"shop/{row}" for row in range(n)]
    return BranchProducts(SHOES, keys, ["shop"] * n, titles, (), [SHOES] * n, np.zeros(n, dtype=bool), unit(vectors))


def looked(vectors: np.ndarray, titles: list[str], folder: Path) -> Examined:
    return examine(products(vectors, titles), TREE, CONFIG, folder)


def two_kinds(count: int) -> tuple[np.ndarray, list[str]]:
    kinds = np.repeat([0, 1], count)
    vectors = np.eye(8)[kinds] + 0.1 * np.random.default_rng(0).normal(size=(2 * count, 8))
    return vectors.astype(np.float32), [["rain boot", "ballet flat"][kind] for kind in kinds.tolist()]


def test_two_kinds_below_one_category_are_found_named_and_proposed_the_same_under_a_seed(tmp_path: Path) -> None:
    found = looked(*two_kinds(40), tmp_path / "one")
    (proposal,) = found.proposals
    assert isinstance(proposal.change, Split)
    assert {part.name: len(part.products) for part in proposal.change.parts} == {"Rain Boot": 40, "Ballet Flat": 40}
    again = looked(*two_kinds(40), tmp_path / "two")
    assert again.proposals == found.proposals
    assert (tmp_path / "one" / FIGURES).read_bytes() == (tmp_path / "two" / FIGURES).read_bytes()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_for_a_cluster_stay_apart(count: int, tmp_path: Path) -> None:
    found = looked(np.eye(8, dtype=np.float32)[:count], ["boot"] * count, tmp_path)
    assert (len(found.clusters.members), len(found.clusters.apart), found.proposals) == (0, count, [])
    assert len(found.places) == count
    assert json.loads((tmp_path / FIGURES).read_text(encoding="utf-8"))["products"] == count
    assert (tmp_path / MAP).is_file()
    # A product that comes later fits none.
    assert Assigner.load(tmp_path).assign(np.eye(8, dtype=np.float32)[:1]).tolist() == [-1]


def test_identical_images_are_one_cluster_and_no_reason_to_change_the_tree(tmp_path: Path) -> None:
    """Around their mean nothing is left of their vectors but rounding."""
    image = np.random.default_rng(1).normal(size=8)
    vectors = (image + 1e-6 * np.random.default_rng(0).normal(size=(50, 8))).astype(np.float32)
    sets, there = {"image": vectors}, {"image": np.ones(50, dtype=bool)}
    joined, have = Joint.fit(sets, there, {"image": 1.0}).of(sets, there)
    assert have.all()
    for name, each in (("joined", joined), ("as they are", np.tile(image.astype(np.float32), (50, 1)))):
        found = looked(each, ["boot"] * 50, tmp_path / name)
        assert [len(rows) for rows in found.clusters.members] == [50], name
        assert len(found.clusters.apart) == 0
        assert found.proposals == []


def test_of_many_products_some_are_clustered_and_the_others_join_them(tmp_path: Path) -> None:
    vectors, titles = two_kinds(150)
    vectors[-1] = -vectors[0]
    # Two at most: into how many a round cloud of 60 falls, if it may, hangs on the last digits of the machine's floats.
    some = CONFIG.model_copy(update={"clustered": 120, "selection": SelectionConfig(draws=2, smallest=(0.2,), most=(2,))})
    found = examine(products(vectors, titles), TREE, some, tmp_path)
    told = json.loads((tmp_path / FIGURES).read_text(encoding="utf-8"))
    assert (told["products"], told["clustered"]) == (300, 120)
    assert len(found.clusters.members) == 2
    assert all(len({titles[row] for row in rows.tolist() if row < 299}) == 1 for rows in found.clusters.members)
    # What lies far from all stays apart, drawn or not.
    assert 299 in found.clusters.apart
    joined = [steps for steps in found.clusters.decisions if len(steps) == 1 and steps[0][0] == "assigned"]
    assert 150 < len(joined) <= 180
    (proposal,) = found.proposals
    assert isinstance(proposal.change, Split)
    assert sum(len(part.products) for part in proposal.change.parts) == sum(len(rows) for rows in found.clusters.members)
    assert len(found.places) == 300
    assert all(figure["stability"] > 0.5 for figure in told["clusters"])
