"""Node logits -> probabilities on the tree -> a path. numpy only, so that the text replica needs no torch; used for every answer of both stages.

Shapes: n products, N categories, D levels. A model gives one logit a category. Softmax runs among siblings, so the logits of level l, seen under the
parent that was picked, are that level's head with the dynamic mask applied; the probability of a path is the product along it.
"""

from collections.abc import Sequence

import numpy as np

from prodcat.taxonomy import Taxonomy


def sibling_log_softmax(logits: np.ndarray, tree: Taxonomy, temperatures: Sequence[float] | None = None) -> np.ndarray:
    """float [n, N] -> float64 [n, N]: log p(category | its parent).

    Args:
        logits: one score a category.
        temperatures: one a level, from calibration; logits of level l are divided by temperatures[l - 1].
    """
    scores = logits.astype(np.float64)
    if temperatures is not None:
        scores = scores / np.asarray(temperatures, dtype=np.float64)[tree.levels - 1]
    starts, groups = tree.sibling_starts, tree.sibling_groups
    scores = scores - np.maximum.reduceat(scores, starts, axis=1)[:, groups]
    totals = np.add.reduceat(np.exp(scores), starts, axis=1)
    return np.asarray(scores - np.log(totals)[:, groups])


def path_log_probabilities(conditional: np.ndarray, tree: Taxonomy) -> np.ndarray:
    """log p(category | parent) [n, N] -> log p(path down to category) [n, N]."""
    joint = conditional.copy()
    for level in tree.level_slices[1:]:
        joint[:, level] += joint[:, tree.parents[level]]
    return joint


def greedy_nodes(conditional: np.ndarray, tree: Taxonomy) -> np.ndarray:
    """Top-down with dynamic masking (the paper's decoder): at each level the best child of the node picked above, down to a leaf.

    Args:
        conditional: log p(category | parent) [n, N].

    Returns:
        int32 [n]: the leaf reached; it may sit at any level.
    """
    nodes = np.full(len(conditional), -1, dtype=np.int32)
    for level in tree.level_slices:
        under = tree.parents[level][None, :] == nodes[:, None]
        scores = np.where(under, conditional[:, level], -np.inf)
        # A node without children keeps what it has: in a ragged tree its path has ended.
        nodes = np.where(under.any(axis=1), level.start + scores.argmax(axis=1), nodes).astype(np.int32)
    return nodes


def best_leaves(joint: np.ndarray, tree: Taxonomy, count: int) -> np.ndarray:
    """log p(path) [n, N] -> int32 [n, min(count, leaves)]: leaves by falling path probability; equal ones in node order."""
    leaves = np.flatnonzero(tree.is_leaf).astype(np.int32)
    order = np.argsort(-joint[:, leaves], axis=1, kind="stable")[:, :count]
    return np.asarray(leaves[order])


def truncate(predicted: np.ndarray, target: np.ndarray, tree: Taxonomy) -> np.ndarray:
    """Predictions cut to the depth at which the label speaks.

    A label at an inner node is null below it: nothing is known there, so a prediction is scored down to that level only. A label at a leaf is whole:
    a prediction that goes on deeper elsewhere is wrong all the way.

    Args:
        predicted, target: int [n] node indices, no -1.
    """
    paths = tree.path_indices[predicted]
    level = np.where(tree.is_leaf[target], tree.levels[predicted], np.minimum(tree.levels[target], tree.levels[predicted]))
    return np.asarray(paths[np.arange(len(predicted)), level - 1])


def hierarchical_counts(predicted: np.ndarray, target: np.ndarray, tree: Taxonomy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three sums of hierarchical precision and recall (Kiritchenko et al. 2006; Silla and Freitas 2011), one row a product.

    Returns:
        int [n] each: categories shared by the two paths, predicted, true; ancestor sets without the root, predictions truncated.
    """
    predicted = truncate(predicted, target, tree)
    paths, labels = tree.path_indices[predicted], tree.path_indices[target]
    return ((paths == labels) & (paths >= 0)).sum(axis=1), tree.levels[predicted], tree.levels[target]
