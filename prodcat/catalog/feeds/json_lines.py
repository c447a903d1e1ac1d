"""JSON lines: one object a line. A bad line costs itself."""

import io
import json
from collections.abc import Iterator

from prodcat.catalog.feeds.location import Location
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions


class JsonLinesReader:
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        return None

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        row = 0
        with io.BufferedReader(feed.open_stream()) as stream:
            for line in stream:
                if row == 0:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                row += 1
                yield _read(row, line)


def _read(row: int, line: bytes) -> RawRow:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return RawRow(row, problem=("undecodable_bytes", f"the line is not utf-8: {error}"), text=line.decode("utf-8", "replace"))
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        return RawRow(row, problem=("bad_json", f"the line is not JSON: {error}"), text=text)
    if not isinstance(values, dict):
        return RawRow(row, problem=("not_an_object", f"expected one {{...}} a line, found a {type(values).__name__}"), text=text)
    return RawRow(row, values)
