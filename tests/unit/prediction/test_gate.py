"""The gate is the lowest threshold that keeps the promise, with the curve that shows it."""

import numpy as np

from prodcat.prediction.gate import Answered, Gate, GateConfig, choose_gate
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d", "e")])
B, C, E = (TREE.index(path) for path in (("a", "b"), ("a", "c"), ("d", "e")))


def test_lowest_threshold_within_tolerance() -> None:
    confidence = np.linspace(0.01, 0.99, 100)
    truth = np.full(100, B)
    # Stage one errs below 0.4 only; stage two never.
    stage_one = np.where(confidence < 0.4, E, B)
    gate = choose_gate(Answered(confidence, stage_one, truth, truth), TREE, GateConfig(tolerance=0.0))
    assert 0.38 < gate.threshold < 0.41
    assert gate.sure(np.array([0.3, 0.5])).tolist() == [False, True]
    assert gate.validation_products == 100
    shares = [point.stage_two_share for point in gate.curve]
    assert shares == sorted(shares)


def test_a_threshold_below_a_dip_is_not_taken() -> None:
    confidence = np.linspace(0.01, 0.99, 100)
    truth = np.full(100, B)
    # Wrong between 0.6 and 0.7: a gate at 0.1 loses as much as one at 0.5, only one above the dip keeps the promise.
    stage_one = np.where((confidence > 0.6) & (confidence < 0.7), C, B)
    gate = choose_gate(Answered(confidence, stage_one, truth, truth), TREE, GateConfig(tolerance=0.0))
    assert gate.threshold > 0.69


def test_a_generous_tolerance_lets_more_through() -> None:
    confidence = np.linspace(0.01, 0.99, 100)
    truth = np.full(100, B)
    stage_one = np.where(confidence < 0.4, E, B)
    strict = choose_gate(Answered(confidence, stage_one, truth, truth), TREE, GateConfig(tolerance=0.0))
    generous = choose_gate(Answered(confidence, stage_one, truth, truth), TREE, GateConfig(tolerance=0.2))
    assert generous.threshold < strict.threshold


def test_no_evidence_shuts_the_gate() -> None:
    nothing = np.empty(0)
    gate = choose_gate(Answered(nothing, *[nothing.astype(int)] * 3), TREE, GateConfig())
    assert gate == Gate()
    assert not gate.sure(np.array([0.999])).any()


def test_products_stage_one_cannot_read_always_go_on() -> None:
    confidence = np.array([-np.inf, 0.9, 0.95])
    truth = np.array([B, B, B])
    gate = choose_gate(Answered(confidence, np.array([E, B, B]), truth, truth), TREE, GateConfig(tolerance=0.0))
    assert gate.sure(confidence).tolist() == [False, True, True]


def test_masked_titles_hold_the_gate_where_stage_one_is_wrong_about_them() -> None:
    confidence = np.linspace(0.01, 0.99, 100)
    truth = np.full(100, B)
    whole = Answered(confidence, np.where(confidence < 0.2, E, B), truth, truth)
    # Without category words stage one is wrong up to 0.6, and stage two never.
    masked = Answered(confidence, np.where(confidence < 0.6, E, B), truth, truth)
    config = GateConfig(tolerance=0.0, masked_tolerance=0.0)
    assert 0.18 < choose_gate(whole, TREE, config).threshold < 0.21
    gate = choose_gate(whole, TREE, config, masked)
    assert 0.58 < gate.threshold < 0.61
    assert [point.threshold for point in gate.curve] == [point.threshold for point in gate.masked_curve]
    # The curve is of the products as they are: what this costs them is to be read there.
    assert gate.validation_products == 100
    assert min(gate.curve, key=lambda point: abs(point.threshold - gate.threshold)).stage_two_share > 0.58
    assert choose_gate(whole, TREE, GateConfig(tolerance=0.0, masked_tolerance=1.0), masked).threshold < 0.21
    # Nothing masked, nothing asked.
    assert choose_gate(whole, TREE, config, Answered(*[np.empty(0)] * 4)) == choose_gate(whole, TREE, config)
