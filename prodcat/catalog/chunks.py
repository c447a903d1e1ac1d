"""The unit of ingestion: a run of raw rows of one feed -> a file of products, a file of rejections, and the little that is needed about all of them.

`plan` finds the feeds, `read` cuts them into chunks, `transform` does the work of one chunk. All three are pure of Ray: ingest.py calls them in turn,
distributed.py spreads them, and the files are the same.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.catalog.crosswalked import Crosswalk
from prodcat.catalog.duplicates import DuplicateConfig
from prodcat.catalog.feeds import registry
from prodcat.catalog.feeds.reader import FeedPart, RawRow
from prodcat.catalog.languages import LanguageConfig, fill
from prodcat.catalog.mapping import FeedMapping, columns_of, is_mapping, mapping_beside
from prodcat.catalog.pictures import PictureConfig
from prodcat.catalog.records import Record, RecordMaker, Rejection
from prodcat.catalog.splits import SplitConfig
from prodcat.config import Config
from prodcat.contracts import PRODUCTS, REJECTED, enforce, rows_to_table
from prodcat.errors import FeedError
from prodcat.location import Location
from prodcat.poison import PoisonConfig
from prodcat.taxonomy import Taxonomy, format_path

# What the whole run must know about every product; kept in memory, so no image and no text but the title's key.
INDEX = pa.schema(
    [
        *(PRODUCTS.field(name) for name in ("key", "platform", "path", "title_key", "image_hash", "digest", "image_problem", "source", "row")),
        *(PRODUCTS.field(name) for name in ("language", "language_source", "language_problem")),
        pa.field("thumbnail", pa.binary(), metadata={"description": "duplicates.thumbnail; null without image"}),
    ]
)


class IngestConfig(Config):
    """How feeds become a catalog."""

    pictures: PictureConfig = Field(PictureConfig(), description="what is kept of images")
    duplicates: DuplicateConfig = Field(DuplicateConfig(), description="what counts as a near-duplicate")
    languages: LanguageConfig = Field(LanguageConfig(), description="how products get their language")
    splits: SplitConfig = Field(SplitConfig(), description="shares and seed")
    poison: PoisonConfig = Field(PoisonConfig(), description="how many rows may be rejected")
    chunk_rows: int = Field(1000, ge=1, description="rows a task, and a file")
    chunk_mb: int = Field(64, ge=1, description="a chunk of images ends earlier, at this many megabytes as they stand in the feed")


@dataclass(frozen=True, slots=True)
class Feed:
    location: Location
    mapping: FeedMapping


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be read, in source order; `skipped` files in the folders are no feeds."""

    parts: tuple[tuple[Feed, FeedPart], ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Raw rows of one part; `order` is (part, chunk), the place in source order."""

    order: tuple[int, int]
    feed: Feed
    rows: list[RawRow]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a chunk. `columns_seen` serves to tell a mapped column that no row has; `examples` is the first row of each reason for which a
    row was rejected or an image refused, as a message."""

    order: tuple[int, int]
    source: str
    index: pa.Table
    rejected: dict[str, int]
    columns_seen: frozenset[str] = field(default_factory=frozenset)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.index.num_rows) + sum(self.rejected.values())


def plan(sources: Sequence[str], mapping: FeedMapping | None) -> Plan:
    """Files and folders -> parts to read.

    Args:
        sources: paths or URIs; a folder stands for all feed files in it and below, sorted.
        mapping: for all feeds; None: each takes the one beside it.

    Raises:
        FeedError: a source does not exist, the format of a file cannot be told, a mapped column is missing, or there is no feed at all.
        ConfigError: a mapping file does not fit.
    """
    locations, skipped = find_feeds(sources)
    parts: list[tuple[Feed, FeedPart]] = []
    for location in locations:
        feed = feed_at(location, mapping)
        columns = registry.columns(location, feed.mapping.read_options)
        if columns is not None:
            feed.mapping.check(location.source, columns)
        parts.extend((feed, part) for part in registry.parts(location, feed.mapping.read_options))
    return Plan(tuple(parts), skipped)


def feed_at(location: Location, mapping: FeedMapping | None) -> Feed:
    """A feed with its mapping: the given one, or else the one beside it; over the defaults of its format. Errors as in `plan`."""
    chosen = mapping if mapping is not None else mapping_beside(location)
    reader = registry.reader_of(location, chosen.read_options)
    return Feed(location, chosen.over(reader.name, reader.defaults))


def stamps(sources: Sequence[str], mapping: FeedMapping | None, crosswalk: Crosswalk | None = None) -> list[str]:
    """What a catalog of these sources is made of, to tell whether one that is there is still theirs: place, size and time of each feed, its mapping,
    what the crosswalk maps.

    Arguments and errors as in `plan`. Nothing of the feeds is read; a photo that is changed beside its feed is not noticed.
    """
    lines = []
    for location in find_feeds(sources)[0]:
        info = location.info()
        chosen = mapping if mapping is not None else mapping_beside(location)
        lines.append(f"{location.path} {info.size} {info.mtime_ns} {chosen.model_dump_json()}")
    if crosswalk:
        mapped = "".join(f"{platform}\0{raw}\0{format_path(path)}\0" for (platform, raw), path in sorted(crosswalk.items()))
        lines.append(f"crosswalk {hashlib.sha256(mapped.encode()).hexdigest()}")
    return lines


def find_feeds(sources: Sequence[str]) -> tuple[list[Location], int]:
    """Every feed among files and below folders, in source order, and how many other files there are."""
    found: dict[str, Location] = {}
    skipped = 0
    for source in sources:
        location = Location(source.rstrip("/") or source)
        info = location.info()
        if info.is_file:
            found.setdefault(location.path, location)
            continue
        if info.type.name != "Directory":
            raise FeedError(f"{source}: no such file or folder; give a feed ({', '.join(sorted(registry.SUFFIXES))}) or a folder of feeds")
        for file in location.files_below():
            if file.suffix in registry.SUFFIXES:
                found.setdefault(file.path, file)
            elif not is_mapping(file):
                skipped += 1
    if not found:
        raise FeedError(f"no feed in {list(sources)}: files that end in {', '.join(sorted(registry.SUFFIXES))} are looked for, each also with .gz")
    return list(found.values()), skipped


def read(number: int, feed: Feed, part: FeedPart, config: IngestConfig) -> Iterator[Chunk]:
    """Chunks of one part, in order. `number` is the part's place in the plan."""
    rows: list[RawRow] = []
    size, chunk = 0, 0
    for raw in registry.rows(feed.location, part, feed.mapping.read_options):
        rows.append(raw)
        size += sum(_image_size(raw, column) for column in columns_of(feed.mapping.image))
        if len(rows) >= config.chunk_rows or size >= config.chunk_mb * 1_000_000:
            yield Chunk((number, chunk), feed, rows)
            rows, size, chunk = [], 0, chunk + 1
    if rows:
        yield Chunk((number, chunk), feed, rows)


def _image_size(raw: RawRow, column: str) -> int:
    cell: Any = raw.values.get(column) if raw.values is not None else None
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    return len(cell) if isinstance(cell, bytes | str) else 0


def transform(chunk: Chunk, folder: Path, config: IngestConfig, taxonomy: Taxonomy | None, crosswalk: Crosswalk | None = None) -> Outcome:
    """Makes products and rejections of a chunk and writes them below `folder`."""
    source = chunk.feed.location.source
    maker = RecordMaker(chunk.feed.location, chunk.feed.mapping, config.pictures, taxonomy, crosswalk)
    records: list[Record] = []
    rejections: list[Rejection] = []
    for raw in chunk.rows:
        made = maker.make(raw)
        if isinstance(made, Record):
            records.append(made)
        else:
            rejections.append(made)
    rows = [record.as_row(source) for record in records]
    fill(rows, config.languages)
    products = enforce(rows_to_table(rows, PRODUCTS), PRODUCTS, "ingest")
    if records:
        write_part(products, folder / "products", chunk.order)
    if rejections:
        rejected = rows_to_table((rejection.as_row(source) for rejection in rejections), REJECTED)
        write_part(enforce(rejected, REJECTED, "ingest"), folder / "rejected", chunk.order)
    reasons: dict[str, int] = {}
    examples: dict[str, str] = {}
    for rejection in rejections:
        reasons[rejection.reason] = reasons.get(rejection.reason, 0) + 1
        examples.setdefault(rejection.reason, message(source, rejection.row, rejection.detail))
    for record in records:
        if record.product.image_problem is not None:
            examples.setdefault(record.product.image_problem, message(source, record.row, record.image_detail or ""))
    thumbnails = pa.array([record.thumbnail for record in records], pa.binary())
    index = products.select(INDEX.names[:-1]).append_column(INDEX.field("thumbnail"), thumbnails)
    seen = frozenset(name for raw in chunk.rows if raw.values is not None for name in raw.values)
    return Outcome(chunk.order, source, index, reasons, seen, examples)


def message(source: str, row: int, detail: str) -> str:
    """What a person reads of a row."""
    return f"{source}, row {row}: {detail}"


def part_file(folder: Path, order: tuple[int, int]) -> Path:
    return folder / f"part-{order[0]:06d}-{order[1]:06d}.parquet"


def write_part(table: pa.Table, folder: Path, order: tuple[int, int]) -> None:
    pq.write_table(table, part_file(folder, order), compression="zstd")
