"""A sample of a catalog's labelled products, for judging every platform as if it were new: so many to learn from, so many to be judged by.

Shapes: n products of the sample, D levels.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.contracts import PRODUCTS
from prodcat.errors import FeedError, TrainingError
from prodcat.taxonomy import Taxonomy


class SampleConfig(Config):
    """How many products. Without limits one platform's hundred thousand shirts would be most of what is learned, and most of the time."""

    train_per_category: int = Field(
        300, ge=1, description="products of a platform and a category that are learned from, at most; with an image and without are counted apart"
    )
    score_products: int = Field(2500, ge=1, description="products a platform is judged by, at most; those of the test split first")
    circular_labels: tuple[str, ...] = Field(
        ("title_noun",),
        description="values of label_source that say a label was read off the title: the text of such products is neither learned from nor judged by",
    )


@dataclass(frozen=True)
class Sample:
    """n labelled products, as arrays in the order of the file.

    Args:
        file: Parquet file of PRODUCTS.
        texts_count: bool [n]: whether the label says anything about the text (see circular_labels).
        learned, chosen, scored: bool [n]: to be trained on, to choose the epoch by, to be judged by. A product may be learned from where another
            platform is left out, and judged where its own is.
        tested: bool [n]: of the test split, which no model here is trained on.
        digest: of what the sample holds.
    """

    file: Path
    tree: Taxonomy
    keys: list[str]
    titles: list[str | None]
    descriptions: list[str | None]
    languages: list[str | None]
    platforms: np.ndarray
    groups: np.ndarray
    targets: np.ndarray
    texts_count: np.ndarray
    learned: np.ndarray
    chosen: np.ndarray
    scored: np.ndarray
    tested: np.ndarray
    digest: str

    @property
    def nodes(self) -> np.ndarray:
        """int [n]: the deepest labelled category."""
        depth = (self.targets >= 0).sum(axis=1)
        return np.asarray(self.targets[np.arange(len(self.targets)), depth - 1])


def draw(catalog: Catalog, out: Path, config: SampleConfig, seed: int, scored_platforms: Sequence[str] | None = None) -> Sample:
    """Write OUT, one Parquet file of PRODUCTS, and say which of its products serve what.

    Args:
        scored_platforms: platforms that are to be judged; None: all.

    Raises:
        FeedError: a platform that the catalog does not have.
        TrainingError: the catalog has no labelled product.
    """
    tree = catalog.taxonomy
    if tree is None:
        raise TrainingError(f"{catalog.path}: no product has a label; label some, or map the feed's category columns (see README, Your own catalog)")
    table = catalog.products(["key", "platform", "path", "digest", "label_source", "image_hash"])
    splits = catalog.splits()
    places = pc.index_in(table["key"], value_set=splits["key"].combine_chunks())
    for name in ("group", "split"):
        table = table.append_column(name, splits[name].take(places))
    table = table.filter(pc.is_valid(table["path"]))
    platforms = np.array(table["platform"].to_pylist(), dtype=object)
    if unknown := sorted(set(scored_platforms or ()) - set(platforms)):
        have = ", ".join(f"{name} ({count:,})" for name, count in Counter(platforms.tolist()).most_common())
        raise FeedError(f"{catalog.path}: no labelled product is of the platform {unknown[0]!r}; labelled are {have}")
    nodes = np.array([tree.index(path) for path in table["path"].to_pylist()])
    split = np.array(table["split"].to_pylist(), dtype=object)
    # By hash of the key and not by place, so that a grown catalog draws the same ones again.
    rank = np.array([hashlib.sha256(f"{seed} {key}".encode()).hexdigest() for key in table["key"].to_pylist()])
    order = np.argsort(rank)
    learned, chosen, scored = (np.zeros(len(table), dtype=bool) for _ in range(3))
    # As many to choose by, for what is learned, as the catalog's splits have.
    per_validation = max(1, round(config.train_per_category * (split == "validation").sum() / max(1, (split == "train").sum())))
    pictured = np.array(table["image_hash"].is_valid())
    for mask, name, most in ((learned, "train", config.train_per_category), (chosen, "validation", per_validation)):
        # Apart, so that the few with an image (a flat one has no hash) are not lost among a shop's many texts.
        taken: Counter[tuple[str, int, bool]] = Counter()
        for row in order[split[order] == name]:
            place = (platforms[row], nodes[row], bool(pictured[row]))
            if taken[place] < most:
                taken[place] += 1
                mask[row] = True
    for platform in sorted(set(platforms) if scored_platforms is None else set(scored_platforms)):
        own = order[platforms[order] == platform]
        # Stable: by hash among those of the test split, then by hash among the others.
        own = own[np.argsort(split[own] != "test", kind="stable")]
        scored[own[: config.score_products]] = True
    rows = np.flatnonzero(learned | chosen | scored)
    taken_keys = table["key"].take(pa.array(rows)).to_pylist()
    full = _write(catalog, taken_keys, out)
    return Sample(
        file=out,
        tree=tree,
        keys=taken_keys,
        titles=full["title"].to_pylist(),
        descriptions=full["description"].to_pylist(),
        languages=full["language"].to_pylist(),
        platforms=platforms[rows],
        groups=np.array(table["group"].take(pa.array(rows)).to_pylist(), dtype=object),
        targets=tree.path_indices[nodes[rows]],
        texts_count=~np.isin(np.array(table["label_source"].take(pa.array(rows)).to_pylist(), dtype=object), config.circular_labels),
        learned=learned[rows],
        chosen=chosen[rows],
        scored=scored[rows],
        tested=split[rows] == "test",
        digest=hashlib.sha256(f"{catalog.digest} {config.model_dump_json()} {seed} {sorted(scored_platforms or ())}".encode()).hexdigest(),
    )


def _write(catalog: Catalog, keys: list[str], out: Path) -> pa.Table:
    """The products of these keys, in their order, to OUT -> their texts. Images go from file to file, a file at a time."""
    wanted = pa.array(keys)
    part = out.with_suffix(".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    texts = []
    with pq.ParquetWriter(part, PRODUCTS) as writer:
        for file in catalog.product_files():
            table = pq.read_table(file, partitioning=None).cast(PRODUCTS)
            table = table.filter(pc.is_in(table["key"], value_set=wanted))
            if table.num_rows:
                writer.write_table(table, row_group_size=256)
                texts.append(table.select(["key", "title", "description", "language"]))
    part.replace(out)
    found = pa.concat_tables(texts)
    return found.take(pc.index_in(wanted, value_set=found["key"].combine_chunks()))
