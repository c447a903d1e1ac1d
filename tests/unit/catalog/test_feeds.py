"""One contract suite over all feed formats, then what is special about each."""

import copy
import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.catalog.feeds import registry
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions
from prodcat.catalog.mapping import FeedMapping
from prodcat.errors import FeedError
from prodcat.location import Location

ROWS = [{"sku": str(n), "name": f'Größe {n}, 5" × 3\n zwei Zeilen' if n == 2 else f"Ware {n}"} for n in range(1, 8)]


def _csv(file: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["sku", "name"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def _google(file: Path, rows: list[dict[str, Any]]) -> None:
    items = "".join(f"<item><g:id>{row['sku']}</g:id><title>{escape(row['name'])}</title></item>\n" for row in rows)
    file.write_text(f'<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>{items}</channel></rss>')


def _shopify(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Handle", "Title", "Body (HTML)", "Vendor", "Image Src"])
        for row in rows:
            writer.writerow([row["sku"], row["name"], "", "", "a.jpg"])
            writer.writerow([row["sku"], "", "", "", "b.jpg"])


def _page(file: Path, rows: list[dict[str, Any]]) -> None:
    products = [{"@context": "https://schema.org", "@type": "Product", "sku": row["sku"], "name": row["name"]} for row in rows]
    blocks = "".join(f'<script type="application/ld+json">{json.dumps(product, ensure_ascii=False)}</script>\n' for product in products)
    file.write_text(f"<!DOCTYPE html><html><head>{blocks}</head></html>")


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "feed.parquet": lambda file, rows: pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=3),
    "feed.csv": _csv,
    "feed.tsv": lambda file, rows: _csv(file, rows, "\t"),
    "feed.txt": lambda file, rows: _csv(file, rows, "\t"),
    "feed.json": lambda file, rows: file.write_text(json.dumps(rows)) and None,
    "feed.jsonl": lambda file, rows: file.write_text("".join(json.dumps(row) + "\n" for row in rows)) and None,
    "google.xml": _google,
    "shopify.csv": _shopify,
    "page.html": _page,
}
# Where a format has names of its own for id and title.
NAMES = {"google.xml": ("id", "title"), "shopify.csv": ("Handle", "Title"), "page.html": ("sku", "name")}


def values_of(name: str, raw: RawRow) -> dict[str, Any]:
    assert raw.values is not None, raw
    identifier, title = NAMES.get(name, ("sku", "name"))
    return {"sku": raw.values[identifier], "name": raw.values[title]}


def read(file: Path, **options: Any) -> list[RawRow]:
    feed = Location(str(file))
    chosen = ReadOptions(**options)
    return [raw for part in registry.parts(feed, chosen) for raw in registry.rows(feed, part, chosen)]


def problems(rows: list[RawRow]) -> dict[int, str]:
    return {raw.row: raw.problem[0] for raw in rows if raw.problem is not None}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_all_rows_numbered_from_one(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    assert [(raw.row, values_of(name, raw)) for raw in read(tmp_path / name)] == list(enumerate(ROWS, 1))


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "feed.parquet"])
def test_every_text_format_may_be_gzipped(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert [values_of(name, raw) for raw in read(packed)] == ROWS


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_ends_early_is_reported_and_ends_nothing(tmp_path: Path, name: str) -> None:
    """Contract 6: whatever the format, the loss leaves as a row with a reason."""
    WRITERS[name](tmp_path / name, ROWS)
    data = (tmp_path / name).read_bytes()
    # Inside the quoted field or string of row 2, or before the Parquet footer.
    (tmp_path / name).write_bytes(data[: data.index(b"zwei") + 2] if name != "feed.parquet" else data[:-10])
    rows = read(tmp_path / name)
    assert rows[-1].problem is not None
    assert rows[-1].problem[0] in ("file_unreadable", "broken_line", "bad_json")
    if name != "feed.parquet":
        assert values_of(name, rows[0]) == ROWS[0]


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_file_gives_no_product_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert all(raw.problem is not None for raw in read(tmp_path / name))


def test_every_reader_keeps_its_side_of_the_registry() -> None:
    """Each is named once, brings a mapping that a mapping file could hold, and is written by this suite."""
    names = [reader.name for reader in registry.READERS]
    assert len(set(names)) == len(names)
    for reader in registry.READERS:
        FeedMapping().over(reader.name, reader.defaults)
    written = {registry.reader_of(Location(name), ReadOptions()).name for name in WRITERS if name not in NAMES}
    assert set(names) - written == {"google_merchant_xml", "google_merchant_text", "shopify", "json_ld"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "Handle,Title,Body (HTML),Vendor\n", "shopify"),
        ("a.csv", "URL handle,Title,Vendor,SKU\n", "shopify"),
        ("a.csv", "id,title,image_link,availability\n", "google_merchant_text"),
        ("a.txt", "id\ttitle\timage link\tproduct type\n", "google_merchant_text"),
        ("a.csv", "handle,title\n", "delimited"),
        ("a.json", '[{"@context": "https://schema.org/", "@type": "Product"}]', "json_ld"),
        ("a.json", '[{"title": "x"}]', "json"),
        ("a.feed", "<?xml version='1.0'?><rss>", "google_merchant_xml"),
        ("feed", "<html><body>", "json_ld"),
        ("feed", '{"a": 1}\n{"a": 2}\n', "json_lines"),
        ("feed", '[{"a": 1}]', "json"),
    ],
)
def test_a_format_is_told_by_suffix_and_then_by_the_beginning(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    assert registry.reader_of(Location(str(tmp_path / name)), ReadOptions()).name == expected


def test_a_named_format_goes_before_the_suffix(tmp_path: Path) -> None:
    file = tmp_path / "export.dat"
    _google(file, ROWS)
    assert registry.reader_of(Location(str(file)), ReadOptions(format="google_merchant")).name == "google_merchant_xml"
    file.write_text("id\ttitle\n1\tx\n")
    assert registry.reader_of(Location(str(file)), ReadOptions(format="google_merchant")).name == "google_merchant_text"
    with pytest.raises(FeedError, match=r"export\.dat: its mapping says format: shopfy.*did you mean 'shopify'"):
        registry.reader_of(Location(str(file)), ReadOptions(format="shopfy"))


def test_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"'\.xlsx'; known are .*\.parquet"):
        registry.reader_of(Location(str(tmp_path / "feed.xlsx")), ReadOptions())


def test_parquet_parts_are_read_alone_with_the_right_row_numbers(tmp_path: Path) -> None:
    file = tmp_path / "feed.parquet"
    pq.write_table(pa.table({"sku": [str(n) for n in range(10_000)]}), file, row_group_size=1500)
    feed = Location(str(file))
    parts = registry.parts(feed, ReadOptions())
    assert len(parts) > 1
    last = list(registry.rows(feed, parts[-1], ReadOptions()))
    assert last[0].row == parts[-1].first_row
    assert all(raw.values == {"sku": str(raw.row - 1)} for raw in last)
    assert sum(1 for part in parts for _ in registry.rows(feed, part, ReadOptions())) == 10_000


def test_parquet_with_a_damaged_page_loses_that_row_group_only(tmp_path: Path) -> None:
    file = tmp_path / "feed.parquet"
    pq.write_table(
        pa.table({"sku": [f"item number {n}" for n in range(900)]}), file, row_group_size=300, compression="zstd", write_page_checksum=True
    )
    chunk = pq.ParquetFile(file).metadata.row_group(1).column(0)
    data = bytearray(file.read_bytes())
    middle = chunk.data_page_offset + 60
    data[middle : middle + 20] = bytes(20)
    file.write_bytes(data)
    rows = read(file)
    assert [raw.row for raw in rows] == list(range(1, 901))
    assert set(problems(rows)) == set(range(301, 601))
    assert set(problems(rows).values()) == {"parquet_damaged"}


def test_csv_broken_lines_cost_themselves(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text('a,b\n1,one\n2\n\n3,"open quote\n4,four\n5,five,more\n6,"six"\n')
    rows = read(file)
    assert [raw.values for raw in rows if raw.values] == [{"a": "1", "b": "one"}, {"a": "4", "b": "four"}, {"a": "6", "b": "six"}]
    assert problems(rows) == {2: "broken_line", 3: "broken_line", 5: "broken_line"}
    assert rows[2].text == '3,"open quote'


def test_csv_careless_quotes_within_a_line_are_read(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text('a,b\n1,"5" tablet"\n2,19" screen\n3,"two\nlines"\n')
    assert [raw.values["b"] for raw in read(file) if raw.values] == ['5 tablet"', '19" screen', "two\nlines"]


def test_csv_quote_that_never_closes_in_the_last_field_swallows_nothing(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text('a,b\n1,"never closed\n2,two\n3,three\n')
    rows = read(file)
    assert problems(rows) == {1: "broken_line"}
    assert [raw.values["b"] for raw in rows if raw.values] == ["two", "three"]


def test_csv_bytes_that_are_no_text_cost_their_line(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_bytes(b"a,b\n1,gut\n2,Gr\xfc\xdfe\n3,with\0nul\n4,gut\n")
    rows = read(file)
    assert problems(rows) == {2: "undecodable_bytes", 3: "nul_byte"}
    assert [raw.values["a"] for raw in rows if raw.values] == ["1", "4"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_csv_encodings(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "feed.csv"
    file.write_bytes("a;b\r\n1;Größe\r\n".encode(encoding))
    named = "utf-8" if encoding == "utf-8-sig" else encoding
    assert [raw.values for raw in read(file, encoding=named, delimiter=";")] == [{"a": "1", "b": "Größe"}]


def test_csv_without_header_line_takes_the_mapping_s(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("1,one\n2,two\n")
    assert [(raw.row, raw.values) for raw in read(file, header=("id", "t"))] == [(1, {"id": "1", "t": "one"}), (2, {"id": "2", "t": "two"})]


def test_csv_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("a,a\n1,2\n")
    with pytest.raises(FeedError, match=r"feed\.csv: the header .*'a'.* more than once"):
        read(file)


def test_unknown_encoding_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("a\n1\n")
    with pytest.raises(FeedError, match="klingon"):
        read(file, encoding="klingon")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8))
def test_csv_gives_back_whatever_a_csv_writer_wrote(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    file = tmp_path_factory.mktemp("csv") / "feed.csv"
    _csv(file, [{"sku": sku, "name": name} for sku, name in rows])
    assert [(raw.values["sku"], raw.values["name"]) if raw.values else raw for raw in read(file)] == rows


def test_json_lines_bad_lines_cost_themselves(tmp_path: Path) -> None:
    file = tmp_path / "feed.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": \n\n[1]\n{"a": "\xff"}\n{"a": 5}')
    rows = read(file)
    assert problems(rows) == {2: "bad_json", 3: "not_an_object", 4: "undecodable_bytes"}
    assert [raw.values for raw in rows if raw.values] == [{"a": 1}, {"a": 5}]


def test_json_object_that_holds_one_list(tmp_path: Path) -> None:
    file = tmp_path / "feed.json"
    file.write_text(json.dumps({"made": "today", "tags": ["x"], "products": [{"a": 1}, "no object", {"a": 3}]}))
    rows = read(file)
    assert [raw.values for raw in rows] == [{"a": 1}, None, {"a": 3}]
    assert problems(rows) == {2: "not_an_object"}


@pytest.mark.parametrize("document", ['{"x": [{"a": 1}], "y": [{"a": 1}]}', '"text"', '{"a": 1}\n{"a": 2}'])
def test_json_of_another_form_says_what_was_expected(tmp_path: Path, document: str) -> None:
    file = tmp_path / "feed.json"
    file.write_text(document)
    rows = read(file)
    assert problems(rows) == {1: "file_unreadable"}
    assert ".jsonl" in str(rows[0].problem) if "\n" in document else "exactly one" in str(rows[0].problem)


def test_a_folder_is_listed_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.csv", "_truth.json", ".hidden.csv", "a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [file.source for file in Location(str(tmp_path)).files_below()] == [f"{tmp_path}/{name}" for name in ("a.csv", "a/z.csv", "b.csv")]


def test_uris_are_read_like_paths(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("a\n1\n")
    feed = Location(file.as_uri())
    assert [raw.values for raw in registry.rows(feed, FeedPart(), ReadOptions())] == [{"a": "1"}]
    assert (feed.stem, feed.suffix, feed.folder.child("b.jpg").path) == ("feed", ".csv", str(tmp_path / "b.jpg"))


def test_a_relative_path_means_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cluster, whose workers run elsewhere."""
    (tmp_path / "feed.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    feed = copy.copy(Location("feed.csv"))
    monkeypatch.chdir("/")
    assert feed.source == "feed.csv"
    assert feed.folder.child("feed.csv").info().is_file
    assert [raw.values for raw in registry.rows(feed, FeedPart(), ReadOptions())] == [{"a": "1"}]
