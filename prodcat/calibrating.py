"""From the two stages' logits on validation products to how the cascade answers: calibration, gate, back-off, conformal sets. Knows no model.

All of it is fitted in this order, each on top of the former, and in the way the cascade will answer: stage one quantized as it will serve, back-off
and sets on the answer of whichever stage the gate leaves a product to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prodcat.decoding import DecoderName
from prodcat.encoders.inputs import TextReading
from prodcat.errors import TrainingError
from prodcat.evaluation.reliability import expected_calibration_error
from prodcat.prediction.backoff import BackoffConfig, choose_backoff
from prodcat.prediction.calibration import Calibration, CalibrationConfig, Reading, fit_calibration, whole_labels
from prodcat.prediction.cascade import CascadeSettings
from prodcat.prediction.conformal import ConformalConfig, choose_conformal
from prodcat.prediction.gate import Answered, Gate, GateConfig, choose_gate
from prodcat.taxonomy import HeadLayout


@dataclass(frozen=True)
class StageLogits:
    """What a stage says of n validation products.

    Args:
        logits: float [n, C]; any values where `readable` is False.
        readable: bool [n]: products the stage can read.
    """

    logits: np.ndarray
    readable: np.ndarray


@dataclass(frozen=True)
class StagesOnMasked:
    """What both stages say of validation products under titles without category words, their label columns [n, D] and platforms [n]."""

    one: StageLogits
    two: StageLogits
    targets: np.ndarray
    platforms: Sequence[str]


def check_enough(products: int, backoff: BackoffConfig, conformal: ConformalConfig) -> None:
    """Before hours are spent. Raises TrainingError where so few validation products cannot prove what is wanted, however good the model."""
    for wanted, fewest in (
        (f"backoff.precision {backoff.precision}", backoff.fewest_products),
        (f"coverage {conformal.coverage}", conformal.fewest_products),
    ):
        if products < fewest:
            raise TrainingError(
                f"{wanted} needs at least {fewest:,} labelled validation products, there are {products:,}; "
                "ask for less, give more products, or raise ingest.splits.validation"
            )


def calibrate(
    one: StageLogits,
    two: StageLogits,
    targets: np.ndarray,
    layout: HeadLayout,
    *,
    platforms: Sequence[str],
    text: TextReading,
    decoder: DecoderName = "greedy",
    calibration: CalibrationConfig | None = None,
    gate: GateConfig | None = None,
    backoff: BackoffConfig | None = None,
    conformal: ConformalConfig | None = None,
    masked: StagesOnMasked | None = None,
    known: Sequence[str] | None = None,
    on_progress: Callable[[str], None] = print,
) -> tuple[CascadeSettings, dict[str, Any]]:
    """
    Args:
        targets: int [n, D] columns (HeadLayout.end_targets), -1 where unlabelled; every product labelled at level 1.
        platforms: n names, as the cascade will see them in Product.platform.
        masked: heard by the gate alone: calibration is for titles as they are.
        known: all platforms that were trained on; None: nobody says, and the gate treats every platform as known.

    Returns:
        the settings, and `calibration_figures` of both stages, for the bundle's manifest.

    Raises:
        TrainingError: gate.max_cost does not pay for what must go to stage two.
    """
    calibration, backoff, conformal = calibration or CalibrationConfig(), backoff or BackoffConfig(), conformal or ConformalConfig()
    tree = layout.tree
    fitted = [fit_calibration(stage.logits[stage.readable], targets[stage.readable], layout, decoder, calibration) for stage in (one, two)]
    figures = {
        name: calibration_figures(stage.logits[stage.readable], targets[stage.readable], layout, decoder, calibration)
        for name, stage in (("stage_one", one), ("stage_two", two))
    }
    for name, found in figures.items():
        on_progress(f"{name.replace('_', ' ')}: " + _said(found))
    reading_one, reading_two = (fit.read(stage.logits, layout, decoder) for fit, stage in zip(fitted, (one, two), strict=True))
    labels = layout.nodes[_deepest(targets)]
    confidence = np.where(one.readable, reading_one.whole, -np.inf)
    some, names = two.readable, np.array(platforms)
    answered = Answered(confidence[some], reading_one.nodes[some], reading_two.nodes[some], labels[some], names[some])
    answered_masked = None
    if masked is not None:
        again_one, again_two = (fit.read(stage.logits, layout, decoder) for fit, stage in zip(fitted, (masked.one, masked.two), strict=True))
        sure = np.where(masked.one.readable, again_one.whole, -np.inf)
        answered_masked = Answered(sure, again_one.nodes, again_two.nodes, layout.nodes[_deepest(masked.targets)], np.array(masked.platforms))
    gate = gate or GateConfig()
    chosen = choose_gate(answered, layout, gate, answered_masked)
    if known is not None and gate.unknown_platforms == "stage_two":
        chosen = chosen.model_copy(update={"known": tuple(sorted(set(known)))})
    if chosen.outcome is not None:
        on_progress(_said_of_gate(chosen))
    settings = CascadeSettings(
        text=text,
        decoder=decoder,
        stops=tuple(tree.categories[node].id for node in layout.stops),
        calibration_one=fitted[0],
        calibration_two=fitted[1],
        gate=chosen,
    )
    # Only a label that ends can say whether a whole answer is right.
    rows = np.flatnonzero((one.readable | two.readable) & whole_labels(targets, layout))
    by_one = chosen.sure(confidence[rows], names[rows])
    if backoff.precision is not None:
        along = np.where(by_one[:, None], reading_one.along[rows], reading_two.along[rows])
        nodes = np.where(by_one, reading_one.nodes[rows], reading_two.nodes[rows])
        found_backoff = choose_backoff(along, _right(nodes, labels[rows], layout), backoff)
        settings = settings.model_copy(update={"backoff": found_backoff})
        on_progress(
            f"back-off to hold {backoff.precision:.2%}: on validation {found_backoff.held / max(len(rows), 1):.1%} hold; "
            + ", ".join(f"level {depth.level}: {depth.right:,} of {depth.products:,} right" for depth in found_backoff.depths)
        )
    if conformal.coverage is not None:
        ends = _deepest(targets[rows])
        truth = np.where(by_one, reading_one.confidences[rows, ends], reading_two.confidences[rows, ends])
        settings = settings.model_copy(update={"conformal": choose_conformal(truth, conformal)})
    return settings, figures


def calibration_figures(
    logits: np.ndarray, targets: np.ndarray, layout: HeadLayout, decoder: DecoderName, config: CalibrationConfig
) -> dict[str, dict[str, float | None]]:
    """Expected calibration error on validation {"before": {"leaf", "1", ...}, "after": ...}: before without any calibration, after with one that was
    fitted to the other half of the products, for a product that was fitted to says nothing of others."""
    before = fit_calibration(logits, targets, layout, decoder, CalibrationConfig(method="none"))
    halves = np.arange(len(targets)) % 2
    parts = [
        (fit_calibration(logits[halves != half], targets[halves != half], layout, decoder, config), np.flatnonzero(halves == half)) for half in (0, 1)
    ]
    return {
        "before": _errors([(before, np.arange(len(targets)))], logits, targets, layout, decoder),
        "after": _errors(parts, logits, targets, layout, decoder),
    }


def _errors(
    parts: list[tuple[Calibration, np.ndarray]], logits: np.ndarray, targets: np.ndarray, layout: HeadLayout, decoder: DecoderName
) -> dict[str, float | None]:
    readings: list[tuple[Reading, np.ndarray]] = [(calibration.read(logits[rows], layout, decoder), rows) for calibration, rows in parts]
    order = np.concatenate([rows for _, rows in readings])
    along, nodes = np.concatenate([reading.along for reading, _ in readings]), np.concatenate([reading.nodes for reading, _ in readings])
    surety = np.concatenate([reading.whole for reading, _ in readings])
    ended, labels = whole_labels(targets[order], layout), layout.nodes[_deepest(targets[order])]
    right = _right(nodes, labels, layout)
    errors = {"leaf": expected_calibration_error(surety[ended], (nodes == labels)[ended])}
    for level in range(layout.tree.depth):
        rows = np.isfinite(along[:, level]) & (ended | (layout.tree.levels[labels] > level))
        errors[str(level + 1)] = expected_calibration_error(along[rows, level], right[rows, level])
    return errors


def _deepest(targets: np.ndarray) -> np.ndarray:
    """int [n, D] -> int [n]: the last column each label names."""
    depth = (targets >= 0).sum(axis=1)
    return np.asarray(targets[np.arange(len(targets)), depth - 1])


def _right(nodes: np.ndarray, labels: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """bool [n, D]: the category answered on each level is the label's."""
    answered, true = layout.tree.path_indices[nodes], layout.tree.path_indices[labels]
    return np.asarray((answered == true) & (answered >= 0))


def _said_of_gate(gate: Gate) -> str:
    own = [platform.threshold for platform in gate.platforms.values()]
    by_platform = f", {len(own):,} platforms with their own, {min(own):.4f} to {max(own):.4f}," if own else ""
    assert gate.outcome is not None
    return (
        f"gate: {gate.threshold:.4f}{by_platform} on validation: hierarchical F1 {gate.outcome.hierarchical_f1:.4f}, "
        f"to stage two {gate.outcome.stage_two_share:.1%}, cost of 1,000 products {gate.outcome.cost:.4g}"
    )


def _said(figures: dict[str, dict[str, float | None]]) -> str:
    before, after = figures["before"]["leaf"], figures["after"]["leaf"]
    if before is None or after is None:
        return "no validation product has a whole label, so nothing is known of its calibration"
    return f"expected calibration error of whole answers {before:.4f}, calibrated {after:.4f} (validation)"
