"""Plans against what can be reckoned by hand, and what must hold of every plan."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.errors import ConfigError
from prodcat.planning.allocation import MOST_NODES, Allocation, Load, Step, least_nodes, total_hours
from prodcat.planning.plan import Plan, Request, plan
from prodcat.planning.prices import Prices, read_prices
from prodcat.planning.throughputs import Rate, Throughputs, packaged

# 3.6 million rows are 100 core hours, 10 hours of a node; 360,000 at stage two are 1 GPU hour.
CATALOG = Request(products=3_600_000, image_share=0.0, deadline_hours=100, labelled=0)


def stages_of(found: Plan) -> dict[str, float]:
    return {stage.stage: stage.unit_hours for stage in found.stages}


def test_one_node_of_each_kind_where_there_is_time(throughputs: Throughputs, prices: Prices) -> None:
    found = plan(CATALOG, throughputs, prices)
    assert stages_of(found) == pytest.approx({"ingest_text": 100, "stage_one": 100, "stage_two": 1})
    assert found.nodes == {"cores": 1, "card": 1}
    # Ingest: 36 s for the job, 360 s for the node, 10 hours. Classify: the GPU node starts, both kinds beside each other for 10 hours.
    assert [(step.step, step.hours) for step in found.steps] == [("ingest", pytest.approx(10.11)), ("classify", pytest.approx(10.11))]
    assert found.hours == pytest.approx(20.22)
    # The CPU node is given back a tenth of an hour after the end, the GPU node as well.
    assert [step.money for step in found.steps] == pytest.approx([10.11, (10.11 + 0.1) * (1 + 2)])
    assert found.head_money == pytest.approx(20.22 * 0.5)
    assert found.money == pytest.approx(10.11 + 10.21 * 3 + 10.11)


def test_a_deadline_takes_as_few_nodes_as_will_do(throughputs: Throughputs, prices: Prices) -> None:
    # 20 node hours in 5.1 of 5.32 hours: 3.92 nodes.
    found = plan(replace(CATALOG, deadline_hours=5.32), throughputs, prices)
    assert found.nodes == {"cores": 4, "card": 1}
    assert found.hours == pytest.approx(5 + 0.22)
    assert any("max_workers" in note for note in found.notes), "cluster.yaml allows 3"


def test_photos_features_fit_and_clusters(throughputs: Throughputs, prices: Prices) -> None:
    request = replace(CATALOG, image_share=0.25, labelled=36_000, recategorize=True, gate_share=0.5)
    found = plan(request, throughputs, prices)
    expected = {"ingest_text": 75, "ingest_image": 25, "embed_text": 100, "embed_image": 25, "fit_stage_one": 1, "fit_fusion": 1}
    assert stages_of(found) == pytest.approx(expected | {"stage_one": 100, "stage_two": 5, "recategorize": 100})
    assert [step.step for step in found.steps] == ["ingest", "embed", "fit", "classify", "recategorize"]
    assert found.storage_gb == pytest.approx({"catalog": 3.6 * (1 + 0.25 * 9), "features": 3.6 * (2 + 0.25 * 4), "answers": 1.8})
    assert found.storage_money_month == pytest.approx(sum(found.storage_gb.values()) * 0.02)
    assert found.memory_gb == pytest.approx({"cpu": 5, "gpu": 4, "ingest_driver": 1.08})


def test_features_of_the_labelled_alone_unless_asked(throughputs: Throughputs, prices: Prices) -> None:
    request = replace(CATALOG, labelled=36_000)
    assert stages_of(plan(request, throughputs, prices))["embed_text"] == pytest.approx(1)
    assert stages_of(plan(replace(request, embed_all=True), throughputs, prices))["embed_text"] == pytest.approx(100)


def test_spot_is_for_workers(throughputs: Throughputs, prices: Prices) -> None:
    full, spot = (plan(replace(CATALOG, spot=spot), throughputs, prices) for spot in (False, True))
    assert spot.money - spot.head_money == pytest.approx((full.money - full.head_money) / 2)
    assert spot.head_money == full.head_money


def test_every_stage_says_how_its_throughput_is_known(throughputs: Throughputs, prices: Prices) -> None:
    found = plan(CATALOG, throughputs, prices)
    assert {(stage.stage, stage.basis, stage.source) for stage in found.stages} == {
        ("ingest_text", "measured", "a test, today"),
        ("stage_one", "measured", "a test, today"),
        ("stage_two", "assumed", "a test"),
    }


def test_the_worst_assumption_is_named_with_what_it_moves(throughputs: Throughputs, prices: Prices) -> None:
    # With all at stage two it takes the GPU node 10 hours, as long as stage one; half the throughput makes that 20.
    found = plan(replace(CATALOG, gate_share=1.0), throughputs, prices)
    before, after = 10.11 + 3 * 10.21 + 20.22 / 2, 10.11 + 3 * 20.21 + 30.22 / 2
    (effect,) = found.effects
    assert (effect.stage, effect.unit) == ("stage_two", "gpu")
    assert effect.if_half == pytest.approx(after / before - 1)
    assert effect.if_twice == pytest.approx(0, abs=1e-9), "stage one takes as long anyway"
    slow = plan(replace(CATALOG, gate_share=1.0, deadline_hours=20.3), throughputs, prices)
    assert slow.effects[0].if_half is not None, "another GPU node makes the deadline"


def test_a_stage_runs_where_a_row_costs_least(throughputs: Throughputs, prices: Prices) -> None:
    def with_cpu(rate: float) -> Throughputs:
        both = {**throughputs.stages["stage_two"], "cpu": Rate(rows_per_second=rate, measured=True, by="x")}
        return throughputs.model_copy(update={"stages": {**throughputs.stages, "stage_two": both}})

    # A GPU node does 50 rows a second for each coin, a CPU node 10 times the rate of a core.
    for rate, devices, expected in ((4.9, "cheapest", "gpu"), (5.1, "cheapest", "cpu"), (4.9, "cpu", "cpu"), (5.1, "gpu", "gpu")):
        found = plan(replace(CATALOG, devices=devices), with_cpu(rate), prices)
        assert [stage.unit for stage in found.stages if stage.stage == "stage_two"] == [expected]
    only = plan(replace(CATALOG, devices="cpu"), throughputs, prices)
    assert [stage.unit for stage in only.stages if stage.stage == "stage_two"] == ["gpu"], "there is no throughput for the CPU"


def test_no_products_cost_nothing(throughputs: Throughputs, prices: Prices) -> None:
    found = plan(Request(0, 0.5, 1), throughputs, prices)
    assert (found.stages, found.steps, found.nodes, found.hours, found.money, found.effects) == ((), (), {}, 0, 0, ())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"products": -1}, "--products -1"),
        ({"image_share": 1.5}, "--image-share 1.5: expected a share between 0 and 1"),
        ({"image_share": float("nan")}, "--image-share nan"),
        ({"deadline_hours": 0}, "--deadline 0: expected hours above 0"),
        ({"deadline_hours": float("inf")}, "--deadline inf"),
        ({"gate_share": -0.1}, "--gate-share -0.1"),
        ({"labelled": 3_600_001}, "--labelled 3600001: expected 0 to 3600000"),
        ({"deadline_hours": 0.2}, "--deadline 0.2: starting nodes and jobs alone takes 0.22 hours; give at least --deadline"),
        ({"products": 36_000_000_000, "deadline_hours": 20}, "with 5,000 nodes of each kind it takes"),
    ],
)
def test_options_out_of_range_are_refused_by_name(throughputs: Throughputs, prices: Prices, changed: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        plan(replace(CATALOG, **changed), throughputs, prices)  # type: ignore[arg-type]
    assert message in str(raised.value)


def test_the_deadline_that_is_advised_is_enough(throughputs: Throughputs, prices: Prices) -> None:
    request = replace(CATALOG, labelled=100_000, deadline_hours=0.2)
    with pytest.raises(ConfigError) as raised:
        plan(request, throughputs, prices)
    advised = float(str(raised.value).split("at least --deadline ")[1].split(",")[0])
    assert plan(replace(request, deadline_hours=advised), throughputs, prices).hours <= advised


def test_a_stage_that_does_not_spread_bounds_the_deadline(throughputs: Throughputs, prices: Prices) -> None:
    slow = {"cpu": Rate(rows_per_second=10, measured=True, by="x", most_units=10)}
    narrow = throughputs.model_copy(update={"stages": {**throughputs.stages, "fit_fusion": slow}})
    with pytest.raises(ConfigError, match="most of them for 'fit', which spreads no further"):
        plan(replace(CATALOG, labelled=3_600_000, deadline_hours=9), narrow, prices)


def test_memory_that_is_not_there_is_noted(throughputs: Throughputs, prices: Prices) -> None:
    found = plan(replace(CATALOG, products=1_000_000_000, deadline_hours=1000), throughputs, prices)
    assert any(note.startswith("ingest_driver: 300 GB of memory are needed, 32 are there") for note in found.notes)


@given(
    products=st.integers(1, 10**8),
    share=st.floats(0, 1),
    gate=st.floats(0, 1),
    deadline=st.floats(2, 200),
    recategorize=st.booleans(),
)
def test_twice_the_products_take_no_fewer_nodes_and_no_less_money(
    products: int, share: float, gate: float, deadline: float, recategorize: bool
) -> None:
    throughputs, prices = packaged(), read_prices(None)
    request = Request(products, share, deadline, gate, labelled=0, recategorize=recategorize)
    try:
        twice = plan(replace(request, products=2 * products), throughputs, prices)
    except ConfigError:
        return
    once = plan(request, throughputs, prices)
    assert max(once.hours, twice.hours) <= deadline
    assert sum(once.nodes.values()) <= sum(twice.nodes.values())
    assert once.money <= twice.money + 1e-9


loads = st.builds(Load, unit=st.sampled_from(["cpu", "gpu"]), node_hours=st.floats(0.01, 60), most_nodes=st.none() | st.integers(1, 20))
chains = st.lists(st.builds(Step, name=st.just("step"), loads=st.lists(loads, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=4)


@given(steps=chains, deadline=st.floats(1, 100))
def test_no_fewer_nodes_would_do(steps: list[Step], deadline: float) -> None:
    found = least_nodes(steps, deadline)
    if found is None:
        assert total_hours(steps, MOST_NODES, MOST_NODES) > deadline
        return
    assert total_hours(steps, found.cpu, found.gpu) <= deadline
    fewer = found.cpu + found.gpu - 1
    if fewer <= 200:
        assert not any(total_hours(steps, cpu, fewer - cpu) <= deadline for cpu in range(fewer + 1))


def test_no_steps_need_no_nodes() -> None:
    assert least_nodes([], 1.0) == Allocation(0, 0)
