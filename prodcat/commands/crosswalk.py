"""`crosswalk propose` and `crosswalk check`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.catalog.store import Catalog
from prodcat.commands.arguments import Say, taxonomy_of
from prodcat.config import load
from prodcat.crosswalking import CrosswalkConfig, check, check_summary, proposal_lines, propose, read_predictions
from prodcat.distributed import ClusterConfig, cluster
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.distributed import ClassifyConfig, classify


class CrosswalkJob(CrosswalkConfig):
    """Configuration of `crosswalk`; the cluster is joined only where a bundle is to answer."""

    cluster: ClusterConfig = ClusterConfig()
    classify: ClassifyConfig = ClassifyConfig()


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
    job, tree, opened = load(CrosswalkJob, config, sets), taxonomy_of(taxonomy), Catalog.open(catalog)
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
    return check_summary(file, check(file, Catalog.open(catalog), job, predictions=answers, taxonomy=taxonomy_of(taxonomy)))
