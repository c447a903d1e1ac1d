"""When stage one may answer: a threshold on its calibrated confidence, chosen on validation products, with the whole curve kept as evidence."""

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.decoding import hierarchical_counts
from prodcat.taxonomy import HasLayout


class GateConfig(Config):
    """What the gate must keep."""

    tolerance: float = Field(
        0.0005, ge=0, description="hierarchical F1 that the cascade may lose on validation against sending everything to stage two"
    )


class GatePoint(Config):
    """One threshold on the curve, measured on validation products."""

    threshold: float
    hierarchical_f1: float
    stage_two_share: float


class Gate(Config):
    """Stage one answers when its confidence is above `threshold`; 1.0 sends everything to stage two."""

    threshold: float = Field(1.0, ge=0, le=1)
    curve: tuple[GatePoint, ...] = ()
    validation_products: int = 0

    def sure(self, confidence: np.ndarray) -> np.ndarray:
        """float [n] -> bool [n]."""
        return np.asarray(confidence > self.threshold)


def choose_gate(
    confidence: np.ndarray, stage_one: np.ndarray, stage_two: np.ndarray, targets: np.ndarray, tree: HasLayout, config: GateConfig
) -> Gate:
    """The lowest threshold whose cascade stays within the tolerance of stage two alone, on validation products.

    Args:
        confidence: float [n], stage one's in its whole answer; -inf for products it cannot read.
        stage_one, stage_two: int [n], node each stage answers.
        targets: int [n], label node (deepest labelled).
    """
    if len(targets) == 0:
        return Gate()
    readable = confidence[np.isfinite(confidence)]
    # Quantiles, not a grid: nearly all confidences lie near 1, and that is where the choice is made.
    levels = np.unique(np.concatenate([[0.0], np.quantile(readable, np.linspace(0, 1, 201)) if len(readable) else [], [1.0]]))
    layout = tree.layout
    points = []
    for threshold in levels:
        sure = confidence > threshold
        overlap, predicted, true = hierarchical_counts(np.where(sure, stage_one, stage_two), targets, layout.tree, layout.may_end)
        f1 = 2 * overlap.sum() / (predicted.sum() + true.sum())
        points.append(GatePoint(threshold=float(threshold), hierarchical_f1=float(f1), stage_two_share=float(1 - sure.mean())))
    floor = points[-1].hierarchical_f1 - config.tolerance
    # Every higher threshold must hold too: a dip further up would say that the low one passed by luck.
    chosen = len(points) - 1
    while chosen > 0 and points[chosen - 1].hierarchical_f1 >= floor:
        chosen -= 1
    return Gate(threshold=points[chosen].threshold, curve=tuple(points), validation_products=len(targets))
