"""Products a second time, their descriptions in the place of their titles, as stage two reads them (stage_two.descriptions). Knows no Ray."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prodcat.catalog.records import digest_of
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, Product, rows_to_table
from prodcat.encoders.inputs import TextReading
from prodcat.labelled import Labelled


def write_described(catalog: Catalog, part: Labelled, reading: TextReading, file: Path) -> Labelled:
    """Products of `part` that have both texts.

    Args:
        reading: what stage one reads.
        file: gets them as PRODUCTS without images, under their own keys, for their descriptions to be embedded.

    Returns:
        The same products with their texts; without any, nothing is written.
    """
    place_of = {key: row for row, key in enumerate(part.keys)}
    rows: list[dict[str, Any]] = []
    texts: list[str | None] = []
    for row in catalog.products([name for name in PRODUCTS.names if name != "image"]).to_pylist():
        if row["key"] in place_of and row["title"] and row["description"]:
            shown = {"title": row["description"], "description": None, "brand": row["brand"]}
            twin = Product(row["platform"], row["product_id"], **shown, language=row["language"])
            rows.append({**row, **shown, "title_key": None, "image_hash": None, "digest": digest_of(twin)})
            texts.append(reading.of(**shown, language=row["language"]))
    if rows:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        pq.write_table(rows_to_table(rows, PRODUCTS), partial)
        partial.replace(file)
    places = [place_of[row["key"]] for row in rows]
    return replace(part, keys=[row["key"] for row in rows], texts=texts, targets=part.targets[places])
