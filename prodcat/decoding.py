"""Node logits -> probabilities on the tree -> a path. numpy only, so that the text replica needs no torch; used for every answer of both stages.

Shapes: n products, N categories, C columns (taxonomy.HeadLayout: the categories, then the stops; without stops C = N), D levels. A model gives one
logit a column. A function that takes `tree` takes a Taxonomy or a HeadLayout: what the logits have the columns of.

Three decoders, by what the probabilities are made of and how a path is picked:

    greedy  softmax among siblings; top-down with dynamic masking: the best child of the category picked above (the paper's)
    joint   softmax among siblings; the end with the largest product along its path
    flat    one softmax over all ends, an end's score being the sum of the logits along its path; categories above have the sum of what lies below
            them. Ours: a plain flat classifier has scores of its own for leaves only; summed scores let a rare leaf lean on its ancestors

Each gives the path of a category that may end (a leaf, or one with a stop), whatever the logits. Flat wants logits that were trained flat
(model/losses.py follows the decoder); any logits can be decoded by any decoder, to compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.taxonomy import HasLayout, HeadLayout, Taxonomy

DecoderName = Literal["greedy", "joint", "flat"]


class HierarchyConfig(Config):
    """How both stages stand on the tree. Kept in the bundle; a change trains both stages anew."""

    decoder: DecoderName = Field("greedy", description="how logits become a path; flat is trained otherwise, see decoding.py")
    stop: Literal["off", "labelled"] = Field(
        "off",
        description="what a label at an inner category says. off: nothing is known below, it trains the levels it has and answers go on to a leaf; "
        "labelled: the product belongs there, and answers may end there too",
    )


@dataclass(frozen=True)
class Decoded:
    """Answers of n products.

    Args:
        nodes: int32 [n]: the category each path ends at.
        ends: int32 [n]: the column it ends in: the category's, or its stop's.
        joint: float64 [n, C]: log p(path down to a category), for a stop log p(path ends there).
    """

    nodes: np.ndarray
    ends: np.ndarray
    joint: np.ndarray


def decode(logits: np.ndarray, tree: HasLayout, decoder: DecoderName = "greedy", temperatures: Sequence[float] | None = None) -> Decoded:
    """float [n, C] -> answers; arguments as for `log_conditionals`."""
    layout = tree.layout
    conditional = log_conditionals(logits, layout, decoder, temperatures)
    joint = path_log_probabilities(conditional, layout)
    ends = greedy_ends(conditional, layout) if decoder == "greedy" else best_ends(joint, layout, 1)[:, 0]
    return Decoded(layout.nodes[ends], ends, joint)


def log_conditionals(logits: np.ndarray, tree: HasLayout, decoder: DecoderName = "greedy", temperatures: Sequence[float] | None = None) -> np.ndarray:
    """float [n, C] -> float64 [n, C]: log p(category | its parent) under the decoder's softmax.

    Args:
        logits: one finite score a column.
        temperatures: one a level, from calibration; logits of level l are divided by temperatures[l - 1].
    """
    layout = tree.layout
    scores = logits.astype(np.float64)
    if temperatures is not None:
        scores = scores / np.asarray(temperatures, dtype=np.float64)[layout.levels - 1]
    if decoder == "flat":
        # With log-sums of what lies below added to each category, one softmax over all ends falls apart into one among siblings.
        for inner in layout.inner_levels:
            scores[:, inner] += _group_log_sums(scores, layout)[:, layout.child_groups[inner]]
    return np.asarray(scores - _group_log_sums(scores, layout)[:, layout.groups])


def sibling_log_softmax(logits: np.ndarray, tree: HasLayout, temperatures: Sequence[float] | None = None) -> np.ndarray:
    """`log_conditionals` of the greedy and the joint decoder: logits of level l, seen under the parent that was picked, are that level's head with
    the dynamic mask applied."""
    return log_conditionals(logits, tree, "greedy", temperatures)


def path_log_probabilities(conditional: np.ndarray, tree: HasLayout) -> np.ndarray:
    """log p(category | parent) [n, C] -> log p(path down to category) [n, C]."""
    layout = tree.layout
    joint = conditional.copy()
    for columns in layout.level_columns[1:]:
        joint[:, columns] += joint[:, layout.parents[columns]]
    return joint


def averaged(logits: Sequence[np.ndarray], tree: HasLayout, decoder: DecoderName = "greedy") -> np.ndarray:
    """Several readings of the same products -> one, by the mean of their paths' probabilities: float [n, C] each -> float32 [n, C].

    Unlike the mean of logits, a reading that is sure outweighs one that has no idea. What comes out is log p(category | its parent), which
    every decoder reads as logits.
    """
    layout = tree.layout
    joint = np.stack([path_log_probabilities(log_conditionals(each, layout, decoder), layout) for each in logits])
    mean = np.logaddexp.reduce(joint, axis=0) - np.log(len(joint))
    above = np.where(layout.parents >= 0, mean[:, layout.parents], 0.0)
    return np.asarray((mean - above).astype(np.float32))


def greedy_ends(conditional: np.ndarray, tree: HasLayout) -> np.ndarray:
    """Top-down with dynamic masking (the paper's decoder): at each level the best child of the category picked above, until a leaf or a stop.

    Args:
        conditional: log p(category | parent) [n, C].

    Returns:
        int32 [n]: the column the path ends in.
    """
    layout = tree.layout
    picked = np.full(len(conditional), -1, dtype=np.int32)
    for columns in layout.level_columns:
        under = layout.parents[columns][None, :] == picked[:, None]
        scores = np.where(under, conditional[:, columns], -np.inf)
        # A leaf and a stop have nothing under them: in a ragged tree their path has ended.
        picked = np.where(under.any(axis=1), columns[scores.argmax(axis=1)], picked).astype(np.int32)
    return picked


def greedy_nodes(conditional: np.ndarray, tree: HasLayout) -> np.ndarray:
    """int32 [n]: the categories at which the paths of `greedy_ends` end."""
    return np.asarray(tree.layout.nodes[greedy_ends(conditional, tree)])


def best_ends(joint: np.ndarray, tree: HasLayout, count: int) -> np.ndarray:
    """log p(path) [n, C] -> int32 [n, min(count, E)]: the columns in which a path may end, by falling probability; equal ones in column order."""
    ends = tree.layout.ends
    order = np.argsort(-joint[:, ends], axis=1, kind="stable")[:, :count]
    return np.asarray(ends[order])


def truncate(predicted: np.ndarray, target: np.ndarray, tree: Taxonomy, whole: np.ndarray | None = None) -> np.ndarray:
    """Predictions cut to the depth at which the label speaks.

    A label at an inner node is null below it: nothing is known there, so a prediction is scored down to that level only. A label that is whole is
    another matter: a prediction that goes on deeper is wrong there.

    Args:
        predicted, target: int [n] node indices, no -1.
        whole: bool [N]: the categories at which a label says all there is (HeadLayout.may_end); leaves by default.
    """
    paths = tree.path_indices[predicted]
    whole = tree.is_leaf if whole is None else whole
    level = np.where(whole[target], tree.levels[predicted], np.minimum(tree.levels[target], tree.levels[predicted]))
    return np.asarray(paths[np.arange(len(predicted)), level - 1])


def hierarchical_counts(
    predicted: np.ndarray, target: np.ndarray, tree: Taxonomy, whole: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three sums of hierarchical precision and recall (Kiritchenko et al. 2006; Silla and Freitas 2011), one row a product.

    Returns:
        int [n] each: categories shared by the two paths, predicted, true; ancestor sets without the root, predictions truncated.
    """
    predicted = truncate(predicted, target, tree, whole)
    paths, labels = tree.path_indices[predicted], tree.path_indices[target]
    return ((paths == labels) & (paths >= 0)).sum(axis=1), tree.levels[predicted], tree.levels[target]


def _group_log_sums(scores: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """float64 [n, C] -> [n, G]: log of the summed exponentials of each group of siblings."""
    ordered = scores[:, layout.order]
    highest = np.maximum.reduceat(ordered, layout.starts, axis=1)
    shifted = np.exp(ordered - highest[:, layout.groups[layout.order]])
    return np.asarray(highest + np.log(np.add.reduceat(shifted, layout.starts, axis=1)))
