"""Is a catalog classified faster as a batch than by sending its products to the HTTP batch endpoint, and are the answers the same?

    python benchmarks/batch.py BUNDLE CATALOG [--rounds 3]

CATALOG is the folder of an ingested catalog; all of it is classified, images included, with the bundle's own gate. Two sides in turns, on the same
machine, each with the CPUs for itself:

    http     POST /v1/classify/batch, 256 products a request, images as base64, from so many connections as fill it; replicas are up and warm before
             the clock starts, and no answer is kept
    batch    prediction.distributed.classify into a new folder; the clock starts before its actors do

Prints and writes benchmarks/results/batch.json. Exits 1 if an answer differs.
"""

import argparse
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.update(RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_THROUGHPUT_OPTIMIZED="1", RAY_SERVE_LOG_TO_STDERR="0")
os.environ["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"

import httpx

from prodcat.catalog.store import Catalog
from prodcat.contracts import Product, products_of
from prodcat.distributed import ClusterConfig, cluster
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.distributed import ClassifyConfig, StageOneActors, classify
from prodcat.serving.arguments import MultimodalArgs, ServeArgs, TextArgs
from prodcat.serving.deployment import run_local
from prodcat.serving.limits import RequestLimits

RESULTS = Path(__file__).parent / "results" / "batch.json"
CONNECTIONS = 4
ATTEMPTS = 20


def body(products: list[Product]) -> bytes:
    rows = []
    for product in products:
        row: dict[str, Any] = {name: getattr(product, name) for name in ("platform", "product_id", "title", "description", "brand", "language")}
        row = {name: value for name, value in row.items() if value is not None}
        if product.image is not None:
            row["image"] = base64.b64encode(product.image).decode()
        rows.append(row)
    return json.dumps({"products": rows}).encode()


def over_http(url: str, bodies: list[bytes]) -> list[dict[str, Any]]:
    """Answers in the order of the products."""

    def ask(content: bytes) -> list[dict[str, Any]]:
        for attempt in range(ATTEMPTS):
            answer = client.post(f"{url}/v1/classify/batch", content=content, headers={"Content-Type": "application/json"})
            if answer.status_code == 503:
                time.sleep(0.2 * (attempt + 1))
                continue
            return list(answer.raise_for_status().json()["results"])
        raise SystemExit(f"{url}: answered 503 to {ATTEMPTS} attempts")

    with httpx.Client(timeout=120) as client, ThreadPoolExecutor(CONNECTIONS) as pool:
        return [row for part in pool.map(ask, bodies) for row in part]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("catalog", type=Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--port", type=int, default=8161)
    a = arguments.parse_args()
    catalog = Catalog.open(a.catalog)
    products = list(products_of(catalog.products()))
    bodies = [body(products[start : start + 256]) for start in range(0, len(products), 256)]
    # Stage one's share of the work is large, so it gets the larger share of the CPUs, and as many threads on either side.
    args = ServeArgs(
        text=TextArgs(num_cpus=0.9, threads=2, image_threads=2, max_replicas=1),
        multimodal=MultimodalArgs(num_cpus=0.5, max_replicas=1),
        limits=RequestLimits(recent_seconds=0, stage_two_seconds=110),
    )
    config = ClassifyConfig(stage_one=StageOneActors(threads=2))
    seconds: dict[str, list[float]] = {"http": [], "batch": []}
    with cluster(ClusterConfig(num_cpus=2)), tempfile.TemporaryDirectory() as folder:
        for turn in range(a.rounds):
            with run_local(a.bundle, port=a.port, args=args) as url:
                over_http(url, bodies[:2])
                started = time.perf_counter()
                answers = over_http(url, bodies)
                seconds["http"].append(time.perf_counter() - started)
            started = time.perf_counter()
            done = classify(catalog.product_files(), a.bundle, Path(folder) / str(turn), config)
            seconds["batch"].append(time.perf_counter() - started)
            print({name: round(each[-1], 1) for name, each in seconds.items()}, file=sys.stderr, flush=True)
        rows = {row["key"]: row for row in done.answers().to_pylist()}
    differ = degraded = 0
    for product, said in zip(products, answers, strict=True):
        row = rows.get(product.key)
        degraded += bool(said.get("degraded"))
        same = (row is None and "error" in said) or (
            row is not None
            and said.get("path") == row["path"]
            and said.get("stage") == row["stage"]
            and all(abs(one["confidence"] - other) < 1e-4 for one, other in zip(said["confidences"], row["confidences"], strict=True))
        )
        differ += not same
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "bundle": Bundle.open(a.bundle, only=lambda name: False).version,
        "products": len(products),
        "with_image": sum(product.image is not None for product in products),
        "stage_two": sum(row["stage"] == 2 for row in rows.values()),
        "seconds": seconds,
        "batch_vs_http": statistics.median(http / batch for http, batch in zip(seconds["http"], seconds["batch"], strict=True)),
        "answers_that_differ": differ,
        "degraded": degraded,
    }
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
