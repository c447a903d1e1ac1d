"""Out of fold means out of fold: no product, and no near-duplicate of it, has taught the model that judges it."""

import numpy as np
import pytest

from prodcat.errors import TrainingError
from prodcat.evaluation.out_of_fold import OutOfFoldConfig, out_of_fold
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("Apparel", "Shirts"), ("Apparel", "Socks"), ("Shoes",)])
NODES = np.array([TREE.index(path) for path in (("Apparel", "Shirts"), ("Apparel", "Socks"), ("Shoes",)) for _ in range(12)])
WORDS = ["shirt collar", "sock wool", "shoe sole"]
TITLES = [f"{WORDS[row // 12]} number{row}" for row in range(36)]
GROUPS = np.array([f"g{row // 2}" for row in range(36)], dtype=object)
CONFIG = OutOfFoldConfig(folds=3)


def vectors(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers that tell the categories apart; the last product has none."""
    values = np.eye(len(TREE))[NODES] + np.random.default_rng(seed).normal(0, 0.05, (36, len(TREE)))
    present = np.ones(36, dtype=bool)
    present[-1] = False
    return values.astype(np.float32), present


def test_titles_or_vectors_are_enough_and_rows_sum_to_one():
    for titles, given in ((TITLES, {}), ([None] * 36, {"image": vectors()}), (TITLES, {"image": vectors()})):
        probabilities, fold = out_of_fold(titles, given, NODES, GROUPS, TREE, CONFIG)
        assert set(fold.tolist()) == {0, 1, 2}
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        right = probabilities.argmax(axis=1) == NODES
        assert right[:-1].all()


def test_no_group_is_cut_and_categories_are_spread():
    _, fold = out_of_fold(TITLES, {}, NODES, GROUPS, TREE, CONFIG)
    assert all(len(set(fold[group == GROUPS].tolist())) == 1 for group in set(GROUPS.tolist()))
    for node in set(NODES.tolist()):
        assert np.bincount(fold[node == NODES], minlength=3).tolist() == [4, 4, 4]


def test_what_only_near_duplicates_know_is_not_known():
    """One group of its own category, with a word nobody else has: learned from it, it would be certain."""
    nodes, titles = NODES.copy(), list(TITLES)
    nodes[:2] = TREE.index(("Apparel",))
    titles[:2] = ["gift voucher", "gift voucher"]
    probabilities, _ = out_of_fold(titles, {}, nodes, GROUPS, TREE, CONFIG)
    assert (probabilities[:2, TREE.index(("Apparel",))] == 0).all()


def test_same_seed_same_probabilities():
    first, second = (out_of_fold(TITLES, {"image": vectors()}, NODES, GROUPS, TREE, CONFIG)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_titles_without_a_common_word_can_still_be_read():
    titles = [f"w{row}" for row in range(36)]
    probabilities, _ = out_of_fold(titles, {"image": vectors()}, NODES, GROUPS, TREE, CONFIG)
    assert (probabilities.argmax(axis=1) == NODES)[:-1].all()


def test_too_few_groups_or_nothing_to_read_is_said():
    with pytest.raises(TrainingError, match="2 near-duplicate groups are too few for 3 folds"):
        out_of_fold(TITLES, {}, NODES, np.array(["a", "b"] * 18, dtype=object), TREE, CONFIG)
    with pytest.raises(TrainingError, match="no product has a title and there are no features"):
        out_of_fold([None] * 36, {}, NODES, GROUPS, TREE, CONFIG)
