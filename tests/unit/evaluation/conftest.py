"""One small ragged tree and builders of the two tables that evaluation reads."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from prodcat.contracts import PREDICTIONS
from prodcat.evaluation.answers import TRUTH
from prodcat.taxonomy import Taxonomy, parse_path

Predict = Callable[..., pa.Table]


@pytest.fixture(scope="session")
def tree() -> Taxonomy:
    return Taxonomy.from_lines(
        [
            "Apparel > Topwear > Shirts",
            "Apparel > Topwear > Tops",
            "Apparel > Dresses",
            "Footwear > Shoes > Casual",
            "Footwear > Shoes > Sports",
            "Gifts",
        ]
    )


@pytest.fixture(scope="session")
def predictions() -> Predict:
    """predictions(tree, {key: path}, stage={key: 2}, confidence={key: 0.9}, bundle="b1") -> PREDICTIONS."""

    def build(
        tree: Taxonomy,
        answers: dict[str, str],
        *,
        stage: dict[str, int] | None = None,
        confidence: dict[str, float] | None = None,
        bundle: str = "b1",
    ) -> pa.Table:
        rows = []
        for key, text in answers.items():
            path = parse_path(text)
            rows.append(
                {
                    "key": key,
                    "platform": key.split("/")[0],
                    "category_id": tree.categories[tree.index(path)].id if path in tree else "none",
                    "path": list(path),
                    "confidences": [(confidence or {}).get(key, 0.9)] * len(path),
                    "alternatives": [],
                    "stage": (stage or {}).get(key, 1),
                    "bundle": bundle,
                }
            )
        return pa.Table.from_pylist(rows, schema=PREDICTIONS)

    return build


@pytest.fixture(scope="session")
def truth() -> Callable[..., pa.Table]:
    """truth({key: path or None}, no_image=[key], no_title=[key], no_masked_title=[key], group={key: group}, language={key: language}) -> TRUTH."""

    def build(
        labels: dict[str, str | None],
        *,
        no_image: Sequence[str] = (),
        no_title: Sequence[str] = (),
        no_masked_title: Sequence[str] = (),
        group: dict[str, str] | None = None,
        language: dict[str, str] | None = None,
    ) -> pa.Table:
        rows: list[dict[str, Any]] = [
            {
                "key": key,
                "platform": key.split("/")[0],
                "path": list(parse_path(path)) if path else None,
                "group": (group or {}).get(key, key),
                "has_title": key not in no_title,
                "has_masked_title": key not in no_title and key not in no_masked_title,
                "has_image": key not in no_image,
                "language": (language or {}).get(key),
            }
            for key, path in labels.items()
        ]
        return pa.Table.from_pylist(rows, schema=TRUTH)

    return build
