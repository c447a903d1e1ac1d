"""Days of traffic through the cascade's queues, simulated: what the shipped serving settings answer, refuse and cost, and which would be best.

    python benchmarks/simulation.py [--seeds 5] [--picture FILE.png]

Stage one's rate, crowding, start and loss under overload, and the gate's share, are what benchmarks/serving.py and benchmarks/endurance.py measured
(results/serving.json, results/endurance.json); a GPU's rate, starts of nodes, prices (prodcat/planning/*.yaml) and the curve of a day are assumed.
Settings are those of serve_configs/prod.yaml and prodcat/serving/arguments.py. Four parts, each prints a table: 24 hours at 100 million products a
day with prod.yaml as it is, several seeds; 1 million to a billion products a day, max_replicas in proportion; autoscaling settings compared, the
cheapest chosen that loses at most 0.1 % on every day; and the delay before the last replica of stage two is given back. Writes
benchmarks/results/simulation.json. Needs no Ray, and two minutes of one core.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

from prodcat.config import read_yaml, validate
from prodcat.planning.arrivals import DAY_SECONDS, DayCurve, draw
from prodcat.planning.choosing import Judged, Settings, choose, judge
from prodcat.planning.prices import read_prices
from prodcat.planning.simulation import Outcome, simulate
from prodcat.planning.stations import Cascade, Station
from prodcat.planning.throughputs import packaged
from prodcat.serving.arguments import MultimodalArgs, ServeArgs, TextArgs

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# What prodcat.serving.deployment._autoscaling makes of max_ongoing_requests.
TARGET_SHARE = 0.5
# Of a batch of stage two, whatever its size: the wait for company (batch_wait_s) and launching it, assumed.
BATCH_SECONDS = 0.02
MULTIMODAL_START_S = 20
MOST_LOST = 0.001
SHIPPED = Settings(3.0, 300.0, TARGET_SHARE, 1, look_back_s=10, downscaling_factor=0.5)
LARGE = replace(SHIPPED, min_replicas=4)
RAYS = Settings(3.0, 300.0, TARGET_SHARE, 1)
SIZES = (1e6, 1e7, 1e8, 1e9)
CURVES = {
    "no bursts": DayCurve(products=1e8, bursts=0),
    "bursts of 2": DayCurve(products=1e8),
    "bursts of 3": DayCurve(products=1e8, burst_factor=3),
}


def measured() -> dict[str, float]:
    """What the other benchmarks' results say of stage one."""
    serving = json.loads((RESULTS / "serving.json").read_text(encoding="utf-8"))
    overload = json.loads((RESULTS / "endurance.json").read_text(encoding="utf-8"))["overload"]
    rate = statistics.median(serving["per_second"]["single"])
    busy = serving["latency_ms"]["80 percent"]
    load, base = busy["per_second"] / rate, serving["latency_ms"]["one connection"]["p50"] / 1000
    # Little: so many were in the replica while it had that load.
    inside = busy["per_second"] * busy["p50"] / 1000
    return {
        "rate": rate,
        "base_seconds": base,
        "crowding": (inside - busy["per_second"] * base) * (1 - load) / load**2,
        "overload_loss": 1 - overload["answered_per_second"] / overload["saturating_per_second"],
        "start_s": ceil(serving["text_replica_ready_s"]),
        "gate_share": serving["stage_two_share"],
    }


def cascade(found: dict[str, float], *, text_replicas: int | None = None, gpu_replicas: int | None = None, **changed: Any) -> Cascade:
    """Both stages as prod.yaml has them.

    Args:
        text_replicas, gpu_replicas: in the place of its max_replicas.
        changed: fields of stage two's Station.
    """
    args = validate(ServeArgs, read_yaml(HERE.parent / "serve_configs" / "prod.yaml")["applications"][0]["args"], "prod.yaml")
    nodes = read_prices(None).nodes
    prices = read_prices(None)

    def shared(stage: TextArgs | MultimodalArgs) -> dict[str, Any]:
        return {
            "max_ongoing": stage.max_ongoing_requests,
            "max_queued": stage.max_queued_requests,
            "target_ongoing": max(1.0, stage.max_ongoing_requests * TARGET_SHARE),
            "min_replicas": stage.min_replicas,
            **{("look_back_s" if name == "look_back_period_s" else name): value for name, value in stage.autoscaling.model_dump().items()},
            "node_idle_s": prices.idle_seconds,
        }

    text = Station(
        **shared(args.text),
        max_replicas=text_replicas or args.text.max_replicas,
        **{name: found[name] for name in ("rate", "base_seconds", "crowding", "overload_loss")},
        start_s=int(found["start_s"]),
        queued_count=False,
        per_node=int(nodes.cpu.units / args.text.num_cpus),
        node_start_s=int(nodes.cpu.start_seconds),
        min_nodes=1,
        node_price=nodes.cpu.on_demand,
    )
    rate = packaged().stages["stage_two"]["gpu"].rows_per_second
    # A batch takes BATCH_SECONDS and n / rate; in balance n = rate * load * BATCH_SECONDS / (1 - load), one batch in work and one gathering.
    multimodal = {
        **shared(args.multimodal),
        "max_replicas": gpu_replicas or args.multimodal.max_replicas,
        "rate": rate,
        "base_seconds": 2 * BATCH_SECONDS,
        "crowding": 2 * BATCH_SECONDS * rate,
        "queued_count": True,
        "start_s": MULTIMODAL_START_S,
        "per_node": 1,
        "node_start_s": int(nodes.gpu.start_seconds),
        "node_price": nodes.gpu.on_demand,
    }
    return Cascade(text=text, multimodal=Station.model_validate({**multimodal, **changed}), stage_two_seconds=args.limits.stage_two_seconds)


def sized(found: dict[str, float], products: float) -> Cascade:
    """As prod.yaml, with room for three times the peak of the day curve."""
    peak = products / DAY_SECONDS * 1.6 * 3
    gpu = packaged().stages["stage_two"]["gpu"].rows_per_second
    shipped = cascade(found)
    text = max(shipped.text.max_replicas, ceil(peak / (0.7 * shipped.text.rate)))
    return cascade(found, text_replicas=text, gpu_replicas=max(shipped.multimodal.max_replicas, ceil(peak * found["gate_share"] / (0.7 * gpu))))


def told(outcome: Outcome) -> dict[str, Any]:
    figures = {name: value for name, value in asdict(outcome).items() if name != "series"}
    rounded = {
        name: round(value, 4) if isinstance(value, float) else {each: round(part, 2) for each, part in value.items()}
        for name, value in figures.items()
    }
    return {**rounded, "lost_share": round(outcome.lost_share, 6)}


def line(name: str, outcome: Outcome) -> str:
    replicas, nodes = outcome.replica_hours, outcome.node_hours
    shares = f"refused {outcome.refused / outcome.arrived:9.4%}  degraded {outcome.degraded / outcome.arrived:9.4%}"
    times = f"p50 {outcome.p50_s * 1000:5.0f} ms  p99 {outcome.p99_s * 1000:6.0f} ms"
    used = f"replica hours {replicas['text']:7.0f} + {replicas['multimodal']:5.0f}  node hours {nodes['text']:5.0f} + {nodes['multimodal']:5.0f}"
    return f"  {name:<34}{outcome.arrived:>15,.0f}  {shares}  {times}  {used}  money {outcome.money:8.2f}"


def comparison(found: dict[str, float], seeds: Sequence[int]) -> dict[str, Any]:
    """Settings compared on every curve and crowding; shipped, proposed and chosen ones again on further seeds, and with other GPUs."""
    ample = cascade(found, text_replicas=64, gpu_replicas=16)
    text, gpu = ample.text, ample.multimodal
    # Crowding was measured at one load, on a machine that the load generator shared: settings must do for a server that is nearly ideal as well.
    crowded = {
        f"crowding of stage one {crowding:.1f}": ample.model_copy(update={"text": text.model_copy(update={"crowding": crowding})})
        for crowding in (text.crowding, text.crowding / 2, 0.5)
    }
    grid = [
        Settings(up, down, share, least, look_back, factor)
        for up in (0.0, 3.0, 30.0)
        for down in (60.0, 300.0, 900.0)
        for share in (0.5, 0.25)
        for least in (1, 4)
        for look_back, factor in ((30, 1.0), (30, 0.5), (10, 0.5))
    ]
    days = [draw(curve, found["gate_share"], 0) for curve in CURVES.values()]
    best, judged = choose(grid, days, crowded, MOST_LOST)
    size = f"{len(grid)} settings on {len(days)} days with {len(crowded)} crowdings"
    print(f"\n{size}: lost on the worst day (on average), money; the cheapest 12 that lose at most {MOST_LOST:.1%}, and named ones")
    passing = [each for each in judged if each.lost_share <= MOST_LOST]
    named = {SHIPPED: "shipped", LARGE: "shipped, 4 text replicas at least", RAYS: "shipped, without damping"}
    for each in [*passing[:12], *(each for each in judged if each.settings in named and each not in passing[:12])]:
        print(judged_line(each) + (f"  <- {named[each.settings]}" if each.settings in named else ""))
    some = list(dict.fromkeys([SHIPPED, LARGE, RAYS, *([best.settings] if best is not None else [])]))
    variants = dict(crowded)
    for factor in (0.5, 2.0):
        other = gpu.model_copy(update={"rate": gpu.rate * factor, "crowding": gpu.crowding * factor})
        variants[f"a GPU {factor:g} times as fast"] = ample.model_copy(update={"multimodal": other})
    further = [draw(curve, found["gate_share"], 1000 + seed) for curve in CURVES.values() for seed in seeds]
    print("\nfurther seeds")
    others = judge(some, further, variants)
    for name, found_again in others.items():
        print(f"\n{name}")
        for each in found_again:
            print(judged_line(each))
    return {
        "days": len(days),
        "most_lost": MOST_LOST,
        "chosen": None if best is None else asdict(best),
        "all": [asdict(each) for each in judged],
        "again": {name: [asdict(each) for each in found_again] for name, found_again in others.items()},
    }


def judged_line(each: Judged) -> str:
    s = each.settings
    delays = f"up {s.upscale_delay_s:3.0f} s  down {s.downscale_delay_s:3.0f} s, by {s.downscaling_factor:.1f}  look back {s.look_back_s:2d} s"
    names = f"{delays}  target {s.target_share:.2f}  min {s.min_replicas}"
    money = f"money {each.money:6.2f} (nodes {each.node_money:6.2f})"
    return f"  {names}  lost {each.lost_share:8.4%} ({each.mean_lost_share:8.4%})  {money}  p99 {each.p99_s * 1000:5.0f} ms"


def to_nothing(found: dict[str, float]) -> dict[str, Any]:
    """min_replicas 0 of stage two on a small shop's day: how long the last replica stays."""
    day = draw(DayCurve(products=3000, peak_to_trough=30, bursts=4), found["gate_share"], 0)
    delays = (60.0, 300.0, 900.0, 1800.0, 3600.0)
    outcomes = simulate([(day, cascade(found, min_replicas=0, downscale_to_zero_delay_s=delay)) for delay in delays])
    print("\nstage two with min_replicas 0, 3,000 products a day: seconds before its last replica is given back")
    for delay, outcome in zip(delays, outcomes, strict=True):
        print(line(f"{delay:.0f} s", outcome))
    return {f"{delay:.0f}": told(outcome) for delay, outcome in zip(delays, outcomes, strict=True)}


def picture(path: Path, found: dict[str, float], stages: Cascade) -> None:
    from matplotlib.figure import Figure

    day = draw(CURVES["bursts of 2"], found["gate_share"], 0)
    (outcome,) = simulate([(day, stages)], keep_series=True)
    assert outcome.series is not None
    figure = Figure(figsize=(12, 8))
    axes = figure.subplots(3, 1, sharex=True)
    axes[0].plot(day.products, linewidth=0.3, label="products a second")
    axes[1].plot(outcome.series.replicas, label="replicas of stage one")
    axes[1].plot(outcome.series.replicas_two, label="replicas of stage two")
    axes[1].plot(outcome.series.nodes_two, "--", label="GPU nodes")
    axes[2].plot(outcome.series.queued, linewidth=0.5, label="waiting for stage one")
    axes[2].plot(outcome.series.queued_two, linewidth=0.5, label="waiting for stage two")
    for each in axes:
        each.legend()
    figure.savefig(path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--picture", type=Path, help="also draw the first day")
    a = arguments.parse_args()
    started = time.process_time()
    found = measured()
    print("measured:", {name: round(value, 4) for name, value in found.items()})
    traffic = {f"seed {seed}": (draw(CURVES["bursts of 2"], found["gate_share"], seed), cascade(found)) for seed in range(a.seeds)}
    days = {size: draw(DayCurve(products=size), found["gate_share"], 0) for size in SIZES}
    scaling = {f"{size:,.0f} a day": (days[size], sized(found, size)) for size in SIZES}
    proposed = {f"{name}, 4 text replicas at least": (day, LARGE.applied(stages)) for name, (day, stages) in scaling.items()}
    named = {**traffic, **scaling, **proposed}
    outcomes = dict(zip(named, simulate(list(named.values())), strict=True))
    print("\n24 hours, prod.yaml as it is, bursts of twice the curve for 5 minutes (stage one + stage two)")
    for name in traffic:
        print(line(name, outcomes[name]))
    print("\nsizes, max_replicas in proportion; the same with 4 text replicas at least")
    for name in (*scaling, *proposed):
        print(line(name, outcomes[name]))
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, python {platform.python_version()}, {os.cpu_count()} cores",
        "measured": {name: round(value, 4) for name, value in found.items()},
        "assumed": {
            "multimodal products per second and GPU": packaged().stages["stage_two"]["gpu"].rows_per_second,
            "seconds of a batch": BATCH_SECONDS,
            "start of a multimodal replica, s": MULTIMODAL_START_S,
            "nodes and prices": read_prices(None).nodes.model_dump(),
            "day": CURVES["bursts of 2"].model_dump(),
        },
        "traffic": {name: told(outcomes[name]) for name in traffic},
        "sizes": {name: told(outcomes[name]) for name in (*scaling, *proposed)},
        "large": asdict(LARGE),
        "without_damping": asdict(RAYS),
        "settings": comparison(found, range(2)),
        "to_nothing": to_nothing(found),
    }
    result["cpu_seconds"] = round(time.process_time() - started, 1)
    print(f"\n{result['cpu_seconds']} s of one core")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "simulation.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if a.picture:
        picture(a.picture, found, cascade(found))


if __name__ == "__main__":
    main()
