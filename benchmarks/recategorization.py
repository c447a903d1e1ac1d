"""How well the cascade finds the categories below a branch that it was not told, beside plain clustering of the same vectors; and what size costs.

    python benchmarks/recategorization.py DATA --vit FOLDER [--only NAME ...] [--sizes 10000 30000 ...]

DATA holds myntra/products.parquet, FOLDER a ViT in the hub's format. Labels of the last level are hidden; they score, and nothing else. Branches:

    shoes_image     Footwear > Shoes by images alone, at most 15 clusters, at least .90 of the products in one
    shoes_both      the same by images and titles without category words (MiniLM)
    topwear_image   Apparel > Topwear by images alone, at most 24 clusters, at least .95 in one

Settings are chosen anew under each of five seeds (recategorization/selection.py), the bound on clusters but given. The noise of views is divided
out of images, as `recategorize` does by itself (training/simclr/whitening.py). Baselines read the frozen
vectors: UMAP and HDBSCAN, UMAP and k-means, k-means, with as many clusters as there are categories, and as many as the cascade has, then also
whitened. An interval is over products and seeds; `labels` is what a regression with labels reads from the vectors, in five folds, the better of
both: what separates the categories at all.

`--sizes` clusters so many vectors drawn around those of Topwear (noise of a tenth of their length), each size in a process of its own, and says
seconds and the highest memory; more than --drawn are clustered as a large branch is: so many of them, and the others join.

Prints tables and writes benchmarks/results/recategorization.json; a part that is not run keeps its figures.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from prodcat.encoders.encoder import Encoder, EncoderConfig, load, obtain
from prodcat.images import ImageLimits, decode
from prodcat.masking import CategoryMask
from prodcat.recategorization.branch import BranchConfig, draw, with_others
from prodcat.recategorization.clusters import CascadeConfig, Clusters, cascade
from prodcat.recategorization.online import Assigner
from prodcat.recategorization.projection import ProjectionConfig, project
from prodcat.recategorization.scoring import FIGURES, density, k_means, over_seeds
from prodcat.recategorization.selection import SelectionConfig, select
from prodcat.recategorization.vectors import Joint
from prodcat.taxonomy import Taxonomy
from prodcat.training.simclr.whitening import Scatter, WhiteningConfig, scatter, whitening

RESULTS = Path(__file__).parent / "results" / "recategorization.json"
SEEDS = (0, 1, 2, 3, 4)
BRANCHES = {"shoes_image": ("Footwear", "Shoes"), "shoes_both": ("Footwear", "Shoes"), "topwear_image": ("Apparel", "Topwear")}
BOUNDS = {"shoes_image": (15, 0.9), "shoes_both": (15, 0.9), "topwear_image": (24, 0.95)}
TEXT_WEIGHT = 0.7


def vectors_of(rows: Sequence[dict[str, Any]], encoder: Encoder, kind: str, mask: CategoryMask | None) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, d], and bool [n]: whether the product has the input."""
    tower = encoder.towers[kind]
    texts = [mask(row["title"]) if mask else row["title"] for row in rows]
    present = np.array([bool(row["image"]) if kind == "image" else bool(text) for row, text in zip(rows, texts, strict=True)], dtype=bool)
    found = np.zeros((len(rows), tower.dim), dtype=np.float32)
    have = np.flatnonzero(present).tolist()
    for start in range(0, len(have), 64):
        some = have[start : start + 64]
        if kind == "image":
            prepared = np.stack([tower.image.prepare(decode(rows[row]["image"], ImageLimits())) for row in some])
        else:
            prepared = tower.prepare([texts[row] or "" for row in some])
        found[some] = tower.encode(prepared)
    return found, present


def noise_of(rows: Sequence[dict[str, Any]], encoder: Encoder, config: WhiteningConfig) -> np.ndarray:
    """float32 [d, d]: as prodcat/learning.py has it measured, of `config.most` photos of the branch."""
    photos = [row["image"] for row in rows if row["image"]]
    chosen = np.random.default_rng(0).permutation(len(photos))[: config.most].tolist()
    tower, total = encoder.towers["image"], Scatter(np.zeros((encoder.towers["image"].dim,) * 2), 0)
    for start in range(0, len(chosen), 128):
        pixels = np.stack([tower.image.prepare(decode(photos[each], ImageLimits())) for each in chosen[start : start + 128]])
        total += scatter(encoder, pixels, config, start)
    return whitening(total, config.shrinkage)


def joined_of(sets: dict[str, np.ndarray], present: dict[str, np.ndarray]) -> np.ndarray:
    return Joint.fit(sets, present, {"image": 1.0, "text": TEXT_WEIGHT}).of(sets, present)[0]


def branch(
    name: str, rows: Sequence[dict[str, Any]], sets: dict[str, np.ndarray], present: dict[str, np.ndarray], turn: np.ndarray
) -> dict[str, Any]:
    truth = [row["level3"] for row in rows]
    frozen, joined = joined_of(sets, present), joined_of({**sets, "image": sets["image"] @ turn}, present)
    most, covered = BOUNDS[name]
    projection, base = ProjectionConfig(), CascadeConfig(covered=covered)
    tried = SelectionConfig(most=(most,))
    started = time.perf_counter()
    made = {seed: _clusters(joined, projection, base, tried, seed) for seed in SEEDS}
    seconds = (time.perf_counter() - started) / len(SEEDS)
    places = {seed: project(frozen, projection.once(), seed).places for seed in SEEDS}
    kinds, count = len(set(truth) - {None}), round(float(np.median([len(each.members) for each in made.values()])))
    sides = {
        "cascade": made,
        "umap_hdbscan": {seed: density(places[seed], max(5, round(0.02 * len(rows)))) for seed in SEEDS},
        f"umap_k_means_{kinds}": {seed: k_means(places[seed], kinds, seed) for seed in SEEDS},
        f"k_means_{kinds}": {seed: k_means(frozen, kinds, seed) for seed in SEEDS},
        f"k_means_{count}": {seed: k_means(frozen, count, seed) for seed in SEEDS},
        f"k_means_{count}_whitened": {seed: k_means(joined, count, seed) for seed in SEEDS},
    }
    table = {side: _over(found, truth) for side, found in sides.items()}
    commonest = max(truth.count(each) for each in set(truth))
    print(f"\n{name}: {len(rows):,} products, {kinds} categories, the commonest {commonest / len(rows):.3f}; {seconds:.0f} s a seed")
    for side, told in table.items():
        line = "  ".join(f"{figure} {told[figure]['median']:.3f}" for figure in FIGURES)
        print(f"  {side:<22}{line}  purity [{told['purity']['low']:.3f}, {told['purity']['high']:.3f}], spread {told['purity']['spread']:.3f}")
    found = {figure: table["cascade"][figure]["median"] for figure in FIGURES}
    ceiling = max(_with_labels(joined, truth), _with_labels(frozen, truth))
    print(f"  a regression with labels, in five folds: accuracy {ceiling:.3f}")
    facts = {"products": len(rows), "categories": kinds, "majority": round(commonest / len(rows), 4), "seconds": round(seconds, 1), "labels": ceiling}
    return {**found, **facts, "spread": table["cascade"]["purity"]["spread"], "sides": table}


def _clusters(vectors: np.ndarray, projection: ProjectionConfig, base: CascadeConfig, tried: SelectionConfig, seed: int) -> Clusters:
    chosen = select(vectors, projection, base, tried, seed).cascade
    return cascade(project(vectors, projection, seed).places, vectors, chosen)


def _over(found: dict[int, Clusters], truth: Sequence[str | None]) -> dict[str, Any]:
    return over_seeds(lambda seed: found[seed], truth, SEEDS)


def _with_labels(vectors: np.ndarray, truth: Sequence[str | None]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from threadpoolctl import threadpool_limits

    labels = np.array([each or "" for each in truth])
    names, counts = np.unique(labels, return_counts=True)
    rows = np.isin(labels, names[counts >= 5])
    with threadpool_limits(1):
        scores = cross_val_score(LogisticRegression(C=10, max_iter=1000), vectors[rows] * 3, labels[rows], cv=5)
    return round(float(scores.mean()), 4)


def clustered(vectors: Path, size: int, most: int) -> dict[str, Any]:
    """In a process of its own: what selection, projection and cascade take, and of more than `most` products the joining of those not drawn."""
    source, random = np.load(vectors), np.random.default_rng(0)
    made = np.empty((size, source.shape[1]), dtype=np.float32)
    for start in range(0, size, 50_000):
        part = made[start : start + 50_000]
        part[:] = source[random.integers(0, len(source), len(part))] + random.normal(0, 0.1 / np.sqrt(source.shape[1]), part.shape)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    before = _peak()
    started = time.perf_counter()
    rows = draw(size, BranchConfig(clustered=most))
    some = made[rows]
    chosen = select(some, ProjectionConfig(), CascadeConfig(), SelectionConfig(), 0)
    selected = time.perf_counter()
    places = project(some, ProjectionConfig(), 0).places
    projected = time.perf_counter()
    found = cascade(places, some, chosen.cascade)
    done = time.perf_counter()
    parts = {"selection": selected - started, "projection": projected - selected, "cascade": done - projected}
    if size > most:
        assigner = Assigner.fit([str(row) for row in rows.tolist()], some, found, chosen.cascade)
        found = with_others(found, rows, assigner, made)
        parts["others"] = time.perf_counter() - done
    told = {name: round(seconds, 1) for name, seconds in {**parts, "all": time.perf_counter() - started}.items()}
    facts = {"products": size, "clustered": len(rows), "clusters": len(found.members), "apart": len(found.apart)}
    return {**facts, "seconds": told, "gb": round(_peak(), 2), "gb_before": round(before, 2)}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--vit", type=Path, help="folder of a ViT in the hub's format")
    arguments.add_argument("--only", nargs="*", choices=list(BRANCHES), default=list(BRANCHES), help="branches; none: sizes alone")
    arguments.add_argument("--sizes", type=int, nargs="*", default=[])
    arguments.add_argument("--drawn", type=int, default=BranchConfig().clustered, help="products of a size that are clustered, at most")
    arguments.add_argument("--clustered", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--results", type=Path, default=RESULTS)
    a = arguments.parse_args()
    if a.clustered is not None:
        print(json.dumps(clustered(a.data, a.clustered, a.drawn)))
        return
    columns = ["title", "level1", "level2", "level3", "image"]
    everything = pq.read_table(a.data / "myntra" / "products.parquet", columns=columns).to_pylist()
    tree = Taxonomy.from_labels([[each for each in (row["level1"], row["level2"], row["level3"]) if each] for row in everything])
    found = json.loads(a.results.read_text(encoding="utf-8")) if a.results.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        place, stored, turns = Path(folder), {}, {}
        image = obtain(EncoderConfig(family="vit", source=str(a.vit)), place / "vit", [])
        text = obtain(EncoderConfig(family="roberta", source="minilm"), place / "text", [])
        print(f"images: {image.source}; titles, their category words masked: {text.source}")
        encoders = {"image": load(place / "vit"), "text": load(place / "text")}
        for name in a.only if not a.sizes or a.only != list(BRANCHES) else []:
            path = BRANCHES[name]
            rows = [row for row in everything if (row["level1"], row["level2"]) == path]
            for kind in ("image", "text") if name.endswith("both") else ("image",):
                if kind == "image" and path not in turns:
                    turns[path] = noise_of(rows, encoders["image"], WhiteningConfig())
                if (path, kind) not in stored:
                    stored[path, kind] = vectors_of(rows, encoders[kind], kind, CategoryMask(tree) if kind == "text" else None)
            used = {kind: both for (own, kind), both in stored.items() if own == path and (kind == "image" or name.endswith("both"))}
            sets, present = ({kind: each[part] for kind, each in used.items()} for part in (0, 1))
            found[name] = branch(name, rows, sets, present, turns[path])
        if a.sizes:
            rows = [row for row in everything if (row["level1"], row["level2"]) == BRANCHES["topwear_image"]]
            vectors, present = vectors_of(rows, encoders["image"], "image", None)
            joint = Joint.fit({"image": vectors}, {"image": present}, {"image": 1.0})
            np.save(place / "vectors.npy", joint.of({"image": vectors}, {"image": present})[0])
            sizes = {(each["products"], each.get("clustered", each["products"])): each for each in found.get("sizes", [])}
            for size in a.sizes:
                command = [sys.executable, __file__, str(place / "vectors.npy"), "--clustered", str(size), "--drawn", str(a.drawn)]
                told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                print(
                    f"  {size:>8,} products: {told['seconds']['all']:.0f} s {told['seconds']}, {told['gb']:.1f} GB, {told['clusters']} clusters",
                    flush=True,
                )
                sizes[size, told["clustered"]] = told
            found["sizes"] = [sizes[each] for each in sorted(sizes)]
    found["machine"] = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0)), "at": datetime.now(UTC).date().isoformat()}
    a.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
