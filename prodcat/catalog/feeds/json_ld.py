"""schema.org products as JSON-LD: a document (.jsonld, .json) or the <script type="application/ld+json"> blocks of an HTML page.

A row is a product: of a list, of @graph, of an ItemList, of a ProductGroup's hasVariant (which inherits what the group says). Offers, ratings and
related products are passed over. A block that is no JSON costs itself. The document is read whole.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from prodcat.catalog.feeds.encodings import read_text, readable
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions
from prodcat.location import Location

_PRODUCTS = {"Product", "ProductGroup", "ProductModel", "IndividualProduct", "SomeProducts"}
# Where products may stand below something that is none.
_BELOW = ("@graph", "itemListElement", "item", "mainEntity", "itemOffered", "hasVariant", "@list", "@set")
# What a variant takes from its group where it says nothing itself.
_INHERITED = ("name", "description", "brand", "category", "image")
_DEPTH = 50


class JsonLdReader:
    name = "json_ld"
    suffixes: tuple[str, ...] = (".jsonld", ".json", ".html", ".htm")
    defaults: Mapping[str, Any] = {
        "product_id": ["sku", "productID", "gtin13", "gtin", "gtin14", "gtin12", "gtin8", "mpn", "@id", "url"],
        "title": "name",
        "description": "description",
        "brand": "brand",
        "language": "inLanguage",
        "raw_category": "category",
        "label": None,  # a shop's own categories, in its own words; whoever learns from them maps them
        "image": "image",
    }

    def recognises(self, head: str) -> bool:
        start = head.lstrip()
        if start.startswith(("{", "[")):
            return '"@context"' in head and "schema.org" in head
        return re.match(r"<(!doctype\s+html|html|head|body|script)\b", start, re.IGNORECASE) is not None

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        return None

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        text, stopped = read_text(feed, options)
        text = text.lstrip("\ufeff \t\r\n")
        row = 0
        is_page = text.startswith("<")
        blocks = _scripts(text) if is_page else [text]
        for number, block in enumerate(blocks, 1):
            where = f"script block {number} of type application/ld+json" if is_page else "the document"
            for values, problem in _of_block(block, where):
                row += 1
                yield RawRow(row, values, problem, readable(block[:500]) if problem is not None else None)
        if stopped is not None:
            raise stopped
        if row == 0:
            found = "the page has no <script type=application/ld+json>" if not blocks else "none of its nodes has a @type such as Product"
            yield RawRow(1, problem=("no_product", f"no schema.org Product in it: {found}"), text=readable(text[:500]))


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("type") or ""
        self._inside = tag == "script" and kind.split(";")[0].strip().lower() == "application/ld+json"
        if self._inside:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[-1] += data


def _scripts(page: str) -> list[str]:
    parser = _Scripts()
    parser.feed(page)
    # Without close(), for a script that the page's end cuts off is then still in the parser: its text counts as a block, and fails as JSON.
    inside, rest = parser._inside, parser.rawdata
    if inside and rest:
        parser.blocks[-1] += rest
    return parser.blocks


def _of_block(block: str, where: str) -> Iterator[tuple[dict[str, Any] | None, tuple[str, str] | None]]:
    text = block.strip()
    # Templates wrap blocks so that old browsers and XML parsers pass over them.
    text = re.sub(r"^(<!--|//\s*<!\[CDATA\[|<!\[CDATA\[)|(-->|//\s*\]\]>|\]\]>)$", "", text).strip().rstrip(";")
    if not text:
        return
    try:
        document = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        yield None, ("bad_json", f"{where} is not JSON: {error}")
        return
    yield from _products(document, where, {}, 0)


def _products(node: Any, where: str, inherited: dict[str, Any], depth: int) -> Iterator[tuple[dict[str, Any] | None, tuple[str, str] | None]]:
    if depth > _DEPTH:
        yield None, ("bad_json", f"{where}: nodes stand more than {_DEPTH} deep inside each other")
        return
    if isinstance(node, list):
        for place, each in enumerate(node):
            if isinstance(each, dict | list):
                yield from _products(each, f"{where}[{place}]", inherited, depth + 1)
            elif each is not None and (where.endswith(("@graph", "hasVariant")) or "." not in where):
                yield None, ("not_an_object", f"{where}[{place}]: expected a node {{...}}, found a {type(each).__name__}")
        return
    if not isinstance(node, dict):
        return
    kinds = _kinds(node)
    if not kinds & _PRODUCTS:
        below = [key for key in _BELOW if key in node]
        for key in below:
            yield from _products(node[key], f"{where}.{key}", inherited, depth + 1)
        if not kinds and not below and ("name" in node or "sku" in node):
            yield None, ("type_missing", f"{where}: a node with {sorted(node)[:10]} and without '@type'; is it a Product?")
        return
    values = inherited | {key: value for key, value in _values(node).items() if value is not None}
    variants = node.get("hasVariant")
    variants = [variants] if isinstance(variants, dict) else variants
    # A variant that is only a reference to a node elsewhere in the document is read there.
    whole = [each for each in variants if not isinstance(each, dict) or set(each) - {"@id", "@type"}] if isinstance(variants, list) else []
    if whole:
        shared = {key: values[key] for key in _INHERITED if key in values}
        yield from _products(whole, f"{where}.hasVariant", shared, depth + 1)
    else:
        yield values, None


def _kinds(node: dict[str, Any]) -> set[str]:
    kinds = node.get("@type")
    return {re.split(r"[/#:]", kind)[-1] for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str)}


def _values(node: dict[str, Any]) -> dict[str, Any]:
    """A product's properties with objects turned to the text they stand for. What has no such text stays as it is, to be refused by name."""
    values = {key: _plain(value) for key, value in node.items() if key not in ("offers", "review", "aggregateRating", "hasVariant", "isRelatedTo")}
    if "brand" in node or "manufacturer" in node:
        values["brand"] = _first(node.get("brand", node.get("manufacturer")), ("name", "@id"))
    if "category" in node:
        values["category"] = _category(node["category"])
    if "image" in node:
        values["image"] = _first(node["image"], ("contentUrl", "url", "@id"))
    if isinstance(node.get("sku"), list):
        values["sku"] = _first(node["sku"], ())
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:
        return _plain(value[0])
    return value["@value"] if isinstance(value, dict) and "@value" in value else value


def _first(value: Any, keys: tuple[str, ...]) -> Any:
    """The first text of a text, an object, or a list of them."""
    if isinstance(value, list):
        return next((found for found in (_first(each, keys) for each in value) if found), None)
    if isinstance(value, dict):
        return next((_plain(value[key]) for key in (*keys, "@value") if value.get(key)), None)
    return value


def _category(value: Any) -> Any:
    """Text as it is. Of a list: the first path if there is one ("A > B"), else the names as one path, as breadcrumbs are written that way."""
    if not isinstance(value, list):
        return _first(value, ("name", "@id"))
    names = [name for name in (_first(each, ("name", "@id")) for each in value) if isinstance(name, str) and name.strip()]
    path = next((name for name in names if ">" in name), None)
    return path if path is not None else " > ".join(names) or None
