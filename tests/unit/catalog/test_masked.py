"""Training products without category words: which there are, what is left of them, and that they are kept apart from the products themselves."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS
from prodcat.encoders.inputs import TextReading
from prodcat.labelled import Labelled, labelled
from prodcat.masked import write_masked
from prodcat.masking import CategoryMask
from prodcat.overlay import Overlay

TITLES = {"named": "Acme blue shirts", "silent": "Acme blue oxford", "nothing left": "Shirts", "described": "Acme"}


def catalog(tmp_path: Path) -> Catalog:
    rows = [{"product_id": name, "title": title, "level1": "Apparel", "level2": "Shirts"} for name, title in TITLES.items()]
    rows[-1]["description"] = "One of our shirts, in linen"
    (tmp_path / "feed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ingest([str(tmp_path / "feed.jsonl")], tmp_path / "catalog", IngestConfig())
    return Catalog.open(tmp_path / "catalog")


def everything(given: Catalog) -> Labelled:
    parts = list(labelled(given, given.taxonomy, TextReading(), Overlay()).values())
    keys, texts = [key for part in parts for key in part.keys], [text for part in parts for text in part.texts]
    return Labelled(keys, texts, np.concatenate([part.targets for part in parts]))


def test_a_product_that_names_its_category_is_written_without_it(tmp_path: Path) -> None:
    given = catalog(tmp_path)
    part = everything(given)
    file = tmp_path / "masked" / "products.parquet"
    masked = write_masked(given, {"train": part}, CategoryMask(given.taxonomy), TextReading(), file)["train"]
    assert dict(zip(part.keys, part.platforms, strict=True)) == dict(zip(*given.products(["key", "platform"]).to_pydict().values(), strict=True))
    keys = {key.partition("/")[2]: key for key in part.keys}
    # One title names nothing, of one nothing is left; where the description alone names it, the text is read without it by those who read it.
    assert dict(zip(masked.keys, masked.texts, strict=True)) == {keys["named"]: "Acme blue", keys["described"]: "Acme"}
    assert [masked.targets[row].tolist() for row in range(2)] == [part.targets[part.keys.index(key)].tolist() for key in masked.keys]
    written = pq.read_table(file)
    assert written.schema.equals(PRODUCTS)
    assert written["description"].to_pylist() == [None, "One of our, in linen"]
    assert written["image"].null_count == 2
    # Another digest: features of the product itself are never taken for these.
    own = dict(zip(*given.products(["key", "digest"]).to_pydict().values(), strict=True))
    assert all(own[row["key"]] != row["digest"] for row in written.select(["key", "digest"]).to_pylist())


def test_only_products_of_the_part_are_written(tmp_path: Path) -> None:
    given = catalog(tmp_path)
    whole = everything(given)
    rows = [row for row, key in enumerate(whole.keys) if key.endswith("/named")]
    parts = {"train": Labelled([], [], whole.targets[:0]), "validation": Labelled([whole.keys[row] for row in rows], ["-"], whole.targets[rows])}
    masked = write_masked(given, parts, CategoryMask(given.taxonomy), TextReading(), tmp_path / "some.parquet")
    assert {split: part.texts for split, part in masked.items()} == {"train": [], "validation": ["Acme blue"]}
    assert pq.read_table(tmp_path / "some.parquet")["key"].to_pylist() == masked["validation"].keys
