"""One function a verb: read the configuration, join the cluster, call the stage, return a summary. What the command line and the jobs have in common.

Every function takes `say`, which is given lines of progress, and returns a dict that JSON can hold.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prodcat.adapting import AdaptConfig, adapt
from prodcat.auditing import AuditConfig, audit
from prodcat.auditing import summary_lines as audit_lines
from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.distributed import ingest
from prodcat.catalog.mapping import FeedMapping, read_mapping
from prodcat.catalog.store import Catalog
from prodcat.comparing import CompareConfig, compare
from prodcat.config import Config, load, validate
from prodcat.contracts import Product
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.run import cross_platform
from prodcat.crosswalking import CrosswalkConfig, check, check_summary, proposal_lines, propose, read_crosswalk, read_predictions
from prodcat.distributed import ClusterConfig, cluster
from prodcat.encoders.distributed import EmbedConfig, embed
from prodcat.evaluating import EvaluateConfig, evaluate, open_or_ingest, summary_lines
from prodcat.evaluation.feeds.columns import FeedQualityConfig
from prodcat.evaluation.feeds.tables import summary_lines as feed_lines
from prodcat.evaluation.report import METRICS
from prodcat.explaining import explain_product, image_bytes
from prodcat.fitting import fit
from prodcat.inspecting import inspect_feeds
from prodcat.judging import judged
from prodcat.location import Location
from prodcat.overlay import Overlay, read_overlay
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.distributed import BundlePlace, ClassifyConfig, classify
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run
from prodcat.stored import find_stored
from prodcat.taxonomy import Taxonomy
from prodcat.tree_files import read_tree
from prodcat.tuning import TuneConfig, tune

Say = Callable[[str], None]


class IngestJob(Config):
    """Configuration of `ingest`."""

    cluster: ClusterConfig = ClusterConfig()
    ingest: IngestConfig = IngestConfig()


class EmbedJob(IngestJob):
    """Configuration of `embed`."""

    embed: EmbedConfig = EmbedConfig()


class ClassifyJob(IngestJob):
    """Configuration of `classify`."""

    classify: ClassifyConfig = ClassifyConfig()


class CrosswalkJob(CrosswalkConfig):
    """Configuration of `crosswalk`; the cluster is joined only where a bundle is to answer."""

    cluster: ClusterConfig = ClusterConfig()
    classify: ClassifyConfig = ClassifyConfig()


def default_profile() -> str:
    """ "hub" where a model hub is reached, else "offline"."""
    from prodcat.encoders.hub import reachable

    return "hub" if reachable() else "offline"


def run_ingest(
    sources: Sequence[str],
    out: Path,
    *,
    config: str | None,
    sets: Sequence[str],
    mapping: str | None,
    taxonomy: str | None,
    say: Say,
    crosswalk: Path | None = None,
) -> dict[str, Any]:
    """crosswalk: file of `crosswalk propose`, whose accepted lines label the rows that have no label."""
    job, columns, tree = load(IngestJob, config, sets), _mapping(mapping), _taxonomy(taxonomy)
    labels = read_crosswalk(crosswalk, tree) if crosswalk else None
    with cluster(job.cluster):
        summary = ingest(sources, out, job.ingest, columns, taxonomy=tree, crosswalk=labels, on_progress=say)
    for line in summary.lines():
        say(line)
    return {"catalog": str(out), **asdict(summary)}


def run_embed(catalog: Path, encoders: Sequence[str], out: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """encoders: NAME=FOLDER, or the folder of a bundle, whose encoders are then all used."""
    job = load(EmbedJob, config, sets)
    folders: dict[str, Path] = {}
    for entry in encoders:
        name, equals, folder = entry.partition("=")
        if equals:
            folders[name] = Path(folder).absolute()
        else:
            folders.update({path.name: path for path in sorted((Bundle.open(Path(entry).absolute()).folder / "encoders").iterdir())})
    opened = Catalog.open(catalog)
    with cluster(job.cluster):
        sets_made = embed(opened.product_files(), folders, out.absolute(), job.embed, limits=job.ingest.pictures.limits, on_progress=_counted(say))
    return {name: {"folder": str(made.folder), "dim": made.dim, "rows": made.rows, "new_rows": made.new_rows} for name, made in sets_made.items()}


def run_fit(
    sources: Sequence[str],
    out: Path,
    *,
    config: str | None,
    sets: Sequence[str],
    mapping: str | None,
    taxonomy: str | None,
    say: Say,
    crosswalk: Path | None = None,
    labels: Path | None = None,
    change_test_labels: bool = False,
) -> dict[str, Any]:
    """Fit a bundle and evaluate it on its own test split. crosswalk: as in `run_ingest`.

    labels: reviewed labels, as the audit writes them and a person decides (overlay.py).
    """
    started = time.perf_counter()
    profile = config or default_profile()
    # All that is read here is read before Ray is started: a typing error is said at once.
    settings, columns, tree = load(FitConfig, profile, sets), _mapping(mapping), _taxonomy(taxonomy)
    mapped = read_crosswalk(crosswalk, tree) if crosswalk else None
    say(f"profile: {profile}")
    with cluster(settings.cluster):
        bundle = fit(
            sources,
            out,
            settings,
            mapping=columns,
            taxonomy=tree,
            crosswalk=mapped,
            labels=labels,
            change_test_labels=change_test_labels,
            on_progress=say,
        )
        catalog = open_run(out, FitConfig)[0]
        overlay = read_overlay(labels, Catalog.open(catalog), bundle.tree, change_test=change_test_labels) if labels else Overlay()
        summary = judged(bundle, out, settings, say, overlay)
    return {**summary, "seconds": round(time.perf_counter() - started, 1)}


def run_tune(run: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """Search stage two's settings on a run's validation split, fit the best, evaluate it on the run's own test split."""
    started = time.perf_counter()
    settings = load(TuneConfig, config, sets)
    _, profile = open_run(run, FitConfig)
    with cluster(settings.cluster):
        tuned = tune(run, settings, on_progress=say)
        summary = judged(tuned.bundle, run, profile, say, Overlay())
    return {
        **summary,
        "best": asdict(tuned.best),
        "trials": len(tuned.trials),
        "profile": str(tuned.profile),
        "seconds": round(time.perf_counter() - started, 1),
    }


def run_compare(run: Path, out: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    settings = load(CompareConfig, config, sets)
    open_run(run, FitConfig)
    with cluster(settings.cluster):
        compared = compare(run, out, settings, on_progress=say)
    for line in compared.table.read_text(encoding="utf-8").splitlines():
        say(line)
    return {
        "table": str(compared.table),
        "figures": str(compared.figures),
        "models": len(compared.found["rows"]),
        "products": compared.found["products"],
    }


def run_cross_platform(catalog: Path, out: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    started = time.perf_counter()
    profile = config or default_profile()
    settings, opened = load(CrossProfile, profile, sets), Catalog.open(catalog)
    say(f"profile: {profile}")
    with cluster(settings.cluster):
        crossed = cross_platform(opened, out, settings, on_progress=say)
    for line in crossed.table.read_text(encoding="utf-8").splitlines():
        say(line)
    return {
        "table": str(crossed.table),
        "figures": str(crossed.figures),
        "folds": len(crossed.found["folds"]),
        "seconds": round(time.perf_counter() - started, 1),
    }


def run_evaluate(
    bundle: Path,
    sources: Sequence[str],
    out: Path,
    *,
    config: str | None,
    sets: Sequence[str],
    mapping: str | None,
    say: Say,
    probes: Sequence[str] = (),
    seed_bundles: Sequence[Path] = (),
) -> dict[str, Any]:
    """probes: in place of the configuration's, if any are named. seed_bundles: of the same settings, trained with other seeds."""
    settings = load(EvaluateConfig, config, sets)
    if probes:
        settings = validate(EvaluateConfig, {**settings.model_dump(), "probes": list(probes)}, "--probe")
    # Before Ray is started: a damaged bundle is said at once.
    for folder in (bundle, *seed_bundles):
        Bundle.open(folder)
    columns = _mapping(mapping)
    with cluster(settings.cluster):
        judged = evaluate(bundle, sources, out, settings, mapping=columns, seed_bundles=seed_bundles, on_progress=say)
    for line in summary_lines(judged.metrics):
        say(line)
    return {"report": str(judged.report), "metrics": str(out / METRICS), "hierarchical": judged.metrics["hierarchical"]}


def run_adapt(bundle: Path, place: Path, out: Path, *, platform: str | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """OUT is a bundle. In this process: no cluster is started."""
    started = time.perf_counter()
    settings = load(AdaptConfig, config, sets)
    done = adapt(Bundle.open(bundle), find_stored(place, None).catalog, out, settings, platform=platform, on_progress=say)
    found = done.found
    if found["judged"]:
        told = [("before", found["before"]), *((f"{row['labelled']} products", row) for row in found["curve"]), ("after", found["after"])]
        for name, row in told:
            low, high = row["f1_ci"]
            say(f"  {name:<14}hierarchical F1 {row['f1']:.4f} [{low:.4f}, {high:.4f}]")
    return {"bundle": str(out), "version": done.bundle.version, **found, "seconds": round(time.perf_counter() - started, 1)}


def run_classify(
    bundle: str | Path,
    sources: Sequence[str],
    out: str | Path,
    *,
    config: str | None,
    sets: Sequence[str],
    mapping: str | None,
    say: Say,
    ingested: Path | None = None,
) -> dict[str, Any]:
    """OUT/answers/predictions and OUT/answers/rejected; what was rejected while reading feeds stands in OUT/catalog/rejected.

    Started again it goes on, and answers what is new; `earlier` of the summary is what it found there. Bundle, catalog and OUT may lie in stores:
    all nodes then read and write them there.

    Args:
        ingested: folder on this machine where feeds are ingested; None: OUT/catalog.
    """
    started = time.perf_counter()
    job = load(ClassifyJob, config, sets)
    BundlePlace(str(bundle), job.classify.cache).open()
    answers, columns = Location(str(out)).child("answers"), _mapping(mapping)
    with cluster(job.cluster):
        catalog = open_or_ingest(sources, ingested or Path(out).absolute() / "catalog", job.ingest, columns, say)
        done = classify(catalog.product_files(), bundle, answers.absolute().source, job.classify, on_progress=say)
    return {
        "answers": answers.absolute().child("predictions").source,
        "classified": sum(done.classified.values()),
        "rejected": sum(done.rejected.values()),
        "earlier": done.earlier,
        "rejected_at_ingestion": catalog.rejected().num_rows,
        "seconds": round(time.perf_counter() - started, 1),
    }


def run_audit(place: Path, out: Path, *, features: Path | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """place: a run folder of `fit`, or a catalog folder. Needs no cluster."""
    done = audit(place, out, load(AuditConfig, config, sets), features=features, on_progress=say)
    for line in audit_lines(done.summary):
        say(line)
    files = {"issues": out / "issues.csv", "overlay": out / "overlay.csv"}
    return {name: str(file) for name, file in files.items()} | {f"{name}_found": done.summary[name] for name in ("issues", "kinds", "splits")}


def run_crosswalk_propose(
    catalog: Path,
    out: Path,
    *,
    predictions: Path | None,
    bundle: Path | None,
    taxonomy: str | None,
    platforms: Sequence[str],
    config: str | None,
    sets: Sequence[str],
    say: Say,
) -> dict[str, Any]:
    """bundle: answers the catalog's products first, and its tree is taken if no other is named. Needs a cluster only then."""
    job, tree, opened = load(CrosswalkJob, config, sets), _taxonomy(taxonomy), Catalog.open(catalog)
    answers = read_predictions(predictions) if predictions else None
    if bundle is not None and answers is None:
        tree = tree or Bundle.open(bundle).tree
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        # Beside OUT, for all machines of the cluster must reach it.
        with tempfile.TemporaryDirectory(dir=out.absolute().parent) as folder, cluster(job.cluster):
            answers = classify(opened.product_files(), bundle, Path(folder) / "answers", job.classify, on_progress=say).answers()
    merged = propose(opened, out, job, predictions=answers, taxonomy=tree, platforms=platforms, on_progress=say)
    for line in proposal_lines(merged):
        say(line)
    counts = {"new": merged.new, "renewed": merged.renewed, "kept": merged.kept, "gone": merged.gone, "open": merged.open}
    return {"crosswalk": str(out), "lines": len(merged.lines), **counts, "how": merged.how}


def run_crosswalk_check(
    file: Path, catalog: Path, *, predictions: Path | None, taxonomy: str | None, config: str | None, sets: Sequence[str]
) -> dict[str, Any]:
    """Needs no cluster."""
    answers = read_predictions(predictions) if predictions else None
    job = load(CrosswalkJob, config, sets)
    return check_summary(file, check(file, Catalog.open(catalog), job, predictions=answers, taxonomy=_taxonomy(taxonomy)))


def run_feed_quality(catalog: Path, out: Path, *, bundle: Path | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """Needs no cluster."""
    quality = inspect_feeds(catalog, out, load(FeedQualityConfig, config, sets), bundle=bundle, on_progress=say)
    for line in feed_lines(quality.metrics):
        say(line)
    files = {"report": "feed_quality.md", "figures": "feed_quality.json", "table": "feed_quality.csv", "examples": "examples.csv"}
    return {name: str(out / file) for name, file in files.items()} | {"platforms": len(quality.metrics["platforms"])}


def run_explain(
    bundle: Path,
    *,
    title: str | None,
    description: str | None,
    brand: str | None,
    platform: str | None,
    image: Path | None,
    catalog: Path | None,
    features: Path | None,
    neighbours: int,
    say: Say,
) -> dict[str, Any]:
    """Why one product is answered as it is. Needs no cluster."""
    data = image_bytes(image) if image is not None else None
    product = Product(platform or "explain", "product", title=title, description=description, brand=brand, image=data)
    found = explain_product(Bundle.open(bundle), product, catalog=catalog, features=features, neighbours=neighbours, on_progress=say)
    return found.as_json()


def _mapping(path: str | None) -> FeedMapping | None:
    return read_mapping(Location(path)) if path else None


def _taxonomy(path: str | None) -> Taxonomy | None:
    return read_tree(path) if path is not None else None


def _counted(say: Say) -> Callable[[str, int, int], None]:
    return lambda name, done, to_do: say(f"features {name}: {done:,} of {to_do:,}")
