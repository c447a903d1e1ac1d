import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.decoding import decode, sibling_log_softmax
from prodcat.taxonomy import HeadLayout, Taxonomy
from prodcat.training.priors import PriorConfig, even_shares, reestimate, shares_of, shift

TREE = Taxonomy([("A", "a"), ("A", "b"), ("B", "c"), ("B", "d")])
LAYOUT = HeadLayout(TREE)
EVEN = np.full(4, 0.25)


def drawn(shares: np.ndarray, products: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Products of the ends by these shares, and the logits of the classifier that is right under even shares: x is drawn around its end."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=products, p=shares)
    x = rng.normal(size=(products, 4)) + 1.5 * np.eye(4)[labels]
    scores = 1.5 * x  # log p(x | end), but for what is the same for all
    logits = np.zeros((products, len(TREE)))
    for node, members in ((0, (0, 1)), (1, (2, 3))):
        logits[:, node] = np.logaddexp(scores[:, members[0]], scores[:, members[1]])
    logits[:, 2:] = scores
    return labels, logits


def test_shares_are_found_again_and_answers_get_better() -> None:
    shares = np.array([0.7, 0.1, 0.15, 0.05])
    labels, logits = drawn(shares, 3000, 0)
    found = reestimate(decode(logits, LAYOUT).joint, EVEN, LAYOUT, PriorConfig(spread=1))
    assert found == pytest.approx(shares, abs=0.03)
    before = (decode(logits, LAYOUT).nodes - 2 == labels).mean()
    after = (decode(logits + shift(found, EVEN, LAYOUT), LAYOUT).nodes - 2 == labels).mean()
    assert after > before + 0.02


def test_few_products_change_little() -> None:
    _, logits = drawn(np.array([1.0, 0, 0, 0]), 3, 0)
    joint = decode(logits, LAYOUT).joint
    careful, bold = (reestimate(joint, EVEN, LAYOUT, PriorConfig(spread=spread)) for spread in (100, 0.1))
    assert abs(careful[0] - 0.25) < 0.1 < abs(bold[0] - 0.25)


def test_no_product_changes_nothing() -> None:
    found = reestimate(np.zeros((0, len(TREE))), EVEN, LAYOUT, PriorConfig())
    assert found == pytest.approx(EVEN)
    assert shift(found, EVEN, LAYOUT) == pytest.approx(np.zeros(len(TREE)))


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.integers(0, 5))
def test_a_shift_gives_even_answers_the_target_shares(weights: list[float], seed: int) -> None:
    target = np.array(weights) / sum(weights)
    joint = decode(np.zeros((1, len(TREE))) + shift(target, EVEN, LAYOUT), LAYOUT).joint
    assert np.exp(joint[0, LAYOUT.ends]) == pytest.approx(target, abs=1e-5)
    # A further shift of nothing leaves the probabilities where they are.
    logits = np.random.default_rng(seed).normal(size=(5, len(TREE)))
    assert sibling_log_softmax(logits + shift(target, target, LAYOUT), LAYOUT) == pytest.approx(sibling_log_softmax(logits, LAYOUT))


def test_strength_is_a_part_of_the_change() -> None:
    target = np.array([0.7, 0.1, 0.1, 0.1])
    assert shift(target, EVEN, LAYOUT, 0.5) == pytest.approx(shift(target, EVEN, LAYOUT) / 2)
    assert not shift(target, EVEN, LAYOUT, 0).any()


def test_stops_have_shares_too() -> None:
    layout = HeadLayout(TREE, (0,))
    source = np.full(5, 0.2)
    target = np.array([0.1, 0.1, 0.1, 0.1, 0.6])
    joint = decode(np.zeros((1, len(layout))) + shift(target, source, layout), layout).joint
    # Two children and the stop are alike under even logits; on the platform the stop has 0.6 of 0.8.
    assert np.exp(joint[0, -1] - joint[0, 0]) == pytest.approx(0.75, abs=1e-5)


def test_even_shares_are_even_among_siblings() -> None:
    ragged = HeadLayout(Taxonomy([("A", "a"), ("A", "b"), ("B",)]), (0,))
    # B, then a, b and the stop at A: a half and three sixths.
    assert even_shares(ragged) == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_shares_of_labelled_products() -> None:
    nodes = np.array([TREE.index(path) for path in [("A", "a")] * 60 + [("A", "b")] * 20 + [("B",)] * 20])
    found = shares_of(nodes, LAYOUT)
    assert found.sum() == pytest.approx(1)
    # One more of every category: 81 of 102 are A, 61 of 82 of those a; below B nothing is known.
    assert found == pytest.approx([81 / 102 * 61 / 82, 81 / 102 * 21 / 82, 21 / 102 / 2, 21 / 102 / 2])
