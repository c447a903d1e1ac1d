"""Temperatures, one a level, that make a stage's confidence believable (Guo et al. 2017, "On Calibration of Modern Neural Networks", per level)."""

import numpy as np
from scipy.optimize import minimize_scalar

from prodcat.decoding import sibling_log_softmax
from prodcat.taxonomy import Taxonomy

# With fewer labelled validation products the optimum is noise: the level keeps temperature 1.
MIN_PRODUCTS = 30


def fit_temperatures(logits: np.ndarray, targets: np.ndarray, tree: Taxonomy) -> tuple[float, ...]:
    """The temperature of each level that minimises the negative log likelihood of the labels among their siblings.

    Args:
        logits: float [n, N] of validation products.
        targets: int [n, D] node indices, -1 where unlabelled.

    Returns:
        D numbers in [0.1, 10]; 1.0 for a level with too few labelled products or without a choice.
    """
    temperatures = [1.0] * tree.depth
    for level, columns in enumerate(tree.level_slices):
        rows = np.flatnonzero(targets[:, level] >= 0)
        nodes = targets[rows, level]
        # A product whose category has no sibling says nothing about this level's confidence.
        siblings = np.bincount(tree.sibling_groups)[tree.sibling_groups[nodes]]
        rows, nodes = rows[siblings > 1], nodes[siblings > 1]
        if len(rows) < MIN_PRODUCTS or columns.stop - columns.start < 2:
            continue

        def loss(log_temperature: float, level: int = level, rows: np.ndarray = rows, nodes: np.ndarray = nodes) -> float:
            trial = [1.0] * tree.depth
            trial[level] = float(np.exp(log_temperature))
            return -float(sibling_log_softmax(logits[rows], tree, trial)[np.arange(len(rows)), nodes].mean())

        found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
        temperatures[level] = float(np.exp(found.x))
    return tuple(temperatures)
