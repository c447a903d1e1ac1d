"""What the served application gives beside what a user would write himself, and beside the bare model.

    python benchmarks/serving.py RUN [--seconds 8] [--rounds 5] [--connections 64]

RUN is the folder of a finished `prodcat fit`; the titles are those of its test split, each asked once before any repeats, and no answer is kept
(`limits.recent_seconds: 0`). Needs wrk (apt install wrk). Sides, in turns, on the same machine, one busy at a time:

    single   POST /v1/classify over HTTP (HAProxy, direct ingress), 64 connections, gate open: all are answered by stage one, on one thread
    batch    POST /v1/classify/batch, 256 products a request
    plain    benchmarks/plain_server.py: FastAPI, uvicorn, transformers, torch fp32, the same weights; the best of four ways to run it
    bare     onnxruntime alone on one thread: batches of 32 of the same titles, and one by one

Prints medians over the rounds and their ratios, latencies of one connection and at 80 % of the saturating load, the text replica's memory and start,
and, on the whole test split without HTTP, what the gate and int8 cost. Writes benchmarks/results/serving.json.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Read by Ray when it is imported, and by every process it starts.
os.environ.update(RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_THROUGHPUT_OPTIMIZED="1", RAY_SERVE_LOG_TO_STDERR="0")
# Nobody asks any more when it ends; by default a replica waits half a minute for load balancers to notice.
os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"

import httpx
import numpy as np
import onnxruntime
from load import latencies  # type: ignore[import-not-found]
from safetensors.numpy import load_file, save_file

from prodcat.catalog.store import Catalog
from prodcat.config import read_yaml, validate
from prodcat.encoders.inputs import Tokens
from prodcat.evaluation.metrics import ancestor_sums, hierarchical
from prodcat.labelled import Labelled, labelled
from prodcat.model.losses import Objective
from prodcat.overlay import Overlay
from prodcat.prediction.bundle import Bundle, write_bundle
from prodcat.prediction.text_stage import MODEL, SETTINGS, TextStageSettings
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run
from prodcat.training.text_stage import TextStageModule, export, text_task

HERE = Path(__file__).parent
BATCH, BARE_BATCH = 256, 32


def open_gate(bundle: Bundle, folder: Path) -> Bundle:
    """The same bundle, whose stage one answers everything."""

    def fill(place: Path) -> None:
        for name in ("stage_one", "stage_two", "encoders"):
            shutil.copytree(bundle.folder / name, place / name)

    gate = bundle.settings.gate.model_copy(update={"threshold": 0.0, "platforms": {}})
    settings = bundle.settings.model_copy(update={"gate": gate})
    return write_bundle(folder, tree=bundle.tree, settings=settings, encoders=bundle.manifest.encoders, seen=[], training={}, fill=fill)


def wrk(url: str, bodies: Sequence[str], connections: int, seconds: float, scratch: Path) -> tuple[float, float]:
    """Requests a second answered with 200, and their median time, s."""
    lines, script = scratch / "bodies.txt", scratch / "bodies.lua"
    lines.write_text("\n".join(bodies) + "\n")
    script.write_text(
        f"""
local bodies = {{}}
for line in io.lines("{lines}") do bodies[#bodies + 1] = line end
local turn, bad = 0, 0
function request()
  turn = turn + 1
  return wrk.format("POST", nil, {{["Content-Type"] = "application/json"}}, bodies[(turn - 1) % #bodies + 1])
end
"""
    )
    # One thread of wrk: it shares the machine with what it measures.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "30s", "-s", str(script), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"{url}: not every request was answered:\n{out}")
    rate, median = re.search(r"Requests/sec:\s+([\d.]+)", out), re.search(r"50%\s+([\d.]+)(us|ms|s)", out)
    assert rate, out
    assert median, out
    return float(rate[1]), float(median[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[median[2]]


@contextlib.contextmanager
def plain(run: Path, bundle: Bundle, scratch: Path, variant: Sequence[str], port: int) -> Iterator[str]:
    weights = load_file(run / "stage_one" / "model.safetensors")
    own = {name.removeprefix("classifier."): value for name, value in weights.items() if name.startswith("classifier.encoder.")}
    own |= {f"head.{kind}": weights[f"classifier.head.linear.{kind}"] for kind in ("weight", "bias")}
    save_file(own, scratch / "plain.safetensors")
    names = [" > ".join(category.path) for category in bundle.tree.categories] + [f"stop {node}" for node in bundle.layout.stops]
    (scratch / "labels.json").write_text(json.dumps(names))
    command = [sys.executable, str(HERE / "plain_server.py"), str(run / "encoders" / "stage_one" / "ready"), str(scratch / "plain.safetensors")]
    server = subprocess.Popen([*command, str(scratch / "labels.json"), "--port", str(port), *variant])
    try:
        url = f"http://127.0.0.1:{port}/classify"
        for _ in range(120):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.post(url, json={"title": "warm-up"}, timeout=30).status_code == 200:
                    break
            time.sleep(0.5)
        else:
            raise SystemExit("the plain server does not answer")
        yield url
    finally:
        server.terminate()
        server.wait()


class Bare:
    """onnxruntime and nothing else, on one thread."""

    def __init__(self, model: Path, titles: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model / MODEL), options, providers=["CPUExecutionProvider"])
        settings = validate(TextStageSettings, read_yaml(model / SETTINGS), str(model))
        tokens = Tokens(settings.text, model)

        # Tokenized outside the clock: the model alone.
        def inputs(part: Sequence[str]) -> dict[str, np.ndarray]:
            ids = tokens.prepare(part).astype(np.int64)
            return {"input_ids": ids, "attention_mask": (ids != settings.text.pad_id).astype(np.int64)}

        self._singles = [inputs([title]) for title in titles]
        self._batches = [inputs(titles[start : start + BARE_BATCH]) for start in range(0, len(titles), BARE_BATCH)]

    def singles(self, seconds: float) -> tuple[float, float]:
        """Titles a second, one by one, and the median of a run, s."""
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            for title in self._singles:
                began = time.perf_counter()
                self._session.run(["logits"], title)
                times.append(time.perf_counter() - began)
        return len(times) / sum(times), statistics.median(times)

    def batches(self, seconds: float) -> float:
        """Titles a second in batches of 32."""
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for batch in self._batches:
                self._session.run(["logits"], batch)
                done += len(batch["input_ids"])
        return done / (time.perf_counter() - began)


def replica() -> tuple[int, float]:
    """Pid of the text replica and its resident memory, MB."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if "ServeReplica:prodcat:TextStage" in (folder / "cmdline").read_bytes().decode(errors="replace"):
                match = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
                if match:
                    return int(folder.name), int(match[1]) / 1024
    raise SystemExit("no text replica is running")


def start_seconds() -> float:
    """How long the controller waited for the text replica's process to be ready, by its log."""
    import ray

    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs" / "serve"
    names = {
        match
        for log in logs.glob("controller_*.log")
        for match in re.findall(r"Starting Replica\(id='(\w+)', deployment='TextStage'", log.read_text())
    }
    for log in logs.glob("controller_*.log"):
        for name, seconds in re.findall(r"Replica\(id='(\w+)'.*started successfully.*after ([\d.]+)s", log.read_text()):
            if name in names:
                return float(seconds)
    return float("nan")


def f1(nodes: np.ndarray, targets: np.ndarray, bundle: Bundle) -> float:
    sums = ancestor_sums(nodes, targets, bundle.layout)
    return float(hierarchical(sums)["f1"])


def offline(run: Path, bundle: Bundle, test: Labelled, products: list[Any], task: Any) -> dict[str, float]:
    """What the gate and int8 cost on the test split: no server."""
    cascade = bundle.cascade(threads=2)
    first = cascade.first(products)
    by_cascade = cascade.classify(products)
    shut = bundle.cascade(threads=2)
    gate = bundle.settings.gate.model_copy(update={"threshold": 1.0, "platforms": {}})
    shut.settings = bundle.settings.model_copy(update={"gate": gate})
    by_two = shut.classify(products)
    node = bundle.tree.index

    def nodes(results: Sequence[Any]) -> np.ndarray:
        return np.array([node(result.path) for result in results])

    import torch

    module = task.build()
    assert isinstance(module, TextStageModule)
    from safetensors.torch import load_file as load_torch

    module.load_state_dict(load_torch(run / "stage_one" / "model.safetensors"))
    classifier = module.classifier.eval()
    tokens = cascade.stage_one._tokens
    with torch.inference_mode():
        pairs = [torch.from_numpy(tokens.prepare([text]).astype(np.int64)) for text in test.texts if text]
        full = np.concatenate([classifier(ids, torch.ones_like(ids))[0].numpy() for ids in pairs])
    int8, _ = cascade.stage_one.read([text for text in test.texts if text])
    reading = [bundle.settings.calibration_one.read(logits, bundle.layout, bundle.settings.decoder).nodes for logits in (full, int8)]
    targets = test.nodes[[row for row, text in enumerate(test.texts) if text]]
    return {
        "stage_two_share": len(first.unsure) / len(products),
        "cascade_f1": f1(nodes(by_cascade), test.nodes, bundle),
        "stage_two_f1": f1(nodes(by_two), test.nodes, bundle),
        "fp32_f1": f1(reading[0], targets, bundle),
        "int8_f1": f1(reading[1], targets, bundle),
        "int8_same_path": float((reading[0] == reading[1]).mean()),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--seconds", type=float, default=8, help="of each measurement")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--port", type=int, default=8150)
    arguments.add_argument("--name", default="serving", help="of the file of results")
    a = arguments.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt install wrk")
    from prodcat.distributed import ClusterConfig, cluster
    from prodcat.serving.arguments import ServeArgs, TextArgs, local_args
    from prodcat.serving.deployment import run_local
    from prodcat.serving.limits import RequestLimits

    catalog_place, profile = open_run(a.run, FitConfig)
    bundle = Bundle.open(a.run / "bundle")
    catalog = Catalog.open(catalog_place)
    test = labelled(catalog, bundle.tree, bundle.settings.text, Overlay())["test"]
    by_key = {product.key: product for product in catalog_products(catalog, set(test.keys))}
    titles = list(dict.fromkeys(text for text in test.texts if text))
    task = text_task(a.run / "encoders" / "stage_one" / "ready", bundle.tree, profile.stage_one, Objective(stops=bundle.layout.stops))
    measured: dict[str, list[float]] = {
        name: [] for name in ("single", "batch", "plain", "bare_batches", "bare_singles", "bare_single_s", "one_connection_s")
    }
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        export(task, a.run / "stage_one" / "model.safetensors", scratch / "many", batches=True)
        opened = open_gate(bundle, scratch / "opened")
        bare = Bare(scratch / "many", titles)
        single = [json.dumps({"title": title}) for title in titles]
        rest = [titles[start : start + BATCH] for start in range(0, len(titles), BATCH)]
        batch = [json.dumps({"products": [{"title": title} for title in part]}) for part in rest if len(part) == BATCH]
        args = ServeArgs(
            text=TextArgs(num_cpus=0.5, max_replicas=1),
            multimodal=local_args().multimodal,
            limits=RequestLimits(recent_seconds=0),
        )
        with cluster(ClusterConfig(num_cpus=2)), run_local(opened.folder, port=a.port, args=args) as base:
            variant = fastest(a, opened, scratch, single)
            for round_ in range(a.rounds):
                with plain(a.run, opened, scratch, variant, a.port + 1) as url:
                    measured["plain"].append(wrk(url, single, a.connections, a.seconds, scratch)[0])
                measured["single"].append(wrk(f"{base}/v1/classify", single, a.connections, a.seconds, scratch)[0])
                measured["batch"].append(BATCH * wrk(f"{base}/v1/classify/batch", batch, 4, a.seconds, scratch)[0])
                measured["one_connection_s"].append(wrk(f"{base}/v1/classify", single, 1, a.seconds / 2, scratch)[1])
                rate, median = bare.singles(a.seconds / 2)
                measured["bare_singles"].append(rate)
                measured["bare_single_s"].append(median)
                measured["bare_batches"].append(bare.batches(a.seconds / 2))
                print(f"round {round_ + 1}: " + ", ".join(f"{name} {values[-1]:.4g}" for name, values in measured.items()), flush=True)
            rate = 0.8 * statistics.median(measured["single"])
            loaded = latencies(f"{base}/v1/classify", single, connections=a.connections, rate=rate, seconds=2 * a.seconds)
            _, memory = replica()
            ready = start_seconds()
        quality = offline(a.run, bundle, test, [by_key[key] for key in test.keys], task)
    middle = {name: statistics.median(values) for name, values in measured.items()}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}",
        "bundle": bundle.version,
        "titles": len(titles),
        "rounds": a.rounds,
        "connections": a.connections,
        "plain": " ".join(variant),
        "single_vs_plain": middle["single"] / middle["plain"],
        "single_vs_bare": middle["single"] / middle["bare_batches"],
        "batch_vs_bare": middle["batch"] / middle["bare_batches"],
        "p99_over_p50_at_80_percent": loaded["p99"] / loaded["p50"],
        "one_connection_p50_over_bare": middle["one_connection_s"] / middle["bare_single_s"],
        "text_replica_mb": memory,
        "text_replica_ready_s": ready,
        **quality,
        "per_second": {name: [round(value, 1) for value in values] for name, values in measured.items() if not name.endswith("_s")},
        "latency_ms": {
            "one connection": {"p50": round(1000 * middle["one_connection_s"], 2)},
            "80 percent": ms(loaded),
            "bare, one by one": {"p50": round(1000 * middle["bare_single_s"], 2)},
        },
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{a.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def ms(found: dict[str, float]) -> dict[str, float]:
    return {name: round(1000 * value, 2) if name in ("p50", "p90", "p99") else value for name, value in found.items()}


def fastest(a: argparse.Namespace, bundle: Bundle, scratch: Path, bodies: Sequence[str]) -> tuple[str, ...]:
    """The plain server that answers most: torch on one thread or two, requests in FastAPI's threads or one after the other on the event loop."""
    rates: dict[tuple[str, ...], float] = {}
    for variant in (("--threads", "1"), ("--threads", "2"), ("--threads", "1", "--on-loop"), ("--threads", "2", "--on-loop")):
        with plain(a.run, bundle, scratch, variant, a.port + 1) as url:
            rates[variant], _ = wrk(url, bodies, a.connections, a.seconds / 2, scratch)
        print(f"plain {' '.join(variant)}: {rates[variant]:.0f} requests/s", flush=True)
    return max(rates, key=lambda variant: rates[variant])


def catalog_products(catalog: Catalog, wanted: set[str]) -> Iterator[Any]:
    from prodcat.contracts import Product

    for row in catalog.products(["key", "platform", "product_id", "title", "description", "brand", "image", "image_problem"]).to_pylist():
        if row.pop("key") in wanted:
            yield Product(**row)


if __name__ == "__main__":
    main()
