"""Delimited text: CSV, TSV, TXT. A broken line costs itself: a stray quote does not swallow the lines after it."""

import csv
import io
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prodcat.catalog.feeds.encodings import head_of, is_undecodable, open_text, readable
from prodcat.catalog.feeds.reader import NO_DEFAULTS, FeedPart, RawRow, ReadOptions
from prodcat.errors import FeedError
from prodcat.location import Location

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
# Fields may hold an image as base64. Python's own limit is 131,072 characters.
_FIELD_LIMIT = 32_000_000


class Line(NamedTuple):
    """A record of a delimited file: its fields, or the problem (reason, detail) that kept them from being read, and the text it was read from."""

    fields: list[str]
    problem: tuple[str, str] | None
    text: str


class _Lines:
    """Physical lines for csv.reader, remembering those of the record at hand so that they can be given back."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._returned: deque[str] = deque()
        self.record: list[str] = []
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else self._stream.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.record.append(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        self._returned.extendleft(reversed(lines))
        self.ended = False


class DelimitedReader:
    name = "delimited"
    suffixes: tuple[str, ...] = tuple(_DELIMITERS)
    defaults: Mapping[str, Any] = NO_DEFAULTS

    def recognises(self, head: str) -> bool:
        return False

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        if options.header is not None:
            return list(options.header)
        with open_text(feed, options) as stream:
            return column_names(feed, next(csv.reader(stream, delimiter=delimiter_of(feed, options)), []))

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        names, lines = read_lines(feed, options)
        for row, line in enumerate(lines, 1):
            if line.problem is not None:
                yield RawRow(row, problem=line.problem, text=readable(line.text))
            else:
                yield RawRow(row, dict(zip(names, line.fields, strict=True)))


def delimiter_of(feed: Location, options: ReadOptions) -> str:
    return options.delimiter or _DELIMITERS.get(feed.suffix, ",")


def with_delimiter_of_header(feed: Location, options: ReadOptions) -> ReadOptions:
    """For formats whose columns are known: the delimiter that the header line shows, whatever the file's name ends in."""
    if options.delimiter is not None or options.header is not None:
        return options
    first = head_of(feed, options).split("\n", 1)[0]
    return options.model_copy(update={"delimiter": max(",\t;|", key=first.count)})


def column_names(feed: Location, header: list[str]) -> list[str]:
    """Names of a header line, trimmed; a column without one is "column 3".

    Raises:
        FeedError: a name comes twice.
    """
    names = [name.strip().strip("\ufeff") or f"column {place}" for place, name in enumerate(header, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FeedError(f"{feed.source}: the header has {twice} more than once; name each column once, or map `header`")
    return names


def read_lines(feed: Location, options: ReadOptions) -> tuple[list[str], Iterator[Line]]:
    """(names of the columns, the records after the header). Each good record has as many fields as there are names.

    Raises:
        FeedError: the header has a column twice, or nobody knows the encoding.
    """
    csv.field_size_limit(_FIELD_LIMIT)
    stream = open_text(feed, options)
    lines = _Lines(stream)
    delimiter = delimiter_of(feed, options)
    # Strict, so that a stray quote which meets the quote of a later line is an error and not a field of many lines.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        names = list(options.header) if options.header is not None else column_names(feed, next(reader, []))
    except csv.Error as error:
        raise FeedError(f"{feed.source}: the header line cannot be read: {error}; save the feed again, or map `header`") from error
    return names, _records(stream, lines, reader, delimiter, names, options)


def _records(
    stream: io.TextIOBase, lines: _Lines, reader: Iterator[list[str]], delimiter: str, names: list[str], options: ReadOptions
) -> Iterator[Line]:
    with stream:
        while True:
            lines.record.clear()
            problem = None
            fields: list[str] = []
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field limit" in str(error):
                    problem = ("field_too_large", f"a field has more than {_FIELD_LIMIT:,} characters; is a quote not closed in this line?")
                elif len(lines.record) == 1 and not lines.ended:
                    # `1,"5" tablet"`: careless, but within one line there is only one way to read it.
                    fields = next(csv.reader(lines.record, delimiter=delimiter))
                else:
                    problem = ("broken_line", f"a quote that opens in this line is not closed, or not doubled inside its field ({error})")
            if not fields and problem is None:
                continue  # a blank line
            if problem is None:
                while len(fields) > len(names) and not fields[-1].strip():
                    fields.pop()  # a line that ends in the delimiter
                problem = _problem(fields, names, options.header is None)
            if problem is not None:
                # Only the first line is known to be broken: the others were drawn in by its open quote and are read again on their own.
                first, rest = lines.record[0], lines.record[1:]
                lines.give_back(rest)
                yield Line([], problem, first)
                continue
            line = "".join(lines.record)
            if "\0" in line:
                detail = f"the line holds a NUL byte in {_columns_with(names, fields, lambda field: chr(0) in field)}; it was cut off or is no text"
                yield Line([], ("nul_byte", detail), line)
            elif is_undecodable(line):
                detail = (
                    f"{_columns_with(names, fields, is_undecodable)} has bytes that are not {options.encoding}; "
                    "name the feed's encoding in its mapping, or save it as utf-8"
                )
                yield Line([], ("undecodable_bytes", detail), line)
            else:
                yield Line(fields, None, line)


def _problem(fields: list[str], names: list[str], has_header: bool) -> tuple[str, str] | None:
    if len(fields) < len(names):
        lacking = ", ".join(repr(name) for name in names[len(fields) :])[:300]
        return "broken_line", f"{len(fields)} fields, the header has {len(names)}: none for the columns {lacking}"
    if len(fields) > len(names):
        beyond = ", ".join(repr(field[:40]) for field in fields[len(names) :])[:300]
        return "broken_line", f"{len(fields)} fields, the header has {len(names)}: {beyond} stands behind the last column {names[-1:]}"
    if has_header and [field.strip().strip("\ufeff") for field in fields] == names:
        return "repeated_header", f"the header line again ({', '.join(names)[:200]}): were files put one behind the other?"
    return None


def _columns_with(names: list[str], fields: list[str], has: Any) -> str:
    return "the columns " + ", ".join(repr(name) for name, field in zip(names, fields, strict=True) if has(field))
