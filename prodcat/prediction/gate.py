"""When stage one may answer: a threshold on its calibrated confidence, one for all products or one a platform, chosen on validation products by what
may be lost or by what may be paid, with the whole curve of thresholds kept as evidence. Knows no model.

    tolerance   the lowest threshold that loses no more hierarchical F1 than this against sending everything to stage two
    max_cost    the best hierarchical F1 that can be had for this, per 1,000 products
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from prodcat.config import Config
from prodcat.contracts import UNNAMED
from prodcat.decoding import hierarchical_counts
from prodcat.errors import TrainingError
from prodcat.taxonomy import HasLayout

QUANTILES = 201
# Points that a bundle keeps of a curve. It is read with every start of a replica, and a catalog may have a hundred platforms.
KEPT, KEPT_BY_PLATFORM = 200, 50


class GatePrices(Config):
    """What the stages cost. The defaults are examples: put in your own, in whatever currency."""

    stage_one: float = Field(
        0.002, ge=0, allow_inf_nan=False, description="cost of 1,000 products read by stage one, in whatever currency; it reads every product"
    )
    stage_two: float = Field(
        0.05, ge=0, allow_inf_nan=False, description="cost of 1,000 products read by stage two, in the same; it reads what is sent on"
    )

    def cost(self, stage_two_share: float) -> float:
        """Of 1,000 products."""
        return self.stage_one + self.stage_two * stage_two_share


class GateConfig(Config):
    """What the gate must keep: quality, or a budget."""

    tolerance: float = Field(
        0.0005,
        ge=0,
        description="hierarchical F1 that the cascade may lose on validation against sending everything to stage two; unused where max_cost is given",
    )
    masked_tolerance: float = Field(
        0.005,
        ge=0,
        description="the same for validation titles without category words, where masked_titles has stage two learn from such: what is asked of "
        "titles as other shops write them, at the price of a larger share to stage two. Under max_cost it is held as nearly as that allows",
    )
    max_cost: float | None = Field(
        None,
        allow_inf_nan=False,
        description="instead of tolerance: the most that 1,000 validation products may cost by `prices`; the best hierarchical F1 to be had for it "
        "is chosen. With per_platform each platform that has its own threshold keeps to it by itself",
    )
    prices: GatePrices = GatePrices()
    per_platform: bool = Field(False, description="choose a threshold for each platform by itself, by the same rule")
    unknown_platforms: Literal["stage_two", "stage_one"] = Field(
        "stage_two",
        description="products that name a platform none was trained on. stage_two: all of them, for stage one has learned how its own shops write "
        "and is as sure of others; stage_one: by the common threshold. A product that names no platform is gated by that in any case",
    )
    min_platform_products: int = Field(
        200, ge=1, description="labelled validation products a platform needs for a threshold of its own; with fewer it uses that of all products"
    )

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        # Now, and not hours later when the gate is chosen.
        if self.max_cost is not None and _beyond(self.prices.stage_one, self.max_cost):
            raise ValueError(
                f"max_cost {self.max_cost:g} is below {self.prices.stage_one:g}, the least possible cost: stage one reads every product "
                "(prices.stage_one); give at least that"
            )
        return self


class GateOutcome(Config):
    """What the cascade does to validation products.

    Args:
        stage_two_share: 0 to 1.
        cost: of 1,000 products.
    """

    hierarchical_f1: float
    stage_two_share: float
    cost: float


class GatePoint(GateOutcome):
    """One threshold on the curve, measured on validation products."""

    threshold: float


class PlatformGate(Config):
    """A platform's own threshold, and the curve of its own validation products."""

    threshold: float = Field(ge=0, le=1)
    curve: tuple[GatePoint, ...] = ()
    validation_products: int = 0

    @property
    def chosen(self) -> GatePoint | None:
        """The point of the curve at the threshold; None without a curve."""
        return _nearest(self.curve, self.threshold)


class Gate(Config):
    """Stage one answers when its confidence is above the threshold of the product's platform; 1.0 sends everything to stage two.

    Args:
        threshold: of products whose platform has none of its own.
        curve: of all validation products, as if all had one threshold.
        outcome: of all validation products, each under its own threshold; None if there were none.
        prices: that costs were counted with.
        known: the platforms that were trained on, where products of others all go to stage two; None: they do not.
    """

    threshold: float = Field(1.0, ge=0, le=1)
    curve: tuple[GatePoint, ...] = ()
    masked_curve: tuple[GatePoint, ...] = Field((), description="the same thresholds on validation titles without category words")
    validation_products: int = 0
    platforms: dict[str, PlatformGate] = Field({}, description="thresholds of the platforms that have one of their own, by name")
    outcome: GateOutcome | None = None
    prices: GatePrices = GatePrices()
    known: tuple[str, ...] | None = None

    @property
    def chosen(self) -> GatePoint | None:
        """The point of the common curve at the common threshold; None without a curve."""
        return _nearest(self.curve, self.threshold)

    @property
    def chosen_masked(self) -> GatePoint | None:
        """The same, of titles without category words."""
        return _nearest(self.masked_curve, self.threshold)

    def foreign(self, platform: str) -> bool:
        """Whether the platform is named, and none that was trained on, and such products are treated by themselves."""
        return self.known is not None and platform != UNNAMED and platform not in self.known

    def threshold_of(self, platform: str) -> float:
        if self.foreign(platform):
            return 1.0
        own = self.platforms.get(platform)
        return self.threshold if own is None else own.threshold

    def sure(self, confidence: np.ndarray, platforms: Sequence[str] | np.ndarray | None = None) -> np.ndarray:
        """float [n], names [n] -> bool [n]; without names the common threshold is everybody's."""
        if platforms is None or not (self.platforms or self.known is not None):
            return np.asarray(confidence > self.threshold)
        thresholds = np.array([self.threshold_of(platform) for platform in platforms], dtype=np.float64)
        return np.asarray(confidence > thresholds)


@dataclass(frozen=True)
class Answered:
    """What both stages answer to the same n validation products.

    Args:
        confidence: float [n], stage one's in its whole answer; -inf for products it cannot read.
        stage_one, stage_two: int [n], node each stage answers.
        targets: int [n], label node (deepest labelled).
        platforms: [n] names; None where nobody asks by platform.
    """

    confidence: np.ndarray
    stage_one: np.ndarray
    stage_two: np.ndarray
    targets: np.ndarray
    platforms: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)


def choose_gate(whole: Answered, tree: HasLayout, config: GateConfig, masked: Answered | None = None) -> Gate:
    """Thresholds by `config`, on validation products; on `masked` as well, if given.

    By quality: the lowest threshold whose cascade stays within the tolerance of stage two alone. By cost: of the thresholds that keep to it, the one
    that comes nearest to the masked tolerance, then the best F1, then the cheapest; cost is counted on `whole` alone, for titles come as they are.

    Args:
        masked: the same products, or some of them, under titles without category words.

    Raises:
        TrainingError: more must go to stage two than max_cost pays for, because stage one cannot read it.
    """
    if len(whole) == 0:
        return Gate(prices=config.prices)
    judged = _Judged.of(whole, tree)
    judged_masked = _Judged.of(masked, tree) if masked is not None and len(masked) else None
    threshold, curve, masked_curve = _choose(judged, judged_masked, config, "")
    gate = Gate(
        threshold=threshold,
        curve=_thinned(curve, threshold, KEPT),
        masked_curve=_thinned(masked_curve, threshold, KEPT),
        validation_products=len(whole),
        platforms=_by_platform(judged, judged_masked, config) if config.per_platform else {},
        prices=config.prices,
    )
    return gate.model_copy(update={"outcome": GateOutcome(**judged.outcome(gate.sure(judged.confidence, judged.platforms), config.prices))})


@dataclass(frozen=True)
class _Judged:
    """`Answered`, each answer compared with its label once and not once a threshold.

    Args:
        one, two: int [3, n]: categories that the stage's answer shares with the label, answered, labelled (hierarchical_counts).
    """

    confidence: np.ndarray
    one: np.ndarray
    two: np.ndarray
    platforms: np.ndarray | None

    @classmethod
    def of(cls, part: Answered, tree: HasLayout) -> Self:
        layout = tree.layout
        one, two = (np.stack(hierarchical_counts(nodes, part.targets, layout.tree, layout.may_end)) for nodes in (part.stage_one, part.stage_two))
        return cls(part.confidence, one, two, None if part.platforms is None else np.asarray(part.platforms))

    def __len__(self) -> int:
        return len(self.confidence)

    def on(self, platform: str) -> Self:
        """The products of a platform."""
        rows = np.flatnonzero(np.zeros(len(self), dtype=bool) if self.platforms is None else self.platforms == platform)
        return type(self)(self.confidence[rows], self.one[:, rows], self.two[:, rows], None)

    def outcome(self, sure: np.ndarray, prices: GatePrices) -> dict[str, float]:
        """bool [n] -> the fields of GateOutcome, if stage one answers these products and stage two the others."""
        shared, answered, labelled = np.where(sure, self.one, self.two).sum(axis=1)
        share = float(1 - sure.mean())
        return {"hierarchical_f1": float(2 * shared / (answered + labelled)), "stage_two_share": share, "cost": prices.cost(share)}


def _by_platform(whole: _Judged, masked: _Judged | None, config: GateConfig) -> dict[str, PlatformGate]:
    names, counts = np.unique(np.array([]) if whole.platforms is None else whole.platforms, return_counts=True)
    gates = {}
    for name in names[counts >= config.min_platform_products].tolist():
        own, own_masked = whole.on(name), None
        if masked is not None:
            # A few masked titles prove nothing, and none at all would drop the promise: then those of all platforms stand in.
            own_masked = masked.on(name)
            own_masked = own_masked if len(own_masked) >= config.min_platform_products else masked
        threshold, curve, _ = _choose(own, own_masked, config, f" of platform {name!r}")
        gates[name] = PlatformGate(threshold=threshold, curve=_thinned(curve, threshold, KEPT_BY_PLATFORM), validation_products=len(own))
    return gates


def _choose(whole: _Judged, masked: _Judged | None, config: GateConfig, of: str) -> tuple[float, tuple[GatePoint, ...], tuple[GatePoint, ...]]:
    """The threshold, and the curve of each part on the same thresholds. `of` says in errors whose products these are."""
    seen = [whole] if masked is None else [whole, masked]
    # Quantiles, not a grid: nearly all confidences lie near 1, and that is where the choice is made.
    quantiles = [np.quantile(found, np.linspace(0, 1, QUANTILES)) for part in seen if len(found := part.confidence[np.isfinite(part.confidence)])]
    levels = np.unique(np.concatenate([[0.0], *quantiles, [1.0]]))
    curves = [_curve(part, levels, config.prices) for part in seen]
    if config.max_cost is None:
        chosen = max(_lowest(curve, allowed) for curve, allowed in zip(curves, (config.tolerance, config.masked_tolerance), strict=False))
    else:
        chosen = _best_for(config.max_cost, curves[0], curves[1] if masked is not None else None, config.masked_tolerance, of)
    return curves[0][chosen].threshold, curves[0], curves[1] if masked is not None else ()


def _curve(part: _Judged, levels: np.ndarray, prices: GatePrices) -> tuple[GatePoint, ...]:
    return tuple(GatePoint(threshold=float(level), **part.outcome(part.confidence > level, prices)) for level in levels)


def _lowest(curve: tuple[GatePoint, ...], tolerance: float) -> int:
    floor = curve[-1].hierarchical_f1 - tolerance
    # Every higher threshold must hold too: a dip further up would say that the low one passed by luck.
    chosen = len(curve) - 1
    while chosen > 0 and curve[chosen - 1].hierarchical_f1 >= floor:
        chosen -= 1
    return chosen


def _best_for(max_cost: float, curve: tuple[GatePoint, ...], masked: tuple[GatePoint, ...] | None, masked_tolerance: float, of: str) -> int:
    # The higher the threshold, the more goes to stage two: what can be paid for is where the curve begins.
    affordable = [place for place, point in enumerate(curve) if not _beyond(point.cost, max_cost)]
    if not affordable:
        least = curve[0]
        raise TrainingError(
            f"gate.max_cost {max_cost:g}: {least.stage_two_share:.1%} of the validation products{of} must go to stage two, for stage one cannot read "
            f"them, so the least possible cost is {least.cost:g}; give at least that{', or set gate.per_platform to false' if of else ''}"
        )
    missing = np.zeros(len(curve))
    if masked is not None:
        short = np.maximum(masked[-1].hierarchical_f1 - masked_tolerance - np.array([point.hierarchical_f1 for point in masked]), 0.0)
        # As in _lowest: what is missing at a higher threshold counts for the lower ones, too.
        missing = np.maximum.accumulate(short[::-1])[::-1]
    return min(affordable, key=lambda place: (missing[place], -curve[place].hierarchical_f1, curve[place].cost))


def _beyond(cost: float, max_cost: float) -> bool:
    # A cost worked out by hand is to fit exactly, in floating point as well.
    return cost > max_cost + 1e-9 * abs(max_cost)


def _thinned(curve: tuple[GatePoint, ...], threshold: float, points: int) -> tuple[GatePoint, ...]:
    """At most so many of its points, evenly: with the first, the last and the one at the threshold."""
    if len(curve) <= points:
        return curve
    places = set(np.linspace(0, len(curve) - 1, points - 1).round().astype(int).tolist())
    return tuple(point for place, point in enumerate(curve) if place in places or point.threshold == threshold)


def _nearest(curve: tuple[GatePoint, ...], threshold: float) -> GatePoint | None:
    return min(curve, key=lambda point: abs(point.threshold - threshold), default=None)
