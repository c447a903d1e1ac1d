"""contracts: enforce casts or refuses by stage and column; Product round-trips through its table."""

import pyarrow as pa
import pytest

from prodcat.contracts import PREDICTIONS, PRODUCT_COLUMNS, PRODUCTS, REJECTED, SPLITS, Product, enforce, features, products_of, rows_to_table
from prodcat.errors import ContractError

SPLIT = {"key": "a/1", "group": "a/1", "split": "train"}


@pytest.mark.parametrize(
    "schema", [PRODUCTS, REJECTED, SPLITS, PREDICTIONS, features(4)], ids=["products", "rejected", "splits", "predictions", "features"]
)
def test_every_column_is_described(schema: pa.Schema) -> None:
    assert all(len(field.metadata[b"description"]) > 3 for field in schema)
    empty = schema.empty_table()
    assert enforce(empty, schema, "test").schema.equals(schema, check_metadata=True)


def test_what_ray_infers_is_cast_and_columns_come_in_order() -> None:
    # Ray saw only nulls in one column, large strings in another, and integers of another width.
    table = pa.table(
        {
            "row": pa.array([1, 2], pa.int32()),
            "detail": pa.array(["x", "y"], pa.large_string()),
            "reason": ["a", "b"],
            "raw": pa.nulls(2),
            "source": pa.array(["f", "f"]).dictionary_encode(),
        }
    )
    result = enforce(table, REJECTED, "ingest")
    assert result.schema.equals(REJECTED, check_metadata=True)
    assert result.to_pylist()[1] == {"source": "f", "row": 2, "reason": "b", "detail": "y", "raw": None}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a/1"], "group": ["a/1"]}, r"split stage: the table lacks the columns \['split'\]"),
        ({"key": ["a/1"], "group": ["a/1"], "split": ["train"], "extra": [1]}, r"split stage.*unknown columns \['extra'\]"),
        ({"key": ["a/1", None], "group": ["a", "b"], "split": ["train", "test"]}, "split stage: column 'key' has 1 nulls and may have none"),
        ({"key": [["a/1"]], "group": ["a"], "split": ["train"]}, "split stage: column 'key' is list.*expected string"),
    ],
)
def test_what_does_not_fit_is_refused_by_stage_and_column(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        enforce(pa.table(columns), SPLITS, "split stage")


def test_numbers_that_would_change_are_refused() -> None:
    row = {"source": ["f"], "row": [1.5], "reason": ["a"], "detail": ["b"], "raw": [None]}
    with pytest.raises(ContractError, match="column 'row' is double, expected int64"):
        enforce(pa.table(row), REJECTED, "ingest")


def test_vectors_have_their_dimension() -> None:
    table = pa.table({"key": ["a/1"], "digest": ["d"], "vector": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float64()))})
    assert enforce(table, features(3), "embed").schema.field("vector").type == pa.list_(pa.field("item", pa.float32()), 3)
    with pytest.raises(ContractError, match="embed: column 'vector'"):
        enforce(table, features(4), "embed")


def test_rows_become_a_table_of_the_schema() -> None:
    assert rows_to_table([SPLIT], SPLITS).to_pylist() == [SPLIT]
    assert rows_to_table(iter([]), SPLITS).schema.equals(SPLITS, check_metadata=True)
    assert rows_to_table([{"source": "f", "row": 1, "reason": "a", "detail": "b"}], REJECTED)["raw"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (SPLIT | {"spilt": "x"}, r"unknown keys \['spilt'\]"),
        ({"key": "a/1", "split": "train"}, "column 'group' has 1 nulls"),
        (SPLIT | {"split": 3}, "do not fit"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        rows_to_table([row], SPLITS)


def test_products_come_back_as_they_went() -> None:
    products = [
        Product("shop", "1", title="Çizme", path=("Footwear", "Boots"), image=b"\x89PNG", language="tr"),
        Product("shop", "2", image_problem="image_not_found"),
    ]
    table = pa.Table.from_pylist(
        [{name: getattr(product, name) for name in PRODUCT_COLUMNS} for product in products],
        schema=pa.schema([PRODUCTS.field(name) for name in PRODUCT_COLUMNS]),
    )
    assert list(products_of(table)) == products
    assert list(products_of(table.append_column("more", [[1, 2]]).to_batches()[0])) == products
    assert [product.key for product in products] == ["shop/1", "shop/2"]


def test_a_products_fields_are_columns_of_the_catalog() -> None:
    assert set(PRODUCT_COLUMNS) < set(PRODUCTS.names)
