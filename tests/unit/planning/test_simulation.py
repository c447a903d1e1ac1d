"""The queues: every product leaves once, more replicas lose no more, delays cost what they must, and the same seed gives the same day."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodcat.config import validate
from prodcat.errors import ConfigError
from prodcat.planning.arrivals import DAY_SECONDS, Arrivals, DayCurve, draw, rates
from prodcat.planning.choosing import Settings, choose, judge
from prodcat.planning.fleet import Fleet
from prodcat.planning.simulation import Outcome, simulate
from prodcat.planning.stations import Cascade, Station


def steady(per_second: int, seconds: int, unsure: int = 0) -> Arrivals:
    return Arrivals(np.full(seconds, per_second), np.full(seconds, unsure))


def step_up(low: int, high: int, at: int, seconds: int) -> Arrivals:
    return Arrivals(np.where(np.arange(seconds) < at, low, high), np.zeros(seconds, dtype=int))


def one(arrivals: Arrivals, cascade: Cascade, *, keep_series: bool = False) -> Outcome:
    (outcome,) = simulate([(arrivals, cascade)], keep_series=keep_series)
    return outcome


def left(outcome: Outcome) -> float:
    return outcome.answered + outcome.degraded + outcome.refused + outcome.queued


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), products=st.floats(1e4, 1e9), gate=st.floats(0, 1), least=st.integers(0, 2), queue=st.integers(0, 500))
def test_every_product_leaves_exactly_once(seed: int, products: float, gate: float, least: int, queue: int) -> None:
    station = {"base_seconds": 0.01, "max_ongoing": 16, "max_queued": queue, "target_ongoing": 8, "start_s": 4, "node_start_s": 20, "node_price": 1.0}
    text = Station.model_validate({**station, "rate": 700, "queued_count": False, "max_replicas": 8, "per_node": 4, "overload_loss": 0.4})
    two = {**station, "rate": 50, "queued_count": True, "max_replicas": 4, "per_node": 1, "min_replicas": least, "downscale_to_zero_delay_s": 10}
    outcome = one(draw(DayCurve(products=products), gate, seed, 300), Cascade(text=text, multimodal=Station.model_validate(two)))
    assert left(outcome) == pytest.approx(outcome.arrived, rel=1e-9, abs=1e-6)
    assert min(outcome.answered, outcome.degraded, outcome.refused, outcome.queued) >= 0


def test_enough_replicas_answer_all_at_once(small_cascade) -> None:  # type: ignore[no-untyped-def]
    outcome = one(steady(50, 600, unsure=4), small_cascade(crowding=0.5, multimodal={"crowding": 0.5}))
    assert (outcome.answered, outcome.refused, outcome.degraded) == (pytest.approx(30_000), 0, 0)
    # At half load: 10 ms, and 0.5 * 0.5^2 / 0.5 in the replica, at 50 a second: 15 ms.
    assert outcome.p50_s == pytest.approx(0.015, rel=0.15)
    assert outcome.p99_s > outcome.p50_s
    assert outcome.replica_hours == pytest.approx({"text": 1 / 6, "multimodal": 1 / 6})
    assert outcome.money == pytest.approx(1 / 6 + 1 / 6)


def test_what_a_full_queue_does_not_hold_is_refused(small_cascade) -> None:  # type: ignore[no-untyped-def]
    outcome = one(steady(150, 100), small_cascade(max_replicas=1))
    assert outcome.queued == pytest.approx(16 + 32)
    assert outcome.answered == pytest.approx(100 * 100)
    assert outcome.refused == pytest.approx(150 * 100 - 100 * 100 - 48)


def test_a_server_under_overload_answers_less(small_cascade) -> None:  # type: ignore[no-untyped-def]
    outcome = one(steady(1000, 100), small_cascade(max_replicas=1, overload_loss=0.4))
    assert outcome.answered == pytest.approx(60 * 100)


def test_where_stage_two_is_too_slow_stage_one_answers_alone(small_cascade) -> None:  # type: ignore[no-untyped-def]
    cascade = small_cascade(multimodal={"max_replicas": 1, "max_queued": 10_000})
    outcome = one(steady(50, 400, unsure=20), cascade)
    # Ten a second of twenty; what waits longer than ten seconds is not waited for.
    assert outcome.queued == pytest.approx(100)
    assert outcome.degraded == pytest.approx(400 * 10 - 100)
    assert outcome.refused == 0


def test_without_a_replica_stage_two_wakes_up(small_cascade) -> None:  # type: ignore[no-untyped-def]
    cascade = small_cascade(multimodal={"min_replicas": 0, "max_replicas": 1, "downscale_to_zero_delay_s": 30})
    arrivals = Arrivals(np.full(600, 10), np.where(np.arange(600) // 100 % 3 == 1, 2, 0))
    outcome = one(arrivals, cascade, keep_series=True)
    assert outcome.series is not None
    replicas = outcome.series.replicas_two
    assert set(replicas.tolist()) == {0.0, 1.0}
    # Told within 10 s; 60 s for the node and 4 for the replica.
    awake = int(np.flatnonzero(replicas)[0])
    assert 160 <= awake <= 176
    assert 140 < outcome.degraded < 200, "until then stage one answered alone, and the second time again until a replica was there"


def test_more_replicas_never_lose_more(small_cascade) -> None:  # type: ignore[no-untyped-def]
    day = draw(DayCurve(products=4e7), 0.1, 3, 1200)
    fixed = [small_cascade(multimodal={"min_replicas": n, "max_replicas": n}, min_replicas=n, max_replicas=n, overload_loss=0.3) for n in range(1, 9)]
    outcomes = simulate([(day, cascade) for cascade in fixed])
    for refused in ([outcome.refused for outcome in outcomes], [outcome.refused + outcome.degraded for outcome in outcomes]):
        assert refused[0] > 0
        assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(refused))


def test_a_longer_delay_loses_more_of_a_sudden_rise(small_cascade) -> None:  # type: ignore[no-untyped-def]
    day = step_up(40, 600, at=120, seconds=600)
    lost = [one(day, small_cascade(upscale_delay_s=delay)).refused for delay in (0, 30, 120)]
    assert 0 < lost[0] < lost[1] < lost[2]


def test_a_replica_on_a_new_node_comes_later(small_cascade) -> None:  # type: ignore[no-untyped-def]
    day = step_up(40, 700, at=120, seconds=600)
    outcome = one(day, small_cascade(upscale_delay_s=0), keep_series=True)
    assert outcome.series is not None
    replicas, nodes = outcome.series.replicas, outcome.series.nodes
    asked = int(np.flatnonzero(nodes > 1)[0])
    assert 59 <= int(np.flatnonzero(replicas > 4)[0]) - asked <= 70, "a node's start and a replica's"
    assert replicas.max() <= 8
    assert nodes.max() == 2


def test_nodes_are_given_back_when_idle(small_cascade) -> None:  # type: ignore[no-untyped-def]
    arrivals = Arrivals(np.where(np.arange(1500) < 300, 600, 10), np.zeros(1500, dtype=int))
    outcome = one(arrivals, small_cascade(crowding=4.0, downscale_delay_s=60, node_idle_s=120), keep_series=True)
    assert outcome.series is not None
    replicas, nodes = outcome.series.replicas, outcome.series.nodes
    fewer, gone = int(np.flatnonzero(replicas[300:] <= 4)[0]), int(np.flatnonzero(nodes[300:] == 1)[0])
    assert replicas[-1] == 1
    assert 60 <= fewer <= 110
    assert gone - fewer == pytest.approx(120, abs=2)


def fleet(**changed: object) -> Fleet:
    station = {"rate": 1, "base_seconds": 0, "max_ongoing": 10, "max_queued": 0, "queued_count": True, "target_ongoing": 5, "max_replicas": 10}
    place = {"start_s": 0, "per_node": 100, "node_start_s": 0, "node_price": 0, "look_back_s": 1, "push_s": 1}
    return Fleet([Station.model_validate({**station, **place, **changed})], np.array([2.0]))


def targets(made: Fleet, ongoing: list[float]) -> list[float]:
    found = []
    for second, requests in enumerate(ongoing):
        made.begin(second)
        made.end(second, np.array([requests]))
        found.append(float(made.target[0]))
    return found


def test_the_policy_waits_for_its_delay_without_a_break() -> None:
    assert targets(fleet(upscale_delay_s=0), [10, 20, 20]) == [2, 4, 4]
    assert targets(fleet(upscale_delay_s=3), [20, 20, 20, 20, 20]) == [2, 2, 2, 4, 4]
    assert targets(fleet(upscale_delay_s=3), [20, 20, 10, 20, 20, 20, 30]) == [2, 2, 2, 2, 2, 2, 6], "a break begins anew; what counts is the last"
    assert targets(fleet(downscale_delay_s=2), [5, 5, 5, 5]) == [2, 2, 1, 1]
    assert targets(fleet(upscale_delay_s=0), [1000]) == [10], "max_replicas"


def test_a_factor_takes_a_part_of_the_way_down_and_never_gets_stuck() -> None:
    made = fleet(downscale_delay_s=0, downscaling_factor=0.5, upscale_delay_s=0)
    assert targets(made, [50, 10, 10, 10, 10]) == [10, 6, 4, 3, 2], "half of the way from those that run, rounded up"
    assert targets(fleet(downscale_delay_s=0, downscaling_factor=0.1), [5, 5]) == [1, 1]


def test_a_station_whose_crowd_grows_steeply_swings_without_the_factor(small_cascade) -> None:  # type: ignore[no-untyped-def]
    day = draw(DayCurve(products=100 * 86_400 * 2.4, bursts=0, peak_to_trough=1), 0.0, 0, 1800)
    runs = [(day, small_cascade(crowding=4.0, downscale_delay_s=60, downscaling_factor=factor)) for factor in (1.0, 0.5)]
    swinging, steady_one = simulate(runs)
    assert swinging.refused > 3 * steady_one.refused


def test_the_last_replica_has_its_own_delay() -> None:
    made = fleet(min_replicas=0, downscale_delay_s=1, downscale_to_zero_delay_s=3)
    assert targets(made, [0] * 7) == [2, 1, 1, 1, 1, 0, 0]
    assert targets(made, [0, 1, 1]) == [0, 1, 1], "and from nothing there is one at once"


def test_the_autoscaler_sees_a_mean_and_is_told_now_and_then() -> None:
    assert targets(fleet(upscale_delay_s=0, look_back_s=4, push_s=2), [10, 10, 30, 30, 30, 30]) == [2, 2, 2, 4, 4, 6]


def test_replicas_that_start_are_the_first_to_go() -> None:
    made = fleet(upscale_delay_s=0, downscale_delay_s=0, start_s=5)
    targets(made, [30, 15])
    assert (made.ready[0], made.target[0]) == (2, 3)
    for second in range(2, 10):
        made.begin(second)
    assert made.ready[0] == 3


def test_runs_do_not_depend_on_those_beside_them(small_cascade) -> None:  # type: ignore[no-untyped-def]
    days = [draw(DayCurve(products=products), 0.1, 1, 400) for products in (1e6, 3e7)]
    runs = [(day, small_cascade(upscale_delay_s=delay, start_s=start)) for day in days for delay, start in ((0, 2), (30, 9))]
    assert simulate(runs) == [one(*run) for run in runs]
    assert simulate([]) == []


def test_the_same_seed_draws_the_same_day() -> None:
    curve = DayCurve(products=1e8)
    first, again, other = (draw(curve, 0.1, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.products, again.products)
    assert np.array_equal(first.unsure, again.unsure)
    assert not np.array_equal(first.products, other.products)
    assert first.products.sum() == pytest.approx(1e8, rel=0.001)
    assert first.unsure.sum() == pytest.approx(1e7, rel=0.001)
    assert (first.unsure <= first.products).all()


def test_the_curve_has_its_peak_its_bursts_and_its_sum() -> None:
    calm = rates(DayCurve(products=1e6, peak_to_trough=4, peak_hour=20, bursts=0, noise=0), DAY_SECONDS, np.random.default_rng(0))
    assert calm.sum() == pytest.approx(1e6)
    assert calm.max() / calm.min() == pytest.approx(4)
    assert int(calm.argmax()) == 20 * 3600
    burst = rates(DayCurve(products=1e6, peak_to_trough=1, bursts=1, burst_factor=3, noise=0), DAY_SECONDS, np.random.default_rng(0))
    assert burst.max() / burst.min() == pytest.approx(3)
    assert ((burst > burst.min() * 1.01).sum()) == pytest.approx(300, abs=3)


def test_the_cheapest_that_loses_little_enough_is_chosen(small_cascade) -> None:  # type: ignore[no-untyped-def]
    days = [draw(DayCurve(products=2e7, bursts=200, burst_seconds=100), 0.05, seed, 900) for seed in range(2)]
    grid = [Settings(up, 60.0, share, least) for up in (0.0, 60.0) for share in (0.5, 0.25) for least in (1, 6)]
    best, judged = choose(grid, days, {"small": small_cascade()}, most_lost=0.01)
    assert best is not None
    assert [each.money for each in judged] == sorted(each.money for each in judged)
    assert all(each.lost_share > 0.01 for each in judged if each.money < best.money)
    assert best.lost_share <= 0.01
    assert judge([best.settings], days, {"small": small_cascade()}) == {"small": [best]}
    nothing, _ = choose(grid[:1], days, {"small": small_cascade(max_replicas=1)}, most_lost=0.0)
    assert nothing is None
    crowded = {"small": small_cascade(), "slower": small_cascade(rate=60)}
    _, (both,) = choose([best.settings], days, crowded)
    each = [found for (found,) in judge([best.settings], days, crowded).values()]
    assert both.lost_share == max(found.lost_share for found in each)
    assert both.money == pytest.approx(sum(found.money for found in each) / 2)


def test_settings_are_laid_over_both_stages(small_cascade) -> None:  # type: ignore[no-untyped-def]
    found = Settings(1.0, 2.0, 0.25, 12, look_back_s=10).applied(small_cascade())
    assert (found.text.min_replicas, found.text.max_replicas, found.text.target_ongoing) == (12, 12, 4)
    assert (found.multimodal.min_replicas, found.multimodal.upscale_delay_s, found.multimodal.look_back_s) == (1, 1.0, 10)
    assert replace(Settings(1.0, 2.0, 0.25, 12), min_replicas=1).applied(small_cascade()).text.min_replicas == 1


def test_a_station_that_cannot_be_is_refused(small_cascade) -> None:  # type: ignore[no-untyped-def]
    document = {**small_cascade().text.model_dump(), "min_replicas": 9}
    with pytest.raises(ConfigError, match="min_replicas: 9 are more than max_replicas, 8"):
        validate(Station, document, "text")
