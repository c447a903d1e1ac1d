"""Labelled products as training reads them: by split, with their texts, label nodes, and the vectors that stage two learns from. Knows no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prodcat.catalog.store import Catalog
from prodcat.encoders.features import FeatureSet, read
from prodcat.encoders.inputs import TextReading
from prodcat.overlay import Overlay
from prodcat.prediction.preparing import STAGE_ONE_VECTOR
from prodcat.prediction.text_stage import TextStage
from prodcat.taxonomy import Taxonomy


@dataclass(frozen=True)
class Labelled:
    """The products of one split, aligned: their keys, texts, label nodes at every level.

    Args:
        digest: of the catalog with its reviewed labels: what training on these products depends on.
    """

    keys: list[str]
    texts: list[str | None]
    targets: np.ndarray  # int32 [n, D]
    digest: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nodes(self) -> np.ndarray:
        """int32 [n]: the deepest labelled category."""
        depth = (self.targets >= 0).sum(axis=1)
        return np.asarray(self.targets[np.arange(len(self)), depth - 1])

    @property
    def platforms(self) -> list[str]:
        """n names: a key is platform/product_id, and no platform's name holds a slash."""
        return [key.partition("/")[0] for key in self.keys]


def labelled(catalog: Catalog, tree: Taxonomy, reading: TextReading, overlay: Overlay) -> dict[str, Labelled]:
    """Labelled products by split, in the catalog's order, with reviewed labels laid over the catalog's."""
    products = catalog.products(["key", "title", "description", "brand", "language", "path"])
    splits = catalog.splits()
    split_of = dict(zip(splits["key"].to_pylist(), splits["split"].to_pylist(), strict=True))
    rows: dict[str, list[tuple[str, str | None, Sequence[str]]]] = {"train": [], "validation": [], "test": []}
    for row in overlay.over(products).to_pylist():
        if row["path"]:
            text = reading.of(row["title"], row["description"], row["brand"], row["language"])
            rows[split_of[row["key"]]].append((row["key"], text, row["path"]))
    return {
        split: Labelled(
            [key for key, _, _ in part], [text for _, text, _ in part], tree.targets([path for _, _, path in part]), overlay.digest(catalog.digest)
        )
        for split, part in rows.items()
    }


def texts_of(files: Sequence[str], keys: Sequence[str], reading: TextReading) -> list[str | None]:
    """What a reading makes of these products: n texts in the order of `keys`; None without one.

    Args:
        files: Parquet files of PRODUCTS.
    """
    wanted = pa.array(keys, type=pa.string())
    found: dict[str, str | None] = {}
    for file in files:
        table = pq.read_table(file, columns=["key", "title", "description", "brand", "language"], partitioning=None)
        for row in table.filter(pc.is_in(table["key"], value_set=wanted)).to_pylist():
            found[row["key"]] = reading.of(row["title"], row["description"], row["brand"], row["language"])
    return [found.get(key) for key in keys]


class Vectors:
    """What stage two learns from: stored features by product key, and stage one's vector of the title.

    Args:
        stage_one: None where stage two does not read its vector.
    """

    def __init__(self, features: Mapping[str, FeatureSet], stage_one: TextStage | None) -> None:
        self.sets, self._stage_one = features, stage_one
        self.reads: dict[str, Literal["text", "image"]] = {name: feature.reads for name, feature in features.items()}
        self.fingerprints = {name: feature.fingerprint for name, feature in features.items()}
        if stage_one is not None:
            self.reads[STAGE_ONE_VECTOR] = "text"
            self.fingerprints[STAGE_ONE_VECTOR] = stage_one.fingerprint

    def of(self, part: Labelled) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """n products -> name -> float32 [n, d], and bool [n, M] in the order of the names."""
        vectors, present = {}, np.zeros((len(part), len(self.reads)), dtype=bool)
        for column, (name, feature) in enumerate(self.sets.items()):
            vectors[name], present[:, column] = read(feature, part.keys)
        if self._stage_one is not None:
            has_text = np.array([text is not None for text in part.texts], dtype=bool)
            _, found = self._stage_one.read([text for text in part.texts if text is not None])
            vectors[STAGE_ONE_VECTOR] = np.zeros((len(part), self._stage_one.settings.width), dtype=np.float32)
            vectors[STAGE_ONE_VECTOR][has_text] = found
            present[:, -1] = has_text
        return vectors, present
