"""Minutes of traffic on a served application on several Ray nodes while bundles are deployed, replicas killed and nodes lost.

    python benchmarks/soak.py BUNDLE [--minutes 15] [--every 20]

BUNDLE is the folder of a bundle; two versions of it are promoted in turns. The cluster is one of ray.cluster_utils on this machine: a head, on which
nothing runs but Serve's controller and HAProxy, and two nodes with a replica of each stage. Every `--every` seconds comes the next of: a bundle is
promoted, a text replica killed, a multimodal replica killed, a node killed with SIGKILL and another one added ten seconds later.

Four connections ask with a pause of 20 ms, titles that never repeat. Counted: statuses; those that failed while a node or a text replica died, or
within the 15 and 2 s until that is noticed, apart, for what was under way there is lost with it; memory of all processes beside Ray's object store,
in the second quarter and in the last.

Prints and writes benchmarks/results/soak.json. Exits 1 if a request failed at another moment, more were lost at once than there are
connections, or memory grew by more than 5 %.
"""

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.update(RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_THROUGHPUT_OPTIMIZED="1", RAY_SERVE_LOG_TO_STDERR="0", RAY_USAGE_STATS_ENABLED="0")
# As `ray start` of cluster.yaml: the cluster asks for a token.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"

import httpx
import ray
from processes import Watch  # type: ignore[import-not-found]
from ray.cluster_utils import Cluster
from serving import open_gate  # type: ignore[import-not-found]

from prodcat.distributed import ClusterConfig, cluster
from prodcat.prediction.bundle import Bundle
from prodcat.serving.arguments import MultimodalArgs, ServeArgs, TextArgs
from prodcat.serving.deployment import run_local
from prodcat.serving.limits import RequestLimits
from prodcat.serving.store import ModelStore

RESULTS = Path(__file__).parent / "results" / "soak.json"
CONNECTIONS = 4
PAUSE_S = 0.02
# What dies with requests of its own -> seconds until that is noticed, s.
LOSSES = {"node": 15.0, "TextStage": 2.0}
MOST_GROWTH = 0.05


def serve(store: Path, port: int) -> None:
    """The application, in a process of its own: a line of its input is the name of the stage of which a replica is to die."""
    args = ServeArgs(
        text=TextArgs(num_cpus=0.9, min_replicas=2, max_replicas=2),
        multimodal=MultimodalArgs(num_gpus=1, num_cpus=0.1, min_replicas=2, max_replicas=2),
        limits=RequestLimits(recent_seconds=0),
    )
    with cluster(ClusterConfig()), run_local(store, port=port, args=args):
        print("ready", flush=True)
        for line in sys.stdin:
            names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if f"#{line.strip()}#" in actor["name"]]
            if names:
                # It may be gone already.
                with contextlib.suppress(ValueError):
                    ray.kill(ray.get_actor(names[0], namespace="serve"), no_restart=True)


class Asker(threading.Thread):
    """One request after the other."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(daemon=True)
        self.url, self.number, self.stop = url, number, threading.Event()
        self.answers: list[tuple[float, float, str]] = []

    def run(self) -> None:
        turn = 0
        while not self.stop.is_set():
            turn += 1
            body = {"title": f"blue sneakers {self.number} {turn}", "platform": "shop"}
            started = time.monotonic()
            try:
                answer = client(self.url).post("/v1/classify", json=body)
                if answer.status_code == 200:
                    status = "200 degraded" if answer.json()["degraded"] else "200"
                else:
                    status = f"{answer.status_code} {answer.text[:120]}"
            except httpx.HTTPError as error:
                status = type(error).__name__
                _local.client = None
            self.answers.append((started, time.monotonic(), status))
            time.sleep(PAUSE_S)


_local = threading.local()


def client(url: str) -> httpx.Client:
    if getattr(_local, "client", None) is None:
        _local.client = httpx.Client(base_url=url, timeout=30)
    made: httpx.Client = _local.client
    return made


def soak(bundle: Path, minutes: float, every: float, port: int, work: Path) -> dict[str, Any]:
    first = Bundle.open(bundle)
    versions = [first, open_gate(first, work / "opened")]
    store = ModelStore(work / "store")
    store.promote(versions[0])
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 150_000_000, "_system_config": quick})
    shape = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100_000_000}
    running = [nodes.add_node(**shape) for _ in range(2)]
    nodes.wait_for_nodes()
    command = [sys.executable, __file__, str(work / "store"), "--serve", "--port", str(port)]
    serving = subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": nodes.address}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    assert serving.stdin is not None
    events: list[tuple[float, str]] = []
    askers = [Asker(f"http://127.0.0.1:{port}", number) for number in range(CONNECTIONS)]
    try:
        if serving.stdout.readline().strip() != "ready":
            raise SystemExit("the application did not start")
        with Watch(every=2.0) as watch:
            began = time.monotonic()
            for asker in askers:
                asker.start()
            turn = 0
            while time.monotonic() < began + 60 * minutes - 30:
                time.sleep(every)
                what = ("promote", "TextStage", "MultimodalStage", "node")[turn % 4]
                events.append((time.monotonic(), what))
                if what == "promote":
                    store.promote(versions[(turn // 4 + 1) % 2])
                elif what == "node":
                    nodes.remove_node(running.pop(random.randrange(len(running))), allow_graceful=False)
                    time.sleep(10)
                    running.append(nodes.add_node(**shape))
                else:
                    serving.stdin.write(what + "\n")
                    serving.stdin.flush()
                turn += 1
                print(
                    f"{time.monotonic() - began:.0f} s: {what}, {sum(len(asker.answers) for asker in askers):,} answers", file=sys.stderr, flush=True
                )
            time.sleep(30)
            for asker in askers:
                asker.stop.set()
            for asker in askers:
                asker.join(60)
        answers = [answer for asker in askers for answer in asker.answers]
        last = began + 60 * minutes
        return told(answers, events, watch.series, last) | {"memory_mb_of_one": by_kind(watch.kinds)}
    finally:
        serving.stdin.close()
        try:
            serving.wait(60)
        except subprocess.TimeoutExpired:
            serving.kill()
        nodes.shutdown()


def told(answers: list[tuple[float, float, str]], events: list[tuple[float, str]], series: list[tuple[float, float]], end: float) -> dict[str, Any]:
    losses = {at: what for at, what in events if what in LOSSES}
    with_one: dict[str, Counter[str]] = {what: Counter() for what in LOSSES}
    otherwise: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    by_loss: Counter[float] = Counter()
    for sent, ended, status in answers:
        statuses[status] += 1
        if not status.startswith("200"):
            # Under way when a replica or a node was lost, or sent before that was noticed.
            loss = next((at for at, what in losses.items() if sent - LOSSES[what] < at < ended), None)
            if loss is None:
                otherwise[status] += 1
            else:
                with_one[losses[loss]][status] += 1
                by_loss[loss] += 1
    quarter = len(series) // 4

    def middle(part: list[tuple[float, float]]) -> float:
        return sorted(mb for _, mb in part)[len(part) // 2]

    before, after = middle(series[quarter : 2 * quarter]), middle(series[-quarter:])
    return {
        "requests": len(answers),
        "statuses": dict(statuses),
        "events": dict(Counter(what for _, what in events)),
        "failed_with_one": {what: dict(found) for what, found in with_one.items()},
        "most_failed_with_one": max(by_loss.values(), default=0),
        "failed_otherwise": dict(otherwise),
        "last_10_s": dict(Counter(status for sent, _, status in answers if sent > end - 10)),
        "memory_mb": {"second quarter": before, "last quarter": after},
        "memory_growth": after / before - 1,
    }


def by_kind(samples: list[dict[str, tuple[float, int]]]) -> dict[str, dict[str, float]]:
    """MB of one process of each kind, the median in the second and in the last quarter."""
    quarter = len(samples) // 4
    found: dict[str, dict[str, float]] = {}
    for name, part in (("second quarter", samples[quarter : 2 * quarter]), ("last quarter", samples[-quarter:])):
        for kind in {kind for sample in part for kind in sample}:
            each = sorted(mb / count for sample in part if kind in sample for mb, count in [sample[kind]])
            # What lives for a moment only says nothing.
            if len(each) > quarter // 2:
                found.setdefault(kind, {})[name] = round(each[len(each) // 2], 1)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--minutes", type=float, default=15)
    arguments.add_argument("--every", type=float, default=20)
    arguments.add_argument("--port", type=int, default=8162)
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    a = arguments.parse_args()
    if a.serve:
        serve(a.bundle, a.port)
        return
    work = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        result = {"date": datetime.now(UTC).date().isoformat(), "minutes": a.minutes} | soak(a.bundle, a.minutes, a.every, a.port, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    broken = result["failed_otherwise"] or result["most_failed_with_one"] > CONNECTIONS or result["memory_growth"] > MOST_GROWTH
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
