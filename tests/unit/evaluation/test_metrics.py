"""Every metric against figures worked out by hand, and what must hold for any tree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodcat.errors import ContractError
from prodcat.evaluation.metrics import NO_PATH, UNLABELLED, ancestor_sums, f1_ci, hierarchical, per_level, score, truncate
from prodcat.taxonomy import Taxonomy, parse_path

# (label, answer, categories shared, on the answer, on the label), after truncation
CASES = [
    ("Apparel > Topwear > Shirts", "Apparel > Topwear > Shirts", 3, 3, 3),
    ("Apparel > Topwear > Shirts", "Apparel > Topwear > Tops", 2, 3, 3),
    ("Apparel > Dresses", "Apparel > Topwear > Shirts", 1, 3, 2),  # the label is a leaf: a deeper answer is judged whole
    ("Apparel > Topwear", "Apparel > Topwear > Shirts", 2, 2, 2),  # the label is an inner node: cut
    ("Footwear > Shoes > Casual", "Footwear > Shoes", 2, 2, 3),  # the answer stops above the label
    ("Gifts", "Gifts", 1, 1, 1),
    ("Footwear", "Apparel > Dresses", 0, 1, 1),  # cut to Apparel, and wrong
]


def nodes(tree: Taxonomy, texts: list[str]) -> np.ndarray:
    return np.array([tree.index(parse_path(text)) for text in texts])


def arrays(tree: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    return nodes(tree, [case[1] for case in CASES]), nodes(tree, [case[0] for case in CASES])


def test_sums_by_hand(tree):
    pred, target = arrays(tree)
    sums = ancestor_sums(truncate(pred, target, tree), target, tree)
    assert sums.tolist() == [list(case[2:]) for case in CASES]


def test_hierarchical_by_hand_where_precision_and_recall_differ(tree):
    pred, target = arrays(tree)
    rows = np.arange(len(CASES)) != 4
    figures = hierarchical(ancestor_sums(truncate(pred, target, tree)[rows], target[rows], tree))
    assert figures == pytest.approx({"precision": 9 / 13, "recall": 9 / 12, "f1": 18 / 25})


def test_truncate_leaves_leaf_labels_short_answers_and_unlabelled_alone(tree):
    target = nodes(tree, ["Apparel > Dresses", "Apparel > Topwear"])
    pred = nodes(tree, ["Apparel > Topwear > Shirts", "Apparel"])
    assert truncate(pred, target, tree).tolist() == pred.tolist()
    deep = nodes(tree, ["Footwear > Shoes > Sports"])
    assert truncate(deep, np.array([UNLABELLED]), tree).tolist() == deep.tolist()
    assert truncate(np.array([NO_PATH]), nodes(tree, ["Footwear"]), tree).tolist() == [NO_PATH]


def test_truncate_does_not_write_into_its_input(tree):
    pred, target = arrays(tree)
    before = pred.copy()
    assert (truncate(pred, target, tree) != before).any()
    assert (pred == before).all()


def test_levels_by_hand(tree):
    pred, target = arrays(tree)
    levels = per_level(truncate(pred, target, tree), target, tree)
    assert levels["1"] == pytest.approx({"products": 7, "classes": 3, "accuracy": 6 / 7, "macro_f1": (8 / 9 + 2 / 3 + 1) / 3})
    assert levels["2"] == pytest.approx({"products": 5, "classes": 3, "accuracy": 4 / 5, "macro_f1": (6 / 7 + 0 + 1) / 3})
    assert levels["3"] == pytest.approx({"products": 3, "classes": 2, "accuracy": 1 / 3, "macro_f1": (2 / 3 + 0) / 2})


def test_a_level_without_labels_is_left_out(tree):
    target = nodes(tree, ["Gifts", "Footwear"])
    assert list(per_level(target, target, tree)) == ["1"]


def test_no_path_is_wrong_everywhere_and_costs_recall(tree):
    target = nodes(tree, ["Apparel > Dresses", "Gifts"])
    pred = np.array([NO_PATH, target[1]])
    assert hierarchical(ancestor_sums(pred, target, tree)) == pytest.approx({"precision": 1.0, "recall": 1 / 3, "f1": 1 / 2})
    assert per_level(pred, target, tree)["1"]["accuracy"] == 0.5
    assert hierarchical(ancestor_sums(pred[:1], target[:1], tree)) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_one_leaf_tree():
    tree = Taxonomy([("Socks",)])
    zero = np.zeros(4, dtype=int)
    figures = score(zero, np.array([0, 0, -1, 0]), np.array(list("abcd")), np.array(["shop"] * 4), tree, seed=0)
    assert (figures["products"], figures["unlabelled"]) == (3, 1)
    assert figures["hierarchical"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "f1_ci": [1.0, 1.0]}
    assert figures["levels"] == {"1": {"products": 3, "classes": 1, "accuracy": 1.0, "macro_f1": 1.0}}


def clustered() -> tuple[np.ndarray, np.ndarray]:
    """40 groups of 25 products; a group is right or wrong as a whole, every fifth is wrong."""
    groups = np.repeat(np.arange(40), 25)
    right = groups % 5 != 0
    return np.stack([np.where(right, 3, 1), np.full(1000, 3), np.full(1000, 3)], axis=1), groups


def test_interval_is_cut_over_groups_not_products():
    sums, groups = clustered()
    low, high = f1_ci(sums, groups, seed=0)
    narrow_low, narrow_high = f1_ci(sums, np.arange(1000), seed=0)
    assert low < hierarchical(sums)["f1"] < high
    assert (high - low) > 4 * (narrow_high - narrow_low)  # sqrt(25) = 5 in theory


def test_interval_agrees_with_drawing_groups_one_by_one():
    rng = np.random.default_rng(3)
    groups = rng.integers(60, size=400)  # of uneven size
    right = rng.random(400) < 0.8
    sums = np.stack([np.where(right, 3, 1), np.full(400, 3), np.where(right, 3, 2)], axis=1)
    per_group = np.array([sums[groups == group].sum(axis=0) for group in np.unique(groups)])
    drawn = [per_group[rng.integers(len(per_group), size=len(per_group))].sum(axis=0) for _ in range(1500)]
    by_hand = np.quantile([2 * i / (p + t) for i, p, t in drawn], [0.025, 0.975])
    assert f1_ci(sums, groups, seed=0) == pytest.approx(by_hand, abs=0.008)


def test_interval_depends_on_the_seed_alone():
    sums, groups = clustered()
    names = np.array([f"group {group}" for group in groups], dtype=object)
    assert f1_ci(sums, groups, seed=5) == f1_ci(sums, names, seed=5)
    order = np.random.default_rng(0).permutation(1000)
    assert f1_ci(sums[order], groups[order], seed=5) == f1_ci(sums, groups, seed=5)
    rng = np.random.default_rng(1)
    uneven = np.stack([rng.integers(0, 4, 1000), np.full(1000, 3), np.full(1000, 3)], axis=1)
    assert f1_ci(uneven, groups, seed=5) != f1_ci(uneven, groups, seed=6)


def test_score_by_platform_adds_up(tree):
    pred, target = arrays(tree)
    target[0] = UNLABELLED
    platforms = np.array(["a", "a", "b", "b", "b", "b", "a"])
    figures = score(pred, target, np.arange(7), platforms, tree, seed=0)
    assert {name: (part["products"], part["unlabelled"]) for name, part in figures["by_platform"].items()} == {"a": (2, 1), "b": (4, 0)}
    assert figures["by_platform"]["a"]["hierarchical"]["f1"] == pytest.approx(2 * 2 / (4 + 4))
    assert figures["by_platform"]["b"]["hierarchical"]["f1"] == pytest.approx(2 * 6 / (8 + 8))
    assert figures["by_platform"]["b"]["levels"]["3"]["products"] == 1


def test_a_platform_without_labels_is_named_with_no_figures(tree):
    pred, target = arrays(tree)
    target[2] = UNLABELLED
    platforms = np.array(["a", "a", "c", "a", "a", "a", "a"])
    assert score(pred, target, np.arange(7), platforms, tree, seed=0)["by_platform"]["c"] == {
        "products": 0,
        "unlabelled": 1,
        "hierarchical": None,
        "levels": {},
        "leaf": {"products": 0, "accuracy": None},
    }


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_labelled_is_an_error(tree, n):
    nothing = np.full(n, UNLABELLED)
    with pytest.raises(ContractError, match=f"none of the {n} products has a label"):
        score(np.zeros(n, dtype=int), nothing, np.arange(n), np.array(["a"] * n), tree, seed=0)


def test_a_hundred_thousand_products_are_resampled_in_passing(tree):
    """Drawing 50,000 groups a thousand times, one by one, would not fit into the memory and time of this folder."""
    rng = np.random.default_rng(0)
    target = rng.integers(len(tree), size=100_000)
    pred = np.where(rng.random(100_000) < 0.9, target, rng.integers(len(tree), size=100_000))
    groups = rng.integers(50_000, size=100_000)
    figures = score(pred, target, groups, np.array(["a", "b"])[groups % 2], tree, seed=0)
    low, high = figures["hierarchical"]["f1_ci"]
    assert low < figures["hierarchical"]["f1"] < high
    assert high - low < 0.01


names = st.sampled_from("abc")
trees = st.sets(st.lists(names, min_size=1, max_size=4).map(tuple), min_size=1, max_size=12).map(Taxonomy)


@settings(max_examples=30, deadline=None)
@given(st.data(), trees)
def test_figures_stay_between_0_and_1_and_the_truth_gets_1(data, tree):
    node = st.integers(0, len(tree) - 1)
    pairs = data.draw(st.lists(st.tuples(st.integers(-1, len(tree) - 1), node), min_size=1, max_size=20))
    pred, target = np.array(pairs).T
    names_ = np.array(["shop"] * len(pairs))
    figures = score(pred, target, np.arange(len(pairs)), names_, tree, seed=0)
    every = [*figures["hierarchical"]["f1_ci"], *(figures["hierarchical"][name] for name in ("precision", "recall", "f1"))]
    every += [level[name] for level in figures["levels"].values() for name in ("accuracy", "macro_f1")]
    assert all(0 <= value <= 1 for value in every)
    perfect = score(target, target, np.arange(len(pairs)), names_, tree, seed=0)
    assert perfect["hierarchical"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "f1_ci": [1.0, 1.0]}
    assert all(level["accuracy"] == level["macro_f1"] == 1.0 for level in perfect["levels"].values())


@settings(max_examples=30, deadline=None)
@given(st.data(), trees)
def test_truncated_answers_are_ancestors_and_never_below_an_inner_label(data, tree):
    node = st.integers(0, len(tree) - 1)
    pred, target = np.array(data.draw(st.lists(st.tuples(node, node), min_size=1, max_size=20))).T
    cut = truncate(pred, target, tree)
    for before, after, label in zip(pred, cut, target, strict=True):
        assert after in tree.path_indices[before]
        if not tree.is_leaf[label]:
            assert tree.levels[after] == min(tree.levels[before], tree.levels[label])
        else:
            assert after == before
