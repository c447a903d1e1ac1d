"""What a category's name says of its products: how near a text's vector lies to those of the names. Learns from no product.

A category that few products show, or none of a kind a new shop sells, is still found by what it is called. Needs an encoder that has read more of the
world than the catalog (a sentence encoder); one trained from scratch on titles knows no meanings, and is not asked.

Shapes: n products, d dimensions, E ends, C columns (taxonomy.HeadLayout).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from prodcat.config import Config
from prodcat.model.words import conditionals
from prodcat.taxonomy import HeadLayout

NAMES = "names.safetensors"


class NamesConfig(Config):
    """Which encoder reads names, and how loud they are."""

    encoder: str = Field("text", description="of stage two's text encoders; one that was trained from scratch is not asked")
    sharpness: float = Field(10.0, gt=0, description="cosines times this are log odds, to be added to the fusion's")


@dataclass(frozen=True)
class Names:
    """Args: vectors: float32 [E, d] of length 1, in the order of layout.ends."""

    vectors: np.ndarray
    sharpness: float

    @classmethod
    def of(cls, encode: Callable[[Sequence[str]], np.ndarray], layout: HeadLayout, config: NamesConfig) -> "Names":
        """Args: encode: texts -> float [m, d]. A category is called by its own name, and by it with those above: "Heels, Shoes, Footwear"."""
        paths = [layout.tree.categories[node].path for node in layout.nodes[layout.ends].tolist()]
        alone, whole = (_unit(encode(texts)) for texts in ([path[-1] for path in paths], [" ".join(reversed(path)) for path in paths]))
        return cls(_unit(alone + whole).astype(np.float32), config.sharpness)

    def read(self, vectors: np.ndarray, layout: HeadLayout) -> np.ndarray:
        """float [n, d] -> float32 [n, C]: log p(column | its parent), which every decoder reads as logits."""
        ends = np.full((len(vectors), len(layout)), -np.inf)
        ends[:, layout.ends] = log_softmax(_unit(vectors) @ self.vectors.T * self.sharpness, axis=1)
        return conditionals(ends, layout)

    def save(self, folder: Path) -> None:
        """folder/names.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self.vectors, "sharpness": np.array([self.sharpness], dtype=np.float32)}, folder / NAMES)

    @classmethod
    def load(cls, folder: Path) -> "Names":
        found = load_file(folder / NAMES)
        return cls(found["vectors"], float(found["sharpness"][0]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
