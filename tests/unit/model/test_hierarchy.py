"""Heads, softmax, decoders, the loss: torch and numpy say the same, every decoder ends where a path may end, unlabelled levels say nothing."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prodcat.decoding import (
    DecoderName,
    best_ends,
    decode,
    greedy_nodes,
    hierarchical_counts,
    log_conditionals,
    path_log_probabilities,
    sibling_log_softmax,
    truncate,
)
from prodcat.errors import ConfigError, TaxonomyError
from prodcat.model.hierarchy import HierarchicalHead, TreeArrays
from prodcat.model.losses import HierarchicalLoss, LossConfig, Objective, column_counts
from prodcat.taxonomy import HasLayout, HeadLayout, Taxonomy, labelled_stops

names = st.sampled_from("abcdef")
# From one leaf alone to ragged trees of four levels.
trees = st.builds(Taxonomy, st.lists(st.lists(names, min_size=1, max_size=4), min_size=1, max_size=20))
decoders = st.sampled_from(get_args(DecoderName))


@st.composite
def layouts(draw: st.DrawFn) -> HeadLayout:
    tree = draw(trees)
    inner = np.flatnonzero(~tree.is_leaf).tolist()
    return HeadLayout(tree, tuple(sorted(draw(st.sets(st.sampled_from(inner))) if inner else ())))


RAGGED = Taxonomy([("Apparel", "Topwear", "Shirts"), ("Apparel", "Topwear", "Tops"), ("Apparel", "Socks"), ("Gifts",), ("Shoes", "Sneakers")])


def logits_for(tree: HasLayout, seed: int, rows: int = 5, scale: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, len(tree))) * scale).astype(np.float32)


@given(layouts(), decoders, st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_numpy_and_torch_agree_and_siblings_sum_to_one(layout: HeadLayout, decoder: DecoderName, seed: int) -> None:
    logits = logits_for(layout, seed)
    ours = log_conditionals(logits, layout, decoder)
    theirs = HierarchicalLoss(layout, decoder=decoder).log_conditionals(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose([np.bincount(layout.groups, weights=row) for row in np.exp(ours)], 1, atol=1e-9)
    best = TreeArrays(layout).best_siblings(torch.from_numpy(ours)).numpy()
    for group in range(len(layout.tree.sibling_starts)):
        members = np.flatnonzero(layout.groups == group)
        assert (best[:, group] == members[ours[:, members].argmax(axis=1)]).all()


@given(layouts(), decoders, st.data())
@settings(max_examples=120, deadline=None)
def test_every_decoder_gives_a_path_that_may_end_there_whatever_the_logits(layout: HeadLayout, decoder: DecoderName, data: st.DataObject) -> None:
    wild = st.floats(-(2.0**127), 2.0**127, width=32) | st.sampled_from([0.0, -0.0, 1e30, -1e30, 2.0**127, -(2.0**127)])
    logits = np.array(data.draw(st.lists(wild, min_size=len(layout), max_size=len(layout))), dtype=np.float32)[None]
    decoded = decode(logits, layout, decoder, (0.1,) * layout.tree.depth)
    (node,), (end,) = decoded.nodes, decoded.ends
    assert end in layout.ends
    assert layout.nodes[end] == node
    assert layout.may_end[node]
    assert layout.tree.categories[node].path in layout.tree
    assert not np.isnan(decoded.joint).any()
    assert (decoded.joint <= 1e-9).all()


@given(layouts(), decoders, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_product_is_decoded_alike_alone_and_among_others(layout: HeadLayout, decoder: DecoderName, seed: int) -> None:
    logits = logits_for(layout, seed)
    together = decode(logits, layout, decoder)
    for row in range(len(logits)):
        alone = decode(logits[row : row + 1], layout, decoder)
        assert alone.ends[0] == together.ends[row]
        np.testing.assert_array_equal(alone.joint[0], together.joint[row])


@given(layouts(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_flat_is_one_softmax_over_all_ends_and_joint_the_best_product(layout: HeadLayout, seed: int) -> None:
    logits = logits_for(layout, seed)
    tree = layout.tree
    scores = np.array(
        [[row[tree.path_indices[layout.nodes[e]]][tree.path_indices[layout.nodes[e]] >= 0].sum() for e in layout.ends] for row in logits]
    )
    scores += np.where(layout.ends >= len(tree), logits[:, layout.ends], 0)
    expected = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    flat = decode(logits, layout, "flat")
    np.testing.assert_allclose(np.exp(flat.joint[:, layout.ends]), expected, atol=1e-6)
    joint = decode(logits, layout, "joint")
    assert (joint.joint[np.arange(len(logits)), joint.ends] == joint.joint[:, layout.ends].max(axis=1)).all()
    greedy = decode(logits, layout, "greedy")
    np.testing.assert_array_equal(greedy.joint, joint.joint)
    assert (greedy.joint[np.arange(len(logits)), greedy.ends] <= joint.joint[np.arange(len(logits)), joint.ends]).all()


def test_greedy_and_joint_part_where_a_sure_branch_is_split() -> None:
    tree = Taxonomy([("a", "b"), ("a", "c"), ("d",)])
    logits = np.log(np.array([[0.55, 0.45, 0.5, 0.5]], dtype=np.float32))
    assert tree.categories[decode(logits, tree, "greedy").nodes[0]].path == ("a", "b")
    assert tree.categories[decode(logits, tree, "joint").nodes[0]].path == ("d",)


def test_columns_of_stops_by_hand() -> None:
    apparel, topwear = RAGGED.index(("Apparel",)), RAGGED.index(("Apparel", "Topwear"))
    layout = HeadLayout(RAGGED, (apparel, topwear))
    n = len(RAGGED)
    assert len(layout) == n + 2
    assert layout.levels[n:].tolist() == [2, 3]
    assert layout.groups[n:].tolist() == [layout.groups[topwear], layout.groups[RAGGED.index(("Apparel", "Topwear", "Tops"))]]
    targets = layout.end_targets(RAGGED.targets([("Apparel",), ("Apparel", "Topwear"), ("Apparel", "Socks"), ("Shoes",), None]))
    assert targets.tolist() == [
        [apparel, n, -1],
        [apparel, topwear, n + 1],
        [apparel, RAGGED.index(("Apparel", "Socks")), -1],
        [RAGGED.index(("Shoes",)), -1, -1],
        [-1, -1, -1],
    ]
    assert labelled_stops(RAGGED, RAGGED.targets([("Apparel", "Topwear"), ("Gifts",), None, ("Apparel",), ("Apparel",)])) == (apparel, topwear)
    with pytest.raises(TaxonomyError, match="not an inner category"):
        HeadLayout(RAGGED, (RAGGED.index(("Gifts",)),))
    with pytest.raises(TaxonomyError, match="each inner category once"):
        HeadLayout(RAGGED, (topwear, apparel))


def test_a_stop_is_learned_and_answered() -> None:
    """Products that end at an inner category and products that go on, told apart by one feature; without a stop the former land in a leaf."""
    torch.manual_seed(0)
    tree = Taxonomy([("a", "b"), ("a", "c"), ("d",)])
    labels = [("a",), ("a", "b"), ("a", "c"), ("d",)] * 8
    features = torch.eye(4).repeat(8, 1)
    for stops, expected in (((tree.index(("a",)),), [("a",), ("a", "b"), ("a", "c"), ("d",)]), ((), [("a", "b"), ("a", "c"), ("d",)])):
        layout = HeadLayout(tree, stops)
        targets = torch.from_numpy(layout.end_targets(tree.targets(labels))).long()
        head, loss = HierarchicalHead(4, layout), Objective(stops).build(tree, 0.0)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.3)
        for _ in range(60):
            optimizer.zero_grad()
            loss(head(features), targets).backward()
            optimizer.step()
        nodes = decode(head(torch.eye(4)).detach().numpy(), layout, "greedy").nodes
        answered = [tree.categories[node].path for node in nodes]
        assert answered[-len(expected) :] == expected
        assert answered[0] != ("a",) or stops


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
    best = best_ends(joint, tree, 3)
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


def test_level_weights_must_fit_the_tree_and_weigh_their_level() -> None:
    with pytest.raises(ConfigError, match="1 entries, the tree has 3 levels"):
        HierarchicalLoss(RAGGED, LossConfig(level_weights=(1.0,)))
    logits = torch.from_numpy(logits_for(RAGGED, 3, rows=1))
    targets = torch.from_numpy(RAGGED.targets([("Apparel", "Topwear", "Tops")])).long()
    by_level = [HierarchicalLoss(RAGGED, LossConfig(level_weights=tuple(np.eye(3)[level])))(logits, targets) for level in range(3)]
    weighted = HierarchicalLoss(RAGGED, LossConfig(level_weights=(1.0, 2.0, 0.5)))(logits, targets)
    torch.testing.assert_close(weighted, by_level[0] + 2 * by_level[1] + 0.5 * by_level[2])


def test_effective_number_weighs_the_rare_more_and_keeps_the_mean() -> None:
    tree = Taxonomy([("a",), ("b",)])
    counts = np.array([999, 9])
    weights = HierarchicalLoss(tree, LossConfig(balance="effective", effective_beta=0.999), counts=counts).weights_N.numpy()
    effective = (1 - 0.999 ** (counts + 1.0)) / (1 - 0.999)
    assert weights[1] / weights[0] == pytest.approx(effective[0] / effective[1], rel=1e-5)
    assert (weights * (counts + 1)).sum() == pytest.approx((counts + 1).sum(), rel=1e-5)
    alike = HierarchicalLoss(tree, LossConfig(balance="effective", effective_beta=0.0), counts=counts).weights_N.numpy()
    np.testing.assert_allclose(alike, 1)


def test_logit_adjustment_is_the_loss_of_shifted_logits_and_undoes_the_prior() -> None:
    """The best constant logits under the adjusted loss are equal ones: the prior is in the shift, not in the model (Menon et al. 2021, section 4)."""
    tree = Taxonomy([("a",), ("b",), ("c",)])
    targets = torch.tensor([[0]] * 89 + [[1]] * 9 + [[2]] * 2)
    counts = np.array(column_counts(tree.layout, targets.numpy()))
    assert counts.tolist() == [89, 9, 2]
    loss = HierarchicalLoss(tree, LossConfig(balance="logit_adjustment"), counts=counts)
    logits = torch.zeros(1, 3, requires_grad=True)
    loss(logits.expand(100, 3), targets).backward()
    assert logits.grad is not None
    # One product more a category than there is: hence not quite zero.
    assert float(logits.grad.abs().max()) < 0.03
    plain = torch.zeros(1, 3, requires_grad=True)
    HierarchicalLoss(tree)(plain.expand(100, 3), targets).backward()
    assert plain.grad is not None
    assert float(plain.grad.abs().max()) > 0.5


def test_logit_adjustment_and_smoothing_together_leave_the_common_category_alone() -> None:
    """Products that can be told apart, nearly all of one category, one category without any: each is answered as labelled."""
    torch.manual_seed(0)
    tree = Taxonomy([("a",), ("b",), ("c",)])
    targets = torch.tensor([[0]] * 97 + [[1]] * 3)
    features = torch.eye(2)[targets[:, 0]]
    counts = np.array(column_counts(tree.layout, targets.numpy()))
    loss = HierarchicalLoss(tree, LossConfig(balance="logit_adjustment"), counts=counts, label_smoothing=0.1)
    np.testing.assert_allclose(loss.spread_N.numpy(), (counts + 1) / (counts + 1).sum(), rtol=1e-5)
    head = HierarchicalHead(2, tree)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.2)
    for _ in range(100):
        optimizer.zero_grad()
        loss(head(features), targets).backward()
        optimizer.step()
    assert decode(head(torch.eye(2)).detach().numpy(), tree).nodes.tolist() == [0, 1]


def test_balance_without_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the training products"):
        HierarchicalLoss(RAGGED, LossConfig(balance="effective"))


@pytest.mark.parametrize("decoder", get_args(DecoderName))
def test_the_loss_of_a_stopped_label_is_that_of_its_path_and_its_stop(decoder: DecoderName) -> None:
    layout = HeadLayout(RAGGED, (RAGGED.index(("Apparel", "Topwear")),))
    logits = logits_for(layout, 4, rows=2)
    targets = torch.from_numpy(layout.end_targets(RAGGED.targets([("Apparel", "Topwear"), ("Apparel",)]))).long()
    loss = HierarchicalLoss(layout, decoder=decoder).per_product(torch.from_numpy(logits), targets).numpy()
    joint = path_log_probabilities(log_conditionals(logits, layout, decoder), layout)
    np.testing.assert_allclose(loss, [-joint[0, len(RAGGED)], -joint[1, RAGGED.index(("Apparel",))]], atol=1e-4)


def test_truncation_and_counts_by_hand() -> None:
    tree = RAGGED
    predicted = np.array([tree.index(("Apparel", "Topwear", "Shirts")), tree.index(("Apparel", "Topwear", "Tops")), tree.index(("Apparel", "Socks"))])
    target = np.array([tree.index(("Apparel", "Topwear")), tree.index(("Apparel", "Socks")), tree.index(("Apparel", "Topwear", "Tops"))])
    assert truncate(predicted, target, tree)[0] == tree.index(("Apparel", "Topwear"))
    overlap, ours, true = hierarchical_counts(predicted, target, tree)
    assert overlap.tolist() == [2, 1, 1]
    assert ours.tolist() == [2, 3, 2]
    assert true.tolist() == [2, 2, 3]
    ends = HeadLayout(tree, (tree.index(("Apparel", "Topwear")),)).may_end
    # The label belongs at Topwear: a leaf below it is one category too many.
    assert truncate(predicted, target, tree, ends)[0] == predicted[0]
    assert [counts[0] for counts in hierarchical_counts(predicted, target, tree, ends)] == [2, 3, 2]
