"""The gate keeps what is promised, quality or cost, for all products and for each platform, with the curve that shows it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodcat.config import load
from prodcat.contracts import UNNAMED
from prodcat.errors import ConfigError, TrainingError
from prodcat.prediction.gate import Answered, Gate, GateConfig, GateOutcome, GatePrices, PlatformGate, choose_gate
from prodcat.profile import FitConfig
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


def answered(confidence: np.ndarray, right: np.ndarray, *, two_right: np.ndarray | None = None, platforms: list[str] | None = None) -> Answered:
    """All labelled B; who is wrong says E, which shares nothing with it, so that F1 is the share of right answers."""
    truth = np.full(len(confidence), B)
    two = truth if two_right is None else np.where(two_right, B, E)
    return Answered(confidence, np.where(right, B, E), two, truth, None if platforms is None else np.array(platforms))


def test_default_behaviour_is_by_tolerance_and_one_for_all() -> None:
    config = GateConfig()
    assert (config.tolerance, config.masked_tolerance, config.max_cost, config.per_platform) == (0.0005, 0.005, None, False)
    confidence = np.linspace(0.01, 0.99, 100)
    part = answered(confidence, confidence > 0.4)
    gate = choose_gate(part, TREE, config)
    assert gate == choose_gate(replace(part, platforms=np.array(["a", "b"] * 50)), TREE, config)
    assert gate.platforms == {}
    # 41 lie at 0.4 or below, the 41st at 0.406: a threshold between them, found among 201 quantiles of 100 confidences.
    assert 0.396 <= gate.threshold < 0.406
    assert gate.outcome == GateOutcome(hierarchical_f1=1.0, stage_two_share=gate.chosen.stage_two_share, cost=gate.chosen.cost)


def test_cost_is_what_stage_one_reads_and_what_is_sent_on() -> None:
    prices = GatePrices(stage_one=2.0, stage_two=40.0)
    # One of four cannot be read by stage one, so it always goes on.
    part = answered(np.array([-np.inf, 0.2, 0.5, 0.9]), np.array([False, False, True, True]))
    gate = choose_gate(part, TREE, GateConfig(tolerance=0.0, prices=prices))
    by_share = {point.stage_two_share: point for point in gate.curve}
    assert {share: point.cost for share, point in by_share.items()} == {0.25: 12.0, 0.5: 22.0, 0.75: 32.0, 1.0: 42.0}
    assert {share: point.hierarchical_f1 for share, point in by_share.items()} == {0.25: 0.75, 0.5: 1.0, 0.75: 1.0, 1.0: 1.0}
    assert gate.outcome == GateOutcome(hierarchical_f1=1.0, stage_two_share=0.5, cost=22.0)
    assert gate.prices == prices
    assert GatePrices().cost(0.3) == pytest.approx(0.002 + 0.05 * 0.3)


def test_a_cost_target_buys_the_best_f1_it_pays_for() -> None:
    prices = GatePrices(stage_one=1.0, stage_two=10.0)
    confidence = np.linspace(0.01, 1.0, 100)
    # Stage one is wrong below 0.6; stage two among the surest, so that sending on more than 60 of 100 makes it worse.
    part = answered(confidence, confidence > 0.605, two_right=confidence < 0.805)

    def chosen(max_cost: float) -> GateOutcome:
        outcome = choose_gate(part, TREE, GateConfig(max_cost=max_cost, prices=prices)).outcome
        assert outcome is not None
        return outcome

    # 3 pays for 20 of 100: the 20 least sure, of the 60 wrong ones.
    assert chosen(3.0).stage_two_share == pytest.approx(0.2)
    assert chosen(3.0).hierarchical_f1 == pytest.approx(0.6)
    # Money for more than is of use stays where it is: the cheapest of the best.
    assert chosen(100.0).stage_two_share == pytest.approx(0.6)
    assert chosen(100.0).hierarchical_f1 == pytest.approx(1.0)
    # Stage one alone; and a tolerance beside a cost is not asked.
    assert chosen(1.0) == GateOutcome(hierarchical_f1=0.4, stage_two_share=0.0, cost=1.0)
    assert choose_gate(part, TREE, GateConfig(max_cost=3.0, tolerance=1.0, prices=prices)).outcome == chosen(3.0)


def test_a_cost_worked_out_by_hand_fits_exactly() -> None:
    prices = GatePrices(stage_one=0.1, stage_two=0.7)
    part = answered(np.array([-np.inf, -np.inf, -np.inf, *[0.9] * 7]), np.ones(10, dtype=bool))
    # 0.1 + 0.7 * 0.3 in floating point is a hair above 0.31.
    gate = choose_gate(part, TREE, GateConfig(max_cost=0.31, prices=prices))
    assert gate.outcome is not None
    assert gate.outcome.stage_two_share == pytest.approx(0.3)


def test_an_impossible_cost_is_named_with_the_least_possible() -> None:
    with pytest.raises(ConfigError, match=r"key 'gate': .*max_cost 0\.001 is below 0\.002, the least possible cost.*give at least that"):
        load(FitConfig, "offline", ["gate.max_cost=0.001"])
    assert load(FitConfig, "offline", ["gate.max_cost=0.002"]).gate.max_cost == 0.002
    config = GateConfig(max_cost=0.01, prices=GatePrices(stage_one=0.0, stage_two=0.1), per_platform=True, min_platform_products=4)
    untitled = answered(np.array([-np.inf, 0.5, 0.6, 0.7]), np.ones(4, dtype=bool))
    with pytest.raises(TrainingError, match=r"gate\.max_cost 0\.01: 25\.0% of the validation products must go to stage two, .* cost is 0\.025; give"):
        choose_gate(untitled, TREE, config)
    # Enough for all together, not for the shop without titles.
    shops = answered(np.array([-np.inf, *np.linspace(0.5, 0.9, 11)]), np.ones(12, dtype=bool), platforms=["a"] * 4 + ["b"] * 8)
    with pytest.raises(TrainingError, match=r"products of platform 'a' must .* 0\.025; give at least that, or set gate\.per_platform to false"):
        choose_gate(shops, TREE, config)


def test_a_cost_target_comes_as_near_to_the_masked_promise_as_it_pays_for() -> None:
    prices = GatePrices(stage_one=1.0, stage_two=10.0)
    confidence = np.linspace(0.01, 1.0, 100)
    whole, masked = answered(confidence, confidence > 0.205), answered(confidence, confidence > 0.605)

    def share(max_cost: float, masked_tolerance: float = 0.0) -> float:
        outcome = choose_gate(whole, TREE, GateConfig(max_cost=max_cost, masked_tolerance=masked_tolerance, prices=prices), masked).outcome
        assert outcome is not None
        return outcome.stage_two_share

    assert share(100.0) == pytest.approx(0.6)
    assert share(5.0) == pytest.approx(0.4)
    assert share(100.0, masked_tolerance=1.0) == pytest.approx(0.2)


def two_shops(own: int = 300) -> Answered:
    """Stage one is right of every product of `plain`, and of `odd` only above 0.8; `small` has three products."""
    confidence = np.tile(np.linspace(0.01, 0.99, own), 2)
    right = np.concatenate([np.ones(own, dtype=bool), confidence[:own] > 0.8])
    names = ["plain"] * own + ["odd"] * own + ["small"] * 3
    return answered(np.append(confidence, [0.4, 0.5, 0.6]), np.append(right, [True] * 3), platforms=names)


def test_a_platform_has_its_own_threshold_if_it_has_the_products() -> None:
    part = two_shops()
    config = GateConfig(tolerance=0.0, per_platform=True)
    gate = choose_gate(part, TREE, config)
    assert set(gate.platforms) == {"plain", "odd"}
    assert gate.platforms["plain"].threshold == 0.0
    assert 0.79 < gate.platforms["odd"].threshold < 0.81
    # Whom nobody knows, and who is too small, uses that of all products.
    assert gate.threshold == choose_gate(part, TREE, GateConfig(tolerance=0.0)).threshold > 0.7
    assert [gate.threshold_of(name) for name in ("small", "new")] == [gate.threshold] * 2
    assert gate.sure(np.full(4, 0.5), ["plain", "odd", "small", "new"]).tolist() == [True, False, False, False]
    assert gate.sure(np.full(2, 0.5)).tolist() == [False, False]
    assert gate.platforms["odd"].validation_products == 300
    # All of it at the quality of one threshold for all, for less.
    assert gate.chosen is not None
    assert gate.outcome is not None
    assert gate.outcome.hierarchical_f1 == gate.chosen.hierarchical_f1 == 1.0
    assert gate.outcome.cost < 0.6 * gate.chosen.cost
    assert set(choose_gate(part, TREE, config.model_copy(update={"min_platform_products": 3})).platforms) == {"plain", "odd", "small"}
    assert set(choose_gate(part, TREE, config.model_copy(update={"min_platform_products": 301})).platforms) == set()


def test_each_platform_keeps_to_the_cost_by_itself() -> None:
    prices = GatePrices(stage_one=1.0, stage_two=10.0)
    gate = choose_gate(two_shops(), TREE, GateConfig(max_cost=4.0, per_platform=True, prices=prices))
    plain, odd = gate.platforms["plain"].chosen, gate.platforms["odd"].chosen
    assert plain is not None
    assert odd is not None
    # What is of no use is not spent.
    assert plain.cost == pytest.approx(1.0)
    assert odd.cost == pytest.approx(4.0, abs=0.1)
    assert odd.cost <= 4.0


def test_the_masked_promise_holds_for_a_platform_with_few_masked_titles() -> None:
    part = two_shops()
    config = GateConfig(tolerance=0.0, masked_tolerance=0.0, per_platform=True)
    masked = answered(np.linspace(0.01, 0.99, 300), np.linspace(0.01, 0.99, 300) > 0.6, platforms=["odd"] * 300)
    assert choose_gate(part, TREE, config).platforms["plain"].threshold == 0.0
    assert 0.59 < choose_gate(part, TREE, config, masked).platforms["plain"].threshold < 0.61
    # Its own, where there are enough.
    own = replace(masked, platforms=np.array(["plain"] * 300), stage_one=np.full(300, B))
    assert choose_gate(part, TREE, config, own).platforms["plain"].threshold == 0.0


def test_a_bundle_keeps_a_small_curve_with_the_point_that_was_chosen() -> None:
    part = two_shops(4000)
    gate = choose_gate(part, TREE, GateConfig(tolerance=0.0, per_platform=True), part)
    # All 203 levels but those that are left out; the chosen one may be among the evenly kept.
    assert len(gate.curve) == len(gate.masked_curve) in (199, 200)
    assert [point.threshold for point in gate.curve] == [point.threshold for point in gate.masked_curve]
    assert (gate.curve[0].threshold, gate.curve[-1].threshold) == (0.0, 1.0)
    assert gate.threshold in [point.threshold for point in gate.curve]
    for platform in gate.platforms.values():
        assert len(platform.curve) <= 50
        assert platform.chosen is not None
        assert platform.chosen.threshold == platform.threshold
        assert platform.chosen.hierarchical_f1 == 1.0
    assert Gate.model_validate_json(gate.model_dump_json()) == gate


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_promised_holds_on_validation(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 60))
    drawn = st.lists(st.sampled_from([-np.inf, 0.1, 0.5, 0.9, 0.95, 0.999, 1.0]) | st.floats(1e-6, 1), min_size=rows, max_size=rows)
    nodes = st.lists(st.sampled_from([B, C, E]), min_size=rows, max_size=rows).map(np.array)
    names = np.array(data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=rows, max_size=rows)))
    part = Answered(np.array(data.draw(drawn)), data.draw(nodes), data.draw(nodes), data.draw(nodes), names)
    prices = GatePrices(stage_one=data.draw(st.floats(0, 2)), stage_two=data.draw(st.floats(0, 20)))
    config = GateConfig(
        tolerance=data.draw(st.sampled_from([0.0, 0.0005, 0.05, 0.5])),
        prices=prices,
        max_cost=data.draw(st.none() | st.floats(0, 25).map(lambda more: prices.stage_one + more)),
        per_platform=True,
        min_platform_products=data.draw(st.integers(1, 20)),
    )
    try:
        gate = choose_gate(part, TREE, config)
    except TrainingError:
        least = {name: prices.cost(float(np.isneginf(part.confidence[names == name]).mean())) for name in np.unique(names)}
        least["all"] = prices.cost(float(np.isneginf(part.confidence).mean()))
        assert config.max_cost is not None
        assert max(least.values()) > config.max_cost
        return
    assert set(gate.platforms) == {name for name in np.unique(names) if (names == name).sum() >= config.min_platform_products}
    for threshold, rows_of in [(gate.threshold, np.full(rows, True)), *((own.threshold, names == name) for name, own in gate.platforms.items())]:
        sent = ~(part.confidence[rows_of] > threshold)

        def f1(sent: np.ndarray, rows_of: np.ndarray = rows_of) -> float:
            pred = np.where(sent, part.stage_two[rows_of], part.stage_one[rows_of])
            paths, labels = TREE.path_indices[pred], TREE.path_indices[part.targets[rows_of]]
            return 2 * int((paths == labels).sum()) / (paths.size + labels.size)

        if config.max_cost is None:
            assert f1(sent) >= f1(np.full(len(sent), True)) - config.tolerance - 1e-12
        else:
            assert prices.stage_one + prices.stage_two * sent.mean() <= config.max_cost + 1e-6
    sure = gate.sure(part.confidence, names)
    # Alone and in a batch the same.
    assert sure.tolist() == [bool(gate.sure(part.confidence[[row]], names[[row]])[0]) for row in range(rows)]
    assert gate.outcome is not None
    assert gate.outcome.stage_two_share == pytest.approx(1 - sure.mean())


def test_platforms_that_nothing_was_trained_on_go_to_stage_two() -> None:
    gate = Gate(threshold=0.5, known=("shop", "other"), platforms={"other": PlatformGate(threshold=0.9)})
    confidence = np.array([0.7, 0.7, 0.99, 0.7, 1.0])
    assert gate.sure(confidence, ["shop", "other", "other", UNNAMED, "stranger"]).tolist() == [True, False, True, True, False]
    # Without a list of those that are known, nobody is a stranger.
    assert gate.model_copy(update={"known": None}).sure(confidence, ["shop", "other", "other", UNNAMED, "stranger"])[-1]
