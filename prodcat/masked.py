"""Training products a second time, their texts without the words of the category names, so that the rest of a text and the image are learned, too.

A title of a shop's own usually names its category; those of other shops, and many users' queries, do not. Knows no Ray.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prodcat.catalog.records import digest_of
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, Product, rows_to_table
from prodcat.encoders.inputs import TextFields, product_text
from prodcat.labelled import Labelled
from prodcat.masking import CategoryMask


def write_masked(catalog: Catalog, part: Labelled, mask: CategoryMask, fields: Sequence[TextFields], file: Path) -> Labelled:
    """Products of `part` whose title, description or brand names a category, and keeps a word without it.

    Args:
        fields: what stage one reads.
        file: gets them as PRODUCTS without images, under their own keys, for their texts to be embedded.

    Returns:
        The same products as they are trained on.
    """
    row_of = {key: row for row, key in enumerate(part.keys)}
    places: list[int] = []
    texts: list[str | None] = []
    rows: list[dict[str, Any]] = []
    for row in catalog.products([name for name in PRODUCTS.names if name != "image"]).to_pylist():
        shown = {name: mask(row[name]) for name in ("title", "description", "brand")}
        text = product_text(**shown, fields=fields)
        if row["key"] in row_of and text and any(shown[name] != row[name] for name in shown):
            places.append(row_of[row["key"]])
            texts.append(text)
            digest = digest_of(Product(row["platform"], row["product_id"], shown["title"], shown["description"], shown["brand"]))
            rows.append({**row, **shown, "title_key": None, "image_hash": None, "digest": digest})
    file.parent.mkdir(parents=True, exist_ok=True)
    part_file = file.with_suffix(".part")
    pq.write_table(rows_to_table(rows, PRODUCTS), part_file)
    part_file.rename(file)
    return Labelled([part.keys[place] for place in places], texts, part.targets[places], part.digest)
