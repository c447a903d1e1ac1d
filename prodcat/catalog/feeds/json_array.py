"""JSON: a list of objects, or an object that holds exactly one such list. The file is read whole; JSON lines is the form for large feeds."""

import json
from collections.abc import Iterator
from typing import Any

from prodcat.catalog.feeds.location import Location
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions

_WHITESPACE = " \t\r\n"


class JsonArrayReader:
    suffixes: tuple[str, ...] = (".json",)

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        return None

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        with feed.open_stream() as stream:
            data = stream.read()
        # Bytes that are no utf-8 become U+FFFD: they sit inside strings, and one bad name must not cost the file.
        text = data.decode("utf-8-sig", "replace")
        if text.lstrip(_WHITESPACE).startswith("["):
            yield from _rows_of_list(text)
        else:
            yield from _rows_of_object(text)


def _rows_of_list(text: str) -> Iterator[RawRow]:
    """Element by element, so that a file that ends early gives what stands before its end."""
    decoder = json.JSONDecoder()
    at = _skip(text, text.index("[") + 1)
    row = 0
    while at < len(text) and text[at] != "]":
        row += 1
        try:
            value, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            ended = at < len(text) and text[at] in ",]"
        except (json.JSONDecodeError, RecursionError) as error:
            yield RawRow(
                row, problem=("file_unreadable", f"the list cannot be read from here on: {error}; the rows before were taken"), text=text[at:][:500]
            )
            return
        yield _row(row, value)
        if ended and text[at] == ",":
            at = _skip(text, at + 1)
        elif not ended:
            break
    if at >= len(text) or text[at] != "]":
        yield RawRow(
            row + 1, problem=("file_unreadable", "the list is not closed by ']': the file ends early or is damaged here; the rows before were taken")
        )


def _rows_of_object(text: str) -> Iterator[RawRow]:
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        hint = "; one object a line is JSON lines: name it .jsonl" if "Extra data" in str(error) else ""
        yield RawRow(1, problem=("file_unreadable", f"not JSON: {error}{hint}"), text=text[:500])
        return
    lists = {key: value for key, value in document.items() if _is_rows(value)} if isinstance(document, dict) else {}
    if len(lists) != 1:
        found = f"an object with the lists {sorted(lists)}" if isinstance(document, dict) else f"a {type(document).__name__}"
        yield RawRow(
            1, problem=("file_unreadable", f"expected a list of objects, or an object that holds exactly one; found {found}"), text=text[:500]
        )
        return
    for row, value in enumerate(next(iter(lists.values())), 1):
        yield _row(row, value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(entry, dict) for entry in value)


def _row(row: int, value: Any) -> RawRow:
    if isinstance(value, dict):
        return RawRow(row, value)
    return RawRow(row, problem=("not_an_object", f"expected an object, found a {type(value).__name__}"), text=json.dumps(value)[:2000])


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITESPACE:
        at += 1
    return at
