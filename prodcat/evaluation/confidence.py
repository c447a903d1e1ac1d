"""What a bundle's confidences are worth: its answers and the labels, level by level and as whole answers, for reliability.py. Knows no file.

Shapes: n products, D levels of the tree that is scored on.
"""

from typing import Any

import numpy as np
from scipy.stats import binomtest

from prodcat.evaluation.answers import Answers, Labels
from prodcat.evaluation.reliability import figures, level_figures, risk_coverage


def confidence_figures(answers: Answers, labels: Labels) -> dict[str, Any]:
    """Over the labelled products.

    Returns:
        levels: `reliability.level_figures`, a level judged where both answer and label name a category on it;
        ece: {level: expected calibration error};
        answers: `reliability.figures` of whole answers, by the confidence of their last level; an answer that goes on below a label that says
            nothing there cannot be judged and is left out, one that stops above its label is right if the label lies below;
        risk_coverage: of the same;
        backoff: None where the bundle wants no precision, else of the products whose answer is to hold it: {products, judged, precision (share right
            of those judged), precision_ci (its 95 % interval, exact binomial: of products, not of groups of near-duplicates), share (of all
            products), leaf_share (of all products: holds, and goes down to the leaf), depths: {level: {judged, right}}}.
    """
    rows = labels.target >= 0
    depth = labels.tree.depth
    # -1 where there is no category; an answer that is no path (NO_PATH) has none on any level.
    answered = np.where((answers.pred >= 0)[:, None], labels.tree.path_indices[np.maximum(answers.pred, 0)], -1)[rows]
    label = labels.tree.path_indices[labels.target[rows]]
    confidence = np.full((int(rows.sum()), depth), np.nan)
    for row, place in enumerate(np.flatnonzero(rows)):
        given = answers.rows[place]["confidences"][:depth]
        confidence[row, : len(given)] = given
    right = (answered == label) & (answered >= 0)
    levels = level_figures(np.where(label >= 0, confidence, np.nan), right)
    ends = np.isfinite(confidence).sum(axis=1) - 1
    known = (np.take_along_axis(label, np.maximum(ends, 0)[:, None], axis=1)[:, 0] >= 0) | labels.layout.may_end[labels.target[rows]]
    judged = np.flatnonzero((ends >= 0) & known)
    whole = confidence[judged, ends[judged]], right[judged, ends[judged]]
    given_rows = [answers.rows[place] for place in np.flatnonzero(rows)]
    held = np.array([row["holds_precision"] is True for row in given_rows], dtype=bool)
    wanted = any(row["holds_precision"] is not None for row in given_rows)
    return {
        "levels": levels,
        "ece": {level: entry["ece"] for level, entry in levels.items()},
        "answers": figures(*whole),
        "risk_coverage": risk_coverage(*whole),
        "backoff": _backoff(given_rows, held, ends, judged[held[judged]], right) if wanted else None,
    }


def _backoff(rows: list[dict[str, Any]], held: np.ndarray, ends: np.ndarray, judged: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Args: held: bool [n]; ends: int [n], last level answered, from 0; judged: row numbers, of those that hold; right: bool [n, D]."""
    correct = right[judged, ends[judged]]
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci() if len(correct) else None
    to_the_leaf = held & ~np.array([bool(row["stopped_at_parent"]) for row in rows], dtype=bool)
    return {
        "products": int(held.sum()),
        "judged": len(judged),
        "precision": float(correct.mean()) if len(judged) else None,
        "precision_ci": [float(interval.low), float(interval.high)] if interval else None,
        "share": float(held.mean()),
        "leaf_share": float(to_the_leaf.mean()),
        "depths": {
            str(level + 1): {"judged": int((ends[judged] == level).sum()), "right": int(correct[ends[judged] == level].sum())}
            for level in np.unique(ends[judged])
        },
    }
