"""Heads, softmax among siblings, the loss: torch and numpy say the same, and unlabelled levels say nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prodcat.decoding import best_leaves, greedy_nodes, hierarchical_counts, path_log_probabilities, sibling_log_softmax, truncate
from prodcat.model.hierarchy import TreeArrays
from prodcat.model.losses import HierarchicalLoss
from prodcat.taxonomy import Taxonomy

names = st.sampled_from("abcdef")
trees = st.builds(Taxonomy, st.lists(st.lists(names, min_size=1, max_size=4), min_size=1, max_size=20))
RAGGED = Taxonomy([("Apparel", "Topwear", "Shirts"), ("Apparel", "Topwear", "Tops"), ("Apparel", "Socks"), ("Gifts",), ("Shoes", "Sneakers")])


def logits_for(tree: Taxonomy, seed: int, rows: int = 5, scale: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, len(tree))) * scale).astype(np.float32)


@given(trees, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_numpy_and_torch_agree_and_siblings_sum_to_one(tree: Taxonomy, seed: int) -> None:
    logits = logits_for(tree, seed)
    ours = sibling_log_softmax(logits, tree)
    theirs = TreeArrays(tree).sibling_log_softmax(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(np.add.reduceat(np.exp(ours), tree.sibling_starts, axis=1), 1, atol=1e-9)


@given(trees, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_every_answer_is_a_leaf_reached_by_masked_choices(tree: Taxonomy, seed: int) -> None:
    conditional = sibling_log_softmax(logits_for(tree, seed, scale=10.0), tree)
    for row, node in enumerate(greedy_nodes(conditional, tree)):
        assert tree.is_leaf[node]
        parent = -1
        for step in tree.path_indices[node]:
            if step < 0:
                break
            children = np.flatnonzero(tree.children_mask(parent))
            assert step in children
            assert conditional[row, step] == conditional[row, children].max()
            parent = step


@given(trees, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_leaf_probabilities_are_a_distribution(tree: Taxonomy, seed: int) -> None:
    joint = path_log_probabilities(sibling_log_softmax(logits_for(tree, seed), tree), tree)
    np.testing.assert_allclose(np.exp(joint[:, tree.is_leaf]).sum(axis=1), 1, atol=1e-9)
    best = best_leaves(joint, tree, 3)
    assert tree.is_leaf[best].all()
    assert (np.diff(np.take_along_axis(joint, best, axis=1), axis=1) <= 0).all()


def test_temperature_flattens_only_its_level() -> None:
    logits = logits_for(RAGGED, 1)
    plain, cooled = sibling_log_softmax(logits, RAGGED), sibling_log_softmax(logits, RAGGED, (1.0, 5.0, 1.0))
    first, second, third = RAGGED.level_slices
    np.testing.assert_allclose(plain[:, first], cooled[:, first])
    np.testing.assert_allclose(plain[:, third], cooled[:, third])
    assert np.ptp(cooled[:, second], axis=1).mean() < np.ptp(plain[:, second], axis=1).mean()


def test_loss_is_the_negative_log_likelihood_of_the_labelled_path() -> None:
    logits = logits_for(RAGGED, 2, rows=3)
    labels = [("Apparel", "Topwear", "Tops"), ("Apparel", "Topwear"), None]
    targets = torch.from_numpy(RAGGED.targets(labels)).long()
    loss = HierarchicalLoss(RAGGED).per_product(torch.from_numpy(logits), targets).numpy()
    joint = path_log_probabilities(sibling_log_softmax(logits, RAGGED), RAGGED)
    expected = [-joint[0, RAGGED.index(labels[0])], -joint[1, RAGGED.index(labels[1])], 0.0]
    np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_unlabelled_levels_get_no_gradient() -> None:
    logits = torch.zeros(1, len(RAGGED), requires_grad=True)
    targets = torch.from_numpy(RAGGED.targets([("Apparel", "Topwear")])).long()
    HierarchicalLoss(RAGGED, label_smoothing=0.1)(logits, targets).backward()
    assert logits.grad is not None
    level_three = logits.grad[0, RAGGED.level_slices[2]]
    assert torch.count_nonzero(level_three) == 0
    assert torch.count_nonzero(logits.grad[0, RAGGED.level_slices[0]]) > 0


def test_level_weights_must_fit_the_tree() -> None:
    with pytest.raises(ValueError, match="3 levels"):
        HierarchicalLoss(RAGGED, level_weights=(1.0,))


def test_truncation_and_counts_by_hand() -> None:
    tree = RAGGED
    predicted = np.array([tree.index(("Apparel", "Topwear", "Shirts")), tree.index(("Apparel", "Topwear", "Tops")), tree.index(("Apparel", "Socks"))])
    target = np.array([tree.index(("Apparel", "Topwear")), tree.index(("Apparel", "Socks")), tree.index(("Apparel", "Topwear", "Tops"))])
    assert truncate(predicted, target, tree)[0] == tree.index(("Apparel", "Topwear"))
    overlap, ours, true = hierarchical_counts(predicted, target, tree)
    assert overlap.tolist() == [2, 1, 1]
    assert ours.tolist() == [2, 3, 2]
    assert true.tolist() == [2, 2, 3]
