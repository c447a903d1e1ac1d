"""Vectors of a branch to few dimensions (UMAP, McInnes et al. 2018), seeded, and kept so that new products are placed later. Knows no product.

A seed decides which of many layouts a branch gets, and clusters differ with it. Several layouts side by side, each dimension scaled to a deviation
of 1, halve what clusters differ by between seeds: a distance is then the mean over layouts (of its square).

Shapes: n products, d dimensions of the vectors, p of the projection: `dimensions` of each layout.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from prodcat.config import Config

FILE = "projection.safetensors"


class ProjectionConfig(Config):
    """UMAP's settings; defaults are for clustering and not for looking: several dimensions, no distance kept between close points."""

    dimensions: int = Field(8, ge=2, description="of the projection that is clustered")
    neighbours: int = Field(15, ge=2, description="UMAP's n_neighbors: fewer see finer structure")
    min_dist: float = Field(0.0, ge=0, description="UMAP's min_dist")
    epochs: int | None = Field(None, ge=1, description="of the layout; null: UMAP's own choice by size")
    layouts: int = Field(
        5, ge=1, description="layouts under seeds of their own, side by side: what lies together by chance in one does not in the others"
    )
    repeated: int = Field(20_000, ge=0, description="of more products there is one layout: each takes long, and chance counts for less")

    def once(self) -> "ProjectionConfig":
        return self.model_copy(update={"layouts": 1})


@dataclass(frozen=True)
class Projection:
    """A fitted one: where the products lie, and where new ones would.

    A UMAP model is a pickle of numba functions, which a bundle may not hold. What is kept instead are the vectors and their places: a new product is
    placed at the mean of its nearest neighbours' places, weighed as UMAP weighs its edges before it moves anything (its own initialisation of new
    points).

    Args:
        vectors: float32 [n, d], of length 1.
        places: float32 [n, p].
        neighbours: that place a new product.
    """

    vectors: np.ndarray
    places: np.ndarray
    neighbours: int

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [m, d] of length 1 -> float32 [m, p]; the origin for all where nothing has been projected."""
        if not len(vectors) or not len(self.vectors):
            return np.zeros((len(vectors), self.places.shape[1]), dtype=np.float32)
        from sklearn.neighbors import NearestNeighbors

        count = min(self.neighbours, len(self.vectors))
        far, near = NearestNeighbors(n_neighbors=count).fit(self.vectors).kneighbors(vectors)
        weights = _smooth(far)
        return np.asarray((weights[:, :, None] * self.places[near]).sum(axis=1) / weights.sum(axis=1)[:, None], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """folder/projection.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"vectors": self.vectors.astype(np.float32), "places": self.places.astype(np.float32)}
        save_file({**arrays, "neighbours": np.array([self.neighbours], dtype=np.int64)}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "Projection":
        found = load_file(folder / FILE)
        return cls(found["vectors"], found["places"], int(found["neighbours"][0]))


def project(vectors: np.ndarray, config: ProjectionConfig, seed: int) -> Projection:
    """float32 [n, d] of length 1 -> a projection; on a GPU where cuML is installed. Too few products for UMAP, and such
    as are all the same, are placed by their principal axes."""
    n = len(vectors)
    # UMAP would throw products that are all the same about at random.
    if n <= config.dimensions + 2 or np.ptp(vectors, axis=0).max() == 0:
        return Projection(vectors, _principal(vectors, config.dimensions), config.neighbours)
    layouts = config.layouts if n <= config.repeated else 1
    made = [_layout(vectors, config, seed * layouts + number) for number in range(layouts)]
    if layouts > 1:
        made = [(each - each.mean(axis=0)) / np.maximum(each.std(axis=0), 1e-12) for each in made]
    return Projection(vectors, np.concatenate(made, axis=1), config.neighbours)


def _layout(vectors: np.ndarray, config: ProjectionConfig, seed: int) -> np.ndarray:
    """float32 [n, dimensions]."""
    settings = {
        "n_components": config.dimensions,
        "n_neighbors": min(config.neighbours, len(vectors) - 1),
        "min_dist": config.min_dist,
        "n_epochs": config.epochs,
        "random_state": seed,
    }
    umap = _umap()
    if umap.__module__.startswith("umap"):
        # What a seed makes of it; said here, it does not warn.
        settings["n_jobs"] = 1
    return np.asarray(umap(**settings, metric="cosine").fit_transform(vectors), dtype=np.float32)


def _umap() -> type:
    """cuML's UMAP where there is one, else umap-learn's."""
    try:
        from cuml.manifold import UMAP
    except ImportError:
        from umap import UMAP
    return UMAP


def _principal(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    centred = vectors - vectors.mean(axis=0) if len(vectors) else vectors
    axes = np.linalg.svd(centred, full_matrices=False)[2][:dimensions]
    found = np.zeros((len(vectors), dimensions), dtype=np.float32)
    found[:, : len(axes)] = centred @ axes.T
    return found


def _smooth(far: np.ndarray) -> np.ndarray:
    """Distances float [m, k], rising -> weights: the nearest counts fully, and all together log2(k), as UMAP's smooth_knn_dist."""
    over = far - far[:, :1]
    target = np.log2(max(2, far.shape[1]))
    low, high = np.zeros(len(far)), np.full(len(far), np.inf)
    scale = np.ones(len(far))
    for _ in range(64):
        total = np.exp(-over / scale[:, None]).sum(axis=1)
        high = np.where(total > target, scale, high)
        low = np.where(total > target, low, scale)
        scale = np.where(np.isinf(high), scale * 2, (low + high) / 2)
        if np.isfinite(high).all() and (high - low < 1e-6 * high).all():
            break
        scale = np.maximum(scale, 1e-12)
    return np.exp(-over / scale[:, None])
