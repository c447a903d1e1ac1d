"""JSON: a list of objects, or an object that holds exactly one such list. The file is read whole; JSON lines is the form for large feeds."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from prodcat.catalog.feeds.encodings import read_text, readable
from prodcat.catalog.feeds.reader import NO_DEFAULTS, FeedPart, RawRow, ReadOptions
from prodcat.location import Location

_WHITESPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


class JsonArrayReader:
    name = "json"
    suffixes: tuple[str, ...] = (".json",)
    defaults: Mapping[str, Any] = NO_DEFAULTS

    def recognises(self, head: str) -> bool:
        return head.lstrip().startswith("[") and head.lstrip(_WHITESPACE + "[").startswith("{")

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        return None

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        # Bytes that do not decode sit inside strings, as lone surrogates: the rows whose fields need them are rejected by column, the others stay.
        text, stopped = read_text(feed, options)
        text = text.lstrip("\ufeff" + _WHITESPACE)
        yield from _rows_of_list(text, 0) if text.startswith("[") else _rows_of_object(text)
        if stopped is not None:
            raise stopped


def _rows_of_list(text: str, start: int) -> Iterator[RawRow]:
    """Element by element from the "[" at `start`, so that a file that ends early gives what stands before its end."""
    at = _skip(text, start + 1)
    row = 0
    while at < len(text) and text[at] != "]":
        row += 1
        begin = at
        try:
            value, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            ended = at < len(text) and text[at] in ",]"
        except (ValueError, RecursionError) as error:
            detail = f"the list cannot be read from here on: {error}; the rows before were taken"
            yield RawRow(row, problem=("file_unreadable", detail), text=readable(text[begin:][:500]))
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
    except (ValueError, RecursionError) as error:
        start = _list_in_object(text)
        if start is not None:
            yield from _rows_of_list(text, start)
            return
        hint = "; one object a line is JSON lines: name it .jsonl" if "Extra data" in str(error) else ""
        yield RawRow(1, problem=("file_unreadable", f"not JSON: {error}{hint}"), text=readable(text[:500]))
        return
    lists = {key: value for key, value in document.items() if _is_rows(value)} if isinstance(document, dict) else {}
    if len(lists) != 1:
        found = f"an object with the lists {sorted(lists)}" if isinstance(document, dict) else f"a {type(document).__name__}"
        yield RawRow(
            1,
            problem=("file_unreadable", f"expected a list of objects, or an object that holds exactly one; found {found}"),
            text=readable(text[:500]),
        )
        return
    for row, value in enumerate(next(iter(lists.values())), 1):
        yield _row(row, value)


def _list_in_object(text: str) -> int | None:
    """Where the first list of objects begins in an object that is damaged further on."""
    at = _skip(text, 1) if text.startswith("{") else len(text)
    try:
        while at < len(text) and text[at] == '"':
            _, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the colon
            if text[at : at + 1] == "[" and text[_skip(text, at + 1) :][:1] == "{":
                return at
            _, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the comma
    except (ValueError, RecursionError):
        return None
    return None


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
