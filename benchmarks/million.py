"""A million products with poison among them through `ingest` and `classify` (stage one): is every row accounted for, and in how much memory?

    python benchmarks/million.py BUNDLE [--rows 1000000]

BUNDLE is the folder of a bundle; a copy of it is used whose gate lets stage one answer everything. The feeds are a CSV and a Parquet file of made
titles (the demo's words), half of the rows each, with 0.5 % of poison in turns: no title, an id that a spreadsheet rounded, bytes that do not
decode, a column too many, an id twice, a control character, a title of a megabyte; and a page of the Parquet file is overwritten.

Prints and writes benchmarks/results/million.json. Exits 1 if a row is lost or the processes took more than 4 GB beside Ray's object store.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from processes import Watch  # type: ignore[import-not-found]
from serving import open_gate  # type: ignore[import-not-found]

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.demo_words import ADJECTIVES, BRANDS, COLLECTIONS, COLOURS, LEAVES
from prodcat.catalog.distributed import ingest
from prodcat.catalog.store import Catalog
from prodcat.distributed import ClusterConfig, cluster
from prodcat.ledger import Ledger
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.distributed import ClassifyConfig, StageOneActors, classify

RESULTS = Path(__file__).parent / "results" / "million.json"
LIMIT_MB = 4096
POISON_EVERY = 200


def titles(rows: int, seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    words, nouns = [_texts(each) for each in (BRANDS, ADJECTIVES, COLOURS, COLLECTIONS)], _texts(LEAVES)
    for number in range(rows):
        yield f"{' '.join(draw.choice(each) for each in words)} {draw.choice(nouns)} {number}"


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []


def write_csv(file: Path, rows: int, shop: str) -> int:
    """-> poisoned rows."""
    poisoned = 0
    with file.open("wb") as stream:
        stream.write(b"product_id,title,platform\n")
        for number, title in enumerate(titles(rows, 0)):
            line = f"c{number},{title},{shop}\n".encode()
            if number % POISON_EVERY == POISON_EVERY - 1:
                poisoned += 1
                line = [
                    f"c{number},,{shop}\n".encode(),
                    f"1.23457E+{number % 10 + 10},{title},{shop}\n".encode(),
                    f"c{number},".encode() + b"\xff\xfe\x80 shirt," + shop.encode() + b"\n",
                    f"c{number},{title},{shop},one,too,many\n".encode(),
                    f"c{number - 1},{title},{shop}\n".encode(),
                    f"c{number},\x00\x01\x02,{shop}\n".encode(),
                    f"c{number},{'x' * 1_000_000},{shop}\n".encode(),
                ][poisoned % 7]
            stream.write(line)
    return poisoned


def write_parquet(file: Path, rows: int, shop: str) -> int:
    """-> rows of the row group whose page is broken."""
    schema = pa.schema([("product_id", pa.string()), ("title", pa.string()), ("platform", pa.string())])
    group = POISON_EVERY * 10
    with pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        batch: list[dict[str, str]] = []
        for number, title in enumerate(titles(rows, 1)):
            batch.append({"product_id": f"p{number}", "title": title, "platform": shop})
            if len(batch) == group or number == rows - 1:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
    column = pq.ParquetFile(file).metadata.row_group(0).column(1)
    with file.open("r+b") as stream:
        stream.seek(column.data_page_offset + column.total_compressed_size // 2)
        stream.write(b"\x00\xff" * 50)
    return min(group, rows)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    a = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = open_gate(Bundle.open(a.bundle), work / "bundle")
        feeds = work / "feeds"
        feeds.mkdir()
        half = a.rows // 2
        # Of a shop that the bundle knows: those of others go on to stage two.
        shop = (*(bundle.settings.gate.known or ()), "bulk")[0]
        poisoned = write_csv(feeds / "bulk.csv", half, shop) + write_parquet(feeds / "bulk.parquet", a.rows - half, shop)
        result: dict[str, Any] = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}",
            "rows": a.rows,
            "poisoned": poisoned,
        }

        def say(line: str) -> None:
            print(line, file=sys.stderr, flush=True)

        with cluster(ClusterConfig(num_cpus=os.cpu_count() or 1, object_store_gb=1.0)):
            started = time.perf_counter()
            with Watch() as watch:
                ingest([str(feeds)], work / "catalog", IngestConfig(), on_progress=say)
            catalog = Catalog.open(work / "catalog")
            rejected: dict[str, int] = {}
            for reason in catalog.rejected()["reason"].to_pylist():
                rejected[reason] = rejected.get(reason, 0) + 1
            products = sum(pq.read_metadata(file).num_rows for file in catalog.product_files())
            result["ingest"] = figures(watch, started) | {
                "products": products,
                "rejected": rejected,
                "lost": a.rows - products - sum(rejected.values()),
            }
            say(json.dumps(result["ingest"]))
            started = time.perf_counter()
            config = ClassifyConfig(shard_rows=4096, stage_one=StageOneActors(actors=1, cpus=1.0, threads=2), read_cpus=0.2)
            with Watch() as watch:
                done = classify(catalog.product_files(), bundle.folder, work / "answers", config, on_progress=say)
            counts = Ledger(done.out, ()).manifest()["rows"]
            result["classify"] = figures(watch, started) | {"counts": counts, "lost": products - sum(counts.values())}
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    bad = [part for part in ("ingest", "classify") if result[part]["lost"] or result[part]["peak_mb"] > LIMIT_MB]
    sys.exit(f"broken: {bad}" if bad else 0)


def figures(watch: Watch, started: float) -> dict[str, Any]:
    quarter = max(1, len(watch.series) // 4)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_s": watch.cpu_s,
        "peak_mb": watch.peak_mb,
        "mb_by_quarter": [max(mb for _, mb in watch.series[start : start + quarter]) for start in range(0, len(watch.series), quarter)][:4],
    }


if __name__ == "__main__":
    main()
