"""`classify`: answers for a catalog or for feeds."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.commands.arguments import Say, mapping_of
from prodcat.commands.ingest import IngestJob
from prodcat.config import load
from prodcat.distributed import cluster
from prodcat.ingesting import open_or_ingest
from prodcat.location import Location
from prodcat.prediction.distributed import BundlePlace, ClassifyConfig, classify


class ClassifyJob(IngestJob):
    """Configuration of `classify`."""

    classify: ClassifyConfig = ClassifyConfig()


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
    answers, columns = Location(str(out)).child("answers"), mapping_of(mapping)
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
