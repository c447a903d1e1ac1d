"""JSON lines: one object a line. A bad line costs itself."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from prodcat.catalog.feeds.encodings import is_undecodable, open_text, readable
from prodcat.catalog.feeds.reader import NO_DEFAULTS, FeedPart, RawRow, ReadOptions
from prodcat.location import Location


class JsonLinesReader:
    name = "json_lines"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")
    defaults: Mapping[str, Any] = NO_DEFAULTS

    def recognises(self, head: str) -> bool:
        """Two objects, one a line: what stands in one .json file is no JSON then."""
        first, _, rest = head.lstrip().partition("\n")
        return first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{")

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        return None

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        row = 0
        with open_text(feed, options) as stream:
            for line in stream:
                if not line.strip("\ufeff \t\r\n"):
                    continue
                row += 1
                yield _read(row, line.strip("\ufeff \t\r\n"), options.encoding)


def _read(row: int, line: str, encoding: str) -> RawRow:
    if is_undecodable(line):
        detail = f"the line has bytes that are not {encoding}; name the feed's encoding in its mapping, or save it as utf-8"
        return RawRow(row, problem=("undecodable_bytes", detail), text=readable(line))
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return RawRow(row, problem=("bad_json", f"the line is not JSON: {error}"), text=line)
    if not isinstance(values, dict):
        return RawRow(row, problem=("not_an_object", f"expected one {{...}} a line, found a {type(values).__name__}"), text=line)
    return RawRow(row, values)
