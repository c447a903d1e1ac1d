"""From a number of products and a deadline to nodes, hours, money, storage and memory of every stage.

Every stage runs on the unit on which a row costs least (or on the one asked for), on nodes as cluster.yaml has them. What is paid for: nodes while a
step that uses their kind runs, while they start, and until an idle one is given back; and the head all the time. Knows no table, no command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from prodcat.errors import ConfigError
from prodcat.planning.allocation import MOST_NODES, Allocation, Load, Step, least_nodes, total_hours
from prodcat.planning.prices import Prices
from prodcat.planning.throughputs import Figure, Rate, StageName, Throughputs, Unit

Devices = Literal["cheapest", "cpu", "gpu"]
# A model is fitted on a sample: more labelled products than this change it little, and people seldom have them.
LABELLED_MOST = 300_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be planned.

    Args:
        products: of the catalog.
        image_share: share of them with a photo.
        deadline_hours: from the start of the first node to the last row.
        gate_share: share that stage one is not sure of; None: as measured.
        labelled: products that the model is fitted on; None: all, at most LABELLED_MOST; 0: a bundle is there already.
        embed_all: store features of every product, not of the labelled ones alone.
        recategorize: look for new categories among all products; needs the features of all.
        devices: where each stage runs: cheapest for a row, or on this unit wherever there is a throughput for it.
        spot: workers at spot prices; the head never.
    """

    products: int
    image_share: float
    deadline_hours: float
    gate_share: float | None = None
    labelled: int | None = None
    embed_all: bool = False
    recategorize: bool = False
    devices: Devices = "cheapest"
    spot: bool = False


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage.

    Args:
        unit_hours: core hours or GPU hours, of nodes that do what `usable_share` says.
        hours: its share of its step's wall time that it keeps its nodes busy.
        basis: whether its throughput was measured or assumed; `source` says how.
    """

    stage: StageName
    step: str
    rows: int
    unit: Unit
    rows_per_second: float
    basis: str
    source: str
    unit_hours: float
    nodes: int
    hours: float


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Stages that run as one job: wall hours with its start and nodes' starts, money of all nodes while it runs."""

    step: str
    hours: float
    starting_hours: float
    cpu_nodes: int
    gpu_nodes: int
    money: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What an assumed throughput does to the money of all if it is half or twice what was assumed; shares, None: the deadline is then not met."""

    stage: StageName
    unit: Unit
    if_half: float | None
    if_twice: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan. Money is in `currency`, always assumed: its prices are. Storage is in decimal gigabytes.

    Args:
        money: of nodes and head for the whole run; storage is apart.
        memory_gb: what a node of each kind, and the process that drives ingestion, need; those above what they have stand in `notes`.
        effects: of every assumed throughput in use, the worst first.
    """

    request: Request
    stages: tuple[StagePlan, ...]
    steps: tuple[StepPlan, ...]
    nodes: dict[str, int]
    hours: float
    head_money: float
    money: float
    currency: str
    storage_gb: dict[str, float]
    storage_money_month: float
    memory_gb: dict[str, float]
    figures: dict[str, Figure]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...]


def plan(request: Request, throughputs: Throughputs, prices: Prices) -> Plan:
    """
    Raises:
        ConfigError: an option is out of range, or no number of nodes meets the deadline; names the option and what to do.
    """
    request = _checked(request, throughputs)
    found = _planned(request, throughputs, prices)
    return replace(found, effects=_effects(request, throughputs, prices, found))


def _checked(request: Request, throughputs: Throughputs) -> Request:
    """With defaults filled in."""
    if request.products < 0:
        raise ConfigError(f"--products {request.products}: expected a number of products, 0 or more")
    if not 0 <= request.image_share <= 1:
        raise ConfigError(f"--image-share {request.image_share}: expected a share between 0 and 1, such as 0.6")
    if not (isfinite(request.deadline_hours) and request.deadline_hours > 0):
        raise ConfigError(f"--deadline {request.deadline_hours}: expected hours above 0")
    if request.gate_share is not None and not 0 <= request.gate_share <= 1:
        raise ConfigError(f"--gate-share {request.gate_share}: expected a share between 0 and 1; `stage_two_share` of a run's report")
    labelled = min(request.products, LABELLED_MOST) if request.labelled is None else request.labelled
    if not 0 <= labelled <= request.products:
        raise ConfigError(f"--labelled {labelled}: expected 0 to {request.products} (--products); 0 if there is a bundle already")
    gate = throughputs.figures.gate_share.value if request.gate_share is None else request.gate_share
    if not 0 <= gate <= 1:
        raise ConfigError(f"--throughputs: figures.gate_share: expected a share between 0 and 1, found {gate}")
    return replace(request, labelled=labelled, gate_share=gate)


@dataclass(frozen=True, slots=True)
class _Work:
    stage: StageName
    step: str
    rows: int
    unit: Unit
    rate: Rate
    load: Load


def _planned(request: Request, throughputs: Throughputs, prices: Prices) -> Plan:
    works = [_work(stage, step, rows, request, throughputs, prices) for step, stage, rows in _rows(request) if rows]
    steps = _steps(works, throughputs, prices)
    allocation = _allocated(steps, request)
    step_plans = tuple(_step_plans(steps, allocation, prices, request.spot))
    stage_plans = tuple(
        StagePlan(
            work.stage,
            work.step,
            work.rows,
            work.unit,
            work.rate.rows_per_second,
            work.rate.mark,
            work.rate.by or work.rate.why or "",
            work.load.node_hours * prices.node(work.unit).units,
            allocation.of(work.unit),
            work.load.hours(allocation.of(work.unit)),
        )
        for work in works
    )
    hours = sum(step.hours for step in step_plans)
    head = hours * prices.head.on_demand
    storage = _storage(request, throughputs)
    memory = _memory(request, throughputs, prices)
    return Plan(
        request=request,
        stages=stage_plans,
        steps=step_plans,
        nodes={prices.node(unit).instance: allocation.of(unit) for unit in ("cpu", "gpu") if allocation.of(unit)},
        hours=hours,
        head_money=head,
        money=head + sum(step.money for step in step_plans),
        currency=prices.currency,
        storage_gb=storage,
        storage_money_month=sum(storage.values()) * prices.storage_gb_month,
        memory_gb=memory,
        figures=dict(throughputs.figures),
        effects=(),
        notes=tuple(_notes(allocation, memory, prices)),
    )


def _rows(request: Request) -> list[tuple[str, StageName, int]]:
    """Step, stage, rows, in the order in which they run."""
    products, labelled = request.products, request.labelled or 0
    images = round(products * request.image_share)
    embedded = products if request.embed_all or request.recategorize else labelled
    return [
        ("ingest", "ingest_text", products - images),
        ("ingest", "ingest_image", images),
        ("embed", "embed_text", embedded),
        ("embed", "embed_image", round(embedded * request.image_share)),
        ("fit", "fit_stage_one", labelled),
        ("fit", "fit_fusion", labelled),
        ("classify", "stage_one", products),
        ("classify", "stage_two", round(products * (request.gate_share or 0))),
        ("recategorize", "recategorize", products if request.recategorize else 0),
    ]


def _work(stage: StageName, step: str, rows: int, request: Request, throughputs: Throughputs, prices: Prices) -> _Work:
    rates = throughputs.stages[stage]

    def cost(unit: Unit) -> float:
        node = prices.node(unit)
        return node.hourly(spot=request.spot) / (rates[unit].rows_per_second * node.units * node.usable_share)

    asked = request.devices
    unit = asked if asked != "cheapest" and asked in rates else min(rates, key=lambda unit: (cost(unit), unit))
    rate, node = rates[unit], prices.node(unit)
    hours = rows / (rate.rows_per_second * node.units * node.usable_share) / 3600
    most = None if rate.most_units is None else max(1, rate.most_units // node.units)
    return _Work(stage, step, rows, unit, rate, Load(unit, hours, most))


def _steps(works: Sequence[_Work], throughputs: Throughputs, prices: Prices) -> list[Step]:
    """Steps with what they wait for: the start of their job, and of nodes of a kind that the step before did not use."""
    job = throughputs.figures.job_start_seconds.value
    steps: list[Step] = []
    for name in dict.fromkeys(work.step for work in works):
        loads = tuple(work.load for work in works if work.step == name)
        step = Step(name, loads)
        new = _starting(step, steps[-1] if steps else None)
        wait = max((prices.node(unit).start_seconds for unit in new), default=0.0)
        steps.append(Step(name, loads, (job + wait) / 3600))
    return steps


def _starting(step: Step, before: Step | None) -> list[Unit]:
    kinds: tuple[Unit, ...] = ("cpu", "gpu")
    return [unit for unit in kinds if step.uses(unit) and not (before and before.uses(unit))]


def _allocated(steps: Sequence[Step], request: Request) -> Allocation:
    allocation = least_nodes(steps, request.deadline_hours)
    if allocation is None:
        starting = sum(step.fixed_hours for step in steps)
        least = total_hours(steps, MOST_NODES, MOST_NODES)
        if request.deadline_hours <= starting:
            reason = f"starting nodes and jobs alone takes {starting:.2f} hours"
        else:
            slow = max(steps, key=lambda step: step.hours(MOST_NODES, MOST_NODES))
            reason = f"with {MOST_NODES:,} nodes of each kind it takes {least:.2f} hours, most of them for {slow.name!r}, which spreads no further"
        advice = "give at least --deadline " + f"{_rounded_up(least * 1.05)}, fewer --products, fewer --labelled, or faster --throughputs"
        raise ConfigError(f"--deadline {request.deadline_hours:g}: {reason}; {advice}")
    return allocation


def _rounded_up(hours: float) -> str:
    return f"{int(hours * 100 + 1) / 100:g}"


def _step_plans(steps: Sequence[Step], allocation: Allocation, prices: Prices, spot: bool) -> list[StepPlan]:
    found = []
    for number, step in enumerate(steps):
        hours = step.hours(allocation.cpu, allocation.gpu)
        after = steps[number + 1] if number + 1 < len(steps) else None
        money = 0.0
        kinds: tuple[Unit, ...] = ("cpu", "gpu")
        for unit in kinds:
            if step.uses(unit):
                idle = 0.0 if after is not None and after.uses(unit) else prices.idle_seconds / 3600
                money += allocation.of(unit) * (hours + idle) * prices.node(unit).hourly(spot=spot)
        cpu, gpu = (allocation.of(unit) if step.uses(unit) else 0 for unit in kinds)
        found.append(StepPlan(step.name, hours, step.fixed_hours, cpu, gpu, money))
    return found


def _storage(request: Request, throughputs: Throughputs) -> dict[str, float]:
    """Gigabytes of what each step leaves behind."""
    figures, products, share = throughputs.figures, request.products, request.image_share
    embedded = products if request.embed_all or request.recategorize else request.labelled or 0
    return {
        "catalog": products * (figures.product_bytes.value + share * figures.image_bytes.value) / 1e9,
        "features": embedded * (figures.text_features_bytes.value + share * figures.image_features_bytes.value) / 1e9,
        "answers": products * figures.answer_bytes.value / 1e9,
    }


def _memory(request: Request, throughputs: Throughputs, prices: Prices) -> dict[str, float]:
    figures = throughputs.figures
    return {
        "cpu": prices.nodes.cpu.units * figures.text_actor_mb.value / 1000,
        "gpu": prices.nodes.gpu.units * figures.gpu_actor_mb.value / 1000,
        "ingest_driver": request.products * figures.driver_bytes_a_product.value / 1e9,
    }


def _notes(allocation: Allocation, memory: dict[str, float], prices: Prices) -> list[str]:
    kinds: tuple[Unit, ...] = ("cpu", "gpu")
    notes = []
    for unit in kinds:
        count, most = allocation.of(unit), prices.node(unit).most
        if count > most:
            notes.append(f"cluster.yaml allows {most} {unit} nodes, this plan takes {count:,}: raise max_workers there, or give more --deadline")
    have = {"cpu": prices.nodes.cpu.memory_gb, "gpu": prices.nodes.gpu.memory_gb, "ingest_driver": prices.head.memory_gb}
    remedies = {"ingest_driver": "ingest in several catalogs, by platform, or take a head with more memory"}
    for name, needed in memory.items():
        if needed > have[name]:
            remedy = remedies.get(name, "take nodes with more memory, or fewer actors on each")
            notes.append(f"{name}: {needed:,.0f} GB of memory are needed, {have[name]:g} are there: {remedy}")
    return notes


def _effects(request: Request, throughputs: Throughputs, prices: Prices, found: Plan) -> tuple[Effect, ...]:
    def money(stage: StageName, unit: Unit, factor: float) -> float | None:
        rate = throughputs.stages[stage][unit]
        changed = {**throughputs.stages[stage], unit: rate.model_copy(update={"rows_per_second": rate.rows_per_second * factor})}
        other = throughputs.model_copy(update={"stages": {**throughputs.stages, stage: changed}})
        try:
            return _planned(request, other, prices).money / found.money - 1
        except ConfigError:
            return None

    effects = [
        Effect(stage.stage, stage.unit, money(stage.stage, stage.unit, 0.5), money(stage.stage, stage.unit, 2.0))
        for stage in found.stages
        if stage.basis == "assumed" and found.money
    ]

    def size(effect: Effect) -> float:
        return max(float("inf") if share is None else abs(share) for share in (effect.if_half, effect.if_twice))

    return tuple(sorted(effects, key=size, reverse=True))
