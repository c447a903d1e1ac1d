"""Which reader reads which file, and the one place where a file that cannot be read becomes a row that says so."""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from prodcat.catalog.feeds.delimited import DelimitedReader
from prodcat.catalog.feeds.json_array import JsonArrayReader
from prodcat.catalog.feeds.json_lines import JsonLinesReader
from prodcat.catalog.feeds.location import Location
from prodcat.catalog.feeds.parquet import ParquetReader
from prodcat.catalog.feeds.reader import FeedPart, FeedReader, RawRow, ReadOptions
from prodcat.errors import FeedError

READERS: Final[tuple[FeedReader, ...]] = (ParquetReader(), DelimitedReader(), JsonArrayReader(), JsonLinesReader())
SUFFIXES = {suffix: reader for reader in READERS for suffix in reader.suffixes}

_UNREADABLE = (OSError, EOFError, UnicodeError, pa.ArrowException)


def reader_of(feed: Location) -> FeedReader:
    """Raises FeedError for a suffix that no reader knows."""
    reader = SUFFIXES.get(feed.suffix)
    if reader is None:
        raise FeedError(f"{feed.source}: no feed format ends in {feed.suffix!r}; known are {', '.join(sorted(SUFFIXES))}, each also with .gz")
    return reader


def columns(feed: Location, options: ReadOptions) -> list[str] | None:
    """Column names; None if the format's rows each name their own, or if the file cannot be opened (its `rows` then say why)."""
    try:
        return reader_of(feed).columns(feed, options)
    except _UNREADABLE:
        return None


def parts(feed: Location) -> list[FeedPart]:
    """Pieces to be read side by side. A file that cannot be opened is one piece, whose only row says why."""
    try:
        return reader_of(feed).parts(feed)
    except _UNREADABLE:
        return [FeedPart()]


def rows(feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
    """Rows of a part. Where reading stops for good, one last row with the reason `file_unreadable` stands for all that is lost."""
    row = part.first_row - 1
    try:
        for raw in reader_of(feed).rows(feed, part, options):
            row = raw.row
            yield raw
    except _UNREADABLE as error:
        detail = f"the file cannot be read from this row on: {str(error).splitlines()[0] if str(error) else repr(error)}; the rows before were taken"
        yield RawRow(row + 1, problem=("file_unreadable", detail))
