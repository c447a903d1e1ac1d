"""How often a platform's products are of each category, estimated from answers to products nobody has labelled. Knows no model.

Expectation maximisation over the answers' probabilities (Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", 2002): it holds where what a category's products look like is the same on the platform and only their shares differ, and where the
probabilities are calibrated. On the tree, shares are turned into one number a column: the change of log p(category | parent), which is added to the
logits; so a category's siblings, and nothing else, are weighed against each other.

Shapes: n products, N categories, C columns (taxonomy.HeadLayout), E ends.
"""

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.decoding import path_log_probabilities
from prodcat.taxonomy import HeadLayout


class PriorConfig(Config):
    """How far a new platform's shares may go from those that were trained on."""

    iterations: int = Field(50, ge=1, description="steps of expectation maximisation, at most")
    spread: float = Field(
        20.0, gt=0, description="products' worth of the training shares that are added to the platform's: few products change little"
    )
    strength: float = Field(1.0, ge=0, le=1, description="part of the estimated change that is applied; 0: none")


def reestimate(joint: np.ndarray, source: np.ndarray, layout: HeadLayout, config: PriorConfig) -> np.ndarray:
    """Shares of the ends on the platform.

    Args:
        joint: float [n, C], log p(path down to a category, or that it stops there), as decoding.decode gives it.
        source: float [E], shares that the probabilities were trained under, in the order of layout.ends; add up to 1.

    Returns:
        float64 [E], add up to 1.
    """
    answered = np.exp(joint[:, layout.ends].astype(np.float64))
    answered /= np.maximum(answered.sum(axis=1, keepdims=True), 1e-300)
    floor = np.maximum(source, 1e-9)
    shares = floor / floor.sum()
    for _ in range(config.iterations):
        weighed = answered * (shares / floor)
        weighed /= np.maximum(weighed.sum(axis=1, keepdims=True), 1e-300)
        renewed = (weighed.sum(axis=0) + config.spread * floor) / (len(answered) + config.spread * floor.sum())
        moved = np.abs(renewed - shares).sum()
        shares = renewed
        if moved < 1e-6:
            break
    return shares / shares.sum()


def even_shares(layout: HeadLayout) -> np.ndarray:
    """float64 [E]: every category as likely as its siblings, which is what training with logit adjustment aims at."""
    within = np.zeros(len(layout)) - np.log(np.bincount(layout.groups))[layout.groups]
    return _ends(within, layout)


def shares_of(nodes: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """float64 [E] shares of the ends among labelled products. One labelled above an end counts for what lies below as its siblings are shared out.

    Args:
        nodes: int [n], the deepest labelled category of each.
    """
    tree = layout.tree
    mass = np.zeros(len(layout))
    for path in tree.path_indices[nodes].T:
        np.add.at(mass, path[path >= 0], 1.0)
    stopped = np.bincount(nodes, minlength=len(tree))
    mass[len(tree) :] = stopped[list(layout.stops)]
    # One more of each: a category nobody sells here is unlikely and not impossible.
    mass += 1.0
    total = np.bincount(layout.groups, weights=mass)
    return _ends(np.log(mass / total[layout.groups]), layout)


def _ends(within: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """float [C] log p(column | parent) -> float64 [E] shares of the ends."""
    joint = path_log_probabilities(within[None, :], layout)[0]
    return np.asarray(np.exp(joint[layout.ends]))


def shift(target: np.ndarray, source: np.ndarray, layout: HeadLayout, strength: float = 1.0) -> np.ndarray:
    """What the change of the ends' shares adds to each column's logit: float32 [C].

    Args:
        target, source: float [E], in the order of layout.ends.
    """
    columns = [_within(shares, layout) for shares in (target, source)]
    return np.asarray(strength * (columns[0] - columns[1]), dtype=np.float32)


def _within(shares: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """float [E] shares of the ends -> float [C] log of each column's share of its siblings'."""
    mass = np.zeros(len(layout))
    mass[layout.ends] = np.maximum(shares, 1e-9)
    parents, levels = layout.parents, layout.levels
    for level in range(int(levels.max()), 1, -1):
        here = np.flatnonzero(levels == level)
        np.add.at(mass, parents[here], mass[here])
    total = np.bincount(layout.groups, weights=mass)
    found: np.ndarray = np.log(mass / total[layout.groups])
    return found
