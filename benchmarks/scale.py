"""What Ray costs embedding, and whether cost and memory stay what they are when a catalog is a hundred times as large.

    python benchmarks/scale.py DATA --vit FOLDER [--rounds 3] [--parts image,text,growth]

DATA is the folder of the real catalogs. Parts:

    image, text    images (ViT of FOLDER) and titles (MiniLM) of the main shop, through `embed` on Ray and in a bare loop in this process: the same
             files, model, decoding and batch size, and as many torch threads: on one batch, or a batch each; in turns
    growth   titles of all shops, repeated under new ids, through `embed` with a small encoder: 2,000, 20,000 and 200,000: CPU seconds of all
             processes a product, less what a run of ten products in ten files takes, and their peak memory beside Ray's object store. The start
             takes as much as 10,000 products and varies, so it and the smallest size are medians of five runs

Prints and writes benchmarks/results/scale.json, where a part that was not run stays as it was. `throughputs` of it is what `prodcat plan` reads.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from processes import Watch  # type: ignore[import-not-found]

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, rows_to_table
from prodcat.distributed import ClusterConfig, cluster
from prodcat.encoders.distributed import EmbedConfig, embed
from prodcat.encoders.encoder import EncoderConfig, ScratchConfig, TextScratch, load, obtain
from prodcat.encoders.inputs import Manifest, Tokens
from prodcat.images import ImageLimits, decode

RESULTS = Path(__file__).parent / "results" / "scale.json"
THREADS = os.cpu_count() or 1
START = 10
# Products -> runs, of which the median counts.
SIZES = {START: 5, 2_000: 5, 20_000: 1, 200_000: 1}


def bare(files: list[str], encoder: Path, reads: str, batch_size: int) -> int:
    """The loop that anybody would write: read, decode, encode, write. Texts of like length in a batch, as on Ray. -> products."""
    torch.set_num_threads(THREADS)
    opened = load(encoder, "cpu")
    tower, manifest = opened.towers[reads], Manifest.load(encoder)
    limits, done, vectors = ImageLimits(), 0, []
    for file in files:
        rows = pq.read_table(file)
        if reads == "image":
            assert manifest.image is not None
            items: list[Any] = [value for value in rows["image"].to_pylist() if value is not None]
        else:
            assert manifest.text is not None
            tokens = Tokens(manifest.text, encoder)
            texts = (tokens.settings.of(**row) for row in rows.select(["title", "description", "brand", "language"]).to_pylist())
            items = sorted((text for text in texts if text is not None), key=len)
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            if reads == "image":
                assert manifest.image is not None
                prepared = torch.stack(
                    [torch.from_numpy(manifest.image.prepare(decode(data, limits, at_least=manifest.image.at_least))) for data in batch]
                ).numpy()
            else:
                prepared = tokens.prepare(batch)
            vectors.append(tower.encode(prepared))
            done += len(batch)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"vector": [row for part in vectors for row in part]}), Path(folder) / "vectors.parquet")
    return done


def through_ray(files: list[str], encoder: Path, reads: str, batch_size: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        config = EmbedConfig(batch_size=batch_size, threads=THREADS)
        made = embed(files, {"it": encoder}, Path(folder), config, limits=ImageLimits(), reads=(reads,))
        return sum(found.new_rows for found in made.values())


def embedding(data: Path, vit: Path, rounds: int, parts: list[str], work: Path) -> dict[str, Any]:
    ingest([str(data / "myntra" / name) for name in ("products.parquet", "products_text_only.parquet")], work / "catalog", IngestConfig())
    catalog = Catalog.open(work / "catalog")
    files = catalog.product_files()
    with_images = [file for file in files if pq.read_table(file, columns=["image"])["image"].null_count == 0]
    obtain(EncoderConfig(family="vit", source=str(vit)), work / "vit", titles=[])
    obtain(EncoderConfig(family="roberta", source=["minilm"], max_tokens=48), work / "minilm", titles=[])
    found: dict[str, Any] = {}
    for name, chosen, encoder, reads in (("image", with_images, "vit", "image"), ("text", files, "minilm", "text")):
        if name not in parts:
            continue
        sides: dict[str, list[float]] = {"ray": [], "bare": []}
        for _ in range(rounds):
            for side, work_of in (("bare", bare), ("ray", through_ray)):
                started = time.perf_counter()
                done = work_of(chosen, work / encoder, reads, 32)
                sides[side].append(done / (time.perf_counter() - started))
                print(f"{name} {side}: {done:,} products, {sides[side][-1]:.1f} a second", file=sys.stderr, flush=True)
        found[f"embed_{name}_vs_bare"] = statistics.median(a / b for a, b in zip(sides["ray"], sides["bare"], strict=True))
        found[f"embed_{name}_per_second"] = sides
        found[f"embed_{name}_products"] = done
    return found


def repeated(titles: list[str], products: int, folder: Path, rows_a_file: int) -> list[str]:
    """PRODUCTS files of so many titles, each with a number of its own."""
    folder.mkdir(parents=True)
    files = []
    for start in range(0, products, rows_a_file):
        rows = []
        for number in range(start, min(products, start + rows_a_file)):
            title = titles[number % len(titles)]
            digest = hashlib.sha256(f"{number} {title}".encode()).hexdigest()
            name = {"key": f"shop/{number}", "platform": "shop", "product_id": str(number)}
            rows.append(name | {"title": title, "digest": digest, "source": "repeated", "row": number + 1})
        files.append(str(folder / f"part-{start:09d}.parquet"))
        pq.write_table(rows_to_table(rows, PRODUCTS), files[-1])
    return files


def growth(data: Path, work: Path) -> dict[str, Any]:
    named = [
        title for file in sorted((data / "platforms").glob("*.parquet")) for title in pq.read_table(file, columns=["title"])["title"].to_pylist()
    ]
    titles = [title for title in named if title]
    # Every size gets the same mixture of shops: their titles differ in length.
    random.Random(0).shuffle(titles)
    small = ScratchConfig(text=TextScratch(layers=3, width=192, heads=3, vocabulary=8000))
    obtain(EncoderConfig(family="roberta", source="scratch", max_tokens=48, scratch=small), work / "small", titles=titles[:50_000])
    sizes: dict[int, dict[str, float]] = {}
    for products, runs in SIZES.items():
        # As many files as it takes for the start to start all that a larger catalog has at work.
        files = repeated(titles, products, work / str(products), 1 if products == START else 1000)
        found = []
        # The very first run compiles and caches; it is not counted.
        for turn in range(runs + (products == START)):
            started = time.perf_counter()
            with Watch() as watch:
                through_ray(files, work / "small", "text", 32)
            if turn or products != START:
                found.append({"cpu_s": watch.cpu_s, "peak_mb": watch.peak_mb, "seconds": time.perf_counter() - started})
                print(f"{products:,} products: {found[-1]}", file=sys.stderr, flush=True)
        sizes[products] = {name: statistics.median(run[name] for run in found) for name in found[0]}
    start = sizes.pop(START)
    each = {products: (figures["cpu_s"] - start["cpu_s"]) / products for products, figures in sizes.items()}
    return {
        "growth": {
            "start_cpu_s": start["cpu_s"],
            "cpu_ms_per_product": {str(products): value * 1000 for products, value in each.items()},
            "cpu_spread": max(each.values()) / min(each.values()) - 1,
            "peak_mb": {str(products): figures["peak_mb"] for products, figures in sizes.items()},
            "seconds": {str(products): figures["seconds"] for products, figures in sizes.items()},
        }
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--vit", type=Path, required=True)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--parts", default="image,text,growth")
    a = arguments.parse_args()
    parts = a.parts.split(",")
    result: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}"
    result |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine}
    with tempfile.TemporaryDirectory() as folder, cluster(ClusterConfig(num_cpus=os.cpu_count() or 1)):
        if {"image", "text"} & {*parts}:
            result |= embedding(a.data, a.vit, a.rounds, parts, Path(folder) / "embed")
        if "growth" in parts:
            result |= growth(a.data, Path(folder) / "growth")
    by = f"benchmarks/scale.py, {machine}, {result['date']}"
    result["throughputs"] = {
        f"embed_{name}": {"rows_per_second": statistics.median(result[f"embed_{name}_per_second"]["ray"]) / THREADS, "unit": "cpu", "by": by}
        for name in ("image", "text")
        if f"embed_{name}_per_second" in result
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
