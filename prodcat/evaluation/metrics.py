"""Hierarchical and per-level figures over node indices of one Taxonomy. Knows no table, no product and no file.

A Taxonomy says that only a leaf is the end of a path; a HeadLayout may have stops, inner categories at which an answer and a label can end.

Shapes: n products, N categories, D levels, G near-duplicate groups. A prediction is a node, or NO_PATH for an answer that is no path of the tree
(nothing of it is right); a target is a node, or UNLABELLED. Hierarchical precision, recall and F1 are the micro forms over ancestor sets without
the root: Kiritchenko et al., "Learning and Evaluation in the Presence of Class Hierarchies" (2006); Silla and Freitas, "A survey of hierarchical
classification across different application domains" (2011), equation 5.
"""

from typing import Any

import numpy as np

from prodcat import decoding
from prodcat.errors import ContractError
from prodcat.taxonomy import HasLayout, Taxonomy

UNLABELLED = -1
NO_PATH = -1
RESAMPLES = 1000
COVERAGE = 0.95


def truncate(pred: np.ndarray, target: np.ndarray, tree: HasLayout) -> np.ndarray:
    """Cut predictions to what their label can judge.

    A label that is neither a leaf nor a stop says nothing below its level, so a prediction that goes deeper is cut to that level. A prediction that
    stops above stays, and so does one whose label is the end of a path.

    Args:
        pred: int [n], nodes or NO_PATH.
        target: int [n], nodes or UNLABELLED (such rows stay as they are).

    Returns:
        int [n] nodes.
    """
    cut, layout = pred.copy(), tree.layout
    judged = (pred >= 0) & (target >= 0)
    cut[judged] = decoding.truncate(pred[judged], target[judged], layout.tree, layout.may_end)
    return cut


def ancestor_sums(pred: np.ndarray, target: np.ndarray, tree: HasLayout) -> np.ndarray:
    """int64 [n, 3]: per product, categories shared by predicted and true path, on the predicted path, on the true path.

    Predictions are truncated here (once more changes nothing); targets must be labelled. NO_PATH shares and predicts nothing.
    """
    layout = tree.layout
    sums = np.zeros((len(pred), 3), dtype=np.int64)
    sums[:, 2] = layout.tree.levels[target]
    valid = pred >= 0
    sums[valid] = np.stack(decoding.hierarchical_counts(pred[valid], target[valid], layout.tree, layout.may_end), axis=1)
    return sums


def hierarchical(sums: np.ndarray) -> dict[str, float]:
    """Micro precision, recall and F1 of `ancestor_sums`; all 0 where nothing was predicted."""
    shared, predicted, true = (float(value) for value in sums.sum(axis=0))
    return {
        "precision": shared / predicted if predicted else 0.0,
        "recall": shared / true if true else 0.0,
        "f1": 2 * shared / (predicted + true) if predicted + true else 0.0,
    }


def f1_ci(sums: np.ndarray, groups: np.ndarray, seed: int) -> list[float]:
    """95 % interval of the hierarchical F1: percentile bootstrap that draws near-duplicate groups, not products (products of a group err together).

    Args:
        sums: int [n, 3], from `ancestor_sums`.
        groups: [n] names or numbers of groups.
        seed: same seed, same interval.

    Returns:
        [low, high].
    """
    _, member = np.unique(groups, return_inverse=True)
    per_group = np.stack([np.bincount(member, weights=sums[:, k]) for k in range(3)], axis=1)
    # G draws with replacement from G groups, counted per distinct row of sums, are multinomial with that row's share: the same distribution as
    # drawing groups one by one, at the cost of the few rows that differ.
    kinds, count = np.unique(per_group, axis=0, return_counts=True)
    total = len(per_group)
    weights = np.random.default_rng(seed).multinomial(total, count / total, size=RESAMPLES)
    shared, predicted, true = (weights @ kinds).T
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(2 * shared / (predicted + true), [tail, 1 - tail])
    return [float(low), float(high)]


def per_level(pred: np.ndarray, target: np.ndarray, tree: Taxonomy) -> dict[str, dict[str, float | int]]:
    """{"1": {products, classes, accuracy, macro_f1}, ...}, over the products labelled at that level; levels without one are left out.

    macro_f1 is the mean over the classes that occur among those products' labels; an answer that stops above the level is wrong there.
    """
    predicted, true = _paths(pred, tree), _paths(target, tree)
    figures: dict[str, dict[str, float | int]] = {}
    for level in range(tree.depth):
        rows = true[:, level] >= 0
        if not rows.any():
            continue
        p, t = predicted[rows, level], true[rows, level]
        true_count = np.bincount(t, minlength=len(tree))
        predicted_count = np.bincount(p[p >= 0], minlength=len(tree))
        hits = np.bincount(t[p == t], minlength=len(tree))
        present = true_count > 0
        f1 = 2 * hits[present] / (true_count[present] + predicted_count[present])
        figures[str(level + 1)] = {
            "products": int(rows.sum()),
            "classes": int(present.sum()),
            "accuracy": float((p == t).mean()),
            "macro_f1": float(f1.mean()),
        }
    return figures


def score_slice(pred: np.ndarray, target: np.ndarray, groups: np.ndarray, tree: HasLayout, seed: int) -> dict[str, Any]:
    """{products, unlabelled, hierarchical: {precision, recall, f1, f1_ci} or None if no product is labelled, levels, leaf} of one set of products.

    leaf: {products, accuracy} over the products that are labelled with a leaf, accuracy None without one.
    `pred` is truncated here. Arguments as in `score`.
    """
    labelled = target >= 0
    products = int(labelled.sum())
    result: dict[str, Any] = {
        "products": products,
        "unlabelled": int(len(target) - products),
        "hierarchical": None,
        "levels": {},
        "leaf": _leaf(pred, target, tree.layout.tree),
    }
    if products:
        true = target[labelled]
        cut = truncate(pred[labelled], true, tree)
        sums = ancestor_sums(cut, true, tree)
        result["hierarchical"] = {**hierarchical(sums), "f1_ci": f1_ci(sums, groups[labelled], seed)}
        result["levels"] = per_level(cut, true, tree.layout.tree)
    return result


def _leaf(pred: np.ndarray, target: np.ndarray, tree: Taxonomy) -> dict[str, Any]:
    rows = (target >= 0) & tree.is_leaf[target]
    return {"products": int(rows.sum()), "accuracy": float((pred[rows] == target[rows]).mean()) if rows.any() else None}


def score_by(names: np.ndarray, pred: np.ndarray, target: np.ndarray, groups: np.ndarray, tree: HasLayout, seed: int) -> dict[str, dict[str, Any]]:
    """`score_slice` for each distinct name, in order of names."""
    return {
        str(name): score_slice(pred[names == name], target[names == name], groups[names == name], tree, seed) for name in sorted(set(names.tolist()))
    }


def score(pred: np.ndarray, target: np.ndarray, groups: np.ndarray, platforms: np.ndarray, tree: HasLayout, seed: int) -> dict[str, Any]:
    """All figures of one set of predictions.

    Args:
        pred: int [n], predicted nodes or NO_PATH.
        target: int [n], nodes of the labels; UNLABELLED products are left out and counted.
        groups: [n], near-duplicate groups.
        platforms: str [n].
        seed: of the bootstrap.

    Returns:
        what `score_slice` does, with `by_platform`.

    Raises:
        ContractError: no product is labelled.
    """
    if not (target >= 0).any():
        raise ContractError(
            f"evaluation: none of the {len(target)} products has a label, so there is nothing to score; give a catalog with category labels"
        )
    return {**score_slice(pred, target, groups, tree, seed), "by_platform": score_by(platforms, pred, target, groups, tree, seed)}


def _paths(nodes: np.ndarray, tree: Taxonomy) -> np.ndarray:
    """int32 [n, D]: Taxonomy.path_indices of nodes; -1 all along for -1."""
    return np.where(nodes[:, None] >= 0, tree.path_indices[nodes], -1)
