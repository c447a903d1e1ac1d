"""One vector a product from the vectors of several encoders: what a branch is clustered by.

Of every set the mean over the branch is taken off first: what all products of a branch share sets nothing apart, and makes all cosines alike. Each
set is then scaled to length 1 and weighed; a product that a set says nothing of has zeros there.

Shapes: n products, d_s dimensions of set s, d their sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

FILE = "centres.safetensors"
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Joint:
    """How sets become one vector.

    Args:
        centres: set -> float32 [d_s].
        weights: set -> what its length-1 vector is multiplied by.
    """

    centres: dict[str, np.ndarray]
    weights: dict[str, float]

    @classmethod
    def fit(cls, vectors: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> "Joint":
        """Args: vectors: set -> float32 [n, d_s]. present: set -> bool [n]. A set that no product is in is left out."""
        used = [name for name in vectors if present[name].any()]
        centres = {name: vectors[name][present[name]].astype(np.float64).mean(axis=0).astype(np.float32) for name in used}
        return cls(centres, {name: float(weights[name]) for name in used})

    def of(self, vectors: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """float32 [n, d] of length 1, zeros for a product without any, and bool [n]: whether it has one."""
        parts, count = [], len(next(iter(vectors.values()))) if vectors else 0
        for name, centre in self.centres.items():
            shown = np.where(present[name][:, None], vectors[name] - centre, 0)
            # What differs by rounding alone has no direction: the same images in other batches of an encoder.
            own = np.linalg.norm(vectors[name], axis=1, keepdims=True)
            shown = np.where(np.linalg.norm(shown, axis=1, keepdims=True) > _ROUNDING * own, shown, 0)
            parts.append(self.weights[name] * unit(shown))
        joined = unit(np.concatenate(parts, axis=1)) if parts else np.zeros((count, 1), dtype=np.float32)
        have = np.any([present[name] for name in self.centres], axis=0) if self.centres else np.zeros(count, dtype=bool)
        return joined, np.asarray(have, dtype=bool)

    def save(self, folder: Path) -> None:
        arrays = {f"centre {name}": centre for name, centre in self.centres.items()}
        save_file({**arrays, **{f"weight {name}": np.array([weight]) for name, weight in self.weights.items()}}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "Joint":
        found = load_file(folder / FILE)
        centres = {name.removeprefix("centre "): value for name, value in found.items() if name.startswith("centre ")}
        return cls(centres, {name: float(found[f"weight {name}"][0]) for name in centres})


def unit(vectors: np.ndarray) -> np.ndarray:
    """float [n, d] -> float32 of length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
