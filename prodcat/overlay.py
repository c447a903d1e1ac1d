"""Reviewed labels: a CSV that says of some products which label they are to have, laid over a catalog. Knows the catalog; changes no file of it.

    key,path,decision
    shop/17,Apparel > Topwear > Shirts,accept      the label becomes this path
    shop/18,Apparel > Topwear > Shirts,keep        the label stays as it is
    shop/19,,drop                                  the product has no label any more

Further columns are for the reader. Labels of test products stay as they are unless that is asked for by name: to change them by a model's opinion and
then to measure that model on them would be cheating.
"""

import csv
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from prodcat.catalog.store import Catalog
from prodcat.errors import OverlayError, TaxonomyError
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path, parse_path

COLUMNS = ("key", "path", "decision")
ACCEPT, KEEP, DROP = "accept", "keep", "drop"
DECISIONS = (ACCEPT, KEEP, DROP)


@dataclass(frozen=True)
class Overlay:
    """Labels that differ from the catalog's.

    Args:
        labels: key -> new label; None for a label that is dropped. Only what changes anything.
        test: those of the keys that are test products.
    """

    labels: dict[str, CategoryPath | None] = field(default_factory=dict)
    test: frozenset[str] = frozenset()

    def __call__(self, key: str, path: CategoryPath | None) -> CategoryPath | None:
        """The label that a product has under this overlay."""
        return self.labels.get(key, path)

    @property
    def dropped(self) -> list[str]:
        """Train and validation products that lose their label."""
        return [key for key, path in self.labels.items() if path is None and key not in self.test]

    def digest(self, catalog: str) -> str:
        """What training depends on: the catalog's digest, and what the overlay changes of train and validation; if nothing, the former as it is."""
        lines = sorted(f"{key}\t{format_path(path) if path else ''}" for key, path in self.labels.items() if key not in self.test)
        return hashlib.sha256("\n".join([catalog, *lines]).encode()).hexdigest() if lines else catalog

    def counts(self) -> dict[str, int] | None:
        """{changed, dropped} of train and validation, {test}: either of test; None for an overlay that changes nothing."""
        if not self.labels:
            return None
        dropped = len(self.dropped)
        return {"changed": len(self.labels) - len(self.test) - dropped, "dropped": dropped, "test": len(self.test)}

    def over(self, products: pa.Table) -> pa.Table:
        """A table with the columns key and path, with these labels in place of its own."""
        if not self.labels:
            return products
        paths = [self(key, path) for key, path in zip(products["key"].to_pylist(), products["path"].to_pylist(), strict=True)]
        place = products.column_names.index("path")
        return products.set_column(place, products.schema.field("path"), pa.array(paths, products.schema.field("path").type))


def read_overlay(file: Path, catalog: Catalog, tree: Taxonomy, *, change_test: bool = False) -> Overlay:
    """Args: change_test: labels of test products may be changed too.

    Raises:
        OverlayError: names file and row: an unknown key, category or decision, a key twice, or a test product without `change_test`.
    """
    products = catalog.products(["key", "path"])
    labels = {key: tuple(path) if path else None for key, path in zip(products["key"].to_pylist(), products["path"].to_pylist(), strict=True)}
    splits = catalog.splits()
    split_of = dict(zip(splits["key"].to_pylist(), splits["split"].to_pylist(), strict=True))
    changes: dict[str, CategoryPath | None] = {}
    met: dict[str, int] = {}
    for row, entry in enumerate(_rows(file), 1):
        where, key = f"{file}, row {row}", entry["key"]
        if key not in labels:
            raise OverlayError(f"{where}: no product {key!r} in {catalog.path}; keys are platform/product_id, as the audit writes them")
        if key in met:
            raise OverlayError(f"{where}: the product {key!r} stands in row {met[key]} too; one decision a product")
        met[key] = row
        if entry["decision"] not in DECISIONS:
            raise OverlayError(f"{where}: decision {entry['decision']!r}; expected is one of {', '.join(DECISIONS)}")
        new = labels[key] if entry["decision"] == KEEP else None if entry["decision"] == DROP else _path(entry["path"], tree, where)
        if new == labels[key]:
            continue
        if split_of[key] == "test" and not change_test:
            raise OverlayError(
                f"{where}: {key!r} is a test product; to change its label and then to measure on it would be cheating. Set its decision to {KEEP}, "
                "or, if a person has looked at the product itself, ask for it with --change-test-labels: the report will say so"
            )
        changes[key] = new
    return Overlay(changes, frozenset(key for key in changes if split_of[key] == "test"))


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            rows = list(reader)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OverlayError(f"{file}: cannot be read as CSV: {error}") from error
    if missing:
        raise OverlayError(f"{file}: lacks the columns {missing}; expected are {', '.join(COLUMNS)}")
    return [{name: row[name].strip() for name in COLUMNS} for row in rows]


def _path(text: str, tree: Taxonomy, where: str) -> CategoryPath:
    try:
        path = parse_path(text)
    except TaxonomyError as error:
        raise OverlayError(f"{where}: {error}") from None
    if path not in tree:
        raise OverlayError(f"{where}: the category {text!r} is not in the catalog's tree; write a path of the tree, as 'A > B > C'")
    return path
