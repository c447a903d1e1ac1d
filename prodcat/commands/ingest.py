"""`ingest`: feeds into a catalog."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.distributed import ingest
from prodcat.commands.arguments import Say, mapping_of, taxonomy_of
from prodcat.config import Config, load
from prodcat.crosswalking import read_crosswalk
from prodcat.distributed import ClusterConfig, cluster


class IngestJob(Config):
    """Configuration of `ingest`."""

    cluster: ClusterConfig = ClusterConfig()
    ingest: IngestConfig = IngestConfig()


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
    job, columns, tree = load(IngestJob, config, sets), mapping_of(mapping), taxonomy_of(taxonomy)
    labels = read_crosswalk(crosswalk, tree) if crosswalk else None
    with cluster(job.cluster):
        summary = ingest(sources, out, job.ingest, columns, taxonomy=tree, crosswalk=labels, on_progress=say)
    for line in summary.lines():
        say(line)
    return {"catalog": str(out), **asdict(summary)}
