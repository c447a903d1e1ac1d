"""Back-off holds what it promises: on the products it was fitted to by count, on new ones by the bound, and never by answering nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.prediction.backoff import Backoff, BackoffConfig, choose_backoff

WANTED = BackoffConfig(precision=0.95, confidence=0.9)


def products(seed: int, rows: int, honest: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Confidences down three levels, and truths drawn from them: each level is right with its share of the confidence above."""
    generator = np.random.default_rng(seed)
    shares = 1 - generator.random((rows, 3)) ** 5 * np.array([0.1, 0.4, 0.9])
    along = np.cumprod(shares, axis=1)
    right = np.cumprod(generator.random((rows, 3)) < (shares if honest else shares**2), axis=1).astype(bool)
    # A ragged tree: a fifth of the paths ends at level 2.
    along[generator.random(rows) < 0.2, 2] = np.nan
    right &= np.isfinite(along)
    return along, right


def precision(backoff: Backoff, along: np.ndarray, right: np.ndarray) -> float:
    levels, holds = backoff.levels(along)
    return float(right[np.arange(len(right)), levels - 1][holds].mean())


def test_holds_on_validation_at_every_depth_and_on_new_products() -> None:
    along, right = products(0, 2000)
    backoff = choose_backoff(along, right, WANTED)
    assert all(depth.right >= 0.95 * depth.products for depth in backoff.depths)
    assert sum(depth.products for depth in backoff.depths) == backoff.held
    assert precision(backoff, *products(1, 20_000)) >= 0.95
    # It answers deep where it may: without back-off the leaves are far less precise.
    deep, _ = backoff.levels(along)
    assert (deep == 3).mean() > 0.2
    whole = np.isfinite(along).sum(axis=1)
    assert right[np.arange(2000), whole - 1].mean() < 0.9


def test_the_bound_holds_as_often_as_it_says() -> None:
    """Over many draws of a small validation set a level's true precision falls below the wanted one in at most a tenth of them (or so, for luck)."""
    along, right = products(10_000, 40_000)
    missed = []
    for seed in range(40):
        (threshold,) = choose_backoff(*(part[:, :1] for part in products(seed, 300)), BackoffConfig(precision=0.98)).thresholds
        missed.append(threshold is not None and right[along[:, 0] >= threshold, 0].mean() < 0.98)
    assert sum(missed) <= 7


def test_boastful_confidences_are_found_out() -> None:
    along, right = products(2, 3000, honest=False)
    assert precision(choose_backoff(along, right, WANTED), *products(3, 20_000, honest=False)) >= 0.94


def test_too_little_evidence_holds_nothing_and_still_answers() -> None:
    along, _ = products(4, 20)
    backoff = choose_backoff(along, np.isfinite(along), WANTED)
    assert backoff.thresholds == (None, None, None)
    levels, holds = backoff.levels(along)
    assert (levels == 1).all()
    assert not holds.any()
    assert WANTED.fewest_products == 45
    assert choose_backoff(*(np.repeat(part[:1], 44, axis=0) for part in (along, np.isfinite(along))), WANTED).held == 0
    assert choose_backoff(*(np.repeat(part[:1], 45, axis=0) for part in (along, np.isfinite(along))), WANTED).held == 45
    assert choose_backoff(*products(5, 0), WANTED).held == 0


def test_right_answers_are_answered_whole() -> None:
    along, _ = products(6, 500)
    backoff = choose_backoff(along, np.isfinite(along), WANTED)
    levels, holds = backoff.levels(along)
    assert (levels == np.isfinite(along).sum(axis=1)).all()
    assert holds.all()


def test_a_level_that_cannot_hold_leaves_the_one_above_alone() -> None:
    # Level 2 is a coin, however sure; level 1 is always right.
    along = np.column_stack([np.linspace(0.9, 1, 400), np.linspace(0.9, 1, 400)])
    right = np.column_stack([np.ones(400, dtype=bool), np.arange(400) % 2 == 0])
    backoff = choose_backoff(along, right, WANTED)
    assert backoff.thresholds == (0.9, None)
    assert backoff.held == 400


def test_those_that_stop_do_not_hide_behind_those_that_go_on() -> None:
    """The sure four fifths are right down to the leaf; of the others, which stop at level 1, only half is right even there."""
    along = np.column_stack([np.linspace(1, 0.8, 1000), np.where(np.arange(1000) < 800, np.linspace(1, 0.8, 1000), 0.1)])
    right = np.column_stack([(np.arange(1000) < 800) | (np.arange(1000) % 2 == 0), np.arange(1000) < 800])
    backoff = choose_backoff(along, right, WANTED)
    levels, holds = backoff.levels(along)
    assert holds[:800].all()
    # The grid of thresholds steps over a few.
    assert (levels[:800] == 2).mean() > 0.97
    assert holds[800:].mean() < 0.02


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.sampled_from([0.6, 0.9, 0.99]))
def test_levels_lie_on_the_path_and_hold_what_was_counted(seed: int, rows: int, wanted: float) -> None:
    along, right = products(seed, rows)
    backoff = choose_backoff(along, right, BackoffConfig(precision=wanted))
    levels, holds = backoff.levels(along)
    assert (levels >= 1).all()
    assert (levels <= np.isfinite(along).sum(axis=1)).all()
    assert holds.sum() == backoff.held
    assert all(depth.right >= wanted * depth.products - 1e-9 for depth in backoff.depths)


def test_precision_must_be_a_share() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        BackoffConfig(precision=1.0)
    assert BackoffConfig().fewest_products == 0
