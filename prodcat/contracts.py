"""The tables that stages hand to each other, as pyarrow schemas with a description on every column, and `enforce`, called where a stage ends.

Ray infers types from the rows it happens to see, so two runs over the same data can differ; what is written to disk is therefore cast to the schema
here, or refused. `Product` is one row of PRODUCTS as an object: what the cascade and the HTTP endpoint take.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from prodcat.errors import ContractError


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_TEXT = pa.string()
_NAMES = pa.list_(pa.field("item", pa.string()))

PRODUCTS = pa.schema(
    [
        _field("key", _TEXT, "platform/product_id: unique in a catalog", nullable=False),
        _field("platform", _TEXT, "shop the product came from", nullable=False),
        _field("product_id", _TEXT, "the shop's own id", nullable=False),
        _field("title", _TEXT, "null if there is none"),
        _field("description", _TEXT, "null if there is none"),
        _field("brand", _TEXT, "null if there is none"),
        _field("language", _TEXT, "ISO 639-1; null if the feed names none and none was detected"),
        _field("language_source", _TEXT, "feed or detected (catalog/languages.py); null without a language"),
        _field("language_problem", _TEXT, "what the feed calls the language, where it is none that is known; null otherwise"),
        _field("raw_category", _TEXT, "the shop's own category, as it stood"),
        _field("path", _NAMES, "the label: category names from level 1 down to the deepest one known; null if unlabelled"),
        _field("label_source", _TEXT, "how the label came about; null if the feed does not say"),
        _field("image", pa.binary(), "encoded bytes, checked at ingestion; null if there is none or it was refused"),
        _field("image_problem", _TEXT, "why the feed's image was refused (images.REASONS, or image_not_found); null if it was not"),
        _field("title_key", _TEXT, "normalised title, for near-duplicates; null without title"),
        _field("image_hash", pa.uint64(), "perceptual hash, 64 bits; null without image or if the image is flat"),
        _field("digest", _TEXT, "SHA-256 of all that encoders read: features are kept under it", nullable=False),
        _field("source", _TEXT, "feed file the row came from", nullable=False),
        _field("row", pa.int64(), "row in that file, from 1; a CSV's header line does not count", nullable=False),
    ]
)

REJECTED = pa.schema(
    [
        _field("source", _TEXT, "feed file the row came from", nullable=False),
        _field("row", pa.int64(), "row in that file, from 1", nullable=False),
        _field("reason", _TEXT, "short stable code", nullable=False),
        _field("detail", _TEXT, "what was found, what was expected, what to do", nullable=False),
        _field("raw", _TEXT, "the row as it stood, as JSON, without image bytes, at most 2,000 characters"),
    ]
)

SPLITS = pa.schema(
    [
        _field("key", _TEXT, "product", nullable=False),
        _field("group", _TEXT, "near-duplicate group, named by the product that founded it", nullable=False),
        _field("split", _TEXT, "train, validation or test; one for the whole group", nullable=False),
    ]
)

PREDICTIONS = pa.schema(
    [
        _field("key", _TEXT, "product", nullable=False),
        _field("platform", _TEXT, "shop", nullable=False),
        _field("category_id", _TEXT, "id of the answered category", nullable=False),
        _field("path", _NAMES, "its names from level 1 down", nullable=False),
        _field("confidences", pa.list_(pa.field("item", pa.float64())), "calibrated probability of the path down to each level", nullable=False),
        _field(
            "alternatives",
            pa.list_(pa.field("item", pa.struct([pa.field("path", _NAMES), pa.field("confidence", pa.float64())]))),
            "the next best leaves; after back-off the best leaf is among them",
            nullable=False,
        ),
        _field("stage", pa.int8(), "1 the text stage, 2 the multimodal stage", nullable=False),
        _field("bundle", _TEXT, "version of the bundle that answered", nullable=False),
        _field("stopped_at_parent", pa.bool_(), "the best leaf lies below, less sure than the bundle's wanted precision; null if it wants none"),
        _field("holds_precision", pa.bool_(), "false: not even level 1 is as sure as wanted, it is answered all the same; null if none is wanted"),
        _field("candidates", pa.list_(pa.field("item", _NAMES)), "set that holds the right category with the bundle's coverage; null if it has none"),
    ]
)


def features(dim: int) -> pa.Schema:
    """Vectors of one tower of one encoder. The file's folder is named by the tower's fingerprint; the digest says which content was read."""
    return pa.schema(
        [
            _field("key", _TEXT, "product", nullable=False),
            _field("digest", _TEXT, "PRODUCTS.digest of what was encoded", nullable=False),
            _field("vector", pa.list_(pa.field("item", pa.float32()), dim), f"{dim} numbers", nullable=False),
        ]
    )


def enforce(table: pa.Table, schema: pa.Schema, stage: str) -> pa.Table:
    """Cast to `schema`, column by column, in its order.

    Raises:
        ContractError: a column is missing, unknown, of a type that does not cast, or null where it may not be; names stage and column.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in schema.names]
    if missing or unknown:
        raise ContractError(f"{stage}: the table lacks the columns {missing} and has the unknown columns {unknown}; expected are {schema.names}")
    columns = []
    for field in schema:
        column = table.column(field.name)
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise ContractError(f"{stage}: column {field.name!r} is {column.type}, expected {field.type}: {error}") from error
        if not field.nullable and column.null_count:
            raise ContractError(f"{stage}: column {field.name!r} has {column.null_count} nulls and may have none")
    return pa.Table.from_arrays(columns, schema=schema)


# The platform of a product whose sender names none.
UNNAMED = "http"


@dataclass(frozen=True, slots=True)
class Product:
    """One product. Only what the classifier may read, its identity and its label; a product that came over HTTP has no label and no source."""

    platform: str
    product_id: str
    title: str | None = None
    description: str | None = None
    brand: str | None = None
    language: str | None = None
    raw_category: str | None = None
    path: tuple[str, ...] | None = None
    label_source: str | None = None
    image: bytes | None = None
    image_problem: str | None = None

    @property
    def key(self) -> str:
        return f"{self.platform}/{self.product_id}"


PRODUCT_COLUMNS = tuple(field.name for field in fields(Product))


def products_of(table: pa.Table | pa.RecordBatch) -> Iterator[Product]:
    """Rows of PRODUCTS (or of its PRODUCT_COLUMNS alone) as Product objects, in order."""
    for row in table.select(list(PRODUCT_COLUMNS)).to_pylist():
        row["path"] = tuple(row["path"]) if row["path"] else None
        yield Product(**row)


def rows_to_table(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Dicts -> a table of exactly this schema; for stages that make rows one by one. A key that a row lacks is null.

    Raises:
        ContractError: a row has an unknown key (pyarrow would drop it silently), a value does not fit, or a null stands where none may.
    """
    listed = list(rows)
    unknown = sorted({key for row in listed for key in row} - set(schema.names))
    if unknown:
        raise ContractError(f"rows have the unknown keys {unknown}; expected are {schema.names}")
    try:
        table = pa.Table.from_pylist(listed, schema=schema)
    except (pa.ArrowException, OverflowError) as error:
        raise ContractError(f"rows do not fit the schema {schema.names}: {error}") from error
    return enforce(table, schema, "rows")
