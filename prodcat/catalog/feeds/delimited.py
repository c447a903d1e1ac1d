"""Delimited text: CSV, TSV, TXT. A broken line costs itself: a stray quote does not swallow the lines after it."""

import csv
import io
from collections import deque
from collections.abc import Iterator

from prodcat.catalog.feeds.location import Location
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions
from prodcat.errors import FeedError

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
# Fields may hold an image as base64. Python's own limit is 131,072 characters.
_FIELD_LIMIT = 32_000_000


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
    suffixes: tuple[str, ...] = tuple(_DELIMITERS)

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        if options.header is not None:
            return list(options.header)
        with self._open(feed, options) as stream:
            return self._header(feed, csv.reader(stream, delimiter=self._delimiter(feed, options)))

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        csv.field_size_limit(_FIELD_LIMIT)
        with self._open(feed, options) as stream:
            lines = _Lines(stream)
            delimiter = self._delimiter(feed, options)
            # Strict, so that a stray quote which meets the quote of a later line is an error and not a field of many lines.
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            names = list(options.header) if options.header is not None else self._header(feed, reader)
            row = 0
            while True:
                lines.record.clear()
                problem = None
                fields: list[str] = []
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if len(lines.record) == 1 and not lines.ended:
                        # `1,"5" tablet"`: careless, but within one line there is only one way to read it.
                        fields = next(csv.reader(lines.record, delimiter=delimiter))
                    else:
                        problem = ("broken_line", f"a quote that opens in this line is not closed, or not doubled inside its field ({error})")
                if not fields and problem is None:
                    continue  # a blank line
                row += 1
                if problem is None and len(fields) != len(names):
                    problem = ("broken_line", f"{len(fields)} fields, the header has {len(names)} ({', '.join(names)[:200]})")
                if problem is not None:
                    # Only the first line is known to be broken: the others were drawn in by its open quote and are read again on their own.
                    first, rest = lines.record[0], lines.record[1:]
                    lines.give_back(rest)
                    yield RawRow(row, problem=problem, text=_readable(first))
                    continue
                line = "".join(lines.record)
                if "\0" in line:
                    yield RawRow(row, problem=("nul_byte", "the line holds a NUL byte; it was cut off or is no text"), text=_readable(line))
                elif not line.isascii() and _has_undecodable(line):
                    detail = f"the line has bytes that are not {options.encoding}; name the feed's encoding in its mapping, or save it as utf-8"
                    yield RawRow(row, problem=("undecodable_bytes", detail), text=_readable(line))
                else:
                    yield RawRow(row, dict(zip(names, fields, strict=True)))

    @staticmethod
    def _delimiter(feed: Location, options: ReadOptions) -> str:
        return options.delimiter or _DELIMITERS[feed.suffix]

    @staticmethod
    def _open(feed: Location, options: ReadOptions) -> io.TextIOWrapper:
        encoding = "utf-8-sig" if options.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else options.encoding
        try:
            # Undecodable bytes become lone surrogates, so that they cost their own line and not the file.
            return io.TextIOWrapper(io.BufferedReader(feed.open_stream()), encoding=encoding, errors="surrogateescape", newline="")
        except LookupError as error:
            raise FeedError(f"{feed.source}: unknown encoding {options.encoding!r}; expected a codec name such as utf-8, cp1252, utf-16") from error

    @staticmethod
    def _header(feed: Location, reader: Iterator[list[str]]) -> list[str]:
        names = [name.strip() for name in next(reader, [])]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FeedError(f"{feed.source}: the header has {twice} more than once; name each column once, or map `header`")
        return names


def _has_undecodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _readable(text: str) -> str:
    return text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
