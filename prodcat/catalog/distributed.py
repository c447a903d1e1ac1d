"""Ingestion on Ray: one task reads each part and streams its chunks, other tasks decode and check them. Assumes that a cluster is joined.

Only scheduling is here. The chunks and what becomes of them are chunks.py's, what needs all rows is ingest.py's, so the catalog is the same as the
pure one. Every machine of the cluster must reach the feeds and `out` under the same path.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from prodcat.catalog import ingest as pure
from prodcat.catalog.chunks import Chunk, Feed, IngestConfig, Outcome, Plan, read, transform
from prodcat.catalog.crosswalked import Crosswalk
from prodcat.catalog.feeds.reader import FeedPart
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.summary import IngestSummary
from prodcat.errors import ProdcatError
from prodcat.taxonomy import Taxonomy

# Chunks that a reader may be ahead of the work: enough to hide its disk, few enough for object stores of a few hundred megabytes.
_READ_AHEAD = 2


# Readers wait most of the time; with a CPU of their own they would keep the work they wait for from running.
@ray.remote(num_cpus=0, num_returns="streaming")
def _read(number: int, feed: Feed, part: FeedPart, config: IngestConfig) -> Iterator[Chunk]:
    yield from read(number, feed, part, config)


@ray.remote(num_cpus=1)
def _transform(chunk: Chunk, folder: Path, config: IngestConfig, taxonomy: Taxonomy | None, crosswalk: Crosswalk | None) -> Outcome:
    return transform(chunk, folder, config, taxonomy, crosswalk)


def ingest(
    sources: Sequence[str],
    out: str | Path,
    config: IngestConfig,
    mapping: FeedMapping | None = None,
    *,
    taxonomy: Taxonomy | None = None,
    crosswalk: Crosswalk | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> IngestSummary:
    """As catalog.ingest.ingest, on the cluster that is joined; the same catalog comes out."""
    return pure.ingest(
        sources, Path(out).absolute(), config, mapping, taxonomy=taxonomy, crosswalk=crosswalk, on_progress=on_progress, execute=on_ray
    )


def on_ray(planned: Plan, folder: Path, config: IngestConfig, taxonomy: Taxonomy | None, crosswalk: Crosswalk | None) -> Iterator[Outcome]:
    """Outcomes as they are ready."""
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    shared_taxonomy, shared_crosswalk = ray.put(taxonomy), ray.put(crosswalk)
    working: list[Any] = []
    try:
        for chunk in _chunks(planned, config, readers=cpus):
            working.append(_transform.remote(chunk, folder, config, shared_taxonomy, shared_crosswalk))
            del chunk
            if len(working) >= 2 * cpus:
                ready, working = ray.wait(working, num_returns=1)
                yield from ray.get(ready)
        while working:
            ready, working = ray.wait(working, num_returns=1)
            yield from ray.get(ready)
    except RayTaskError as error:
        if isinstance(error.cause, ProdcatError):
            raise error.cause from None
        raise


def _chunks(planned: Plan, config: IngestConfig, readers: int) -> Iterator[Any]:
    """References to chunks, part by part, while the next `readers` parts are already being read."""
    coming: deque[Any] = deque()
    for number, (feed, part) in enumerate(planned.parts):
        coming.append(_read.options(_generator_backpressure_num_objects=_READ_AHEAD).remote(number, feed, part, config))
        if len(coming) >= readers:
            yield from coming.popleft()
    while coming:
        yield from coming.popleft()
