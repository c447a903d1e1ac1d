"""Products as columns with their platforms, and the examples that are found in them. Knows no figure.

Shapes in this package: n products, P platforms; codes are int64 [n], -1 for none.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from prodcat.config import Config
from prodcat.taxonomy import CategoryPath, format_path

# Of PRODUCTS; `has_image` and `group` (of SPLITS) come beside.
COLUMNS = (
    *("key", "platform", "title", "description", "brand", "language", "language_source", "language_problem", "raw_category", "path"),
    *("label_source", "image_problem", "title_key", "digest", "source"),
)
EXAMPLES = ("problem", "platform", "key", "products", "title", "label", "detail")


class FeedQualityConfig(Config):
    """What counts as a problem, and how much is shown of it."""

    template_products: int = Field(10, ge=2, description="a title that so many products of a platform share is a template")
    examples: int = Field(5, ge=0, description="of each problem and platform, the worst first")


class FeedColumns:
    """Products as columns, with what several parts need of them."""

    def __init__(self, products: pa.Table, config: FeedQualityConfig) -> None:
        self.config = config
        self.table = products
        platforms = products["platform"].to_pylist()
        self.names = sorted(set(platforms))
        place = {name: number for number, name in enumerate(self.names)}
        self.platform = np.array([place[name] for name in platforms], dtype=np.int64)
        self.counts = np.bincount(self.platform, minlength=len(self.names))
        self.keys: list[str] = products["key"].to_pylist()
        self.titles: list[str | None] = products["title"].to_pylist()
        labels = [tuple(path) if path else None for path in products["path"].to_pylist()]
        number: dict[CategoryPath, int] = {}
        self.label = np.array([-1 if path is None else number.setdefault(path, len(number)) for path in labels], dtype=np.int64)
        self.paths = list(number)
        self.examples: list[dict[str, Any]] = []

    def codes(self, column: str) -> np.ndarray:
        """int64 [n]: equal texts of the column have equal codes."""
        encoded = self.table[column].combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def texts(self, column: str) -> list[str]:
        """What each code of `codes` stands for."""
        found: list[str] = self.table[column].combine_chunks().dictionary_encode().dictionary.to_pylist()
        return found

    def shares(self, mask: np.ndarray) -> list[float]:
        """P shares of products where bool [n] `mask` holds."""
        return [float(share) for share in np.bincount(self.platform[mask], minlength=len(self.names)) / self.counts]

    def rows(self, platform: int) -> np.ndarray:
        return np.flatnonzero(self.platform == platform)

    def example(self, problem: str, row: int, products: int, detail: str) -> None:
        """products: how many have the problem together with this one."""
        label = format_path(self.paths[self.label[row]]) if self.label[row] >= 0 else ""
        title = self.titles[row] or ""
        name = self.names[self.platform[row]]
        values = (problem, name, self.keys[row], products, title, label, detail)
        self.examples.append(dict(zip(EXAMPLES, values, strict=True)))
