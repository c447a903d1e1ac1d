"""New products: into the clusters there are, or into a pool of outliers until enough of them make a cluster of their own. Knows no encoder.

A new product belongs to the cluster that most of its nearest known products are of, if they agree and it lies as close to them as the cluster's own
members lie to theirs; that is the third step of the cascade, with the same settings.

Shapes: n known products, m new ones, d dimensions of the vectors, K clusters.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from prodcat.config import Config, validate
from prodcat.errors import ReviewError
from prodcat.recategorization.clusters import CascadeConfig, Clusters, cascade, neighbours, votes
from prodcat.recategorization.projection import ProjectionConfig, project

STATE, POOL = "state.safetensors", "pool.safetensors"


class PoolConfig(Config):
    """When outliers are a cluster."""

    smallest: int = Field(8, ge=2, description="outliers that make a cluster, at least")
    projection: ProjectionConfig = ProjectionConfig(neighbours=10, layouts=1)
    same: float = Field(0.25, gt=0, le=1, description="as of the cascade; lower, for among few products neighbours are soon spread over all clusters")
    stays: float = Field(0.35, ge=-1, le=1, description="cosine to their middle that each has, at least: odd ones are no cluster for being odd")


@dataclass(frozen=True)
class Assigner:
    """Where a branch's new products belong.

    Args:
        keys: n.
        vectors: float32 [n, d] of length 1.
        cluster: int64 [n]; -1 apart.
        reach: float64 [K]: mean distance to its neighbours beyond which a product is none of the cluster's.
        config: of the cascade that made them.
    """

    keys: tuple[str, ...]
    vectors: np.ndarray
    cluster: np.ndarray
    reach: np.ndarray
    config: CascadeConfig

    @classmethod
    def fit(cls, keys: Sequence[str], vectors: np.ndarray, clusters: Clusters, config: CascadeConfig) -> "Assigner":
        cluster = np.array([-1 if each is None else each for each in clusters.of(len(vectors))], dtype=np.int64)
        far = neighbours(vectors, config.neighbours)[1].mean(axis=1) if len(vectors) > 1 else np.zeros(len(vectors))
        reach = np.array([np.quantile(far[rows], config.reach) for rows in clusters.members], dtype=np.float64)
        return cls(tuple(keys), vectors, cluster, reach, config)

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [m, d] of length 1 -> int64 [m]: the cluster, or -1 for an outlier."""
        found = np.full(len(vectors), -1, dtype=np.int64)
        if not len(vectors) or not len(self.reach):
            return found
        near, far = neighbours(vectors, self.config.neighbours, self.vectors)
        best, agreed, _ = votes(self.cluster[near])
        return np.where((agreed >= self.config.agreed) & (far.mean(axis=1) <= self.reach[np.maximum(best, 0)]), best, found)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        told = {"keys": json.dumps(self.keys), "config": self.config.model_dump_json()}
        save_file({"vectors": self.vectors, "cluster": self.cluster, "reach": self.reach, **_texts(told)}, folder / STATE)

    @classmethod
    def load(cls, folder: Path) -> "Assigner":
        """Raises ReviewError where no branch has been written."""
        if not (folder / STATE).is_file():
            raise ReviewError(f"{folder / STATE}: missing; run `prodcat recategorize` again")
        found = load_file(folder / STATE)
        config = validate(CascadeConfig, json.loads(_text(found["config"])), str(folder / STATE))
        return cls(tuple(json.loads(_text(found["keys"]))), found["vectors"], found["cluster"], found["reach"], config)


@dataclass(frozen=True)
class Pool:
    """Outliers of a branch, oldest first, that no proposal has been made of.

    Args:
        keys, platforms, titles: p.
        vectors: float32 [p, d] of length 1.
    """

    keys: tuple[str, ...]
    platforms: tuple[str, ...]
    titles: tuple[str | None, ...]
    vectors: np.ndarray

    @classmethod
    def load(cls, folder: Path, dimensions: int) -> "Pool":
        """An empty one where nothing has been collected."""
        if not (folder / POOL).is_file():
            return cls((), (), (), np.zeros((0, dimensions), dtype=np.float32))
        found = load_file(folder / POOL)
        keys, platforms, titles = (tuple(json.loads(_text(found[name]))) for name in ("keys", "platforms", "titles"))
        return cls(keys, platforms, titles, found["vectors"])

    def save(self, folder: Path) -> None:
        part = folder / (POOL + ".part")
        told = {"keys": json.dumps(self.keys), "platforms": json.dumps(self.platforms), "titles": json.dumps(self.titles)}
        save_file({"vectors": self.vectors, **_texts(told)}, part)
        part.replace(folder / POOL)

    def with_new(self, other: "Pool") -> "Pool":
        """A key that is in both is as in the other."""
        rest = self.without(other.keys)
        vectors = np.concatenate([rest.vectors, other.vectors]).astype(np.float32)
        return Pool((*rest.keys, *other.keys), (*rest.platforms, *other.platforms), (*rest.titles, *other.titles), vectors)

    def without(self, keys: Sequence[str]) -> "Pool":
        gone = set(keys)
        stay = [row for row, key in enumerate(self.keys) if key not in gone]
        keys, platforms = (tuple(each[row] for row in stay) for each in (self.keys, self.platforms))
        return Pool(keys, platforms, tuple(self.titles[row] for row in stay), self.vectors[stay])

    def clusters(self, config: PoolConfig, seed: int) -> list[np.ndarray]:
        """Rows of the outliers that belong together, the largest group first; those that stay alone are in none."""
        if len(self.keys) < config.smallest:
            return []
        share = min(1.0, config.smallest / len(self.keys))
        settings = CascadeConfig(smallest=share, least=config.smallest, samples=min(3, config.smallest), covered=0, large=1, same=config.same)
        places = project(self.vectors, config.projection, seed).places
        found = cascade(places, self.vectors, settings).members
        groups = [self._alike(rows, config.stays) for rows in found]
        return sorted((rows for rows in groups if len(rows) >= config.smallest), key=lambda rows: (-len(rows), int(rows[0])))

    def _alike(self, rows: np.ndarray, stays: float) -> np.ndarray:
        """Those that are like the middle: density takes in whatever lies between dense places."""
        while len(rows):
            middle = self.vectors[rows].mean(axis=0)
            near = self.vectors[rows] @ (middle / max(float(np.linalg.norm(middle)), 1e-12)) >= stays
            if near.all():
                break
            rows = rows[near]
        return rows


def _texts(texts: dict[str, str]) -> dict[str, np.ndarray]:
    return {name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in texts.items()}


def _text(array: np.ndarray) -> str:
    return array.tobytes().decode()
