"""The formats that shops publish, read without a mapping file: which of their columns is which field, and what of them is one product."""

import json
from pathlib import Path
from typing import Any

import pytest

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog

FIELDS = ("product_id", "title", "description", "brand", "raw_category", "path", "row")


def products(folder: Path, name: str, text: str, **mapping: Any) -> list[dict[str, Any]]:
    (folder / name).write_text(text, encoding="utf-8")
    ingest([str(folder / name)], folder / "catalog", IngestConfig(), FeedMapping(**mapping) if mapping else None)
    return Catalog.open(folder / "catalog").products().to_pylist()


def fields(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in FIELDS) for row in rows]


RSS = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>
<title>Shop</title><link>https://shop.example</link>
<item><g:id>A-1</g:id><title>Rain jacket</title><description>&lt;p&gt;Keeps &lt;b&gt;dry&lt;/b&gt;.&lt;/p&gt;</description>
  <g:brand>Nordwald</g:brand><g:product_type>Outdoor &gt; Jackets</g:product_type><g:product_type>Sale</g:product_type>
  <g:google_product_category>Apparel &amp; Accessories &gt; Clothing</g:google_product_category>
  <g:shipping><g:country>DE</g:country><g:price>5 EUR</g:price></g:shipping><g:image_link>https://shop.example/1.jpg</g:image_link></item>
<item><g:id>A-2</g:id><g:title><![CDATA[Scarf & hat]]></g:title><title>other</title><g:google_product_category>1604</g:google_product_category></item>
</channel></rss>
"""


def test_google_merchant_as_rss(tmp_path: Path) -> None:
    rows = products(tmp_path, "shop.xml", RSS)
    assert fields(rows) == [
        ("A-1", "Rain jacket", "Keeps dry.", "Nordwald", "Outdoor > Jackets", ["Apparel & Accessories", "Clothing"], 1),
        ("A-2", "Scarf & hat", None, None, "1604", None, 2),
    ]
    assert [(row["platform"], row["image_problem"]) for row in rows] == [("shop", "image_url_not_fetched"), ("shop", None)]


def test_google_merchant_as_atom_with_a_prefix_of_its_own(tmp_path: Path) -> None:
    text = """<feed xmlns="http://www.w3.org/2005/Atom" xmlns:shop="http://base.google.com/ns/1.0"><title>Shop</title>
    <entry><id>tag:shop.example,2024:1</id><shop:id>1</shop:id><title>Tea pot</title><link href="https://shop.example/1"/>
    <content type="xhtml"><div><p>Holds</p><p>a litre</p></div></content></entry>
    <entry><id>2</id><title type="html">Cup &amp;amp; saucer</title><summary>White</summary></entry></feed>"""
    assert fields(products(tmp_path, "shop.xml", text)) == [
        ("1", "Tea pot", "Holds a litre", None, None, None, 1),
        ("2", "Cup & saucer", "White", None, None, None, 2),
    ]


@pytest.mark.parametrize(("name", "delimiter"), [("shop.tsv", "\t"), ("shop.txt", "\t"), ("shop.csv", "\t"), ("shop.csv", ",")])
def test_google_merchant_as_text(tmp_path: Path, name: str, delimiter: str) -> None:
    header = ["id", "title", "description", "brand", "product type", "google_product_category", "image link", "availability"]
    line = ["1", "Mug", "For tea", "Atelier", "Kitchen > Mugs", "Home & Garden > Kitchen", "", "in stock"]
    rows = products(tmp_path, name, delimiter.join(header) + "\n" + delimiter.join(line) + "\n")
    assert fields(rows) == [("1", "Mug", "For tea", "Atelier", "Kitchen > Mugs", ["Home & Garden", "Kitchen"], 1)]


OLD = """Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Option1 Name,Option1 Value,Variant SKU,Image Src,Image Position
tee,Plain tee,"<p>Soft<br>cotton</p>",Urbanly,Apparel & Accessories > Clothing > Shirts,T-Shirts,,Size,S,T-S,tee-1.jpg,1
tee,,,,,,,Size,M,T-M,tee-2.jpg,2
tee,,,,,,,,,,tee-3.jpg,3
cap,Wool cap,,Urbanly,,Caps,,,,C-1,,
"""
NEW = """Title,URL handle,Description,Vendor,Product category,Type,Status,SKU,Option1 name,Option1 value,Product image URL,Variant image URL
Plain tee,tee,"<p>Soft<br>cotton</p>",Urbanly,Apparel & Accessories > Clothing > Shirts,T-Shirts,Active,T-S,Size,S,tee-1.jpg,
,tee,,,,,,T-M,Size,M,tee-2.jpg,
Wool cap,cap,,Urbanly,,Caps,Active,C-1,,,,cap.jpg
"""


@pytest.mark.parametrize("text", [OLD, NEW, OLD.replace(",", ";")], ids=["old names", "new names", "semicolons"])
def test_shopify_lines_of_one_handle_are_one_product(tmp_path: Path, text: str) -> None:
    rows = products(tmp_path, "export.csv", text)
    assert fields(rows) == [
        ("tee", "Plain tee", "Soft cotton", "Urbanly", "T-Shirts", ["Apparel & Accessories", "Clothing", "Shirts"], 1),
        ("cap", "Wool cap", None, "Urbanly", "Caps", None, 2),
    ]
    assert rows[0]["image_problem"] == "image_not_found"


GRAPH = {
    "@context": "https://schema.org",
    "@graph": [
        {"@type": "WebSite", "name": "Shop"},
        {
            "@type": ["Product", "Thing"],
            "sku": "J-1",
            "name": {"@value": "Rain jacket", "@language": "en"},
            "description": "<p>Keeps dry</p>",
            "brand": {"@type": "Brand", "name": "Nordwald"},
            "category": ["Outdoor", "Jackets"],
            "image": [{"@type": "ImageObject", "contentUrl": "jacket.jpg"}, "back.jpg"],
            "offers": {"@type": "Offer", "price": "19.90", "itemOffered": {"@type": "Product", "name": "not this"}},
            "isRelatedTo": {"@type": "Product", "name": "nor this"},
        },
        {
            "@type": "https://schema.org/ProductGroup",
            "name": "Wool cap",
            "brand": "Urbanly",
            "category": "Outdoor > Caps",
            "hasVariant": [
                {"@type": "Product", "sku": "C-S", "name": "Wool cap S"},
                {"@type": "Product", "sku": "C-M", "category": {"@type": "CategoryCode", "name": "Hats"}},
            ],
        },
        {"@type": "ProductGroup", "productID": "P-9", "name": "Scarf", "hasVariant": [{"@id": "#elsewhere"}]},
    ],
}
EXPECTED = [
    ("J-1", "Rain jacket", "Keeps dry", "Nordwald", "Outdoor > Jackets", None, 1),
    ("C-S", "Wool cap S", None, "Urbanly", "Outdoor > Caps", None, 2),
    ("C-M", "Wool cap", None, "Urbanly", "Hats", None, 3),
    ("P-9", "Scarf", None, None, None, None, 4),
]


@pytest.mark.parametrize("name", ["shop.jsonld", "shop.json", "shop.html", "shop.htm"])
def test_json_ld_products_of_a_graph(tmp_path: Path, name: str) -> None:
    text = json.dumps(GRAPH)
    if name.startswith("shop.ht"):
        block = f"<SCRIPT type='application/ld+json; charset=utf-8'>\n{text}\n</SCRIPT>"
        text = f"<!DOCTYPE html><html><head><script>var x = '{{';</script>{block}</head></html>"
    rows = products(tmp_path, name, text)
    assert fields(rows) == EXPECTED
    assert rows[0]["image_problem"] == "image_not_found"


@pytest.mark.parametrize(
    "document",
    [
        [{"@type": "Product", "sku": "1", "name": "Mug"}],
        {
            "@type": "ItemList",
            "itemListElement": [{"@type": "ListItem", "item": {"@type": "Product", "sku": "1", "name": "Mug"}}, "https://x.example"],
        },
        {"@type": "WebPage", "mainEntity": {"@type": "schema:Product", "sku": ["1", "1b"], "name": ["Mug"]}},
    ],
)
def test_json_ld_wherever_the_product_stands(tmp_path: Path, document: Any) -> None:
    assert [(row["product_id"], row["title"]) for row in products(tmp_path, "a.jsonld", json.dumps(document))] == [("1", "Mug")]


def test_what_a_mapping_says_goes_before_the_format_s_default(tmp_path: Path) -> None:
    text = "id\ttitle\tproduct_type\tmodel\tavailability\n1\tMug\tKitchen > Mugs\tM-1\tin stock\n"
    rows = products(tmp_path, "shop.tsv", text, product_id="model", label={"column": "product_type"}, platform={"value": "atelier"})
    assert [(row["key"], row["title"], row["path"]) for row in rows] == [("atelier/M-1", "Mug", ["Kitchen", "Mugs"])]


def test_a_google_feed_of_any_size_is_read_in_pieces(tmp_path: Path) -> None:
    """Items that lie across the pieces the file is read in, umlauts on their borders."""
    items = "".join(f"<item><g:id>{n}</g:id><title>Müll {'ü' * (n % 97)} {n}</title></item>" for n in range(3000))
    broken = items.replace("<g:id>1500</g:id>", "<g:id>1500</g:oops>")
    start = '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
    rows = products(tmp_path, "big.xml", f"{start}{broken}</channel></rss>")
    assert [row["product_id"] for row in rows] == [str(n) for n in range(3000) if n != 1500]
    rejected = Catalog.open(tmp_path / "catalog").rejected().to_pylist()
    assert [(row["row"], row["reason"], row["raw"]) for row in rejected] == [
        (1501, "xml_broken", "<item><g:id>1500</g:oops><title>Müll " + "ü" * (1500 % 97) + " 1500</title>")
    ]
