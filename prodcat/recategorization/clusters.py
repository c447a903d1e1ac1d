"""Cascade clustering of a branch: density first, then what density leaves open, step by step. Knows no product, no encoder and no tree.

The paper names a cascade and no more of it; these four steps are ours:

1. density: HDBSCAN (Campello et al. 2013) finds clusters in the projection, and noise.
2. again: an over-large cluster, and the noise, are clustered once more by themselves, at a finer scale; one that
   stays in one piece, or falls to dust, stays as it was.
3. assigned, or apart: what is noise still joins the cluster that most of its nearest neighbours are of, if they agree and lie as close as that
   cluster's own members do; otherwise it is left apart.
4. merged: clusters whose members are each other's neighbours say the same and become one, the closest first.

Neighbours are those of the vectors, not of the projection: a projection pulls apart, and a picture is no measure.

Shapes: n products, d dimensions of the vectors, p of the projection, K clusters.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from prodcat.config import Config

Step = Literal["density", "again", "assigned", "apart", "merged"]
# hdbscan's label of noise. It does not leave this file.
_NOISE = -1


class CascadeConfig(Config):
    """The cascade. Sizes are shares of the branch's products, so that a setting means the same in a large branch and in a small one."""

    smallest: float = Field(0.02, gt=0, le=1, description="share of the products that a cluster has, at least")
    least: int = Field(5, ge=2, description="products that a cluster has, at least, however small the branch")
    samples: int = Field(5, ge=1, description="neighbours that make a place dense (HDBSCAN's min_samples)")
    large: float = Field(0.35, gt=0, le=1, description="a cluster of a larger share of the products is clustered again")
    finer: float = Field(0.5, gt=0, le=1, description="`smallest` times this when clustered again")
    kept: float = Field(0.7, gt=0, le=1, description="share of a large cluster that its pieces hold at least; else it stays whole")
    neighbours: int = Field(15, ge=1, description="nearest neighbours that are asked where a leftover belongs, and whether two clusters say the same")
    agreed: float = Field(0.5, gt=0, le=1, description="share of the neighbours, that are in clusters, that a leftover's cluster has at least")
    reach: float = Field(0.95, gt=0, le=1, description="quantile of a cluster's own distances to neighbours beyond which a leftover is left apart")
    same: float = Field(0.35, gt=0, le=1, description="two clusters are one if so large a share of the smaller one's neighbours are of the larger")
    most: int | None = Field(None, ge=2, description="clusters, at most: the closest are merged until so many are left; null: no bound")


@dataclass(frozen=True)
class Clusters:
    """n products in K clusters, the largest first; the others are apart.

    Args:
        members: K arrays of row numbers, rising.
        apart: int64, rows of products in no cluster, rising.
        decisions: n tuples: what was decided of each product, in order: (step, cluster at that time); no cluster for apart.
    """

    members: tuple[np.ndarray, ...]
    apart: np.ndarray
    decisions: tuple[tuple[tuple[Step, int | None], ...], ...]

    def of(self, count: int) -> list[int | None]:
        """Cluster of each of the n products; None apart."""
        found: list[int | None] = [None] * count
        for number, rows in enumerate(self.members):
            for row in rows.tolist():
                found[row] = number
        return found


def cascade(projected: np.ndarray, vectors: np.ndarray, config: CascadeConfig) -> Clusters:
    """
    Args:
        projected: float [n, p], what density is looked for in.
        vectors: float32 [n, d], of length 1.
    """
    n = len(projected)
    decisions: list[list[tuple[Step, int | None]]] = [[] for _ in range(n)]
    if n == 0:
        return Clusters((), np.zeros(0, dtype=np.int64), ())
    labels = _dense(projected, config, config.smallest, n)
    _note(decisions, "density", labels)
    labels = _again(projected, labels, config, decisions)
    if (labels >= 0).any():
        near, far = _neighbours(vectors, config.neighbours)
        labels = _assigned(labels, near, far, config, decisions)
        labels = _merged(labels, near, config, decisions)
    apart = np.flatnonzero(labels == _NOISE)
    for row in apart.tolist():
        decisions[row].append(("apart", None))
    clusters = [np.flatnonzero(labels == number) for number in np.unique(labels[labels >= 0])]
    clusters.sort(key=lambda rows: (-len(rows), rows[0]))
    return Clusters(tuple(clusters), apart, tuple(tuple(each) for each in decisions))


def _size(share: float, n: int, config: CascadeConfig) -> int:
    return max(config.least, round(share * n))


def _dense(projected: np.ndarray, config: CascadeConfig, share: float, n: int) -> np.ndarray:
    """int64 [m] clusters, _NOISE for none."""
    import hdbscan

    size = _size(share, n, config)
    if len(projected) < 2 * size:
        # Too few for two clusters: one, if they are enough for that.
        return np.full(len(projected), 0 if len(projected) >= size else _NOISE, dtype=np.int64)
    if np.ptp(projected, axis=0).max() == 0:
        # The same place for all: no density can part them.
        return np.zeros(len(projected), dtype=np.int64)
    found = hdbscan.HDBSCAN(min_cluster_size=size, min_samples=min(config.samples, size), core_dist_n_jobs=1).fit_predict(projected)
    return np.asarray(found, dtype=np.int64)


def _note(decisions: list[list[tuple[Step, int | None]]], step: Step, labels: np.ndarray, rows: np.ndarray | None = None) -> None:
    for row in (np.flatnonzero(labels >= 0) if rows is None else rows).tolist():
        decisions[row].append((step, int(labels[row])))


def _again(projected: np.ndarray, labels: np.ndarray, config: CascadeConfig, decisions: list[list[tuple[Step, int | None]]]) -> np.ndarray:
    n, found = len(labels), labels.copy()
    numbers, counts = np.unique(labels, return_counts=True)
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        if number != _NOISE and count <= config.large * n:
            continue
        rows = np.flatnonzero(labels == number)
        parts = _dense(projected[rows], config, config.smallest * config.finer, n)
        pieces = np.unique(parts[parts >= 0])
        if number != _NOISE and (len(pieces) < 2 or (parts >= 0).sum() < config.kept * count):
            continue
        start = int(found.max()) + 1
        # What is noise within a large cluster is asked again among all.
        found[rows] = np.where(parts >= 0, start + parts, _NOISE)
        _note(decisions, "again", found, rows[parts >= 0])
    return found


def _neighbours(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n, k] nearest others, and their distances float [n, k]."""
    count = min(count, len(vectors) - 1)
    with threadpool_limits(2):
        far, near = NearestNeighbors(n_neighbors=count + 1).fit(vectors).kneighbors(vectors)
    # The product itself is among them, and not always first where others are equal to it.
    own = near == np.arange(len(vectors))[:, None]
    own[~own.any(axis=1), -1] = True
    keep = ~own
    return near[keep].reshape(len(vectors), count), far[keep].reshape(len(vectors), count)


def _assigned(
    labels: np.ndarray, near: np.ndarray, far: np.ndarray, config: CascadeConfig, decisions: list[list[tuple[Step, int | None]]]
) -> np.ndarray:
    mean = far.mean(axis=1)
    numbers = np.unique(labels[labels >= 0])
    reach = {number: float(np.quantile(mean[labels == number], config.reach)) for number in numbers.tolist()}
    found = labels.copy()
    for row in np.flatnonzero(labels == _NOISE).tolist():
        around = labels[near[row]]
        around = around[around >= 0]
        if not len(around):
            continue
        own, count = np.unique(around, return_counts=True)
        best = int(own[count.argmax()])
        if count.max() >= config.agreed * len(around) and mean[row] <= reach[best]:
            found[row] = best
            decisions[row].append(("assigned", best))
    return found


def _merged(labels: np.ndarray, near: np.ndarray, config: CascadeConfig, decisions: list[list[tuple[Step, int | None]]]) -> np.ndarray:
    found = labels.copy()
    while True:
        numbers, places = np.unique(found[found >= 0], return_inverse=True)
        if len(numbers) < 2:
            return found
        rows = np.flatnonzero(found >= 0)
        place = np.full(len(found), -1, dtype=np.int64)
        place[rows] = places
        # Neighbours of each cluster's members, counted by their clusters: what share of a cluster's neighbours is of another.
        from_, to = np.repeat(place[rows], near.shape[1]), place[near[rows]].ravel()
        table = np.zeros((len(numbers), len(numbers)))
        np.add.at(table, (from_[to >= 0], to[to >= 0]), 1.0)
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(share, 0)
        size = np.bincount(places)
        # Of the smaller one: a large cluster has few neighbours outside, whatever lies beside it.
        smaller = size[:, None] <= size[None, :]
        close = np.where(smaller, share, -1.0)
        one, other = (int(i) for i in np.unravel_index(int(close.argmax()), close.shape))
        too_many = config.most is not None and len(numbers) > config.most
        if close[one, other] < config.same and not (too_many and close[one, other] > 0):
            return found
        moved = np.flatnonzero(found == numbers[one])
        found[moved] = numbers[other]
        _note(decisions, "merged", found, moved)
