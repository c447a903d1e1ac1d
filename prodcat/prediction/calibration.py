"""What makes a stage's confidence believable: temperatures, one a level (Guo et al. 2017, "On Calibration of Modern Neural Networks"), and where they
are not enough a monotone curve a level over them (isotonic regression, Zadrozny and Elkan 2002). Fitted on validation products; kept in the bundle as
plain numbers. Reading a bundle needs numpy alone: scipy and scikit-learn are loaded where something is fitted.

Shapes: n products, C columns of logits (taxonomy.HeadLayout), D levels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.decoding import Decoded, DecoderName, decode, log_conditionals, path_log_probabilities
from prodcat.taxonomy import HasLayout, HeadLayout

# With fewer labelled validation products the optimum is noise: the level keeps temperature 1, and no curve.
MIN_PRODUCTS = 30
MIN_PRODUCTS_CURVE = 200
# Share of the uncalibrated probability in a curve's answer: products that isotonic regression puts into one block keep their order, which the gate
# and back-off need; it moves a confidence by less than a hundredth of what calibration moved it.
KEPT = 0.01


class CalibrationConfig(Config):
    """How confidences are calibrated."""

    method: Literal["none", "temperature", "isotonic"] = Field(
        "temperature", description="isotonic: a curve a level over the temperatures, for validation sets of a thousand products or more"
    )


class Curve(Config):
    """A map of path probabilities to confidences: straight between its points, level beyond them. Both coordinates rise."""

    given: tuple[float, ...]
    found: tuple[float, ...]

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        return np.asarray((1 - KEPT) * np.interp(probability, self.given, self.found) + KEPT * probability)


class Calibration(Config):
    """One stage's.

    Args:
        temperatures: D numbers; logits of level l are divided by temperatures[l - 1].
        curves: D, or none at all; None for a level without.
    """

    temperatures: tuple[float, ...]
    curves: tuple[Curve | None, ...] = ()

    def read(self, logits: np.ndarray, tree: HasLayout, decoder: DecoderName = "greedy", foreign: np.ndarray | None = None) -> "Reading":
        """float [n, C] -> answers with their confidences; the only way from logits to confidences, in fitting and in answering.

        Args:
            foreign: bool [n], products of platforms that nothing was fitted on. Temperatures sharpen what is nearly always right on known platforms;
                there it is right less often, and sharpened it would be surer and, decoded jointly, worse. Their logits are taken as they are.
        """
        layout = tree.layout
        if foreign is not None and foreign.any():
            logits = np.where(foreign[:, None], logits * self.by_column(layout), logits)
        decoded = decode(logits, layout, decoder, self.temperatures)
        # min: rounding may carry a certain path a hair above 1.
        confidences = np.minimum(np.exp(decoded.joint), 1.0)
        if any(curve is not None for curve in self.curves):
            for level, columns in enumerate(layout.level_columns):
                curve = self.curves[level]
                if curve is not None:
                    confidences[:, columns] = curve(confidences[:, columns])
                if level:
                    # Each level has its own curve, but a path is never likelier than its beginning.
                    confidences[:, columns] = np.minimum(confidences[:, columns], confidences[:, layout.parents[columns]])
        return Reading(layout, decoded, confidences)

    def by_column(self, layout: HeadLayout) -> np.ndarray:
        """float32 [C]: what each column's logits are divided by."""
        return np.asarray(self.temperatures, dtype=np.float32)[layout.levels - 1]


@dataclass(frozen=True)
class Reading:
    """Answers of n products with calibrated confidences.

    Args:
        confidences: float64 [n, C] in [0, 1]: of the path down to each category, for a stop of the path that ends there; never rising on a path.
    """

    layout: HeadLayout
    decoded: Decoded
    confidences: np.ndarray

    @property
    def nodes(self) -> np.ndarray:
        """int32 [n]: the category each path ends at."""
        return self.decoded.nodes

    @property
    def whole(self) -> np.ndarray:
        """float64 [n]: confidence that the whole answer is right: this path, ending here."""
        return np.asarray(self.confidences[np.arange(len(self.confidences)), self.decoded.ends])

    @property
    def along(self) -> np.ndarray:
        """float64 [n, D]: confidence of the path down to each of its levels; NaN below its end."""
        paths = self.layout.tree.path_indices[self.nodes]
        return np.where(paths >= 0, np.take_along_axis(self.confidences, np.maximum(paths, 0), axis=1), np.nan)


def fit_calibration(
    logits: np.ndarray, targets: np.ndarray, tree: HasLayout, decoder: DecoderName = "greedy", config: CalibrationConfig | None = None
) -> Calibration:
    """
    Args:
        logits: float [n, C] of validation products.
        targets: int [n, D] columns (HeadLayout.end_targets), -1 where unlabelled.
    """
    layout, method = tree.layout, (config or CalibrationConfig()).method
    if method == "none":
        return Calibration(temperatures=(1.0,) * layout.tree.depth)
    temperatures = fit_temperatures(logits, targets, layout, decoder)
    if method == "temperature":
        return Calibration(temperatures=temperatures)
    joint = path_log_probabilities(log_conditionals(logits, layout, decoder, temperatures), layout)
    return Calibration(temperatures=temperatures, curves=_fit_curves(np.minimum(np.exp(joint), 1.0), targets, layout))


def fit_temperatures(logits: np.ndarray, targets: np.ndarray, tree: HasLayout, decoder: DecoderName = "greedy") -> tuple[float, ...]:
    """The temperature of each level that minimises the negative log likelihood of the labels among their siblings.

    Flat has one softmax, hence one temperature for all levels. Arguments as for `fit_calibration`.

    Returns:
        D numbers in [0.1, 10]; 1.0 for a level with too few labelled products or without a choice.
    """
    # Here and not above: whoever only reads a bundle needs no scipy.
    from scipy.optimize import minimize_scalar

    layout = tree.layout
    depth = layout.tree.depth
    temperatures = [1.0] * depth
    sizes = np.bincount(layout.groups)
    # A product whose category has no sibling says nothing about this level's confidence.
    speaks = (targets >= 0) & (sizes[layout.groups[np.maximum(targets, 0)]] > 1)
    for levels in [list(range(depth))] if decoder == "flat" else [[level] for level in range(depth)]:
        rows = np.flatnonzero(speaks[:, levels].any(axis=1))
        if len(rows) < MIN_PRODUCTS:
            continue

        def loss(log_temperature: float, levels: list[int] = levels, rows: np.ndarray = rows) -> float:
            trial = [float(np.exp(log_temperature)) if level in levels else 1.0 for level in range(depth)]
            conditional = log_conditionals(logits[rows], layout, decoder, trial)
            picked = np.take_along_axis(conditional, np.maximum(targets[rows][:, levels], 0), axis=1)
            return -float((picked * speaks[rows][:, levels]).sum() / len(rows))

        found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
        for level in levels:
            temperatures[level] = float(np.exp(found.x))
    return tuple(temperatures)


def whole_labels(targets: np.ndarray, tree: HasLayout) -> np.ndarray:
    """bool [n]: labels that say all there is to say: they end at a leaf or at a stop. Only they can judge a whole answer."""
    return np.asarray(np.isin(targets, tree.layout.ends).any(axis=1))


def _fit_curves(probability: np.ndarray, targets: np.ndarray, layout: HeadLayout) -> tuple[Curve | None, ...]:
    """Each level's over all its categories together, so that the small probabilities of alternatives are calibrated as the large ones are."""
    # Here and not above: whoever only reads a bundle needs no scikit-learn.
    from sklearn.isotonic import IsotonicRegression

    ended = whole_labels(targets, layout)
    curves: list[Curve | None] = []
    for level, columns in enumerate(layout.level_columns):
        # A label that has ended above says no to everything on this level; one that stops being known says nothing.
        rows = np.flatnonzero((targets[:, level] >= 0) | ended)
        if len(rows) < MIN_PRODUCTS_CURVE or len(columns) < 2:
            curves.append(None)
            continue
        # One success at 0 and one failure at 1 beside what was seen (the rule of succession): no run of right answers is long enough for certainty.
        given = np.concatenate([probability[np.ix_(rows, columns)].ravel(), [0.0, 1.0]])
        truth = np.concatenate([(targets[rows, level][:, None] == columns[None, :]).ravel(), [True, False]]).astype(np.float64)
        blocks = IsotonicRegression(y_min=0.0, y_max=1.0).fit(given, truth).predict(given)
        values, members = np.unique(blocks, return_inverse=True)
        # Between the centres of the blocks the curve is straight (centred isotonic regression, Oron and Flournoy 2017), so it has no steps.
        centres = np.bincount(members, weights=given) / np.bincount(members)
        curves.append(Curve(given=tuple(centres.tolist()), found=tuple(values.tolist())))
    return tuple(curves)
