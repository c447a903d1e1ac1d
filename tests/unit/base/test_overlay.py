"""Reviewed labels over a catalog: what they change, what they may not, and what is said of a row that does not fit."""

from pathlib import Path

import pyarrow as pa
import pytest

from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, SPLITS
from prodcat.encoders.inputs import TextReading
from prodcat.errors import OverlayError
from prodcat.labelled import labelled
from prodcat.location import Location
from prodcat.overlay import Overlay, read_overlay
from prodcat.taxonomy import Taxonomy

SHIRTS, SOCKS = ("Apparel", "Shirts"), ("Apparel", "Socks")
TREE = Taxonomy([SHIRTS, SOCKS, ("Shoes",)])
LABELS = {"shop/1": SHIRTS, "shop/2": SOCKS, "shop/3": SHIRTS, "shop/4": None}
SPLIT = {"shop/1": "train", "shop/2": "validation", "shop/3": "test", "shop/4": "train"}


class Shelf(Catalog):
    """A catalog in memory."""

    def __init__(self) -> None:
        super().__init__(Location("/shelf"), {"digest": "d" * 64, "files": []})

    def products(self, columns=None):
        rows = [{"key": key, "title": key, "path": list(path) if path else None} for key, path in LABELS.items()]
        return pa.Table.from_pylist(rows, schema=pa.schema([PRODUCTS.field(name) for name in columns]))

    def splits(self):
        return pa.Table.from_pylist([{"key": key, "group": key, "split": split} for key, split in SPLIT.items()], schema=SPLITS)


def overlay(tmp_path: Path, text: str, **options: bool) -> Overlay:
    file = tmp_path / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return read_overlay(file, Shelf(), TREE, **options)


def test_accept_changes_drop_removes_and_keep_keeps(tmp_path):
    found = overlay(tmp_path, "key,path,decision\nshop/1,Apparel > Socks,accept\nshop/2,,drop\nshop/4,Shoes,keep\n")
    assert found.labels == {"shop/1": SOCKS, "shop/2": None}
    assert found.dropped == ["shop/2"]
    assert found.counts() == {"changed": 1, "dropped": 1, "test": 0}
    table = found.over(Shelf().products(["key", "path"]))
    assert table["path"].to_pylist() == [list(SOCKS), None, list(SHIRTS), None]
    assert table.schema.field("path") == PRODUCTS.field("path")


def test_training_reads_the_reviewed_labels(tmp_path):
    found = overlay(tmp_path, "key,path,decision\nshop/1,Apparel > Socks,accept\nshop/2,,drop\nshop/4,Shoes,accept\n")
    parts = labelled(Shelf(), TREE, TextReading(), found)
    assert {split: part.keys for split, part in parts.items()} == {"train": ["shop/1", "shop/4"], "validation": [], "test": ["shop/3"]}
    assert parts["train"].nodes.tolist() == [TREE.index(SOCKS), TREE.index(("Shoes",))]
    # What was trained before on other labels is made anew.
    assert parts["train"].digest == found.digest(Shelf().digest) != Shelf().digest
    assert labelled(Shelf(), TREE, TextReading(), Overlay())["train"].digest == Shelf().digest


def test_columns_for_the_reader_are_left_alone_and_a_label_may_be_given_to_a_product_without(tmp_path):
    assert overlay(tmp_path, "\ufeffdecision,title,key,path\naccept,A sock,shop/4,Apparel\n").labels == {"shop/4": ("Apparel",)}


def test_training_depends_on_what_changes_of_train_and_validation_only(tmp_path):
    nothing = overlay(tmp_path, "key,path,decision\nshop/1,Apparel > Socks,keep\nshop/2,Apparel > Socks,accept\n")
    assert nothing == Overlay()
    assert nothing.counts() is None
    assert nothing.digest("c") == "c"
    one = overlay(tmp_path, "key,path,decision\nshop/1,Apparel > Socks,accept\n")
    other = overlay(tmp_path, "key,path,decision\nshop/1,Shoes,accept\n")
    assert len({one.digest("c"), other.digest("c"), one.digest("d"), "c"}) == 4
    with_test = overlay(tmp_path, "key,path,decision\nshop/3,,drop\nshop/1,Apparel > Socks,accept\n", change_test=True)
    assert with_test.digest("c") == one.digest("c")
    assert with_test.counts() == {"changed": 1, "dropped": 0, "test": 1}
    # A test product that lost its label was not trained on.
    assert with_test.dropped == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,path,decision\nshop/1,,keep\nshop/9,Shoes,accept\n", r"labels\.csv, row 2: no product 'shop/9' in /shelf"),
        ("key,path,decision\nshop/1,Hats,accept\n", r"labels\.csv, row 1: the category 'Hats' is not in the catalog's tree"),
        ("key,path,decision\nshop/1,,accept\n", "row 1: category path"),
        ("key,path,decision\nshop/1,Shoes,yes\n", "row 1: decision 'yes'; expected is one of accept, keep, drop"),
        ("key,path,decision\nshop/1,Shoes\n", "row 1: decision ''"),
        ("key,path,decision\nshop/1,Shoes,accept\nshop/1,Shoes,keep\n", "row 2: the product 'shop/1' stands in row 1 too"),
        ("key,path,decision\nshop/3,Shoes,accept\n", "row 1: 'shop/3' is a test product; .* cheating.*--change-test-labels"),
        ("key,path,decision\nshop/3,,drop\n", "row 1: 'shop/3' is a test product"),
        ("key,label\nshop/3,Shoes\n", r"labels\.csv: lacks the columns \['path', 'decision'\]"),
        ("", r"lacks the columns \['key', 'path', 'decision'\]"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(OverlayError, match=message):
        overlay(tmp_path, text)


def test_a_test_product_may_be_kept(tmp_path):
    assert overlay(tmp_path, "key,path,decision\nshop/3,Shoes,keep\n") == Overlay()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OverlayError, match=r"none\.csv: cannot be read"):
        read_overlay(tmp_path / "none.csv", Shelf(), TREE)
