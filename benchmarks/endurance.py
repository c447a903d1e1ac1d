"""Whether the served application survives: too much load for minutes, and replicas of both stages killed under load.

    python benchmarks/endurance.py RUN [--overload 600] [--kills 120]

RUN is the folder of a finished `prodcat fit`. Two parts, each on an application of its own, with the bundle's own gate:

    overload   requests at twice the rate that saturates it, titles of the test split, for so many seconds: statuses, memory of the replicas
               before and after, and how long one connection takes before and within ten seconds after
    kills      every 5 s a replica of one or the other stage is killed; every answer is compared with what the predictor in this process says of the
               product (with what stage one alone says, where it is marked `degraded`)

Prints and writes benchmarks/results/endurance.json, where a part of 0 seconds stays as it was. Exits 1 if a promise is broken.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.update(RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_THROUGHPUT_OPTIMIZED="1", RAY_SERVE_LOG_TO_STDERR="0")
# Nobody asks any more when a part ends; by default a replica waits half a minute for load balancers to notice.
os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"

import httpx
import ray
from load import latencies  # type: ignore[import-not-found]

from prodcat.contracts import Product
from prodcat.distributed import ClusterConfig, cluster
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer, Cascade
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run
from prodcat.serving.arguments import MultimodalArgs, ServeArgs, TextArgs
from prodcat.serving.deployment import run_local
from prodcat.serving.limits import RequestLimits

RESULTS = Path(__file__).parent / "results" / "endurance.json"
STAGES = ("TextStage", "MultimodalStage")


def memory() -> dict[str, float]:
    """Resident MB of each stage's replicas, added up."""
    found: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            for stage in STAGES:
                if f"ServeReplica:prodcat:{stage}" in command:
                    found[stage] += int((folder / "status").read_text().split("VmRSS:")[1].split()[0]) / 1024
        except (OSError, IndexError):
            continue
    return dict(found)


def overload(url: str, bodies: list[str], seconds: float) -> dict[str, Any]:
    route = f"{url}/v1/classify"
    saturating = latencies(route, bodies, connections=64, rate=None, seconds=10)["per_second"]
    before = latencies(route, bodies, connections=1, rate=None, seconds=5)
    found: dict[str, Any] = {}
    flood = threading.Thread(target=lambda: found.update(latencies(route, bodies, connections=512, rate=2 * saturating, seconds=seconds)))
    flood.start()
    sizes = []
    while flood.is_alive():
        flood.join(10)
        sizes.append(memory())
        print(f"overload: {len(sizes) * 10} s, {sizes[-1]}", flush=True)
    ended = time.monotonic()
    while (after := latencies(route, bodies, connections=1, rate=None, seconds=2))["p50"] > 1.5 * before["p50"] and time.monotonic() < ended + 60:
        pass
    settled = sizes[len(sizes) // 5] if len(sizes) > 5 else sizes[0]
    return {
        "seconds": seconds,
        "saturating_per_second": saturating,
        "asked_per_second": 2 * saturating,
        "statuses": found["statuses"],
        "answered_per_second": found["per_second"],
        # From when the queues have filled once: what a full house takes is no growth.
        "memory_growth": {stage: sizes[-1][stage] / settled[stage] - 1 for stage in settled if stage in sizes[-1]},
        "p50_before_s": before["p50"],
        "p50_after_s": after["p50"],
        "seconds_until_as_before": time.monotonic() - ended,
    }


class Checked(threading.Thread):
    """Asks product after product and compares."""

    def __init__(self, url: str, cascade: Cascade, products: list[Product], start: int, step: int) -> None:
        super().__init__()
        self.url, self.cascade, self.products = url, cascade, products[start::step]
        self.stop = threading.Event()
        self.found: Counter[str] = Counter()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            turn = 0
            while not self.stop.is_set():
                product = self.products[turn % len(self.products)]
                turn += 1
                try:
                    answer = client.post("/v1/classify", json={"title": product.title, "platform": product.platform})
                except httpx.HTTPError as error:
                    self.found[f"failed: {type(error).__name__}"] += 1
                    continue
                if answer.status_code != 200:
                    self.found[f"failed: {answer.status_code}"] += 1
                    continue
                got, first = answer.json(), self.cascade.first([product])
                if got["degraded"]:
                    (wanted,) = self.cascade.alone(first, got["degraded"])
                else:
                    (wanted,) = self.cascade.classify([product])
                right = isinstance(wanted, Answer) and list(wanted.path) == got["path"]
                self.found[("degraded" if got["degraded"] else f"stage {got['stage']}") if right else "wrong"] += 1


def kills(url: str, cascade: Cascade, products: list[Product], seconds: float) -> dict[str, Any]:
    askers = [Checked(url, cascade, products, start, 4) for start in range(4)]
    for asker in askers:
        asker.start()
    killed, end = Counter[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        stage = STAGES[sum(killed.values()) % 2]
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if f"#{stage}#" in actor["name"]]
        if names:
            try:
                ray.kill(ray.get_actor(names[0], namespace="serve"), no_restart=True)
                killed[stage] += 1
            except ValueError:
                pass
        time.sleep(5)
    time.sleep(30)
    settled = sum((asker.found for asker in askers), Counter())
    time.sleep(10)
    for asker in askers:
        asker.stop.set()
    for asker in askers:
        asker.join()
    found = sum((asker.found for asker in askers), Counter())
    failed = sum(count for name, count in found.items() if name.startswith("failed"))
    return {
        "seconds": seconds,
        "killed": dict(killed),
        "answers": dict(found),
        "failed_share": failed / max(1, sum(found.values())),
        "in_the_last_10_s": dict(found - settled),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--overload", type=float, default=600)
    arguments.add_argument("--kills", type=float, default=120)
    arguments.add_argument("--port", type=int, default=8160)
    a = arguments.parse_args()
    catalog, _ = open_run(a.run, FitConfig)
    from prodcat.catalog.store import Catalog

    rows = Catalog.open(catalog).products(["platform", "product_id", "title"]).to_pylist()
    products = [Product(**row) for row in rows if row["title"]]
    bodies = [json.dumps({"title": product.title, "platform": product.platform}) for product in products]
    bundle = Bundle.open(a.run / "bundle")
    result: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    of = {"date": datetime.now(UTC).date().isoformat(), "bundle": bundle.version}
    limits = RequestLimits(recent_seconds=0)
    with cluster(ClusterConfig(num_cpus=2)):
        if a.overload:
            args = ServeArgs(text=TextArgs(num_cpus=0.5, max_replicas=1), multimodal=MultimodalArgs(num_cpus=0.5, max_replicas=1), limits=limits)
            with run_local(a.run / "bundle", port=a.port, args=args) as url:
                result["overload"] = of | overload(url, bodies, a.overload)
                print(json.dumps(result["overload"], indent=1), flush=True)
        if a.kills:
            two = {"num_cpus": 0.4, "min_replicas": 2, "max_replicas": 2}
            args = ServeArgs(text=TextArgs(**two), multimodal=MultimodalArgs(**two), limits=limits)
            with run_local(a.run / "bundle", port=a.port, args=args) as url:
                result["kills"] = of | kills(url, bundle.cascade(), products, a.kills)
                print(json.dumps(result["kills"], indent=1), flush=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if broken(result) else 0)


def broken(result: dict[str, Any]) -> list[str]:
    """The promises that were not kept, each printed."""
    found = []
    if "overload" in result:
        part = result["overload"]
        if set(part["statuses"]) - {"200", "503 with Retry-After"}:
            found.append(f"statuses {part['statuses']}")
        if max(part["memory_growth"].values()) > 0.05:
            found.append(f"memory {part['memory_growth']}")
        if part["seconds_until_as_before"] > 10:
            found.append(f"latency back after {part['seconds_until_as_before']:.0f} s")
    if "kills" in result:
        part = result["kills"]
        if part["answers"].get("wrong"):
            found.append(f"{part['answers']['wrong']} wrong answers")
        if part["failed_share"] >= 0.005:
            found.append(f"{part['failed_share']:.2%} of the requests failed")
        if any(name.startswith("failed") or name == "degraded" for name in part["in_the_last_10_s"]):
            found.append(f"not all back to normal: {part['in_the_last_10_s']}")
    for each in found:
        print(f"broken: {each}")
    return found


if __name__ == "__main__":
    main()
