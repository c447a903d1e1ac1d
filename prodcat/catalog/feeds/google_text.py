"""Google Merchant feeds as delimited text: Google's column names in any spelling ("image link", "image_link", "g:image_link"), tabs or commas."""

import csv
from collections.abc import Iterator, Mapping
from typing import Any

from prodcat.catalog.feeds.delimited import column_names, delimiter_of, read_lines, with_delimiter_of_header
from prodcat.catalog.feeds.encodings import open_text, readable
from prodcat.catalog.feeds.google import GOOGLE_DEFAULTS, google_values
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions
from prodcat.location import Location

# What no other format's header has together with an id and a title.
_TELLING = {"image_link", "google_product_category", "product_type", "item_group_id", "availability", "condition"}


class GoogleTextReader:
    name = "google_merchant_text"
    suffixes: tuple[str, ...] = (".tsv", ".txt", ".csv")
    defaults: Mapping[str, Any] = GOOGLE_DEFAULTS

    def recognises(self, head: str) -> bool:
        first = head.split("\n", 1)[0].rstrip("\r")
        return any(self._is_header(_named(first.split(delimiter))) for delimiter in "\t,;|")

    @staticmethod
    def _is_header(names: list[str]) -> bool:
        return {"id", "title"} <= set(names) and len(_TELLING & set(names)) >= 2

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        if options.header is not None:
            return list(options.header)
        options = with_delimiter_of_header(feed, options)
        with open_text(feed, options) as stream:
            return column_names(feed, _named(next(csv.reader(stream, delimiter=delimiter_of(feed, options)), [])))

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        names, lines = read_lines(feed, with_delimiter_of_header(feed, options))
        names = column_names(feed, _named(names))
        for row, line in enumerate(lines, 1):
            if line.problem is not None:
                yield RawRow(row, problem=line.problem, text=readable(line.text))
            else:
                yield RawRow(row, google_values(dict(zip(names, line.fields, strict=True))))


def _named(header: list[str]) -> list[str]:
    return [name.strip().strip('"').strip().lower().removeprefix("g:").replace(" ", "_") for name in header]
