"""`prodcat demo` and `prodcat serve`: the whole path on a drawn catalog, and a bundle served from this machine until it is told to stop."""

import base64
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from prodcat.catalog.demo import write_demo
from prodcat.catalog.store import Catalog
from prodcat.commands.training import run_fit
from prodcat.distributed import ClusterConfig, cluster
from prodcat.prediction.bundle import Bundle
from prodcat.serving.arguments import local_args
from prodcat.serving.deployment import run_local
from prodcat.serving.store import served

Say = Callable[[str], None]


def demonstrate(out: Path, *, products: int, port: int, say: Say) -> dict[str, Any]:
    """Draw feeds, fit, serve, classify one test product over HTTP, stop everything."""
    feeds = out / "feeds"
    if not feeds.exists():
        say(f"drawing {products:,} products of 4 shops")
        write_demo(feeds, products=products, seed=0)
    sources = [str(feeds)]
    with cluster(ClusterConfig()):
        fitted = run_fit(sources, out, config="offline", sets=DEMO_SETS, mapping=None, taxonomy=None, say=say)
        product = _example(Catalog.open(out / "catalog"))
        say("starting both stages on Ray Serve")
        with run_local(Path(fitted["bundle"]), port=port) as url:
            request = {"title": product["title"], "platform": product["platform"], "image": base64.b64encode(product["image"]).decode()}
            answer = httpx.post(f"{url}/v1/classify", json=request, timeout=60).raise_for_status().json()
            alone = {"platform": product["platform"], "image": request["image"]}
            by_image = httpx.post(f"{url}/v1/classify", json=alone, timeout=60).raise_for_status().json()
    say(f"POST /v1/classify  title {product['title']!r} and its image")
    say(f"  -> {' > '.join(answer['path'])}  (stage {answer['stage']}, confidence {answer['confidences'][-1]['confidence']:.3f})")
    say("POST /v1/classify  the image alone")
    say(f"  -> {' > '.join(by_image['path'])}  (stage {by_image['stage']}, confidence {by_image['confidences'][-1]['confidence']:.3f})")
    say("everything is stopped; nothing was left running")
    return {
        "answer": answer,
        "report": fitted["report"],
        "bundle": fitted["bundle"],
        "serve it": f".venv/bin/prodcat serve {fitted['bundle']}",
        "your own feed": ".venv/bin/prodcat fit FEED.csv --mapping FEED.mapping.yaml --out runs/mine   (README: Your own catalog)",
    }


# Minutes, not hours: few, small, drawn images, and the point is the path. Large patches make a small transformer see much for little.
DEMO_SETS = (
    # Small trainings, which need no workers to be started for them.
    "scaling.workers=0",
    "stage_one_pretraining=null",
    "stage_one.loop.epochs=10",
    "encoders.image.scratch.image={size: 64, patch: 16, layers: 4, width: 192, heads: 3}",
    "encoders.clip.scratch.image={size: 64, patch: 16, layers: 3, width: 192, heads: 3}",
    "encoders.clip.scratch.text={layers: 2, width: 128, heads: 2}",
    "pretraining.image.loop={epochs: 12, batch_size: 32, learning_rate: 0.001, weight_decay: 0.05}",
    "pretraining.clip.loop.epochs=6",
    "stage_two.loop.epochs=20",
    "stage_two.loop.batch_size=32",
)


def _example(catalog: Catalog) -> dict[str, Any]:
    """A test product with title and image."""
    splits = catalog.splits().to_pylist()
    test = {row["key"] for row in splits if row["split"] == "test"}
    for file in catalog.product_files():
        for row in pq.read_table(file, columns=["key", "title", "platform", "image", "path"], partitioning=None).to_pylist():
            if row["key"] in test and row["title"] and row["image"] and row["path"]:
                return dict(row)
    raise ValueError("the demo catalog has no test product with title and image")


def serve_until_stopped(bundle: Path, *, keys: Path | None, host: str, port: int, say: Say) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM.

    Args:
        bundle: its folder, or a store's, whose later promotions are taken up.
        keys: see ServeArgs.
    """
    promoted = served(bundle.absolute())
    # Neither: Bundle.open says what is missing.
    version = Bundle.open(bundle).version if promoted is None else promoted.current.version
    args = local_args() if keys is None else local_args().model_copy(update={"keys": str(keys.absolute())})
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with cluster(ClusterConfig()), run_local(bundle, host=host, port=port, args=args) as url:
        say(f"bundle {version} at {url}: POST /v1/classify, {url}/docs; Ctrl-C stops")
        stop.wait()
    return {"stopped": url}
