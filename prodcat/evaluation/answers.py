"""Predictions and labels, joined by key into arrays over one tree. Knows no metric.

The tree that is scored on is the bundle's tree with the labels' categories added: a label outside the bundle's tree is no reason to leave its
product out, the classifier could not have known it and loses recall by it. Whether a prediction is valid is asked of the bundle's tree alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from prodcat.contracts import PREDICTIONS, enforce
from prodcat.errors import ContractError
from prodcat.evaluation.metrics import NO_PATH, UNLABELLED
from prodcat.taxonomy import CategoryPath, HasLayout, HeadLayout, Taxonomy

_NAMES = pa.list_(pa.field("item", pa.string()))

TRUTH = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False, metadata={"description": "product"}),
        pa.field("platform", pa.string(), nullable=False, metadata={"description": "shop"}),
        pa.field("path", _NAMES, metadata={"description": "the label; null if unlabelled"}),
        pa.field("group", pa.string(), nullable=False, metadata={"description": "near-duplicate group, as in SPLITS"}),
        pa.field("has_title", pa.bool_(), nullable=False, metadata={"description": "whether there is a title to read"}),
        pa.field("has_masked_title", pa.bool_(), nullable=False, metadata={"description": "whether masking leaves anything of the title"}),
        pa.field("has_image", pa.bool_(), nullable=False, metadata={"description": "whether there is an image to read"}),
        pa.field("language", pa.string(), metadata={"description": "as in PRODUCTS: named by the feed or detected; null if unknown"}),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """TRUTH as arrays over n products.

    Args:
        layout: the bundle's tree with the labels' categories added, and the inner categories at which its answers may end: a label there says all.
        target: int [n], nodes of its tree; UNLABELLED without a label.
        paths: the labels; None without one.
        groups, platforms: str [n].
        languages: str or None [n].
        has_title, has_image, has_masked_title: bool [n].
    """

    layout: HeadLayout
    keys: list[str]
    target: np.ndarray
    paths: list[CategoryPath | None]
    groups: np.ndarray
    platforms: np.ndarray
    languages: np.ndarray
    has_title: np.ndarray
    has_image: np.ndarray
    has_masked_title: np.ndarray

    @property
    def tree(self) -> Taxonomy:
        return self.layout.tree

    def take(self, rows: np.ndarray) -> "Labels":
        """The products where bool [n] `rows` holds, over the same tree."""
        chosen = np.flatnonzero(rows)
        return Labels(
            self.layout,
            [self.keys[i] for i in chosen],
            self.target[rows],
            [self.paths[i] for i in chosen],
            self.groups[rows],
            self.platforms[rows],
            self.languages[rows],
            self.has_title[rows],
            self.has_image[rows],
            self.has_masked_title[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Predictions in the order of the labels they are judged by.

    Args:
        pred: int [n], nodes of Labels.tree; NO_PATH where the prediction is no path of the bundle's tree.
        stage: int [n], 1 or 2.
        rows: one dict of PREDICTIONS each.
        bundle: the version that answered, one for all; None for no products.
    """

    pred: np.ndarray
    stage: np.ndarray
    rows: list[dict[str, Any]]
    bundle: str | None


def scoring_tree(tree: Taxonomy, paths: list[CategoryPath | None]) -> Taxonomy:
    """`tree` with the categories of the labels added; ids are kept."""
    ids = {category.path: category.id for category in tree.categories}
    return Taxonomy([*ids, *{path for path in paths if path}], ids)


def scoring_layout(tree: HasLayout, paths: list[CategoryPath | None]) -> HeadLayout:
    """`scoring_tree` with the stops of `tree`."""
    own = tree.layout
    scoring = scoring_tree(own.tree, paths)
    return HeadLayout(scoring, tuple(sorted(scoring.index(own.tree.categories[node].path) for node in own.stops)))


def paths_of(column: pa.ChunkedArray) -> list[CategoryPath | None]:
    """A column of names as paths; None for null and for the empty list."""
    return [tuple(names) if names else None for names in column.to_pylist()]


def read_labels(truth: pa.Table, tree: HasLayout) -> Labels:
    """TRUTH -> arrays. Raises ContractError: wrong columns, no row, or a key twice."""
    truth = enforce(truth, TRUTH, "evaluation, truth")
    if not truth.num_rows:
        raise ContractError("evaluation: no product to evaluate; the catalog or its test split is empty")
    keys = truth.column("key").to_pylist()
    _once(keys, "truth")
    paths = paths_of(truth.column("path"))
    layout = scoring_layout(tree, paths)
    return Labels(
        layout=layout,
        keys=keys,
        target=np.array([layout.tree.index(path) if path else UNLABELLED for path in paths], dtype=np.int64),
        paths=paths,
        groups=np.array(truth.column("group").to_pylist(), dtype=object),
        platforms=np.array(truth.column("platform").to_pylist(), dtype=object),
        languages=np.array(truth.column("language").to_pylist(), dtype=object),
        has_title=truth.column("has_title").to_numpy(),
        has_image=truth.column("has_image").to_numpy(),
        has_masked_title=truth.column("has_masked_title").to_numpy(),
    )


def read_answers(predictions: pa.Table, labels: Labels, tree: Taxonomy, what: str) -> Answers:
    """PREDICTIONS -> arrays in the order of `labels`. Predictions of other products are left aside.

    Args:
        tree: the bundle's tree, which validity is asked of.
        what: whose predictions, for messages.

    Raises:
        ContractError: wrong columns, a product without prediction, a key twice, or predictions of more than one bundle.
    """
    table = enforce(predictions, PREDICTIONS, f"evaluation, {what}")
    columns = ["key", "category_id", "path", "confidences", "stage", "bundle", "stopped_at_parent", "holds_precision"]
    found = table.select(columns).to_pylist()
    _once([row["key"] for row in found], what)
    by_key = {row["key"]: row for row in found}
    missing = [key for key in labels.keys if key not in by_key]
    if missing:
        raise ContractError(
            f"evaluation, {what}: {len(missing)} of {len(labels.keys)} products have no prediction, the first is {missing[0]!r}; "
            "every product gets one: classify the same catalog and split that is evaluated"
        )
    rows = [by_key[key] for key in labels.keys]
    bundles = sorted({row["bundle"] for row in rows})
    if len(bundles) > 1:
        raise ContractError(f"evaluation, {what}: predictions of {len(bundles)} bundles ({', '.join(bundles)}); evaluate one bundle at a time")
    pred = [labels.tree.index(tuple(row["path"])) if _valid(row, tree) else NO_PATH for row in rows]
    return Answers(
        pred=np.array(pred, dtype=np.int64),
        stage=np.array([row["stage"] for row in rows], dtype=np.int64),
        rows=rows,
        bundle=bundles[0] if bundles else None,
    )


def _valid(row: dict[str, Any], tree: Taxonomy) -> bool:
    """The names are a path of the tree, and the id is that path's."""
    path = tuple(row["path"])
    return path in tree and tree.categories[tree.index(path)].id == row["category_id"]


def _once(keys: list[str], what: str) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ContractError(f"evaluation, {what}: the product {key!r} stands there twice; keys are unique")
        seen.add(key)
