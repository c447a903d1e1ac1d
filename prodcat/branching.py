"""Which branches a tree has, which products are below one, and the files that encoders read of them. Knows no cluster.

Shapes: n products of the catalog.
"""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prodcat.catalog.records import digest_of
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, Product, rows_to_table
from prodcat.masking import CategoryMask
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.distributed import ClassifyConfig, classify
from prodcat.taxonomy import CategoryPath, Taxonomy


def answer(
    keys: np.ndarray, labels: list[CategoryPath | None], bundle: Bundle, catalog: Catalog, tree: Taxonomy, out: Path, config: ClassifyConfig
) -> np.ndarray:
    """Gives products without a label the bundle's answer -> bool [n]: which were. Assumes a cluster is joined.

    Args:
        keys: n.
        labels: n; None where the bundle is asked, and where its answer is not in the tree.
        out: for files on the way, which are removed.
    """
    answered = np.zeros(len(labels), dtype=bool)
    without = np.flatnonzero([label is None for label in labels])
    files = product_files(catalog, keys[without], None, out / "products")
    done = classify(files, bundle.folder, out / "answers", config).answers()
    said = dict(zip(done["key"].to_pylist(), done["path"].to_pylist(), strict=True))
    shutil.rmtree(out / "answers", ignore_errors=True)
    shutil.rmtree(out / "products", ignore_errors=True)
    for row in without.tolist():
        path = tuple(said.get(keys[row]) or ())
        # A bundle may know another tree: as far down as this one goes.
        while path and path not in tree:
            path = path[:-1]
        if path:
            labels[row], answered[row] = path, True
    return answered


def divide(tree: Taxonomy, labels: Sequence[CategoryPath | None], least: int) -> dict[CategoryPath, np.ndarray]:
    """Categories with a leaf right below, and leaves at the top, that have enough products, in the tree's order -> int64, the rows of their products.
    Those of a branch further down are that branch's."""
    found: dict[CategoryPath, list[int]] = {category.path: [] for node, category in enumerate(tree.categories) if _is_branch(tree, node)}
    for row, label in enumerate(labels):
        branch = branch_of(label, found)
        if branch is not None:
            found[branch].append(row)
    return {path: np.array(rows, dtype=np.int64) for path, rows in found.items() if len(rows) >= least}


def below(labels: Sequence[CategoryPath | None], path: CategoryPath) -> np.ndarray:
    """int64: rows of products at the category or below it."""
    return np.array([row for row, label in enumerate(labels) if label is not None and label[: len(path)] == path], dtype=np.int64)


def _is_branch(tree: Taxonomy, node: int) -> bool:
    children = np.flatnonzero(tree.parents == node)
    return bool(tree.is_leaf[children].any()) if len(children) else int(tree.levels[node]) == 1


def branch_of(label: CategoryPath | None, branches: Collection[CategoryPath]) -> CategoryPath | None:
    """The deepest branch at or above a label."""
    for depth in range(len(label or ()), 0, -1):
        if label is not None and label[:depth] in branches:
            return label[:depth]
    return None


def sample(labels: Sequence[CategoryPath | None], answered: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of some labelled products of every category: `count`, or all."""
    by_label: dict[CategoryPath, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None and not answered[row]:
            by_label.setdefault(label, []).append(row)
    draws = np.random.default_rng(seed)
    found = [np.sort(draws.permutation(rows)[:count]) for _, rows in sorted(by_label.items())]
    return np.sort(np.concatenate(found)).astype(np.int64) if found else np.zeros(0, dtype=np.int64)


def product_files(catalog: Catalog, keys: np.ndarray, mask: CategoryMask | None, folder: Path) -> list[str]:
    """The products with these keys as Parquet files of PRODUCTS, texts masked if asked; the catalog's own where that is all of them."""
    files = catalog.product_files()
    if mask is None and len(keys) == sum(pq.ParquetFile(file).metadata.num_rows for file in files):
        return files
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wanted, found = pa.array(keys.tolist(), type=pa.string()), []
    for number, file in enumerate(files):
        part = folder / f"part-{number:05}.parquet"
        with pq.ParquetWriter(part, PRODUCTS) as writer:
            for batch in pq.ParquetFile(file).iter_batches(1024):
                rows = pa.Table.from_batches([batch]).cast(PRODUCTS)
                rows = rows.filter(pc.is_in(rows["key"], value_set=wanted))
                if rows.num_rows:
                    writer.write_table(rows if mask is None else _masked(rows, mask))
        found.append(str(part))
    return found


def _masked(rows: pa.Table, mask: CategoryMask) -> pa.Table:
    shown = []
    for row in rows.to_pylist():
        texts = mask.fields(row["title"], row["description"], row["brand"])
        digest = digest_of(Product(row["platform"], row["product_id"], **texts, language=row["language"], image=row["image"]))
        shown.append({**row, **texts, "digest": digest})
    return rows_to_table(shown, PRODUCTS)
