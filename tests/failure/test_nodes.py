"""A node is lost while it works: embedding, training, searching and serving end right without a person."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.failure.nodes import environment

pytestmark = pytest.mark.slow


def vectors(out: Path) -> dict[str, dict[str, np.ndarray]]:
    """Set -> key -> vector, of every part there is, whatever a manifest says; a key that stands twice is an error."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for folder in sorted(out.iterdir()):
        rows = [row for part in folder.glob("part-*.parquet") for row in pq.read_table(part).to_pylist()]
        found[folder.name] = {row["key"]: np.array(row["vector"]) for row in rows}
        assert len(found[folder.name]) == len(rows)
    return found


def test_embed(nodes, job: Callable, many: Path, demo_run: Path, tmp_path: Path) -> None:
    from prodcat.commands.embed import run_embed

    sets = ("embed.rows_per_part=128", "embed.batch_size=16")
    run_embed(many, [str(demo_run / "bundle")], tmp_path / "undisturbed", config=None, sets=sets, say=print)
    nodes.add(cpus=2)
    lost = nodes.add(cpus=1, gpus=1)
    # The actor that encodes needs what only the second node has.
    arguments = [part for setting in (*sets, "embed.actor_gpus=1") for part in ("--set", setting)]
    run = job("embed", many, "--encoder", demo_run / "bundle", "--out", tmp_path / "out", *arguments, address=nodes.address)
    run.until(lambda: len(list((tmp_path / "out").rglob("part-*.parquet"))) > 3)
    nodes.kill(lost)
    nodes.add(cpus=1, gpus=1)
    told = run.result()
    expected, found = vectors(tmp_path / "undisturbed"), vectors(tmp_path / "out")
    assert {name: len(rows) for name, rows in found.items()} == {name: len(rows) for name, rows in expected.items()}
    assert max(made["rows"] for made in told.values()) == 3000
    for name, rows in expected.items():
        for key, vector in rows.items():
            np.testing.assert_allclose(found[name][key], vector, atol=1e-5)


def test_fit_goes_on_with_fewer_workers(
    nodes, job: Callable, demo_feeds: Path, demo_run: Path, tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    """Over two workers both stages are trained anew; the node of one goes, and none comes."""
    shutil.copytree(demo_run, tmp_path / "run")
    nodes.add(cpus=2)
    lost = nodes.add(cpus=1)
    # A worker needs more than half a CPU of either node, so there is one on each.
    scaling = ("workers=2", "min_workers=1", "cpus_per_worker=0.9", "threads=1", "checkpoint_seconds=0")
    settings = (*tiny_settings, *(f"scaling.{setting}" for setting in scaling), "gate.tolerance=0.2", "evaluate.probes=[image]")
    arguments = [part for setting in settings for part in ("--set", setting)]
    run = job("fit", demo_feeds, "--config", "offline", "--out", tmp_path / "run", *arguments, address=nodes.address)
    run.until(lambda: "stage one: epoch 2/8" in run.told, 180)
    nodes.kill(lost)
    told = run.result()
    assert 0 < told["hierarchical"]["f1"] <= 1
    # It went on from a checkpoint, not from the start.
    assert run.told.count("stage one: epoch 1/8") == 1
    assert "stage one: epoch 8/8" in run.told


def test_tune(nodes, job: Callable, demo_run: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_run, tmp_path / "run")
    nodes.add(cpus=2)
    lost = nodes.add(cpus=2)
    sets = [part for setting in ("trials=6", "at_once=6", "cpus_per_trial=0.6", "grace_epochs=15") for part in ("--set", setting)]
    run = job("tune", tmp_path / "run", *sets, address=nodes.address)
    run.until(lambda: "trial 1/6" in run.told, 180)
    nodes.kill(lost)
    told = run.result()
    assert told["trials"] == 6
    assert "failed" not in run.told
    assert 0 < told["hierarchical"]["f1"] <= 1


SERVE = """
import sys, time
from pathlib import Path
import ray
from prodcat.distributed import ClusterConfig, cluster
from prodcat.serving.arguments import MultimodalArgs, ServeArgs, TextArgs
from prodcat.serving.deployment import run_local
from prodcat.serving.limits import RequestLimits

bundle, port = Path(sys.argv[1]), int(sys.argv[2])
text = TextArgs(num_cpus=0.9, min_replicas=2, max_replicas=2)
multimodal = MultimodalArgs(num_gpus=1, num_cpus=0.1, min_replicas=2, max_replicas=2)
with cluster(ClusterConfig()), run_local(bundle, port=port, args=ServeArgs(text=text, multimodal=multimodal, limits=RequestLimits(recent_seconds=0))):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_serve(nodes, demo_run: Path, free_port: int, tmp_path: Path) -> None:
    """Two replicas of each stage on two nodes; one node goes, another one comes. Only what was under way there is lost."""
    nodes.add(cpus=1, gpus=1)
    lost = nodes.add(cpus=1, gpus=1)
    with (tmp_path / "serve.log").open("w") as log:
        command = [sys.executable, "-c", SERVE, str(demo_run / "bundle"), str(free_port)]
        serving = subprocess.Popen(command, env=environment(nodes.address), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    assert serving.stdout is not None
    assert serving.stdin is not None
    try:
        assert serving.stdout.readline().strip() == "ready", (tmp_path / "serve.log").read_text()
        asker = Asker(f"http://127.0.0.1:{free_port}")
        asker.start()
        time.sleep(3)
        asker.mark("before")
        nodes.kill(lost)
        nodes.add(cpus=1, gpus=1)
        time.sleep(25)
        asker.mark("while")
        time.sleep(5)
        asker.mark("after")
        asker.stop.set()
        asker.join()
    finally:
        serving.stdin.write("\n")
        serving.stdin.flush()
        serving.wait(60)
    assert asker.found["before"].keys() == asker.found["after"].keys() == {"200"}, json.dumps(asker.found)
    assert asker.found["after"]["200"] > 20
    # One connection asks at a time: what was lost was under way on the node.
    assert sum(count for status, count in asker.found["while"].items() if status != "200") <= 3, json.dumps(asker.found)


class Asker(threading.Thread):
    """One request after the other; `found` counts statuses by phase."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.stop, self.found, self.now = url, threading.Event(), {}, Counter()

    def mark(self, phase: str) -> None:
        """What was counted since the last mark belongs to this phase."""
        self.found[phase], self.now = self.now, Counter()

    def run(self) -> None:
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                with httpx.Client(timeout=20) as client:
                    answer = client.post(f"{self.url}/v1/classify", json={"title": f"blue sneakers {turn}", "platform": "shop"})
                self.now["200" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"] += 1
            except httpx.HTTPError as error:
                self.now[type(error).__name__] += 1
            time.sleep(0.02)
