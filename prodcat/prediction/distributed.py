"""Classifies catalogs on Ray Data: the same cascade as everywhere, in actors. Every product leaves once: answered or rejected.

A shard of answers is named by the products in it, so a task that Ray runs again overwrites what it wrote before.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data
import torch
from pydantic import Field

from prodcat.config import Config
from prodcat.contracts import PREDICTIONS, PRODUCT_COLUMNS, REJECTED, Product, enforce, products_of, rows_to_table
from prodcat.errors import FeedError
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer, Unreadable

View = Callable[[Product], Product | None]
WHOLE = "predictions"


class ClassifyConfig(Config):
    """How much of the cluster batch classification takes."""

    actors: int = Field(1, ge=1, description="copies of the cascade")
    cpus_per_actor: float = Field(1.0, gt=0)
    gpus_per_actor: float = Field(0.0, ge=0)
    threads: int = Field(2, ge=1, description="torch threads, and titles at once in stage one, of an actor")
    batch_size: int = Field(512, ge=1, description="products in one shard of output")


@dataclass(frozen=True)
class Classified:
    """Where the answers lie, per view: `answers(view)`; and how many there are."""

    out: Path
    classified: dict[str, int]
    rejected: dict[str, int]

    def answers(self, view: str = WHOLE) -> pa.Table:
        """Table PREDICTIONS."""
        return pq.read_table(self.out / view, schema=PREDICTIONS) if self.classified.get(view) else PREDICTIONS.empty_table()


def classify(
    product_files: Sequence[str],
    bundle: Path,
    out: Path,
    config: ClassifyConfig,
    *,
    keys: Sequence[str] | None = None,
    views: Mapping[str, View] | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Classified:
    """Answer every product of these PRODUCTS files.

    Args:
        out: new folder; gets one folder of PREDICTIONS shards a view, and rejected/VIEW with REJECTED shards.
        keys: classify these products only.
        views: name -> what a probe lets the classifier see of a product (None: nothing is left); by default one view, the whole product.
    """
    if out.exists() and any(out.iterdir()):
        raise FeedError(f"{out}: not empty; answers are written into a new folder")
    columns = [*PRODUCT_COLUMNS, "source", "row"]
    dataset = ray.data.read_parquet(list(product_files), columns=[*columns, "key"])
    if keys is not None:
        # A closure would be pickled into every task; the object store holds it once.
        dataset = dataset.map_batches(_Only(ray.put(pa.array(list(keys), pa.string()))), batch_format="pyarrow", num_cpus=0.25)
    counts = dataset.map_batches(
        _Classifier,
        fn_constructor_args=(str(Path(bundle).resolve()), str(out.resolve()), config, dict(views or {WHOLE: _whole})),
        batch_size=config.batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        num_cpus=config.cpus_per_actor,
        num_gpus=config.gpus_per_actor,
    )
    classified: dict[str, int] = {}
    rejected: dict[str, int] = {}
    for row in counts.iter_rows():
        classified[row["view"]] = classified.get(row["view"], 0) + row["classified"]
        rejected[row["view"]] = rejected.get(row["view"], 0) + row["rejected"]
        on_progress(f"classified {sum(classified.values()):,}, rejected {sum(rejected.values()):,}")
    return Classified(out, classified, rejected)


def _whole(product: Product) -> Product:
    return product


class _Only:
    """Keeps the rows whose key is wanted."""

    def __init__(self, keys: Any) -> None:
        self._keys = keys

    def __call__(self, table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table["key"], value_set=ray.get(self._keys)))


class _Classifier:
    """A cascade in an actor."""

    def __init__(self, bundle: str, out: str, config: ClassifyConfig, views: Mapping[str, View]) -> None:
        torch.set_num_threads(config.threads)
        device = "cuda" if config.gpus_per_actor and torch.cuda.is_available() else "cpu"
        self._cascade = Bundle.open(bundle).cascade(threads=config.threads, device=device)
        self._out, self._views = Path(out), views

    def __call__(self, table: pa.Table) -> pa.Table:
        counts = []
        name = "part-" + hashlib.sha256("\n".join(table["key"].to_pylist()).encode()).hexdigest()[:16] + ".parquet"
        origin = dict(zip(table["key"].to_pylist(), zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True), strict=True))
        products = list(products_of(table))
        for view, see in self._views.items():
            seen = [shown for product in products if (shown := see(product)) is not None]
            results = self._cascade.classify(seen)
            answers = [prediction_row(result, product) for result, product in zip(results, seen, strict=True) if isinstance(result, Answer)]
            refused = [_rejected_row(result, *origin[result.key]) for result in results if isinstance(result, Unreadable)]
            _write(self._out / view / name, rows_to_table(answers, PREDICTIONS), PREDICTIONS)
            _write(self._out / "rejected" / view / name, rows_to_table(refused, REJECTED), REJECTED)
            counts.append({"view": view, "classified": len(answers), "rejected": len(refused)})
        return pa.Table.from_pylist(counts)


def prediction_row(answer: Answer, product: Product) -> dict[str, Any]:
    """An answer as a row of PREDICTIONS."""
    return {
        "key": answer.key,
        "platform": product.platform,
        "category_id": answer.category_id,
        "path": list(answer.path),
        "confidences": list(answer.confidences),
        "alternatives": [{"path": list(other.path), "confidence": other.confidence} for other in answer.alternatives],
        "stage": answer.stage,
        "bundle": answer.bundle,
        "stopped_at_parent": None if answer.holds_precision is None else answer.stopped_at_parent,
        "holds_precision": answer.holds_precision,
        "candidates": None if answer.candidates is None else [list(path) for path in answer.candidates],
    }


def _rejected_row(result: Unreadable, source: str, row: int) -> dict[str, Any]:
    return {"source": source, "row": row, "reason": result.reason, "detail": f"{result.key}: {result.detail}", "raw": None}


def _write(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    if table.num_rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(enforce(table, schema, "classify"), path)
