"""`evaluate`: from predictions and labels to the content of metrics.json. Knows no file, no model and no HTML."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from prodcat.errors import ContractError
from prodcat.evaluation.answers import Answers, Labels, read_answers, read_labels
from prodcat.evaluation.metrics import ancestor_sums, hierarchical, score, score_by, score_slice
from prodcat.evaluation.mistakes import sibling_confusions
from prodcat.evaluation.probes import FULL, MASKED_TITLE, probe_named
from prodcat.taxonomy import HasLayout, Taxonomy

CONFUSIONS = 20
# Among languages, whose codes have two letters.
OTHERS = "others"
# Answers and labels of the same products over one tree -> figures that JSON can hold, as confidence.confidence_figures gives them.
Reliability = Callable[[Answers, Labels], dict[str, Any]]


def evaluate(
    predictions: pa.Table,
    truth: pa.Table,
    tree: HasLayout,
    *,
    gate: dict[str, Any] | None,
    baseline: dict[str, Any] | None,
    probes: dict[str, pa.Table],
    seed: int,
    masked_baseline: dict[str, Any] | None = None,
    seeds: Mapping[str, Sequence[pa.Table]] | None = None,
    reliability: Reliability | None = None,
    min_language_products: int = 1,
) -> dict[str, Any]:
    """All figures of one bundle on one set of products; the content of metrics.json.

    Args:
        predictions: contracts.PREDICTIONS; one for each product of `truth`, others are left aside.
        truth: answers.TRUTH.
        tree: the bundle's tree, or its layout where answers may end at inner categories.
        gate: passed on as cascade.gate; None without one. As chosen on validation products: {"threshold", "validation_products", "curve":
            [{"threshold", "stage_two_share", "f1", "cost"}, ...], "chosen": {"stage_two_share", "f1", "cost"} at that threshold, "outcome": the same
            with every product under its platform's, "platforms": {name: {"threshold", "validation_products", "curve", "chosen"}}, "prices",
            "masked": what it holds of titles without category words, None if that was not asked}. Costs are of 1,000 products.
        baseline: what baseline.baseline_scores returned, or {"absent": reason}; None if none was asked for.
        probes: probe name -> PREDICTIONS made under that probe, one for each product that has the input the probe needs. "title+image" is
            `predictions` itself unless given.
        seed: of the bootstrap.
        masked_baseline: as `baseline`, for the baseline trained and scored on masked titles.
        seeds: probe name -> PREDICTIONS of the same classifier trained with other seeds, one table a seed, each as in `probes`.
        reliability: judges the confidences; None leaves `reliability` None.
        min_language_products: languages with fewer labelled products are scored together as "others".

    Returns:
        products (scored), unlabelled, outside_tree (labels that are no category of the bundle's tree, scored all the same), bundle, seed,
        classes and tree_classes per level, hierarchical, levels, by_platform (metrics.score), valid_paths, cascade, by_language,
        languages_joined (those of "others", with their labelled products), language_unknown, baseline, masked_baseline, probes, confusions,
        reliability. Only what JSON can hold; None where there is nothing to say.

    Raises:
        ContractError: wrong columns, no product, no labelled product, a product without prediction, a key twice, predictions of two bundles,
            an unknown probe.
    """
    labels = read_labels(truth, tree)
    own = tree.layout.tree
    answers = read_answers(predictions, labels, own, "predictions")
    figures = score(answers.pred, labels.target, labels.groups, labels.platforms, labels.layout, seed)
    shown, others = {FULL: predictions, **probes}, seeds or {}
    without = sorted(set(others) - set(shown))
    if without:
        raise ContractError(f"evaluation: other seeds have predictions for the probes {without}, the bundle has none; give it under `probes`")
    languages, joined = _joined_languages(labels, min_language_products)
    scored = {name: _probe(name, table, labels, languages, own, seed, others.get(name, ())) for name, table in shown.items()}
    metrics: dict[str, Any] = {
        "bundle": answers.bundle,
        "seed": seed,
        **figures,
        "outside_tree": sum(path is not None and path not in own for path in labels.paths),
        "classes": {level: entry["classes"] for level, entry in figures["levels"].items()},
        "tree_classes": {str(level + 1): nodes.stop - nodes.start for level, nodes in enumerate(own.level_slices)},
        "valid_paths": float((answers.pred >= 0).mean()),
        "cascade": {**_cascade(answers, labels), "gate": gate},
        "by_language": _by_language(languages, answers.pred, labels, seed),
        "languages_joined": joined,
        "language_unknown": sum(language is None for language in languages),
        "baseline": _beside_baseline(figures["hierarchical"], baseline),
        "masked_baseline": _beside_baseline(scored.get(MASKED_TITLE, {}).get("hierarchical"), masked_baseline),
        "probes": scored,
        "confusions": sibling_confusions(answers.pred, labels.target, labels.layout, CONFUSIONS),
        "reliability": reliability(answers, labels) if reliability is not None else None,
    }
    return {key: _plain(value) for key, value in metrics.items()}


def _joined_languages(labels: Labels, least: int) -> tuple[np.ndarray, dict[str, int]]:
    """The languages [n] with small ones called "others", and those with their labelled products. Unknown stays None: it is no language."""
    count = Counter(language for language in labels.languages[labels.target >= 0] if language is not None)
    small = {language: count[language] for language in sorted({*labels.languages} - {None}) if count[language] < least}
    return np.array([OTHERS if language in small else language for language in labels.languages], dtype=object), small


def _by_language(languages: np.ndarray, pred: np.ndarray, labels: Labels, seed: int) -> dict[str, dict[str, Any]]:
    named = np.array([language is not None for language in languages], dtype=bool)
    return score_by(languages[named], pred[named], labels.target[named], labels.groups[named], labels.layout, seed)


def _cascade(answers: Answers, labels: Labels) -> dict[str, Any]:
    """Who answered what, over the labelled products."""
    labelled = labels.target >= 0
    result: dict[str, Any] = {"stage_two_share": float((answers.stage[labelled] == 2).mean())}
    for stage, name in ((1, "stage_one"), (2, "stage_two")):
        rows = labelled & (answers.stage == stage)
        true = labels.target[rows]
        sums = ancestor_sums(answers.pred[rows], true, labels.layout)
        result[name] = {"products": int(rows.sum()), "f1": hierarchical(sums)["f1"] if rows.any() else None}
    return result


def _probe(
    name: str, table: pa.Table, labels: Labels, languages: np.ndarray, tree: Taxonomy, seed: int, others: Sequence[pa.Table]
) -> dict[str, Any]:
    """`score_slice` over the products that have what the probe needs, with `by_platform` and `by_language`; `left_out` counts the others.

    `seeds` holds the F1 of other seeds' predictions with their mean, least and greatest; None where there are none.
    """
    shown = np.ones(len(labels.keys), dtype=bool)
    for need in probe_named(name).needs:
        shown &= getattr(labels, need)
    chosen = labels.take(shown)
    judged = chosen.target, chosen.groups, labels.layout, seed
    pred = read_answers(table, chosen, tree, f"probe {name}").pred
    return {
        **score_slice(pred, *judged),
        "left_out": int((~shown).sum()),
        "by_platform": score_by(chosen.platforms, pred, *judged),
        "by_language": _by_language(languages[shown], pred, chosen, seed),
        "seeds": _seeds([read_answers(other, chosen, tree, f"probe {name}, seed {number}").pred for number, other in enumerate(others)], chosen),
    }


def _seeds(predicted: Sequence[np.ndarray], labels: Labels) -> dict[str, Any] | None:
    """What one number hides: how far the same classifier, trained with another seed, is from itself."""
    rows = labels.target >= 0
    if not predicted or not rows.any():
        return None
    f1 = [hierarchical(ancestor_sums(pred[rows], labels.target[rows], labels.layout))["f1"] for pred in predicted]
    return {"f1": f1, "mean": float(np.mean(f1)), "min": min(f1), "max": max(f1)}


def _beside_baseline(ours: dict[str, Any] | None, baseline: dict[str, Any] | None) -> dict[str, Any]:
    """The baseline's figures with `error_ratio`, (1 - our F1) / (1 - its F1); None if the baseline makes no error, or we have no F1."""
    if baseline is None:
        return {"absent": "no baseline was asked for"}
    if "absent" in baseline:
        return baseline
    error = 1 - baseline["hierarchical"]["f1"]
    return {**baseline, "error_ratio": (1 - ours["f1"]) / error if error > 0 and ours is not None else None}


def _plain(value: Any) -> Any:
    """Numpy scalars to Python's, NaN and infinity (which JSON has no word for) to None."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
