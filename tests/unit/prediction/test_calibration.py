"""Calibration: overconfident logits are cooled down to what they are worth, curves mend what no temperature can, a path never gains on its way."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.decoding import DecoderName, decode
from prodcat.evaluation.reliability import expected_calibration_error
from prodcat.prediction.calibration import Calibration, CalibrationConfig, Curve, fit_calibration, fit_temperatures, whole_labels
from prodcat.taxonomy import HeadLayout, Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f"), ("g",)])
LAYOUT = HeadLayout(TREE, (TREE.index(("a",)),))
ISOTONIC = CalibrationConfig(method="isotonic")


def overconfident(seed: int, factor: float, decoder: DecoderName = "greedy", rows: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Logits `factor` times as steep as the distribution over the ends that the labels were drawn from."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, len(LAYOUT))) * 2
    joint = decode(logits, LAYOUT, decoder).joint[:, LAYOUT.ends]
    ends = LAYOUT.ends[(joint + generator.gumbel(size=joint.shape)).argmax(axis=1)]
    return (logits * factor).astype(np.float32), LAYOUT.end_targets(TREE.path_indices[LAYOUT.nodes[ends]])


def leaf_error(calibration: Calibration, logits: np.ndarray, targets: np.ndarray, decoder: DecoderName = "greedy") -> float:
    reading = calibration.read(logits, LAYOUT, decoder)
    last = targets[np.arange(len(targets)), (targets >= 0).sum(axis=1) - 1]
    error = expected_calibration_error(reading.whole, reading.decoded.ends == last)
    assert error is not None
    return error


@pytest.mark.parametrize("decoder", get_args(DecoderName))
def test_temperature_undoes_overconfidence(decoder: DecoderName) -> None:
    logits, targets = overconfident(0, 4.0, decoder)
    assert fit_temperatures(logits, targets, LAYOUT, decoder) == pytest.approx((4.0, 4.0), rel=0.15)
    held_out, truth = overconfident(1, 4.0, decoder)
    plain = Calibration(temperatures=(1.0, 1.0))
    assert leaf_error(plain, held_out, truth, decoder) > 0.1
    assert leaf_error(fit_calibration(logits, targets, LAYOUT, decoder), held_out, truth, decoder) < 0.03


def test_isotonic_curves_mend_what_no_temperature_can() -> None:
    """A quarter of the labels is wrong whatever the logits say: the surest answers are right in three of four, which no temperature can say."""

    def noisy(seed: int) -> tuple[np.ndarray, np.ndarray]:
        logits, targets = overconfident(seed, 1.0)
        generator = np.random.default_rng(seed)
        wrong = generator.random(len(targets)) < 0.25
        targets[wrong] = targets[generator.permutation(len(targets))][wrong]
        return logits, targets

    logits, targets = noisy(2)
    held_out, truth = noisy(3)
    temperature, isotonic = (fit_calibration(logits, targets, LAYOUT, config=CalibrationConfig(method=m)) for m in ("temperature", "isotonic"))
    assert isotonic.temperatures == temperature.temperatures
    assert leaf_error(isotonic, held_out, truth) < 0.03 < leaf_error(temperature, held_out, truth)
    assert Calibration.model_validate_json(isotonic.model_dump_json()) == isotonic


def test_no_run_of_right_answers_makes_certain() -> None:
    logits = np.zeros((1000, len(LAYOUT)), np.float32)
    leaf = TREE.index(("d", "e"))
    logits[:, [TREE.index(("d",)), leaf]] = 9
    targets = np.tile(TREE.path_indices[leaf], (1000, 1))
    whole = fit_calibration(logits, targets, LAYOUT, config=ISOTONIC).read(logits, LAYOUT).whole
    assert 0.99 < whole[0] < 1


curves = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5, unique_by=lambda point: point[0]).map(
    lambda points: Curve(given=tuple(sorted(p for p, _ in points)), found=tuple(sorted(q for _, q in points)))
)


@given(st.integers(0, 2**32 - 1), st.lists(st.none() | curves, min_size=2, max_size=2), st.sampled_from(get_args(DecoderName)))
def test_confidences_lie_in_0_to_1_and_never_rise_on_a_path(seed: int, fitted: list[Curve | None], decoder: DecoderName) -> None:
    logits = np.random.default_rng(seed).normal(size=(6, len(LAYOUT))) * 10
    reading = Calibration(temperatures=(0.5, 2.0), curves=tuple(fitted)).read(logits, LAYOUT, decoder)
    assert ((reading.confidences >= 0) & (reading.confidences <= 1)).all()
    below = np.flatnonzero(LAYOUT.parents >= 0)
    assert (reading.confidences[:, below] <= reading.confidences[:, LAYOUT.parents[below]]).all()
    assert (np.isfinite(reading.along).sum(axis=1) == TREE.levels[reading.nodes]).all()
    # A stop is a part of its category's probability, and the whole answer is no surer than its last level.
    assert (reading.whole <= np.nanmin(reading.along, axis=1)).all()
    alone = Calibration(temperatures=(0.5, 2.0), curves=tuple(fitted)).read(logits[:1], LAYOUT, decoder)
    np.testing.assert_array_equal(alone.confidences[0], reading.confidences[0])


def test_levels_without_evidence_are_left_alone() -> None:
    logits, targets = overconfident(4, 4.0)
    targets[:, 1] = -1
    assert fit_temperatures(logits, targets, LAYOUT)[1] == 1.0
    few = fit_calibration(logits[:5], targets[:5], LAYOUT, config=ISOTONIC)
    assert few == Calibration(temperatures=(1.0, 1.0), curves=(None, None))
    assert fit_calibration(logits, targets, LAYOUT, config=CalibrationConfig(method="none")) == Calibration(temperatures=(1.0, 1.0))


def test_a_label_is_whole_where_a_path_may_end() -> None:
    targets = LAYOUT.end_targets(TREE.targets([("a", "b"), ("a",), ("d",), ("g",)]))
    assert whole_labels(targets, LAYOUT).tolist() == [True, True, False, True]
    assert whole_labels(TREE.targets([("a",)]), TREE).tolist() == [False]


def test_logits_of_foreign_platforms_are_taken_as_they_are() -> None:
    logits, _ = overconfident(3, 1.0, rows=40)
    calibration = Calibration(temperatures=(0.4, 0.6))
    foreign = np.arange(40) % 2 == 0
    found = calibration.read(logits, LAYOUT, "joint", foreign)
    for rows, temperatures in ((foreign, (1.0, 1.0)), (~foreign, (0.4, 0.6))):
        expected = Calibration(temperatures=temperatures).read(logits[rows], LAYOUT, "joint")
        np.testing.assert_allclose(found.confidences[rows], expected.confidences, rtol=1e-5)
        np.testing.assert_array_equal(found.nodes[rows], expected.nodes)
