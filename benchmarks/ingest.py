"""How fast feeds become a catalog, and whether every row of them is accounted for: all platforms and the main shop, in one run into one catalog.

    python benchmarks/ingest.py ../shared/data [--rounds 3] [--ray]

Reads DATA/platforms/*.parquet, DATA/myntra/products.parquet and DATA/myntra/products_text_only.parquet, in this process or on Ray, prints rows,
seconds and rejections by reason, and writes benchmarks/results/ingest.json. Text rows a second, measured in this process only: the rows of feeds
without any image, over the seconds spent on them and all of what is done at the end for all rows (duplicate keys, near-duplicate groups, splits,
tree, writing), so the figure is on the careful side.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prodcat.catalog.chunks import IngestConfig, Outcome, Plan, read, transform
from prodcat.catalog.crosswalked import Crosswalk
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog
from prodcat.catalog.summary import IngestSummary
from prodcat.taxonomy import Taxonomy

RESULTS = Path(__file__).parent / "results"


class Timed:
    """As ingest.serial, and the seconds and rows of each feed."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.images: Counter[str] = Counter()

    def __call__(
        self, planned: Plan, folder: Path, config: IngestConfig, taxonomy: Taxonomy | None, crosswalk: Crosswalk | None
    ) -> Iterator[Outcome]:
        for number, (feed, part) in enumerate(planned.parts):
            started = time.perf_counter()
            for chunk in read(number, feed, part, config):
                outcome = transform(chunk, folder, config, taxonomy, crosswalk)
                self.seconds[outcome.source] += time.perf_counter() - started
                self.rows[outcome.source] += outcome.rows
                self.images[outcome.source] += outcome.index.num_rows - outcome.index["thumbnail"].null_count
                yield outcome
                started = time.perf_counter()


def feeds_of(data: Path) -> list[str]:
    return [*(str(file) for file in sorted((data / "platforms").glob("*.parquet"))), *(str(data / "myntra" / name) for name in MAIN_SHOP)]


MAIN_SHOP = ("products.parquet", "products_text_only.parquet")


def in_process(feeds: list[str], out: Path) -> tuple[IngestSummary, dict[str, Any]]:
    """One run, and its figures about text."""
    timed = Timed()
    started = time.perf_counter()
    summary = ingest(feeds, out, IngestConfig(), execute=timed)
    seconds = time.perf_counter() - started
    text = [source for source in timed.rows if not timed.images[source]]
    rows = sum(timed.rows[source] for source in text)
    end = seconds - sum(timed.seconds.values())
    return summary, {
        "seconds": seconds,
        "seconds_at_the_end": end,
        "text_rows": rows,
        "text_rows_per_second": rows / (sum(timed.seconds[source] for source in text) + end),
    }


def on_ray(feeds: list[str], out: Path) -> tuple[IngestSummary, dict[str, Any]]:
    from prodcat.catalog import distributed
    from prodcat.distributed import ClusterConfig, cluster

    with cluster(ClusterConfig()):
        started = time.perf_counter()
        summary = distributed.ingest(feeds, out, IngestConfig())
        return summary, {"seconds": time.perf_counter() - started}


def shared_ids(feeds: list[str]) -> int:
    """Ids that both files of the main shop hold."""
    ids = [set(pq.read_table(feed, columns=["product_id"])["product_id"].to_pylist()) for feed in feeds if Path(feed).name in MAIN_SHOP]
    return len(ids[0] & ids[1])


def measure(feeds: list[str], rounds: int, ray: bool, folder: Path) -> dict[str, Any]:
    """The result as it is written; the catalog of the last round is left in `folder`."""
    written = sum(pq.read_metadata(feed).num_rows for feed in feeds)
    figures: list[dict[str, Any]] = []
    for number in range(rounds):
        shutil.rmtree(folder / "catalog", ignore_errors=True)
        summary, found = (on_ray if ray else in_process)(feeds, folder / "catalog")
        figures.append(found)
        print(f"round {number + 1}: {found['seconds']:.1f} s", file=sys.stderr, flush=True)
    catalog = Catalog.open(folder / "catalog")
    rejected = catalog.rejected()
    lost = written - catalog.products(["key"]).num_rows - rejected.num_rows
    tree = catalog.taxonomy
    middle = {name: statistics.median(figure[name] for figure in figures) for name in figures[0]}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, python {platform.python_version()}, {os.cpu_count()} cores",
        "through": "ray" if ray else "one process",
        "feeds": len(feeds),
        "rows": written,
        "products": summary.products,
        "with_image": summary.with_image,
        "labelled": summary.labelled,
        "platforms": len(summary.platforms),
        "rejected": summary.rejected,
        "examples": {reason: text.replace(str(Path(feeds[0]).parents[1]) + "/", "") for reason, text in summary.examples.items()},
        "rows_not_accounted_for": lost,
        "groups": summary.groups,
        "largest_group": summary.largest_group,
        "categories": {f"level {level}": count for level, count in sorted(Counter(tree.levels.tolist()).items())} if tree is not None else {},
        "rounds": rounds,
        "seconds": round(middle["seconds"], 1),
        "rows_per_second": round(written / middle["seconds"]),
    }
    if not ray:
        result["text_rows"] = round(middle["text_rows"])
        result["text_rows_per_second"] = round(middle["text_rows_per_second"])
        result["text_rows_per_second_of_each_round"] = [round(figure["text_rows_per_second"]) for figure in figures]
        result["seconds_at_the_end"] = round(middle["seconds_at_the_end"], 1)
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--ray", action="store_true", help="spread over a Ray cluster")
    a = arguments.parse_args()
    feeds = feeds_of(a.data)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(feeds, a.rounds, a.ray, Path(folder)) | {"ids_in_both_files_of_the_main_shop": shared_ids(feeds)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / ("ingest_on_ray.json" if a.ray else "ingest.json")).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
