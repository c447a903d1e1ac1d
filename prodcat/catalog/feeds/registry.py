"""Which reader reads which file, and the one place where a file that cannot be read becomes a row that says so.

A mapping may name the format. Else the file's suffix says which ones it may be, and its beginning which of them it is; a file whose suffix says
nothing is known by its beginning alone.
"""

import difflib
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from prodcat.catalog.feeds.delimited import DelimitedReader
from prodcat.catalog.feeds.encodings import head_of
from prodcat.catalog.feeds.google_text import GoogleTextReader
from prodcat.catalog.feeds.google_xml import GoogleXmlReader
from prodcat.catalog.feeds.json_array import JsonArrayReader
from prodcat.catalog.feeds.json_ld import JsonLdReader
from prodcat.catalog.feeds.json_lines import JsonLinesReader
from prodcat.catalog.feeds.parquet import ParquetReader
from prodcat.catalog.feeds.reader import FeedPart, FeedReader, RawRow, ReadOptions
from prodcat.catalog.feeds.shopify import ShopifyReader
from prodcat.errors import FeedError
from prodcat.location import Location

# Where several take a suffix, the first that recognises the file's beginning reads it, and else the last one.
READERS: Final[tuple[FeedReader, ...]] = (
    ParquetReader(),
    GoogleXmlReader(),
    GoogleTextReader(),
    ShopifyReader(),
    JsonLdReader(),
    JsonLinesReader(),
    JsonArrayReader(),
    DelimitedReader(),
)
SUFFIXES: Final = frozenset(suffix for reader in READERS for suffix in reader.suffixes)
# What a mapping may name: a reader, or for Google the pair of them.
FORMATS: Final[dict[str, tuple[FeedReader, ...]]] = {
    **{reader.name: (reader,) for reader in READERS},
    "google_merchant": tuple(reader for reader in READERS if reader.name.startswith("google_merchant")),
}

_UNREADABLE = (OSError, EOFError, UnicodeError, pa.ArrowException)


def reader_of(feed: Location, options: ReadOptions) -> FeedReader:
    """Raises FeedError for a format that nobody knows, and for a file whose format nobody can tell."""
    if options.format is not None:
        if options.format not in FORMATS:
            near = difflib.get_close_matches(options.format, FORMATS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise FeedError(f"{feed.source}: its mapping says format: {options.format}, known are {', '.join(sorted(FORMATS))}{meant}")
        candidates: tuple[FeedReader, ...] = FORMATS[options.format]
    else:
        candidates = tuple(reader for reader in READERS if feed.suffix in reader.suffixes)
    if len(candidates) == 1:
        return candidates[0]
    head = head_of(feed, options)
    recognised = next((reader for reader in candidates or READERS if reader.recognises(head)), None)
    if recognised is not None:
        return recognised
    if candidates:
        return candidates[-1]
    raise FeedError(
        f"{feed.source}: no feed format ends in {feed.suffix!r}; known are {', '.join(sorted(SUFFIXES))}, each also with .gz. How it begins tells no "
        "format either: name it as `format` in the mapping"
    )


def columns(feed: Location, options: ReadOptions) -> list[str] | None:
    """Column names; None if the format's rows each name their own, or if the file cannot be opened (its `rows` then say why)."""
    try:
        return reader_of(feed, options).columns(feed, options)
    except _UNREADABLE:
        return None


def parts(feed: Location, options: ReadOptions) -> list[FeedPart]:
    """Pieces to be read side by side. A file that cannot be opened is one piece, whose only row says why."""
    try:
        return reader_of(feed, options).parts(feed)
    except _UNREADABLE:
        return [FeedPart()]


def rows(feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
    """Rows of a part. Where reading stops for good, one last row with the reason `file_unreadable` stands for all that is lost."""
    row = part.first_row - 1
    try:
        for raw in reader_of(feed, options).rows(feed, part, options):
            row = raw.row
            yield raw
    except _UNREADABLE as error:
        detail = f"the file cannot be read from this row on: {str(error).splitlines()[0] if str(error) else repr(error)}; the rows before were taken"
        yield RawRow(row + 1, problem=("file_unreadable", detail))
