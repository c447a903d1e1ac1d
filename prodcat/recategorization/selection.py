"""Which settings of the cascade a branch is clustered with, and how far its clusters can be relied on. Asks no label.

Products are drawn anew several times, and each draw is projected and clustered by itself under every setting. A setting is stable if two draws put
the products that they share together alike (mean adjusted Rand index over all pairs of draws; Ben-Hur et al. 2002), and valid if nearest neighbours
fall into one cluster more often than by chance (modularity of the neighbour graph; Newman and Girvan 2004). Coarse settings are always the more
stable; so of those whose product of both comes close to the best the finest is taken: a person merges two clusters sooner than taking one apart. A
cluster's own stability is how much of it is found again in the draws (mean of the best Jaccard index; Hennig 2007).

Shapes: n products, d dimensions of the vectors.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from sklearn.metrics import adjusted_rand_score

from prodcat.config import Config
from prodcat.recategorization.clusters import CascadeConfig, Clusters, cascade, neighbours
from prodcat.recategorization.projection import ProjectionConfig, project


class SelectionConfig(Config):
    """What is tried."""

    smallest: tuple[float, ...] = Field((0.008, 0.012, 0.02), min_length=1, description="cascade.smallest")
    most: tuple[int | None, ...] = Field((8, 15, 24), min_length=1, description="cascade.most; null: no bound")
    draws: int = Field(4, ge=2, description="how often products are drawn")
    share: float = Field(0.8, gt=0, lt=1, description="of the products, in each draw")
    products: int = Field(4000, ge=10, description="products in a draw, at most")
    tolerance: float = Field(0.1, ge=0, lt=1, description="settings so much worse than the best, as a share of it, still come into question")


@dataclass(frozen=True)
class Selected:
    """What was chosen.

    Args:
        cascade: the settings.
        tried: {smallest, most, stability, validity, coverage, clusters} a setting, the chosen one first, then the best.
        draws: of each draw the rows that were drawn, then its clusters under these settings, as row numbers of the branch.
    """

    cascade: CascadeConfig
    tried: list[dict[str, Any]]
    draws: tuple[tuple[np.ndarray, ...], ...]

    def stability(self, rows: np.ndarray) -> float | None:
        """Of a cluster of the branch: mean over the draws of its best Jaccard index, among the products that were drawn; None if none was.

        Args:
            rows: int64, of the cluster.
        """
        found = []
        for everything, *members in self.draws:
            own = np.intersect1d(rows, everything, assume_unique=True)
            if len(own):
                found.append(max((_jaccard(own, each) for each in members), default=0.0))
        return round(float(np.mean(found)), 4) if found else None


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


def select(vectors: np.ndarray, projection: ProjectionConfig, base: CascadeConfig, config: SelectionConfig, seed: int) -> Selected:
    """Args: vectors: float32 [n, d] of length 1. base: whatever is not tried stays as here. Too few products for a draw: `base` itself."""
    n = len(vectors)
    size = min(round(config.share * n), config.products)
    if size <= projection.dimensions + 2:
        return Selected(base, [], ())
    draws = []
    for draw in range(config.draws):
        rows = np.sort(np.random.default_rng((seed, draw)).choice(n, size, replace=False))
        places = project(vectors[rows], projection.once(), seed + draw).places
        draws.append((rows, places, neighbours(vectors[rows], base.neighbours)[0]))
    found = []
    for smallest, most in itertools.product(config.smallest, config.most):
        setting = base.model_copy(update={"smallest": smallest, "most": most})
        made = [cascade(places, vectors[rows], setting) for rows, places, _ in draws]
        labels = [_labels(each, rows, n) for each, (rows, _, _) in zip(made, draws, strict=True)]
        stability = float(np.mean([_agreement(one, other) for one, other in itertools.combinations(labels, 2)]))
        validity = float(np.mean([modularity(own[rows], near) for own, (rows, _, near) in zip(labels, draws, strict=True)]))
        told = {
            "smallest": smallest,
            "most": most,
            "stability": round(stability, 4),
            "validity": round(validity, 4),
            "coverage": round(float(np.mean([1 - len(each.apart) / size for each in made])), 4),
            "clusters": float(np.median([len(each.members) for each in made])),
        }
        found.append((stability * validity, setting, told, made))
    # The first of equals: the order in which they are named in the configuration.
    found.sort(key=lambda each: -each[0])
    close = [place for place, each in enumerate(found) if each[0] >= (1 - config.tolerance) * found[0][0]]
    found.insert(0, found.pop(max(close, key=lambda place: (found[place][2]["clusters"], -place))))
    _, chosen, _, made = found[0]
    members = tuple((rows, *(rows[own] for own in each.members)) for each, (rows, _, _) in zip(made, draws, strict=True))
    return Selected(chosen, [told for _, _, told, _ in found], members)


def _labels(clusters: Clusters, rows: np.ndarray, n: int) -> np.ndarray:
    """int64 [n]: cluster of each product; -1 for one apart, -2 for one that was not drawn."""
    found = np.full(n, -2, dtype=np.int64)
    found[rows] = [-1 if each is None else each for each in clusters.of(len(rows))]
    return found


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    both = (one > -2) & (other > -2)
    return float(adjusted_rand_score(one[both], other[both])) if both.any() else 0.0


def modularity(labels: np.ndarray, near: np.ndarray) -> float:
    """Share of neighbours in a product's own cluster above what chance would give; 0 for one cluster alone.

    Args:
        labels: int64 [n], below 0 for none.
        near: int64 [n, k] nearest neighbours.
    """
    own, other = np.repeat(labels, near.shape[1]), labels[near].ravel()
    inside = (own >= 0) & (other >= 0)
    if not inside.any():
        return 0.0
    count = int(labels.max()) + 1
    table = np.bincount(own[inside] * count + other[inside], minlength=count * count).reshape(count, count) / inside.sum()
    return float(np.trace(table) - (table.sum(axis=1) * table.sum(axis=0)).sum())
