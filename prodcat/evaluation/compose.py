"""`evaluate`: from predictions and labels to the content of metrics.json. Knows no file, no model and no HTML."""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from prodcat.evaluation.answers import Answers, Labels, read_answers, read_labels
from prodcat.evaluation.metrics import ancestor_sums, hierarchical, score, score_by, score_slice
from prodcat.evaluation.mistakes import sibling_confusions
from prodcat.evaluation.probes import FULL, probe_named
from prodcat.taxonomy import Taxonomy

CONFUSIONS = 20


def evaluate(
    predictions: pa.Table,
    truth: pa.Table,
    tree: Taxonomy,
    *,
    gate: dict[str, Any] | None,
    baseline: dict[str, Any] | None,
    probes: dict[str, pa.Table],
    seed: int,
) -> dict[str, Any]:
    """All figures of one bundle on one set of products; the content of metrics.json.

    Args:
        predictions: contracts.PREDICTIONS; one for each product of `truth`, others are left aside.
        truth: answers.TRUTH.
        tree: the bundle's tree.
        gate: {"threshold": float, "curve": [{"threshold", "stage_two_share", "f1"}, ...]} as chosen on validation products; None without one.
        baseline: what baseline.baseline_scores returned, or {"absent": reason}; None if none was asked for.
        probes: probe name -> PREDICTIONS made under that probe, one for each product that has the input the probe needs. "title+image" is
            `predictions` itself unless given.
        seed: of the bootstrap.

    Returns:
        products (scored), unlabelled, outside_tree (labels that are no category of the bundle's tree, scored all the same), bundle, seed,
        classes and tree_classes per level, hierarchical, levels, by_platform (metrics.score), valid_paths, cascade, by_language,
        language_unknown, baseline, probes, gate, confusions. Only what JSON can hold; None where there is nothing to say.

    Raises:
        ContractError: wrong columns, no product, no labelled product, a product without prediction, a key twice, predictions of two bundles,
            an unknown probe.
    """
    labels = read_labels(truth, tree)
    answers = read_answers(predictions, labels, tree, "predictions")
    figures = score(answers.pred, labels.target, labels.groups, labels.platforms, labels.tree, seed)
    named = np.array([language is not None for language in labels.languages], dtype=bool)
    metrics: dict[str, Any] = {
        "bundle": answers.bundle,
        "seed": seed,
        **figures,
        "outside_tree": sum(path is not None and path not in tree for path in labels.paths),
        "classes": {level: entry["classes"] for level, entry in figures["levels"].items()},
        "tree_classes": {str(level + 1): nodes.stop - nodes.start for level, nodes in enumerate(tree.level_slices)},
        "valid_paths": float((answers.pred >= 0).mean()),
        "cascade": _cascade(answers, labels),
        "by_language": score_by(labels.languages[named], answers.pred[named], labels.target[named], labels.groups[named], labels.tree, seed),
        "language_unknown": int((~named).sum()),
        "baseline": _beside_baseline(figures["hierarchical"]["f1"], baseline),
        "probes": {name: _probe(name, table, labels, tree, seed) for name, table in {FULL: predictions, **probes}.items()},
        "gate": gate,
        "confusions": sibling_confusions(answers.pred, labels.target, labels.tree, CONFUSIONS),
    }
    return {key: _plain(value) for key, value in metrics.items()}


def _cascade(answers: Answers, labels: Labels) -> dict[str, Any]:
    """Who answered what, over the labelled products."""
    labelled = labels.target >= 0
    result: dict[str, Any] = {"stage_two_share": float((answers.stage[labelled] == 2).mean())}
    for stage, name in ((1, "stage_one"), (2, "stage_two")):
        rows = labelled & (answers.stage == stage)
        true = labels.target[rows]
        sums = ancestor_sums(answers.pred[rows], true, labels.tree)
        result[name] = {"products": int(rows.sum()), "f1": hierarchical(sums)["f1"] if rows.any() else None}
    return result


def _probe(name: str, table: pa.Table, labels: Labels, tree: Taxonomy, seed: int) -> dict[str, Any]:
    """`score_slice` over the products that have what the probe needs; `left_out` counts the others."""
    probe = probe_named(name)
    shown = np.ones(len(labels.keys), dtype=bool)
    if probe.needs_title:
        shown &= labels.has_title
    if probe.needs_image:
        shown &= labels.has_image
    chosen = labels.take(shown)
    answers = read_answers(table, chosen, tree, f"probe {name}")
    return {**score_slice(answers.pred, chosen.target, chosen.groups, labels.tree, seed), "left_out": int((~shown).sum())}


def _beside_baseline(f1: float, baseline: dict[str, Any] | None) -> dict[str, Any]:
    """The baseline's figures with `error_ratio`, (1 - our F1) / (1 - its F1); None if the baseline makes no error."""
    if baseline is None:
        return {"absent": "no baseline was asked for"}
    if "absent" in baseline:
        return baseline
    error = 1 - baseline["hierarchical"]["f1"]
    return {**baseline, "error_ratio": (1 - f1) / error if error > 0 else None}


def _plain(value: Any) -> Any:
    """Numpy scalars to Python's, NaN and infinity (which JSON has no word for) to None."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
