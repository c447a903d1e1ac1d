"""Shopify's product CSV: several lines a product, one for each variant and each further image. A row here is a product, not a line.

The names of two generations of exports are understood and given as those of the first: "Title", "Body (HTML)", "Type", "Image Src". Lines of one
handle stand together, as Shopify writes them; a handle that comes back later is a product of its own, and is then refused as a duplicate.
"""

import csv
from collections.abc import Iterator, Mapping
from typing import Any

from prodcat.catalog.feeds.delimited import column_names, delimiter_of, read_lines, with_delimiter_of_header
from prodcat.catalog.feeds.encodings import open_text, readable
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions
from prodcat.location import Location

# Lower case -> the name used here.
_NAMES = {
    "handle": "Handle",
    "url handle": "Handle",
    "title": "Title",
    "body (html)": "Body (HTML)",
    "body html": "Body (HTML)",
    "body": "Body (HTML)",
    "description": "Body (HTML)",
    "vendor": "Vendor",
    "type": "Type",
    "custom product type": "Type",
    "product category": "Product Category",
    "standard product type": "Product Category",
    "standardized product type": "Product Category",
    "image src": "Image Src",
    "product image url": "Image Src",
    "image position": "Image Position",
    "variant image": "Variant Image",
    "variant image url": "Variant Image",
    "variant sku": "Variant SKU",
    "sku": "Variant SKU",
}
_TELLING = ("variant sku", "body (html)", "option1 name", "image src", "product image url", "variant price", "vendor", "sku")
# Broken lines inside one product that are held back until it is whole.
_WAITING = 100


class ShopifyReader:
    name = "shopify"
    suffixes: tuple[str, ...] = (".csv",)
    defaults: Mapping[str, Any] = {
        "product_id": "Handle",
        "title": "Title",
        "description": "Body (HTML)",
        "brand": "Vendor",
        "raw_category": ["Type", "Product Category"],
        "label": {"column": "Product Category", "separator": ">"},
        "image": ["Image Src", "Variant Image"],
    }

    def recognises(self, head: str) -> bool:
        first = head.split("\n", 1)[0]
        names = {name.strip().strip('"').lower() for delimiter in ",;\t" for name in first.split(delimiter)}
        return bool({"handle", "url handle"} & names) and sum(name in names for name in _TELLING) >= 2

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        if options.header is not None:
            return list(options.header)
        options = with_delimiter_of_header(feed, options)
        with open_text(feed, options) as stream:
            return _named(column_names(feed, next(csv.reader(stream, delimiter=delimiter_of(feed, options)), [])))

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        written, lines = read_lines(feed, with_delimiter_of_header(feed, options))
        names = _named(written)
        row = 0
        handle: str | None = None
        product: dict[str, Any] = {}
        broken: list[RawRow] = []
        for number, line in enumerate(lines, 1):
            values = dict(zip(names, line.fields, strict=True)) if line.problem is None else {}
            this = values.get("Handle", "").strip()
            if this and this == handle:
                _add(product, values)
                continue
            problem = line.problem if line.problem is not None else _without_handle(values, written) if not this else None
            if problem is not None:
                # The lines behind it may still belong to the product before, so it is told behind that; unless the whole file is like it.
                broken.append(RawRow(0, problem=(problem[0], f"line {number} below the header: {problem[1]}"), text=readable(line.text)[:2000]))
                if len(broken) < _WAITING and handle is not None:
                    continue
                done = broken
                broken = []
            else:
                done = [RawRow(0, product), *broken] if handle is not None else broken
                broken = []
                handle, product = this, {}
                _add(product, values)
            for raw in done:
                row += 1
                yield raw._replace(row=row)
        for raw in [RawRow(0, product), *broken] if handle is not None else broken:
            row += 1
            yield raw._replace(row=row)


def _named(names: list[str]) -> list[str]:
    """The first column of a meaning gets Shopify's name for it; what comes second keeps its own."""
    result: list[str] = []
    for name in names:
        known = _NAMES.get(name.strip().lower(), name)
        result.append(name if known in result or (known != name and known in names) else known)
    return result


def _add(product: dict[str, Any], values: dict[str, str]) -> None:
    """A further line of a product: what was empty is filled, images are gathered in the order of the lines."""
    for name, value in values.items():
        if name in ("Image Src", "Variant Image"):
            images = product.setdefault(name, [])
            if value.strip() and value not in images:
                images.append(value)
        elif not str(product.get(name, "")).strip():
            product[name] = value


def _without_handle(values: dict[str, str], written: list[str]) -> tuple[str, str]:
    column = next((name for name in written if name.strip().lower() in ("handle", "url handle")), "Handle")
    rest = ", ".join(f"{name}: {value[:40]!r}" for name, value in values.items() if value.strip())[:300]
    return "handle_missing", f"the column {column!r} is empty, so nobody knows whose line this is ({rest or 'no value at all'}); fill it"
