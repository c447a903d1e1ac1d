"""What every feed format offers, and the raw row it yields. Knows neither products nor mappings beyond how a file is to be read.

A format never gives up on a whole run: what it cannot read leaves as a RawRow with a problem, so that every row of a feed leaves exactly once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pydantic import Field

from prodcat.config import Config
from prodcat.location import Location

# For formats that leave all to the mapping.
NO_DEFAULTS: Mapping[str, Any] = {}


class RawRow(NamedTuple):
    """One row as it stood in the file: its values, or the problem that kept them from being read. A tuple, as it travels between processes often.

    Args:
        row: from 1; a header line and blank lines do not count.
        values: column -> value; None if there is a problem.
        problem: (reason, detail): a stable short code and a sentence for a person.
        text: for a problem: the line as it stood, as far as it could be read.
    """

    row: int
    values: dict[str, Any] | None = None
    problem: tuple[str, str] | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class FeedPart:
    """A piece of a feed that can be read without the others.

    Args:
        first_row: number of its first row in the whole feed.
        row_groups: (start, stop) of the row groups of a Parquet file; None for formats that are read from start to end.
    """

    first_row: int = 1
    row_groups: tuple[int, int] | None = None


class ReadOptions(Config):
    """How the bytes of a feed become rows. Formats that say it themselves (Parquet) ignore it."""

    format: str | None = Field(None, description="name of the feed's format (registry.FORMATS); null: by the file's suffix, then by how it begins")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="between fields; null: ',' in .csv, tab in .tsv and .txt")
    encoding: str = Field("utf-8", description="of text feeds; a byte order mark, or an XML declaration, goes before the default")
    header: tuple[str, ...] | None = Field(None, description="names of the columns of a feed that has no header line")


class FeedReader(Protocol):
    """One format.

    Args:
        name: what a mapping calls it.
        suffixes: of its files, without ".gz".
        defaults: keys of a mapping file: which of the format's columns is which field, where a mapping does not say so itself.
    """

    name: str
    suffixes: tuple[str, ...]
    defaults: Mapping[str, Any]

    def recognises(self, head: str) -> bool:
        """Whether a file that begins like this is of this format. A format that any file may be of says no: its suffix decides."""
        ...

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        """Column names, or None for formats whose rows each name their own. Raises OSError or a pyarrow error for a file that cannot be opened."""
        ...

    def parts(self, feed: Location) -> list[FeedPart]:
        """Pieces to be read side by side, in order. Raises as `columns` does."""
        ...

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        """The rows of a part, in order, in bounded memory unless the format forbids it."""
        ...
