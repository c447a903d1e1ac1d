"""Products a second time, their texts without the words of the category names, so that the rest of a text and the image are learned, too.

A title of a shop's own usually names its category; those of other shops, and many users' queries, do not. Knows no Ray.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prodcat.catalog.records import digest_of
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, Product, rows_to_table
from prodcat.encoders.inputs import TextReading
from prodcat.labelled import Labelled
from prodcat.masking import CategoryMask


def write_masked(catalog: Catalog, parts: Mapping[str, Labelled], mask: CategoryMask, reading: TextReading, file: Path) -> dict[str, Labelled]:
    """Products of `parts` whose title, description or brand names a category, and keeps a word without it.

    Args:
        parts: by split; no product is in two.
        reading: what stage one reads.
        file: gets all of them as PRODUCTS without images, under their own keys, for their texts to be embedded.

    Returns:
        The same products, by split, with the texts that are left.
    """
    place_of = {key: (split, row) for split, part in parts.items() for row, key in enumerate(part.keys)}
    places: dict[str, list[int]] = {split: [] for split in parts}
    texts: dict[str, list[str | None]] = {split: [] for split in parts}
    rows: list[dict[str, Any]] = []
    for row in catalog.products([name for name in PRODUCTS.names if name != "image"]).to_pylist():
        shown = mask.fields(row["title"], row["description"], row["brand"])
        text = reading.of(**shown, language=row["language"])
        if row["key"] in place_of and text and any(left != row[name] for name, left in shown.items()):
            split, place = place_of[row["key"]]
            places[split].append(place)
            texts[split].append(text)
            digest = digest_of(Product(row["platform"], row["product_id"], **shown, language=row["language"]))
            rows.append({**row, **shown, "title_key": None, "image_hash": None, "digest": digest})
    file.parent.mkdir(parents=True, exist_ok=True)
    part_file = file.with_suffix(".part")
    pq.write_table(rows_to_table(rows, PRODUCTS), part_file)
    part_file.rename(file)
    return {
        split: Labelled([part.keys[place] for place in places[split]], texts[split], part.targets[places[split]], part.digest)
        for split, part in parts.items()
    }
