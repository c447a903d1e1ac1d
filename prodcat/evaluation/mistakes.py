"""Where answers and labels part: confusions among siblings, and the errors worth looking at. Knows no image and no HTML.

The answer parts from the label at the first level at which they differ; above it they agree, so the two categories there are siblings.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from prodcat.evaluation.answers import read_answers, read_labels
from prodcat.evaluation.metrics import truncate
from prodcat.taxonomy import CategoryPath, HasLayout, format_path


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """One wrong answer, for the report's gallery.

    Args:
        confidence: calibrated probability of the answered path down to the first wrong category, 0 to 1.
        title, image: None for a product without; the caller adds them, predictions do not carry them.
        stage: 1 or 2.
    """

    key: str
    platform: str
    truth: CategoryPath
    predicted: CategoryPath
    confidence: float
    stage: int
    title: str | None = None
    image: bytes | None = None


def parting_level(pred: np.ndarray, target: np.ndarray, layout: HasLayout) -> np.ndarray:
    """int [n]: the level (from 1) at which a truncated prediction first names another category than the label does; 0 where it names none
    (right, stopped above the label, no valid path, or unlabelled)."""
    rows = np.flatnonzero((pred >= 0) & (target >= 0))
    cut, tree = truncate(pred, target, layout), layout.layout.tree
    predicted, true = tree.path_indices[cut[rows]], tree.path_indices[target[rows]]
    differs = (predicted != true) & (predicted >= 0) & (true >= 0)
    level = np.zeros(len(pred), dtype=np.int64)
    level[rows] = np.where(differs.any(axis=1), differs.argmax(axis=1) + 1, 0)
    return level


def sibling_confusions(pred: np.ndarray, target: np.ndarray, layout: HasLayout, limit: int) -> list[dict[str, Any]]:
    """The most frequent confusions, at most `limit`: {parent ("" on the first level), truth, predicted (names), level, products, of}.

    `of` counts the products labelled with that true category or below it.
    """
    level, tree = parting_level(pred, target, layout), layout.layout.tree
    rows = np.flatnonzero(level)
    column = level[rows] - 1
    pairs = np.stack([tree.path_indices[target[rows], column], tree.path_indices[pred[rows], column]], axis=1)
    kinds, count = np.unique(pairs, axis=0, return_counts=True)
    on_path = tree.path_indices[target[target >= 0]]
    below = np.bincount(on_path[on_path >= 0], minlength=len(tree))
    order = np.argsort(-count, kind="stable")[:limit]
    return [
        {
            "parent": format_path(tree.categories[true].path[:-1]),
            "truth": tree.categories[true].name,
            "predicted": tree.categories[predicted].name,
            "level": tree.categories[true].level,
            "products": int(count[i]),
            "of": int(below[true]),
        }
        for i in order
        for true, predicted in [kinds[i]]
    ]


def worst_errors(predictions: pa.Table, truth: pa.Table, tree: HasLayout, limit: int) -> list[ErrorExample]:
    """The wrong answers given with the most confidence in the first wrong category, at most one of a near-duplicate group.

    Args:
        predictions, truth, tree: as for compose.evaluate.

    Returns:
        at most `limit` examples, worst first, without title and image: the caller reads them for these keys alone (dataclasses.replace).
    """
    labels = read_labels(truth, tree)
    answers = read_answers(predictions, labels, tree.layout.tree, "predictions")
    cut = truncate(answers.pred, labels.target, labels.layout)
    found = []
    for i in np.flatnonzero((labels.target >= 0) & (cut != labels.target)):
        row = answers.rows[i]
        true = labels.tree.categories[labels.target[i]].path
        agreed = next((level for level, pair in enumerate(zip(true, row["path"], strict=False)) if pair[0] != pair[1]), len(row["path"]) - 1)
        example = ErrorExample(
            key=row["key"],
            platform=str(labels.platforms[i]),
            truth=true,
            predicted=tuple(row["path"]),
            confidence=float(row["confidences"][agreed]),
            stage=int(row["stage"]),
        )
        found.append((example, labels.groups[i]))
    found.sort(key=lambda pair: (-pair[0].confidence, pair[0].key))
    chosen: dict[str, ErrorExample] = {}
    for example, group in found:
        chosen.setdefault(group, example)
    return list(chosen.values())[:limit]
