"""Feeds broken in the ways that feeds break: every row is accounted for, and each message names file, row, and the column or element."""

import gzip
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.feeds import delimited
from prodcat.catalog.ingest import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog
from prodcat.errors import FeedError
from prodcat.taxonomy import Taxonomy

RSS = '<?xml version="1.0"?>\n<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>\n'
END = "</channel></rss>"


def item(identifier: object, title: str = "Jacket") -> str:
    return f"<item><g:id>{identifier}</g:id><title>{title}</title></item>\n"


def page(*blocks: str) -> str:
    return "<html><head>" + "".join(f'<script type="application/ld+json">{block}</script>' for block in blocks) + "</head></html>"


def product(sku: str, **more: Any) -> dict[str, Any]:
    return {"@context": "https://schema.org", "@type": "Product", "sku": sku, "name": f"Jacket {sku}", **more}


def parquet(rows: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class Broken:
    """A feed and what is to become of it.

    Args:
        name: of the file.
        data: its content.
        products: rows that become products.
        rejected: reason -> (row, what the message is to name besides file and row), for each row that does not.
        images: reason -> row, for products whose image is refused.
        mapping: what a mapping file would hold.
    """

    name: str
    data: bytes | str
    products: int
    rejected: tuple[tuple[str, int, str], ...] = ()
    images: dict[str, int] = field(default_factory=dict)
    mapping: dict[str, Any] = field(default_factory=dict)


PACKED = gzip.compress(b"".join(b'{"product_id": "%d", "title": "Jacket %d"}\n' % (n, n * 7919) for n in range(2000)), mtime=0)
SHOPIFY = "Handle,Title,Body (HTML),Vendor,Image Src\n"
CASES: dict[str, Broken] = {
    # Delimited text.
    "unclosed quote": Broken("s.csv", 'product_id,title\n1,a\n2,"b\n3,c\n', 2, (("broken_line", 2, "a quote that opens"),)),
    "quote not doubled": Broken("s.csv", 'product_id,title\n1,"a" b",x\n2,"c "d" e"\n', 1, (("broken_line", 1, "'x' stands behind"),)),
    "NUL bytes": Broken("s.csv", b"product_id,title\n1,a\n2,b\0b\n", 1, (("nul_byte", 2, "'title'"),)),
    "a column too many": Broken(
        "s.csv", "product_id,title\n1,a\n2,b,red\n", 1, (("broken_line", 2, "'red' stands behind the last column ['title']"),)
    ),
    "a column too few": Broken("s.csv", "product_id,title,brand\n1,a,x\n2,b\n", 1, (("broken_line", 2, "none for the columns 'brand'"),)),
    "every line ends in the delimiter": Broken("s.csv", "product_id,title\n1,a,\n2,b,\n", 2),
    "columns without a name": Broken("s.csv", "product_id,title,,\n1,a,x,y\n", 1),
    "duplicate ids": Broken("s.csv", "product_id,title\n1,a\n1,b\n", 1, (("duplicate_key", 2, "'s/1' is already row 1"),)),
    "empty id": Broken("s.csv", "product_id,title\n1,a\n,b\n", 1, (("product_id_missing", 2, "'product_id'"),)),
    "id that pandas calls nan": Broken("s.csv", "product_id,title\nnan,a\n2,b\n", 1, (("product_id_missing", 1, "'product_id'"),)),
    "id rounded by a spreadsheet": Broken(
        "s.csv", "product_id,title\n1.23E+11,a\n12E5,b\n", 1, (("id_lost_digits", 1, "'product_id' holds '1.23E+11'"),)
    ),
    "no title": Broken("s.csv", "product_id,title\n1,a\n2,\n", 1, (("nothing_to_read", 2, "'title'"),)),
    "wrong delimiter": Broken("s.csv", "product_id;title\n1;a\n2;b\n", 0, tuple(("nothing_to_read", row, "['product_id;title']") for row in (1, 2))),
    "bytes of another encoding": Broken("s.csv", b"product_id,title\n1,Gr\xfcn\n2,b\n", 1, (("undecodable_bytes", 1, "'title'"),)),
    "two encodings in one file": Broken(
        "s.csv", "product_id,title\n1,Grün\n".encode() + "2,Grün\n".encode("cp1252"), 1, (("undecodable_bytes", 2, "'title'"),)
    ),
    "two files one behind the other": Broken(
        "s.csv", "\ufeffproduct_id,title\n1,a\n\ufeffproduct_id,title\n2,b\n", 2, (("repeated_header", 2, "product_id, title"),)
    ),
    "carriage returns alone": Broken("s.csv", "product_id,title\r1,a\r2,b\r", 2),
    "mixed line ends": Broken("s.csv", "product_id,title\r\n1,a\n2,b\r\n\r\n3,c\r", 3),
    "utf-16 cut off in a character": Broken(
        "s.csv", "product_id,title\n1,a\n2,b\n".encode("utf-16")[:-1], 1, (("file_unreadable", 2, "truncated data"),)
    ),
    "no separator in the category": Broken("s.csv", "product_id,title,cat\n1,a,A > B\n2,b,A B\n", 2, mapping={"label": {"column": "cat"}}),
    "separator in a level": Broken("s.csv", "product_id,title,level1\n1,a,A > B\n2,b,A\n", 1, (("label_not_a_path", 1, "'level1'"),)),
    "a gap in the levels": Broken("s.csv", "product_id,title,level1,level2\n1,a,,B\n2,b,A,\n", 1, (("label_has_gap", 1, "'level1', 'level2'"),)),
    "a category that no tree has": Broken(
        "s.csv", "product_id,title,level1,level2\n1,a,A,B\n2,b,A,C\n", 1, (("unknown_category", 2, "'level1', 'level2'"),)
    ),
    "a category that is no JSON": Broken(
        "s.csv",
        'product_id,title,cat\n1,a,"[""A >> B""]"\n2,b,[A >> B\n',
        1,
        (("label_not_json", 2, "'cat'"),),
        mapping={"label": {"column": "cat", "separator": ">>", "is_json": True}},
    ),
    "image outside the folder": Broken("s.csv", "product_id,title,image\n1,a,../../etc/passwd.jpg\n", 1, images={"image_outside_feed": 1}),
    "image that is not there": Broken("s.csv", "product_id,title,image\n1,a,none.jpg\n", 1, images={"image_not_found": 1}),
    "image that is a page": Broken("s.csv", "product_id,title,image\n1,a,page.jpg\n", 1, images={"image_not_an_image": 1}),
    "image and no title": Broken("s.csv", "product_id,title,image\n1,,page.jpg\n2,b,\n", 1, (("nothing_to_read", 1, "the column 'image'"),)),
    # JSON.
    "JSON list cut off": Broken("s.json", '[{"product_id": 1, "title": "a"}, {"product_id": 2, "ti', 1, (("file_unreadable", 2, "char"),)),
    "JSON list in an object cut off": Broken(
        "s.json", '{"n": 2, "items": [{"product_id": 1, "title": "a"}, {"prod', 1, (("file_unreadable", 2, "char"),)
    ),
    "JSON with bytes of another encoding": Broken(
        "s.json", '[{"product_id": 1, "title": "Grün"}, {"product_id": 2, "title": "b"}]'.encode("cp1252"), 1, (("undecodable_bytes", 1, "'title'"),)
    ),
    "NaN for an id": Broken(
        "s.json", '[{"product_id": NaN, "title": "a"}, {"product_id": 2, "title": "b"}]', 1, (("product_id_missing", 1, "'product_id'"),)
    ),
    "list for a title": Broken(
        "s.jsonl", '{"product_id": 1, "title": [["a"]]}\n{"product_id": 2, "title": "b"}\n', 1, (("value_not_text", 1, "'title'"),)
    ),
    "truth for a title": Broken(
        "s.jsonl", '{"product_id": 1, "title": true}\n{"product_id": 2, "title": "b"}\n', 1, (("value_not_text", 1, "'title'"),)
    ),
    "a line that is no object": Broken(
        "s.jsonl", '{"product_id": 1, "title": "a"}\n"b"\nnull\n', 1, (("not_an_object", 2, "str"), ("not_an_object", 3, "NoneType"))
    ),
    "lines that are no JSON": Broken(
        "s.jsonl", '{"product_id": 1, "title": "a"}\n{"product_id": 2, \'title\': "b"}\n', 1, (("bad_json", 2, "column 19"),)
    ),
    "half a character": Broken(
        "s.jsonl", '{"product_id": 1, "title": "a\\ud83d"}\n{"product_id": 2, "title": "b"}\n', 1, (("undecodable_bytes", 1, "'title'"),)
    ),
    # Parquet.
    "Parquet without its footer": Broken(
        "s.parquet", parquet({"product_id": [1, 2], "title": ["a", "b"]})[:-9], 0, (("file_unreadable", 1, "arquet"),)
    ),
    "Parquet with a structure for a title": Broken(
        "s.parquet",
        parquet({"product_id": [1, 2], "title": [{"en": "a"}, None]}),
        0,
        (("value_not_text", 1, "'title'"), ("nothing_to_read", 2, "'title'")),
    ),
    "Parquet with ids as floats": Broken(
        "s.parquet",
        parquet({"product_id": [10.0, 9.1e17, float("nan")], "title": ["a", "b", "c"]}),
        1,
        (("id_lost_digits", 2, "'product_id'"), ("product_id_missing", 3, "'product_id'")),
    ),
    # XML.
    "XML with an entity that nobody defined": Broken(
        "s.xml", RSS + item(1, "a&nbsp;b") + item(2, "a &auml; &unknown; b") + item(3) + END, 2, (("xml_undefined_entity", 2, "<title>: &unknown;"),)
    ),
    "XML with a bare ampersand": Broken("s.xml", RSS + item(1) + item(2, "M & S") + item(3) + END, 2, (("xml_broken", 2, "element <title>"),)),
    "XML with a tag that does not match": Broken(
        "s.xml",
        RSS + item(1) + "<item><g:id>2</g:id><title>b</titel></item>" + item(3) + END,
        2,
        (("xml_broken", 2, "element <title>: mismatched tag"),),
    ),
    "XML with a broken start tag": Broken(
        "s.xml",
        RSS + item(1) + '<item a="1" a="2"><g:id>2</g:id></item><item <g:id>3</g:id></item><item></itm>' + item(5) + END,
        2,
        (("xml_broken", 2, "behind item 1"), ("xml_broken", 3, "behind item 2"), ("xml_broken", 4, "element <item>")),
    ),
    "XML with an open CDATA section": Broken(
        "s.xml", RSS + item(1, "<![CDATA[a") + item(2, "<![CDATA[b]]>") + item(3) + END, 2, (("xml_broken", 1, "element <title>: an open CDATA"),)
    ),
    "XML with a CDATA section that is never closed": Broken(
        "s.xml", RSS + item(1) + item(2, "<![CDATA[a") + item(3) + END, 2, (("xml_broken", 2, "element <title>: unclosed CDATA"),)
    ),
    "XML item that is not closed": Broken(
        "s.xml", RSS + "<item><g:id>1</g:id><title>a</title>\n" + item(2) + item(3) + END, 2, (("xml_broken", 1, "element <item>"),)
    ),
    "XML item without an id": Broken("s.xml", RSS + "<item><title>a</title></item>" + item(2) + END, 1, (("product_id_missing", 1, "'id'"),)),
    "XML item without a title": Broken("s.xml", RSS + "<item><g:id>1</g:id></item>" + item(2) + END, 1, (("nothing_to_read", 1, "'title'"),)),
    "XML item with two ids": Broken(
        "s.xml", RSS + "<item><g:id>1</g:id><g:id>2</g:id><title>a</title></item>" + item(3) + END, 1, (("value_not_text", 1, "'id'"),)
    ),
    "XML with a control character": Broken("s.xml", RSS + item(1, "a\x08b") + item(2) + END, 1, (("xml_broken", 1, "element <title>"),)),
    "XML with bytes of another encoding": Broken(
        "s.xml", (RSS + item(1, "Grün") + item(2) + END).encode("cp1252"), 1, (("undecodable_bytes", 1, "'title'"),)
    ),
    "XML that ends early": Broken("s.xml", RSS + item(1) + "<item><g:id>2</g:id><title>b", 1, (("file_unreadable", 2, "inside element <title>"),)),
    "XML that ends between items": Broken("s.xml", RSS + item(1) + item(2), 2, (("file_unreadable", 3, "before its end tag"),)),
    "XML with an unknown encoding": Broken("s.xml", '<?xml version="1.0" encoding="klingon"?><rss></rss>', 0, (("file_unreadable", 1, "'klingon'"),)),
    "XML of another kind": Broken("s.xml", "<products><product/></products>", 0, (("file_unreadable", 1, "<products>"),)),
    "entity bomb": Broken(
        "s.xml",
        '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>' + RSS[22:] + item(1, "&c;") + END,
        0,
        (("file_unreadable", 1, "entity 'a'"),),
    ),
    "entity that reaches outside": Broken(
        "s.xml",
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + RSS[22:] + item(1, "&a;") + END,
        0,
        (("file_unreadable", 1, "entity 'a'"),),
    ),
    "nesting without end": Broken("s.xml", RSS + item(1) + "<item>" + "<a>" * 5000, 1, (("file_unreadable", 2, "100 deep"),)),
    # Shopify.
    "Shopify line without a handle": Broken("s.csv", SHOPIFY + "a,Jacket,,V,\n,,,,2.jpg\nb,Coat,,V,\n", 2, (("handle_missing", 2, "'Handle'"),)),
    "Shopify handle that comes back": Broken("s.csv", SHOPIFY + "a,Jacket,,V,\nb,Coat,,V,\na,Jacket,,V,\n", 2, (("duplicate_key", 3, "'s/a'"),)),
    "Shopify product without a title": Broken("s.csv", SHOPIFY + "a,Jacket,,V,\nb,,,V,\nb,,,V,\n", 1, (("nothing_to_read", 2, "'Title'"),)),
    "Shopify line that is cut": Broken("s.csv", SHOPIFY + 'a,Jacket,,V,\na,"un\nb,Coat,,V,\n', 2, (("broken_line", 2, "line 2 below the header"),)),
    # JSON-LD.
    "page without JSON-LD": Broken("s.html", "<html><body><p>Jacket</p></body></html>", 0, (("no_product", 1, "<script"),)),
    "JSON-LD without a product": Broken("s.jsonld", '{"@context": "https://schema.org", "@type": "Organization"}', 0, (("no_product", 1, "@type"),)),
    "page with a block that is no JSON": Broken(
        "s.html", page(json.dumps(product("1")), '{"@type": "Product", "name": }', json.dumps(product("3"))), 2, (("bad_json", 2, "script block 2"),)
    ),
    "page cut off in a block": Broken(
        "s.html", page(json.dumps(product("1")), json.dumps(product("2")))[:-60], 1, (("bad_json", 2, "script block 2"),)
    ),
    "@graph with broken nodes": Broken(
        "s.jsonld",
        json.dumps({"@context": "https://schema.org", "@graph": [product("1"), "Jacket", {"name": "Jacket", "sku": "3"}, product("4", name=None)]}),
        1,
        (("not_an_object", 2, "@graph[1]"), ("type_missing", 3, "@graph[2]"), ("nothing_to_read", 4, "'name'")),
    ),
    "JSON-LD with two titles": Broken("s.jsonld", json.dumps([product("1", name=["a", "b"]), product("2")]), 1, (("value_not_text", 1, "'name'"),)),
    # The file itself.
    "empty file": Broken("s.csv", "", 0),
    "header only": Broken("s.csv", "product_id,title\n", 0),
    "gzip that is none": Broken("s.csv.gz", "product_id,title\n1,a\n", 0, (("file_unreadable", 1, "zlib"),)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_of_a_broken_feed_is_accounted_for(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    feed = tmp_path / case.name
    feed.write_bytes(case.data if isinstance(case.data, bytes) else case.data.encode("utf-8", "surrogatepass"))
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    if case.mapping:
        (tmp_path / "s.mapping.yaml").write_text(json.dumps(case.mapping))
    # A sound feed beside it: it must not suffer.
    (tmp_path / "z.jsonl").write_text('{"product_id": "z", "title": "sound"}\n')
    tree = Taxonomy([("A", "B")]) if "no tree" in name else None
    summary = ingest([str(feed), str(tmp_path / "z.jsonl")], tmp_path / "catalog", IngestConfig(), taxonomy=tree)
    catalog = Catalog.open(tmp_path / "catalog")
    rejected = catalog.rejected().to_pylist()
    products = [row for row in catalog.products().to_pylist() if row["source"] == str(feed)]
    assert [(row["reason"], row["row"]) for row in rejected] == [(reason, row) for reason, row, _ in case.rejected]
    for row, (_, _, named) in zip(rejected, case.rejected, strict=True):
        assert row["source"] == str(feed)
        assert named in row["detail"]
    assert {row["image_problem"]: row["row"] for row in products if row["image_problem"]} == case.images
    # Each row once: what became a product and what was rejected are the rows from 1 on, without a gap.
    assert sorted(row["row"] for row in [*products, *rejected]) == list(range(1, case.products + len(case.rejected) + 1))
    assert (summary.products, summary.rejected) == (case.products + 1, dict(Counter(reason for reason, _, _ in case.rejected)))
    messages = summary.examples
    assert set(messages) == set(summary.rejected) | set(case.images)
    assert all(text.startswith(f"{feed}, row ") for text in messages.values())
    assert all("the column 'image'" in messages[reason] for reason in case.images)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 30


def test_a_gzip_that_ends_early_keeps_the_rows_before(tmp_path: Path) -> None:
    feed = tmp_path / "s.jsonl.gz"
    feed.write_bytes(PACKED[: len(PACKED) // 2])
    ingest([str(feed)], tmp_path / "catalog", IngestConfig())
    catalog = Catalog.open(tmp_path / "catalog")
    rows, rejected = catalog.products(["row"])["row"].to_pylist(), catalog.rejected().to_pylist()
    assert len(rows) > 100
    assert rows == list(range(1, len(rows) + 1))
    assert [(row["reason"], row["row"]) for row in rejected] == [("file_unreadable", len(rows) + 1)]


def test_a_field_larger_than_any_photo_costs_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_FIELD_LIMIT", 200_000)
    feed = tmp_path / "s.csv"
    feed.write_text(f"product_id,title\n1,a\n2,{'b' * 300_000}\n3,c\n")
    summary = ingest([str(feed)], tmp_path / "catalog", IngestConfig())
    assert (summary.products, summary.rejected) == (2, {"field_too_large": 1})
    assert f"{feed}, row 2: a field has more than 200,000 characters" in summary.examples["field_too_large"]


@pytest.mark.parametrize(
    ("data", "mapping", "message"),
    [
        ("product_id,title,title\n1,a,b\n", None, r"s\.csv: the header has \['title'\] more than once"),
        ("product_id,name\n1,a\n", {"title": "titel"}, r"s\.csv: .*title: 'titel'.*\['product_id', 'name'\].*--sniff"),
        ("product_id,title\n", None, r"s\.csv'\]: the feeds hold no rows"),
        ("product_id;name\n1;a\n", None, r"s\.csv, row 1: .*\['product_id;name'\]"),
    ],
)
def test_a_feed_that_cannot_be_used_at_all_is_named(tmp_path: Path, data: str, mapping: dict[str, Any] | None, message: str) -> None:
    (tmp_path / "s.csv").write_text(data)
    with pytest.raises(FeedError, match=message):
        ingest([str(tmp_path / "s.csv")], tmp_path / "catalog", IngestConfig(), FeedMapping(**mapping) if mapping else None)


@pytest.mark.parametrize("encoding", ["cp1252", "cp1254", "utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "product_id,title\n1,Grün\n"),
        ("s.json", '[{"product_id": 1, "title": "Grün"}]'),
        ("s.jsonl", '{"product_id": 1, "title": "Grün"}\n'),
        ("s.xml", RSS + item(1, "Grün") + END),
        ("s.html", page(json.dumps(product("1", name="Grün"), ensure_ascii=False))),
    ],
)
def test_every_text_format_takes_a_named_encoding(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    named = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    ingest([str(tmp_path / name)], tmp_path / "catalog", IngestConfig(), FeedMapping(**named))
    assert Catalog.open(tmp_path / "catalog").products(["title"])["title"].to_pylist() == ["Grün"]
