"""When stage one may answer: a threshold on its calibrated confidence, chosen on validation products, with the whole curve kept as evidence."""

from dataclasses import dataclass

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
    masked_tolerance: float = Field(
        0.005,
        ge=0,
        description="the same for validation titles without category words, where masked_titles has stage two learn from such: what is asked of "
        "titles as other shops write them, at the price of a larger share to stage two",
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
    masked_curve: tuple[GatePoint, ...] = Field((), description="the same thresholds on validation titles without category words")
    validation_products: int = 0

    def sure(self, confidence: np.ndarray) -> np.ndarray:
        """float [n] -> bool [n]."""
        return np.asarray(confidence > self.threshold)


@dataclass(frozen=True)
class Answered:
    """What both stages answer to the same n validation products.

    Args:
        confidence: float [n], stage one's in its whole answer; -inf for products it cannot read.
        stage_one, stage_two: int [n], node each stage answers.
        targets: int [n], label node (deepest labelled).
    """

    confidence: np.ndarray
    stage_one: np.ndarray
    stage_two: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


def choose_gate(whole: Answered, tree: HasLayout, config: GateConfig, masked: Answered | None = None) -> Gate:
    """The lowest threshold whose cascade stays within the tolerance of stage two alone, on validation products; on `masked` as well, if given.

    Args:
        masked: the same products, or some of them, under titles without category words.
    """
    if len(whole) == 0:
        return Gate()
    seen = [whole] if masked is None or len(masked) == 0 else [whole, masked]
    # Quantiles, not a grid: nearly all confidences lie near 1, and that is where the choice is made.
    quantiles = [np.quantile(readable, np.linspace(0, 1, 201)) for part in seen if len(readable := part.confidence[np.isfinite(part.confidence)])]
    levels = np.unique(np.concatenate([[0.0], *quantiles, [1.0]]))
    curves = [_curve(part, levels, tree) for part in seen]
    chosen = max(_lowest(curve, allowed) for curve, allowed in zip(curves, (config.tolerance, config.masked_tolerance), strict=False))
    return Gate(
        threshold=curves[0][chosen].threshold, curve=curves[0], masked_curve=curves[1] if len(curves) > 1 else (), validation_products=len(whole)
    )


def _curve(part: Answered, levels: np.ndarray, tree: HasLayout) -> tuple[GatePoint, ...]:
    layout = tree.layout
    points = []
    for threshold in levels:
        sure = part.confidence > threshold
        nodes = np.where(sure, part.stage_one, part.stage_two)
        overlap, predicted, true = hierarchical_counts(nodes, part.targets, layout.tree, layout.may_end)
        f1 = 2 * overlap.sum() / (predicted.sum() + true.sum())
        points.append(GatePoint(threshold=float(threshold), hierarchical_f1=float(f1), stage_two_share=float(1 - sure.mean())))
    return tuple(points)


def _lowest(curve: tuple[GatePoint, ...], tolerance: float) -> int:
    floor = curve[-1].hierarchical_f1 - tolerance
    # Every higher threshold must hold too: a dip further up would say that the low one passed by luck.
    chosen = len(curve) - 1
    while chosen > 0 and curve[chosen - 1].hierarchical_f1 >= floor:
        chosen -= 1
    return chosen
