"""Feeds -> catalog, in this process. What needs all rows at once (duplicate keys, groups, splits, the tree) is decided here, for Ray too."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prodcat.catalog import store
from prodcat.catalog.chunks import INDEX, IngestConfig, Outcome, Plan, message, part_file, plan, read, transform, write_part
from prodcat.catalog.crosswalked import Crosswalk
from prodcat.catalog.duplicates import near_duplicates
from prodcat.catalog.languages import DETECTED
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.splits import SPLITS as SPLIT_NAMES
from prodcat.catalog.splits import Assignment, assign
from prodcat.catalog.summary import UNKNOWN, IngestSummary
from prodcat.contracts import REJECTED, SPLITS, enforce, rows_to_table
from prodcat.errors import FeedError
from prodcat.poison import Tally
from prodcat.taxonomy import Taxonomy

# Plan, folder to write to, configuration, tree, crosswalk -> outcomes in any order. Serial here, Ray in distributed.py.
Execute = Callable[[Plan, Path, IngestConfig, Taxonomy | None, Crosswalk | None], Iterator[Outcome]]

_PROGRESS_SECONDS = 2.0
# A column mapped to `language` by mistake holds another text in every row.
_MOST_MISNAMED = 20


def serial(planned: Plan, folder: Path, config: IngestConfig, taxonomy: Taxonomy | None, crosswalk: Crosswalk | None) -> Iterator[Outcome]:
    """One chunk after the other."""
    for number, (feed, part) in enumerate(planned.parts):
        for chunk in read(number, feed, part, config):
            yield transform(chunk, folder, config, taxonomy, crosswalk)


def ingest(
    sources: Sequence[str],
    out: str | Path,
    config: IngestConfig,
    mapping: FeedMapping | None = None,
    *,
    taxonomy: Taxonomy | None = None,
    crosswalk: Crosswalk | None = None,
    on_progress: Callable[[str], None] | None = None,
    execute: Execute = serial,
) -> IngestSummary:
    """Feeds -> a catalog folder. A folder that holds a catalog gets the new one in its place; products that were in both keep their split.

    Args:
        sources: files, folders or URIs of feeds.
        out: folder for the catalog; local, or shared by all machines of the cluster.
        config: how.
        mapping: for all feeds; None: `<feed>.mapping.yaml` beside each, else the default columns.
        taxonomy: the tree that labels must lie in; None: the tree is made of the labels.
        crosswalk: labels for rows that have a raw category and no label of their own; in the tree, if one is given.
        on_progress: is told, every few seconds, how far the work is.
        execute: how the chunks are worked off.

    Raises:
        FeedError: a source cannot be found, a mapped column is missing, no row at all became a product, or `out` holds something else.
        TooManyRejected: see PoisonConfig; `out` stays as it was.
        ConfigError: a mapping file does not fit.
        TaxonomyError: the crosswalk maps to a category that is not in the given tree.
    """
    started = time.perf_counter()
    out = Path(out)
    tell = on_progress or (lambda line: None)
    if taxonomy is not None and crosswalk:
        taxonomy.targets(list(crosswalk.values()))
    planned = plan(sources, mapping)
    earlier = store.earlier_splits(out)
    folder = store.begin(out)
    try:
        outcomes = _collect(execute(planned, folder, config, taxonomy, crosswalk), Tally(config.poison, "ingest"), tell)
        _check_columns(planned, outcomes)
        outcomes = _reject_repeated_keys(outcomes, folder)
        index = pa.concat_tables([outcome.index for outcome in outcomes]) if outcomes else INDEX.empty_table()
        rejected = sum((Counter(outcome.rejected) for outcome in outcomes), Counter[str]())
        if not index.num_rows:
            raise FeedError(_nothing_came_out(sources, rejected, folder))
        tell(f"grouping {index.num_rows:,} products")
        keys = index["key"].to_pylist()
        components = near_duplicates(
            index["title_key"].to_pylist(), index["image_hash"].to_pylist(), index["thumbnail"].to_pylist(), config.duplicates
        )
        assignment = assign(keys, components, earlier, config.splits)
        paths = index["path"].to_pylist()
        tree = taxonomy if taxonomy is not None else (Taxonomy.from_labels(paths) if any(paths) else None)
        gone = len({key for key, _, _ in earlier} - set(keys))
        examples: dict[str, str] = {}
        for outcome in outcomes:
            for reason, text in outcome.examples.items():
                examples.setdefault(reason, text)
        summary = _summary(index, rejected, examples, assignment, gone, planned.skipped, time.perf_counter() - started)
        splits = pa.table({"key": assignment.keys, "group": assignment.groups, "split": assignment.splits})
        store.publish(out, tree, enforce(splits, SPLITS, "ingest"), store.content_digest(index), asdict(summary), config.model_dump(mode="json"))
    except BaseException:
        store.abandon(out)
        raise
    return summary


def _collect(outcomes: Iterator[Outcome], tally: Tally, tell: Callable[[str], None]) -> list[Outcome]:
    collected: list[Outcome] = []
    told = time.perf_counter()
    for outcome in outcomes:
        collected.append(outcome)
        tally.add(outcome.rows, outcome.rejected, outcome.examples)
        if time.perf_counter() - told > _PROGRESS_SECONDS:
            told = time.perf_counter()
            tell(f"{tally.rows:,} rows read, {tally.rejected:,} rejected, at {outcome.source}")
    return sorted(collected, key=lambda outcome: outcome.order)


def _check_columns(planned: Plan, outcomes: Sequence[Outcome]) -> None:
    """For formats whose rows each name their own columns: a mapped column that no row of the feed has."""
    seen: dict[str, set[str]] = {}
    for outcome in outcomes:
        seen.setdefault(outcome.source, set()).update(outcome.columns_seen)
    for feed, _ in planned.parts:
        if columns := seen.get(feed.location.source):
            feed.mapping.check(feed.location.source, sorted(columns))


def _reject_repeated_keys(outcomes: Sequence[Outcome], folder: Path) -> list[Outcome]:
    """The first row of a key stays; later ones are taken out of their files and into the rejections, with the place of the first."""
    first: dict[str, tuple[str, int]] = {}
    kept: list[Outcome] = []
    for outcome in outcomes:
        keys, sources, rows = (outcome.index[name].to_pylist() for name in ("key", "source", "row"))
        repeated: list[dict[str, object]] = []
        keep = np.ones(len(keys), dtype=bool)
        for i, (key, source, row) in enumerate(zip(keys, sources, rows, strict=True)):
            where = first.setdefault(key, (source, row))
            if where != (source, row):
                keep[i] = False
                detail = (
                    f"{key!r} is already row {where[1]} of {where[0]}, which was kept; give each product its own id, or each shop its own platform"
                )
                repeated.append({"source": source, "row": row, "reason": "duplicate_key", "detail": detail, "raw": None})
        if not repeated:
            kept.append(outcome)
            continue
        products = part_file(folder / "products", outcome.order)
        table = pq.read_table(products, partitioning=None)
        products.unlink()
        if keep.any():
            write_part(table.filter(pa.array(keep)), folder / "products", outcome.order)
        rejections = part_file(folder / "rejected", outcome.order)
        before = pq.read_table(rejections, partitioning=None) if rejections.exists() else REJECTED.empty_table()
        both = pa.concat_tables([before, rows_to_table(repeated, REJECTED)]).sort_by("row")
        write_part(enforce(both, REJECTED, "ingest"), folder / "rejected", outcome.order)
        reasons = {**outcome.rejected, "duplicate_key": len(repeated)}
        examples = {"duplicate_key": message(outcome.source, int(rows[int(np.argmin(keep))]), str(repeated[0]["detail"])), **outcome.examples}
        kept.append(replace(outcome, index=outcome.index.filter(pa.array(keep)), rejected=reasons, examples=examples))
    return kept


def _nothing_came_out(sources: Sequence[str], rejected: Counter[str], folder: Path) -> str:
    if not rejected:
        return f"{list(sources)}: the feeds hold no rows"
    counts = ", ".join(f"{reason} {count}" for reason, count in rejected.most_common())
    files = sorted((folder / "rejected").iterdir())
    example = pq.read_table(files[0], partitioning=None).slice(0, 1).to_pylist()[0]
    return f"{list(sources)}: no row became a product ({counts}). The first: {example['source']}, row {example['row']}: {example['detail']}"


def _summary(
    index: pa.Table, rejected: Counter[str], examples: dict[str, str], assignment: Assignment, gone: int, skipped: int, seconds: float
) -> IngestSummary:
    groups = Counter(assignment.groups)
    splits = Counter(assignment.splits)
    problems = Counter(problem for problem in index["image_problem"].to_pylist() if problem is not None)
    languages = Counter(language or UNKNOWN for language in index["language"].to_pylist())
    misnamed = Counter(named for named in index["language_problem"].to_pylist() if named is not None)
    return IngestSummary(
        products=index.num_rows,
        rejected=dict(rejected.most_common()),
        image_problems=dict(problems.most_common()),
        examples=examples,
        platforms=dict(Counter(index["platform"].to_pylist()).most_common()),
        languages=dict(languages.most_common()),
        languages_detected=pc.sum(pc.equal(index["language_source"], DETECTED)).as_py() or 0,
        language_problems=dict(misnamed.most_common(_MOST_MISNAMED)),
        with_image=pc.count(index["thumbnail"]).as_py(),
        labelled=pc.count(index["path"]).as_py(),
        groups=len(groups),
        largest_group=max(groups.values()),
        splits={name: splits[name] for name in SPLIT_NAMES},
        moved=assignment.moved,
        gone=gone,
        skipped=skipped,
        seconds=round(seconds, 2),
    )
