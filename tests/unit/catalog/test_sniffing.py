"""What `--sniff` proposes: by names, by values, for feeds as they are found. A proposal is judged by the products that come out of it."""

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.column_names import levels_by_name, normal, role_by_name, role_by_word
from prodcat.catalog.dialects import encoding_of
from prodcat.catalog.ingest import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.sniffing import Sniffed, sniff, sniffed, sniffed_lines
from prodcat.catalog.store import Catalog
from prodcat.errors import FeedError

COLOURS = ("red", "blue", "green", "black", "white", "grey", "brown", "pink", "beige", "navy")
THINGS = ("Jacket", "Shirt", "Dress", "Boot", "Mug")


def rows(count: int = 40) -> list[list[str]]:
    """[id, title, category path, price]."""
    return [[f"{9000 + 7 * n}", f"{COLOURS[n % 10]} {THINGS[n % 5]} number {n}", f"Shop > {THINGS[n % 5]}s", f"{n},99"] for n in range(count)]


def written(header: list[str] | None, delimiter: str = ",", cells: list[list[str]] | None = None) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([*([header] if header else []), *(cells or rows())])
    return stream.getvalue()


def look(file: Path, data: str | bytes) -> Sniffed:
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return sniff([str(file)])[0]


def ingested(feed: Path, found: Sniffed) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The catalog of a feed with the proposal saved beside it, as a person would save what is printed."""
    (feed.parent / f"{feed.name.split('.')[0]}.mapping.yaml").write_text("\n".join(found.lines()) + "\n")
    out = feed.parent / "catalog"
    summary = ingest([str(feed)], out, IngestConfig())
    return Catalog.open(out).products().to_pylist(), summary.rejected


@pytest.mark.parametrize(
    "header",
    [
        ["sku", "name", "category", "price"],
        ["Artikelnummer", "Bezeichnung", "Warengruppe", "Preis"],
        ["référence", "Nom du produit", "Catégorie", "Prix"],
        ["Código", "Título", "Categoría", "Precio"],
        ["kod produktu", "Nazwa", "Kategoria", "cena"],
        ["Ürün Kodu", "Ürün Adı", "Kategori", "Fiyat"],
        ["Артикул", "Наименование", "Категория", "Цена"],
        ["商品番号", "商品名", "カテゴリー", "価格"],
        ["상품코드", "상품명", "카테고리", "가격"],
        ["货号", "商品标题", "类目", "价格"],
        ["articleId", "itemName", "productType", "retailPrice"],
    ],
)
def test_names_in_many_languages(tmp_path: Path, header: list[str]) -> None:
    found = look(tmp_path / "shop.csv", written(header))
    assert [found.document[key] for key in ("product_id", "title", "raw_category")] == header[:3]
    assert found.document["label"] == {"column": header[2], "separator": ">"}
    assert found.document["image"] is None
    products, rejected = ingested(tmp_path / "shop.csv", found)
    assert rejected == {}
    assert (products[3]["product_id"], products[3]["title"], products[3]["path"]) == ("9021", "black Boot number 3", ["Shop", "Boots"])


def test_without_names_the_values_tell(tmp_path: Path) -> None:
    cells = [
        [f"{n:032x}", title, json.dumps([category.replace(" > ", " >> ") + f" >> {title}"])] for n, (_, title, category, _) in enumerate(rows(), 1)
    ]
    found = look(tmp_path / "shop.csv", written(None, cells=cells))
    assert found.document["header"] == ["product_id", "title", "category"]
    assert found.document["label"] == {"column": "category", "is_json": True, "separator": ">>", "drop_title": True}
    products, rejected = ingested(tmp_path / "shop.csv", found)
    assert (len(products), rejected) == (40, {})
    assert (products[0]["product_id"], products[0]["path"], products[0]["raw_category"]) == (f"{1:032x}", ["Shop", "Jackets"], "Shop > Jackets")


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["shop.csv", "shop.txt"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str, name: str) -> None:
    found = look(tmp_path / name, written(["sku", "name", "category", "price"], delimiter))
    default = "," if name == "shop.csv" else "\t"
    assert found.document.get("delimiter", default) == delimiter
    assert len(ingested(tmp_path / name, found)[0]) == 40


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("utf-8", "Größe für Mädchen"),
        ("utf-8-sig", "Größe"),
        ("utf-16", "Größe"),
        ("utf-16-le", "plain words and Größe"),
        ("cp1252", "Größe für Mädchen, “robe d’été” à 5 €"),
        ("cp1254", "Kadın gömleği, kırmızı şal, ipek çorap"),
        ("cp1250", "Sukienka wieczorowa żółta, łączona, świąteczna"),
        ("cp1251", "Платье женское летнее красное"),
        ("shift_jis", "新品 婦人用 レインコート 黒色 防水の上着"),
        ("euc_kr", "여성용 겨울 자켓 빨간색"),
        ("gb18030", "女士冬季红色外套和裙子"),
    ],
)
def test_the_encoding_is_found_and_the_titles_read(tmp_path: Path, encoding: str, title: str) -> None:
    cells = [[str(n), f"{title} {n}", "A > B", "1"] for n in range(30)]
    found = look(tmp_path / "shop.csv", written(["sku", "name", "category", "price"], cells=cells).encode(encoding))
    products, rejected = ingested(tmp_path / "shop.csv", found)
    assert rejected == {}
    assert products[4]["title"] == f"{title} 4"
    assert ("encoding" in found.document) == (encoding not in ("utf-8", "utf-8-sig", "utf-16"))


def test_an_encoding_is_judged_by_a_beginning_that_may_end_inside_a_character() -> None:
    assert encoding_of("Größe".encode()[:-2]) == "utf-8"
    assert encoding_of(b"\xff\xfea\0") == "utf-16"
    assert encoding_of(b"plain") == "utf-8"
    assert encoding_of(b"\x81\x8d\x8f\x90 odd bytes") == "latin-1"


def test_levels_in_columns_of_their_own() -> None:
    assert levels_by_name(["sku", "category_2", "name", "category_1"]) == ["category_1", "category_2"]
    assert levels_by_name(["Category Level 1", "Category Level 2", "Category Level 3"]) == [
        "Category Level 1",
        "Category Level 2",
        "Category Level 3",
    ]
    assert levels_by_name(["articleType", "masterCategory", "subCategory"]) == ["masterCategory", "subCategory", "articleType"]
    assert levels_by_name(["category", "product_type"]) == []


def test_names_say_what_they_say() -> None:
    assert normal("Image URL (main)") == normal("imageURL (main)") == "image_url_(main)"
    assert [role_by_word(name) for name in ("goods-title-link", "rank-title", "brand_name", "colour_name")] == ["title", None, None, None]
    assert role_by_name("whatever") is None


def test_a_level_above_is_found_where_each_value_lies_under_one(tmp_path: Path) -> None:
    above = {"Jacket": "Upper", "Shirt": "Upper", "Dress": "Full", "Boot": "Feet", "Mug": "Kitchen"}
    cells = [[str(n), f"thing {n} of ours", THINGS[n % 5], above[THINGS[n % 5]], "in stock" if n % 3 else "gone"] for n in range(40)]
    found = look(tmp_path / "shop.csv", written(["id", "title", "product_type", "product_group", "stock group"], cells=cells))
    assert found.document["label"] == {"columns": ["product_group", "product_type"]}


def test_prodcat_s_own_names_go_before_all_others(tmp_path: Path) -> None:
    """Also where a level is the same in every row, or empty."""
    same = {"level1": "A", "level2": None, "category": "x", "image": None}
    lines = [{"product_id": n, "title": f"thing {n}", "raw_category": f"A > B{n % 3}", **same} for n in range(9)]
    found = look(tmp_path / "shop.jsonl", "\n".join(map(json.dumps, lines)))
    assert (found.document["raw_category"], found.document["label"]) == ("raw_category", {"columns": ["level1", "level2"]})
    assert (found.document["image"], found.why["image"]) == ("image", "by its name; empty in the rows looked at")


def test_images_by_their_values(tmp_path: Path) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 2
    table = {"nr": ["a1", "a2"], "what": ["a red jacket", "a blue jacket"], "blob": [jpeg, jpeg], "struct": [{"bytes": jpeg}, {"bytes": jpeg}]}
    pq.write_table(pa.table(table), tmp_path / "shop.parquet")
    assert sniff([str(tmp_path / "shop.parquet")])[0].document["image"] == "blob"
    found = look(
        tmp_path / "a.jsonl", '{"nr": "a1", "what": "a red jacket", "look": "img/a.jpg"}\n{"nr": "a2", "what": "a hat", "look": "img/b.png"}\n'
    )
    assert (found.document["image"], found.document["title"], found.document["product_id"]) == ("look", "what", "nr")
    assert "no such files beside the feed" in found.why["image"]


def test_known_formats_need_no_mapping(tmp_path: Path) -> None:
    found = look(tmp_path / "shop.tsv", "id\ttitle\timage_link\tproduct_type\n1\tMug\thttps://x.example/1.jpg\tKitchen\n")
    assert (found.format, found.document) == ("google_merchant_text", {"format": "google_merchant_text"})
    assert (found.preview[0].title, found.preview[0].raw_category, found.preview[0].image) == ("Mug", "Kitchen", "no image (image_url_not_fetched)")
    assert ingested(tmp_path / "shop.tsv", found)[0][0]["product_id"] == "1"


def test_what_is_printed_is_a_mapping_file_and_nothing_is_written(tmp_path: Path) -> None:
    header = ["sku", "name", "category", "note\n# x: y"]
    feed = tmp_path / "shop.csv"
    found = look(feed, written(header, cells=[*rows(12), ["9999", "", "", ""]]))
    assert list(tmp_path.iterdir()) == [feed]
    printed = yaml.safe_load("\n".join(found.lines()))
    assert printed == yaml.safe_load(found.yaml()) == found.document
    FeedMapping(**printed)
    assert len(found.preview) == 10
    assert json.loads(json.dumps(sniffed([str(feed)])))["feeds"][0]["document"] == found.document
    assert sniffed_lines(sniffed([str(feed)])) == found.lines()


def test_rows_that_would_be_rejected_are_shown_with_the_reason(tmp_path: Path) -> None:
    found = look(tmp_path / "shop.csv", "sku,name\n1,a jacket\n2\n3,\n4,a hat\n")
    assert [bool(row.rejected) for row in found.preview] == [False, True, True, False]
    assert str(found.preview[1].rejected).startswith("broken_line: 1 fields")
    assert found.unreadable == 1
    assert any("row 2: REJECTED broken_line" in line for line in found.lines())


def test_a_feed_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"none\.csv: no such file"):
        sniff([str(tmp_path / "none.csv")])


# Feed -> what its products are to be like: (products, labelled, share of distinct titles, brand of all, roots that must be among the labels)
REAL = {
    "adidas_usa.csv": (300, 300, 0.5, "adidas", {"Men", "Women", "Kids"}),
    "flipkart.csv": (300, 280, 0.5, None, {"Clothing", "Jewellery", "Footwear"}),
    "hm_articles.csv": (300, 300, 0.5, None, {"Garment Upper body", "Garment Lower body", "Shoes"}),
    "koton.json": (300, 0, 0.5, "koton", set()),
    "shein_mens.csv": (300, 0, 0.5, None, set()),
}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REAL)
def test_feeds_as_they_were_found_become_products_without_an_edit(shared: Path, tmp_path: Path, name: str) -> None:
    feed = tmp_path / name
    shutil.copy(shared / "data" / "raw_feeds" / name, feed)
    found = sniff([str(feed)])[0]
    products, rejected = ingested(feed, found)
    count, labelled, distinct, brand, roots = REAL[name]
    assert (len(products), rejected) == (count, {})
    assert sum(row["path"] is not None for row in products) >= labelled
    titles = [row["title"] for row in products]
    assert len(set(titles)) >= distinct * count
    assert all(len(title) > 2 and not title.startswith(("http", "[")) for title in titles)
    assert {row["brand"] for row in products} == {brand}
    assert roots <= {row["path"][0] for row in products if row["path"]}
    # Categories gather products: had the product's own name stayed in the path, nearly every one would be alone in its category.
    if labelled:
        sizes = Counter(tuple(row["path"][:2]) for row in products if row["path"])
        assert max(sizes.values()) >= 10


@pytest.mark.shared_data
def test_what_the_real_feeds_are_proposed_to_be(shared: Path) -> None:
    found = {Path(each.source).name: each.document for each in sniff([str(shared / "data" / "raw_feeds")])}
    assert {name: (document["product_id"], document["title"], document["description"]) for name, document in found.items()} == {
        "adidas_usa.csv": ("sku", "name", "description"),
        "flipkart.csv": ("product_id", "title", None),
        "hm_articles.csv": ("article_id", "prod_name", "detail_desc"),
        "koton.json": ("link", "title", None),
        "shein_mens.csv": (None, "goods-title-link", None),
    }
    assert found["flipkart.csv"]["header"] == ["product_id", "title", "category"]
    assert found["flipkart.csv"]["label"] == {"column": "category", "is_json": True, "separator": ">>", "drop_title": True}
    assert found["adidas_usa.csv"]["label"] == {"column": "breadcrumbs", "separator": "/"}
    assert found["hm_articles.csv"]["label"] == {"columns": ["product_group_name", "product_type_name"]}
    assert (found["koton.json"]["image"], found["adidas_usa.csv"]["image"]) == ("imageUrl", "images")
