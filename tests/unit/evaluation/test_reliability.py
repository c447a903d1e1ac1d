"""Calibration error, reliability tables and risk against coverage, by hand and on products whose truth is drawn from their confidence."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.evaluation.reliability import expected_calibration_error, figures, level_figures, reliability_table, risk_coverage

answers = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99, 1.0]) | st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def test_two_bins_by_hand() -> None:
    confidence, right = np.array([0.6, 0.6, 0.9, 0.9]), np.array([True, False, True, True])
    assert reliability_table(confidence, right, bins=2) == [
        {"low": 0.6, "high": 0.6, "products": 2, "confidence": 0.6, "accuracy": 0.5},
        {"low": 0.9, "high": 0.9, "products": 2, "confidence": 0.9, "accuracy": 1.0},
    ]
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx(0.1)


def test_confidences_that_are_true_have_little_error_and_boastful_ones_much() -> None:
    generator = np.random.default_rng(0)
    # As a good classifier's: nearly all near 1, where bins of equal width would see one bin.
    confidence = 1 - generator.random(20_000) ** 4 * 0.5
    right = generator.random(20_000) < confidence
    honest, boastful = expected_calibration_error(confidence, right), expected_calibration_error(np.sqrt(confidence), right)
    assert honest is not None
    assert boastful is not None
    assert honest < 0.01
    assert boastful > 0.03
    sizes = [row["products"] for row in reliability_table(confidence, right, bins=10)]
    assert sizes == pytest.approx([2000] * 10, abs=2)


@given(answers, st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_table_loses_no_product_and_order_does_not_matter(given_answers: list[tuple[float, bool]], bins: int, random) -> None:
    confidence, right = np.array([c for c, _ in given_answers]), np.array([r for _, r in given_answers])
    table = reliability_table(confidence, right, bins)
    assert sum(row["products"] for row in table) == len(confidence)
    assert len(table) <= bins
    assert all(before["high"] < after["low"] for before, after in itertools.pairwise(table))
    assert sum(row["products"] * row["accuracy"] for row in table) == pytest.approx(right.sum())
    order = list(range(len(confidence)))
    random.shuffle(order)
    assert expected_calibration_error(confidence[order], right[order], bins) == pytest.approx(expected_calibration_error(confidence, right, bins))
    curves = [risk_coverage(confidence[rows], right[rows]) for rows in (slice(None), order)]
    assert curves[0]["curve"] == curves[1]["curve"]


def test_risk_against_coverage_by_hand() -> None:
    found = risk_coverage(np.array([0.9, 0.8, 0.8, 0.5]), np.array([True, True, False, False]))
    assert found["curve"] == [
        {"coverage": 0.25, "risk": 0.0, "threshold": 0.9},
        {"coverage": 0.75, "risk": pytest.approx(1 / 3), "threshold": 0.8},
        {"coverage": 1.0, "risk": 0.5, "threshold": 0.5},
    ]
    assert found["aurc"] == pytest.approx((0 + 2 / 3 + 0.5) / 4)
    assert len(risk_coverage(np.linspace(0, 1, 5000), np.ones(5000, dtype=bool))["curve"]) <= 101


def test_levels_are_judged_where_they_are_named() -> None:
    confidence = np.array([[0.9, 0.8], [0.7, np.nan]])
    found = level_figures(confidence, np.array([[True, False], [True, False]]))
    assert {level: (entry["products"], entry["accuracy"]) for level, entry in found.items()} == {"1": (2, 1.0), "2": (1, 0.0)}
    assert found["2"]["ece"] == pytest.approx(0.8)
    assert list(level_figures(confidence[1:], np.array([[True, False]]))) == ["1"]


def test_nothing_is_said_of_no_product() -> None:
    nothing, none = np.empty(0), np.empty(0, dtype=bool)
    assert figures(nothing, none) == {"products": 0, "accuracy": None, "confidence": None, "ece": None, "table": []}
    assert risk_coverage(nothing, none) == {"aurc": None, "curve": []}
