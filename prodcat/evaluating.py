"""`evaluate`: a bundle on the labelled products that it has never seen, with probes and the baseline. Knows the order and no metric.

Never seen means: not trained, calibrated or gated on, and not in one near-duplicate group with such a product. So the catalog a bundle was made from
is scored on its test split, a grown one on its new products too, and another shop's on all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog
from prodcat.distributed import ClusterConfig
from prodcat.errors import BundleError, FeedError
from prodcat.evaluation.answers import TRUTH, paths_of
from prodcat.evaluation.baseline import baseline_scores
from prodcat.evaluation.compose import evaluate as compose
from prodcat.evaluation.confidence import confidence_figures
from prodcat.evaluation.mistakes import ErrorExample, worst_errors
from prodcat.evaluation.probes import FULL, MASKED_TITLE, hide
from prodcat.evaluation.report import GALLERY, write_report
from prodcat.evaluation.scoring import ScoringConfig, small_leaves
from prodcat.ingesting import open_or_ingest
from prodcat.masking import CategoryMask
from prodcat.overlay import Overlay
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.distributed import Classified, ClassifyConfig, View, classify
from prodcat.prediction.gate import Gate, GateOutcome, GatePoint

Progress = Callable[[str], None]
NO_OVERLAY = Overlay()


class EvaluateConfig(ScoringConfig):
    """How a bundle is evaluated. Nothing here changes an answer."""

    seed: int = Field(0, description="of the bootstrap and the baseline's solver")
    cluster: ClusterConfig = ClusterConfig()
    ingest: IngestConfig = IngestConfig()
    classify: ClassifyConfig = ClassifyConfig()


@dataclass(frozen=True)
class Evaluation:
    """What was found, and where it lies."""

    metrics: dict[str, Any]
    report: Path


def evaluate(
    bundle_folder: Path,
    sources: Sequence[str],
    out: Path,
    config: EvaluateConfig,
    *,
    mapping: FeedMapping | None = None,
    overlay: Overlay = NO_OVERLAY,
    seed_bundles: Sequence[Path] = (),
    on_progress: Progress = print,
) -> Evaluation:
    """Write OUT/metrics.json, OUT/report.html and the answers behind them. Assumes a cluster is joined.

    Args:
        sources: a catalog folder, or feeds.
        seed_bundles: of the same catalog and settings, trained with other seeds: their F1 stands beside each input's.
        overlay: the reviewed labels that the bundle was fitted with; the baseline learns from the same.

    Raises:
        FeedError: no labelled product is left that the bundle has not seen, or none of a leaf that is large enough.
        BundleError: a bundle of another seed has another tree, or has seen what is scored.
    """
    bundle_folder, out = bundle_folder.absolute(), out.absolute()
    bundle = Bundle.open(bundle_folder)
    seeds = {place.absolute(): Bundle.open(place) for place in seed_bundles}
    catalog = open_or_ingest(sources, out / "catalog", config.ingest, mapping, on_progress)
    everything = overlay.over(_joined(catalog))
    unseen, related = _unseen(bundle, everything)
    labelled = pc.is_valid(everything["path"])
    truth = everything.filter(pc.and_(pa.array(unseen), labelled))
    if truth.num_rows == 0:
        raise FeedError(
            f"{catalog.path}: nothing to score: of {everything.num_rows:,} products {int((~unseen).sum()):,} were seen in training, "
            f"and none of the others has a label; give a catalog with labelled products the bundle does not know"
        )
    small = small_leaves(paths_of(everything["path"]), bundle.tree, config.min_leaf_products)
    of_small = small.among(paths_of(truth["path"]))
    truth = truth.filter(pa.array(~of_small))
    if truth.num_rows == 0:
        raise FeedError(
            f"{catalog.path}: nothing to score: all {len(of_small):,} labelled products that the bundle has not seen are of leaves with fewer than "
            f"{small.min_products} products; lower min_leaf_products"
        )
    on_progress(f"scoring {truth.num_rows:,} labelled products the bundle has not seen")
    mask = CategoryMask(bundle.tree)
    truth = truth.append_column("has_masked_title", pa.array([mask(title) is not None for title in truth["title"].to_pylist()], pa.bool_()))
    answers = out / "answers"
    # Answers of an earlier run are of another bundle or another code.
    rmtree(answers, ignore_errors=True)
    views = {name: partial(hide, probe=name, mask=mask) for name in (FULL, *config.probes)}
    classified = classify(
        catalog.product_files(), bundle_folder, answers, config.classify, keys=truth["key"].to_pylist(), views=views, on_progress=on_progress
    )
    by_seed = [
        _seed_answers(other, bundle, catalog, answers.parent / "answers_of_seeds" / str(number), truth["key"].to_pylist(), views, config, on_progress)
        for number, other in enumerate(seeds.values())
    ]
    predictions = classified.answers(FULL)
    # What even the whole cascade could not read is counted, not scored.
    readable = pc.is_in(truth["key"], value_set=predictions["key"].combine_chunks())
    unreadable = truth.num_rows - int(pc.sum(readable).as_py() or 0)
    truth = truth.filter(readable)
    scored = truth.select(TRUTH.names).cast(TRUTH)
    metrics = compose(
        predictions,
        scored,
        bundle.layout,
        gate=_gate(bundle.settings.gate),
        baseline=_baseline(config, bundle, everything, truth, None, on_progress),
        masked_baseline=_baseline(config, bundle, everything, truth, mask, on_progress) if MASKED_TITLE in config.probes else None,
        probes={name: classified.answers(name) for name in config.probes},
        seeds={name: [other.answers(name) for other in by_seed] for name in views} if by_seed else None,
        seed=config.seed,
        reliability=confidence_figures,
        min_language_products=config.min_language_products,
    )
    # What the confidences were before calibration is known of the validation products alone.
    metrics["reliability"]["on_validation"] = bundle.manifest.training.get("calibration")
    metrics["cascade"]["cost"] = bundle.settings.gate.prices.cost(metrics["cascade"]["stage_two_share"])
    metrics["unlabelled"] = int(pc.sum(pc.and_(pa.array(unseen), pc.invert(labelled))).as_py() or 0)
    metrics["unreadable"] = unreadable
    metrics["left_out"] = {"seen": int((~unseen).sum()) - related, "near_duplicates_of_seen": related}
    metrics["small_leaves"] = {"min_products": small.min_products, "leaves": len(small.paths), "products": int(of_small.sum())}
    metrics["labels"] = overlay.counts()
    metrics["catalog"] = {"digest": catalog.digest, "path": str(catalog.path), "products": everything.num_rows}
    metrics["trained_on"] = bundle.manifest.training.get("products")
    report = write_report(metrics, out, errors=_examples(catalog, predictions, scored, bundle), title=f"prodcat: bundle {bundle.version}")
    return Evaluation(metrics, report)


def _gate(gate: Gate) -> dict[str, Any]:
    """What the report says of the gate (compose.evaluate's `gate`)."""
    masked = None
    if (here := gate.chosen_masked) is not None:
        masked = {"f1": here.hierarchical_f1, "stage_two_share": here.stage_two_share, "stage_two_f1": gate.masked_curve[-1].hierarchical_f1}
    return {
        "threshold": gate.threshold,
        "chosen": None if gate.chosen is None else _outcome(gate.chosen),
        "validation_products": gate.validation_products,
        "curve": [_point(point) for point in gate.curve],
        "masked": masked,
        "prices": gate.prices.model_dump(),
        "outcome": None if gate.outcome is None else _outcome(gate.outcome),
        "platforms": {
            name: {
                "validation_products": own.validation_products,
                "threshold": own.threshold,
                "chosen": None if own.chosen is None else _outcome(own.chosen),
                "curve": [_point(point) for point in own.curve],
            }
            for name, own in gate.platforms.items()
        },
    }


def _point(point: GatePoint) -> dict[str, float]:
    return {"threshold": point.threshold, **_outcome(point)}


def _outcome(outcome: GateOutcome) -> dict[str, float]:
    return {"stage_two_share": outcome.stage_two_share, "f1": outcome.hierarchical_f1, "cost": outcome.cost}


def _seed_answers(
    other: Bundle,
    bundle: Bundle,
    catalog: Catalog,
    out: Path,
    keys: list[str],
    views: Mapping[str, View],
    config: EvaluateConfig,
    on_progress: Progress,
) -> Classified:
    if other.tree.hash != bundle.tree.hash:
        raise BundleError(f"{other.folder}: its tree is another than that of {bundle.folder}; seeds are compared over one tree")
    if seen := int(other.has_seen(keys).sum()):
        raise BundleError(
            f"{other.folder}: has seen {seen:,} of the {len(keys):,} products to score; give bundles that were fitted on the same catalog"
        )
    rmtree(out, ignore_errors=True)
    return classify(catalog.product_files(), other.folder, out, config.classify, keys=keys, views=views, on_progress=on_progress)


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """An evaluation in a few lines for a terminal."""
    h = metrics["hierarchical"]
    classes = ", ".join(f"level {level}: {count}" for level, count in metrics["classes"].items())
    lines = [
        f"{metrics['products']:,} products, classes {classes}",
        f"hierarchical F1 {h['f1']:.4f} [{h['f1_ci'][0]:.4f}, {h['f1_ci'][1]:.4f}], valid paths {metrics['valid_paths']:.1%}, "
        f"to stage two {metrics['cascade']['stage_two_share']:.1%}",
    ]
    if metrics["reliability"]["answers"]["ece"] is not None:
        lines.append(f"expected calibration error of whole answers {metrics['reliability']['answers']['ece']:.4f}")
    if (backoff := metrics["reliability"]["backoff"]) is not None:
        low, high = backoff["precision_ci"] or (None, None)
        right = "none can be judged" if low is None else f"{backoff['precision']:.2%} [{low:.2%}, {high:.2%}] of them right"
        lines.append(f"answers that are to hold the wanted precision: {backoff['share']:.1%}, {right}; down to the leaf {backoff['leaf_share']:.1%}")
    for name, probe in metrics["probes"].items():
        if probe["products"]:
            line = f"  {name}: hierarchical F1 {probe['hierarchical']['f1']:.4f} on {probe['products']:,} products"
            lines.append(line + (f"; other seeds {', '.join(f'{f1:.4f}' for f1 in probe['seeds']['f1'])}" if probe["seeds"] else ""))
    if len(metrics["by_language"]) > 1:
        named = ((name, part) for name, part in metrics["by_language"].items() if part["hierarchical"])
        lines.append("  by language: " + ", ".join(f"{name} {part['hierarchical']['f1']:.4f} of {part['products']:,}" for name, part in named))
    for baseline in (metrics["baseline"], metrics["masked_baseline"]):
        lines.append(
            f"  baseline: {baseline['absent']}"
            if "absent" in baseline
            else f"  baseline, {baseline['name']}: hierarchical F1 {baseline['hierarchical']['f1']:.4f}"
        )
    return lines


def _joined(catalog: Catalog) -> pa.Table:
    """Products without their images, with their group and split."""
    products = catalog.products(["key", "platform", "title", "description", "brand", "language", "path", "image_hash", "image_problem"])
    products = products.append_column("has_image", catalog.has_image()).append_column("has_title", pc.is_valid(products["title"]))
    splits = catalog.splits()
    places = pc.index_in(products["key"], value_set=splits["key"].combine_chunks())
    return products.append_column("group", splits["group"].take(places)).append_column("split", splits["split"].take(places))


def _unseen(bundle: Bundle, products: pa.Table) -> tuple[np.ndarray, int]:
    """bool [n], and how many are left out only because a near-duplicate was seen."""
    seen = bundle.has_seen(products["key"].to_pylist())
    groups = products["group"].combine_chunks()
    touched = pc.unique(groups.filter(pa.array(seen)))
    in_touched = pc.is_in(groups, value_set=touched).to_numpy(zero_copy_only=False)
    return ~in_touched, int((in_touched & ~seen).sum())


def _baseline(
    config: EvaluateConfig, bundle: Bundle, everything: pa.Table, truth: pa.Table, mask: CategoryMask | None, on_progress: Progress
) -> dict[str, Any] | None:
    if config.baseline is None:
        return None
    seen = bundle.has_seen(everything["key"].to_pylist())
    train = everything.filter(pc.and_(pc.and_(pa.array(seen), pc.equal(everything["split"], "train")), pc.is_valid(everything["path"])))
    if train.num_rows == 0:
        return {"absent": "this catalog holds none of the products the bundle was trained on, so there is nothing to train a baseline on"}
    on_progress(f"baseline: TF-IDF and linear SVM on {train.num_rows:,} {'titles' if mask is None else 'masked titles'}")
    return baseline_scores(train, truth, bundle.layout, config=config.baseline, seed=config.seed, mask=mask)


def _examples(catalog: Catalog, predictions: pa.Table, truth: pa.Table, bundle: Bundle) -> list[ErrorExample]:
    examples = worst_errors(predictions, truth, bundle.layout, GALLERY)
    wanted = pa.array([example.key for example in examples], pa.string())
    found: dict[str, dict[str, Any]] = {}
    for file in catalog.product_files():
        rows = pq.read_table(file, columns=["key", "title", "image"], filters=pc.field("key").isin(wanted), partitioning=None)
        found.update({row["key"]: row for row in rows.to_pylist()})
    return [replace(example, title=found[example.key]["title"], image=found[example.key]["image"]) for example in examples]
