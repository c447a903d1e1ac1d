"""The catalog that a command works on: one that is there, or feeds that are ingested first."""

from collections.abc import Sequence
from pathlib import Path

from prodcat.catalog.chunks import IngestConfig, stamps
from prodcat.catalog.crosswalked import Crosswalk
from prodcat.catalog.distributed import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog
from prodcat.errors import CrosswalkError
from prodcat.run_folder import Progress, Steps
from prodcat.taxonomy import Taxonomy
from prodcat.workspace import is_catalog


def catalog_of_run(
    sources: Sequence[str],
    out: Path,
    config: IngestConfig,
    mapping: FeedMapping | None,
    taxonomy: Taxonomy | None,
    crosswalk: Crosswalk | None,
    steps: Steps,
    on_progress: Progress,
) -> Catalog:
    """A catalog folder as it is, or feeds, ingested into OUT/catalog. Assumes a cluster is joined.

    Args:
        steps: the run's: what is made for the same feeds, mapping, tree and crosswalk is not made again.

    Raises:
        CrosswalkError: a crosswalk for a catalog that is there already.
        FeedError, ConfigError: as in `catalog.ingest.ingest`.
    """
    if len(sources) == 1 and is_catalog(sources[0]):
        if crosswalk is not None:
            raise CrosswalkError(f"{sources[0]}: is a catalog already; give the crosswalk to `prodcat ingest`, which labels rows as it reads them")
        return Catalog.open(sources[0])
    inputs = [*stamps(sources, mapping, crosswalk), config, taxonomy.hash if taxonomy else "no taxonomy"]

    def make() -> None:
        done = ingest(sources, out / "catalog", config, mapping, taxonomy=taxonomy, crosswalk=crosswalk, on_progress=on_progress)
        for line in done.lines():
            on_progress(f"  {line}")

    # A catalog that grows keeps the splits of the products it has.
    steps.run("catalog", inputs, out / "catalog", make, keep=True)
    return Catalog.open(out / "catalog")


def open_or_ingest(
    sources: Sequence[str], folder: Path, config: IngestConfig, mapping: FeedMapping | None = None, on_progress: Progress = print
) -> Catalog:
    """A catalog folder as it is, or feeds, ingested into `folder`; one in a store is read where it lies."""
    if len(sources) == 1 and is_catalog(sources[0]):
        return Catalog.open(sources[0])
    for line in ingest(sources, folder, config, mapping, on_progress=on_progress).lines():
        on_progress(f"  {line}")
    return Catalog.open(folder)
