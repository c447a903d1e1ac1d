"""Cascade clustering of a branch: density first, then what density leaves open, step by step. Knows no product, no encoder and no tree.

The paper names a cascade and no more of it; these four steps are ours:

1. density: HDBSCAN (Campello et al. 2013) finds the densest clusters in the projection (the leaves of its tree), and noise.
2. again: an over-large cluster, and the noise, are clustered once more by themselves, at a finer scale; one that
   stays in one piece, or falls to dust, stays as it was.
3. assigned, or apart: what is noise still joins the cluster that most of its nearest neighbours are of, the surest first, if they agree and lie as
   close as that cluster's own members do, or until `covered` of the products are in clusters; the others are left apart.
4. merged: clusters whose members are each other's neighbours say the same and become one, the closest first (Ward 1963: those whose joining adds
   least to the scatter within).

Neighbours and scatter are those of the vectors, not of the projection: a projection pulls apart, and a picture is no measure.

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
# Rows whose neighbours are counted at once.
_AT_ONCE = 8192
# More vectors than that are looked among by nearest neighbour descent (Dong et al. 2011), which misses a few neighbours and takes minutes, not hours.
_EXACT = 20_000


class CascadeConfig(Config):
    """The cascade. Sizes are shares of the branch's products, so that a setting means the same in a large branch and in a small one."""

    smallest: float = Field(0.012, gt=0, le=1, description="share of the products that a cluster has, at least")
    least: int = Field(5, ge=2, description="products that a cluster has, at least, however small the branch")
    samples: int = Field(5, ge=1, description="neighbours that make a place dense (HDBSCAN's min_samples)")
    large: float = Field(0.35, gt=0, le=1, description="a cluster of a larger share of the products is clustered again")
    finer: float = Field(0.5, gt=0, le=1, description="`smallest` times this when clustered again")
    kept: float = Field(0.7, gt=0, le=1, description="share of a large cluster that its pieces hold at least; else it stays whole")
    neighbours: int = Field(15, ge=1, description="nearest neighbours that are asked where a leftover belongs, and whether two clusters say the same")
    agreed: float = Field(0.5, gt=0, le=1, description="share of the neighbours, that are in clusters, that a leftover's cluster has at least")
    reach: float = Field(0.95, gt=0, le=1, description="quantile of a cluster's own distances to neighbours beyond which a leftover is left apart")
    covered: float = Field(0.9, ge=0, le=1, description="leftovers join, the surest first, until this share is in clusters, agreed and near or not")
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
        near, far = neighbours(vectors, config.neighbours)
        labels = _assigned(labels, near, far, config, decisions)
        labels = _merged(labels, vectors, near, config, decisions)
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
    # Leaves: "eom" prefers one large cluster to the parts that people have names for, and does so with one seed and not with the next.
    found = hdbscan.HDBSCAN(
        min_cluster_size=size, min_samples=min(config.samples, size), cluster_selection_method="leaf", core_dist_n_jobs=1
    ).fit_predict(projected)
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


def neighbours(vectors: np.ndarray, count: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n, k] nearest others, and their distances float [n, k].

    Args:
        among: float32 [m, d] that are looked among, for vectors that are not of them; None: among each other.
    """
    with threadpool_limits(2):
        if among is not None:
            far, near = NearestNeighbors(n_neighbors=min(count, len(among))).fit(among).kneighbors(vectors)
            return near, far
        count = min(count, len(vectors) - 1)
        if len(vectors) > _EXACT:
            from pynndescent import NNDescent

            near, far = NNDescent(vectors, n_neighbors=count + 1, random_state=0, n_jobs=1).neighbor_graph
            near = near.astype(np.int64)
        else:
            far, near = NearestNeighbors(n_neighbors=count + 1).fit(vectors).kneighbors(vectors)
    # The product itself is among them, and not always first where others are equal to it.
    own = near == np.arange(len(vectors))[:, None]
    own[~own.any(axis=1), -1] = True
    keep = ~own
    return near[keep].reshape(len(vectors), count), far[keep].reshape(len(vectors), count)


def _assigned(
    labels: np.ndarray, near: np.ndarray, far: np.ndarray, config: CascadeConfig, decisions: list[list[tuple[Step, int | None]]]
) -> np.ndarray:
    """Round by round, for who joins is asked by its neighbours in the next."""
    mean = far.mean(axis=1)
    numbers = np.unique(labels[labels >= 0])
    reach = np.array([np.quantile(mean[labels == number], config.reach) for number in numbers.tolist()])
    found = labels.copy()
    wanted = int(np.ceil(config.covered * len(labels)))
    while True:
        rows = np.flatnonzero(found == _NOISE)
        best, agreed, of_all = votes(found[near[rows]])
        sure = (agreed >= config.agreed) & (mean[rows] <= reach[np.searchsorted(numbers, np.maximum(best, numbers[0]))]) & (best >= 0)
        joining = np.flatnonzero(sure)
        if not len(joining):
            missing = wanted - int((found >= 0).sum())
            order = np.lexsort((rows, -of_all))
            order = order[best[order] >= 0]
            # A third at a time: those who join late are asked with those who have joined.
            joining = order[: min(max(missing, 0), len(order) // 3 + 1)]
        if not len(joining):
            return found
        found[rows[joining]] = best[joining]
        _note(decisions, "assigned", found, rows[joining])


def votes(around: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cluster that most neighbours of each of m products are of, int64 [m], -1 without one; its share of those in clusters, and of all.

    Args:
        around: int64 [m, k], the clusters of the neighbours; below 0 for none.
    """
    best, agreed, of_all = np.full(len(around), _NOISE, dtype=np.int64), np.zeros(len(around)), np.zeros(len(around))
    highest = int(around.max(initial=0)) + 1
    for start in range(0, len(around), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        own, inside = around[some], around[some] >= 0
        alike = ((own[:, :, None] == own[:, None, :]) & inside[:, None, :]).sum(axis=2) * inside
        # Of two with as many votes the one with the lower number.
        chosen = (alike * highest - own).argmax(axis=1)
        rows = np.arange(len(own))
        most, voting = alike[rows, chosen], inside.sum(axis=1)
        best[some] = np.where(most > 0, own[rows, chosen], _NOISE)
        agreed[some], of_all[some] = most / np.maximum(voting, 1), most / around.shape[1]
    return best, agreed, of_all


def _merged(
    labels: np.ndarray, vectors: np.ndarray, near: np.ndarray, config: CascadeConfig, decisions: list[list[tuple[Step, int | None]]]
) -> np.ndarray:
    numbers, places = np.unique(labels[labels >= 0], return_inverse=True)
    rows, count = np.flatnonzero(labels >= 0), len(numbers)
    place = np.full(len(labels), count, dtype=np.int64)
    place[rows] = places
    # Neighbours of each cluster's members, counted by their clusters; the last column counts those in none.
    pairs = np.repeat(places, near.shape[1]) * (count + 1) + place[near[rows]].ravel()
    table = np.bincount(pairs, minlength=count * (count + 1)).reshape(count, count + 1)[:, :count].astype(np.float64)
    size = np.bincount(places).astype(np.float64)
    # numpy's add.at is far slower than sorting the rows once.
    order = np.argsort(places, kind="stable")
    total = np.add.reduceat(vectors[rows][order].astype(np.float64), np.searchsorted(places[order], np.arange(count)), axis=0)

    into, alive = np.arange(count), np.ones(count, dtype=bool)
    while alive.sum() > 1:
        # What share of a cluster's neighbours is of another; of the smaller of two: a large one has few neighbours outside, whatever lies beside it.
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        candidates = np.where(size[:, None] <= size[None, :], share, share.T) >= config.same
        both = alive[:, None] & alive[None, :] & ~np.eye(count, dtype=bool)
        candidates &= both
        if not candidates.any():
            if config.most is None or alive.sum() <= config.most:
                break
            candidates = both
        apart = np.where(candidates, _scatter(total / size[:, None], size), np.inf)
        one, other = (int(i) for i in np.unravel_index(int(apart.argmin()), apart.shape))
        one, other = (one, other) if size[one] <= size[other] else (other, one)
        table[other] += table[one]
        table[:, other] += table[:, one]
        table[one], table[:, one] = 0, 0
        total[other] += total[one]
        size[other] += size[one]
        alive[one] = False
        moved = into == one
        into[moved] = other
        _note(decisions, "merged", _at(numbers, into, place), np.flatnonzero(np.isin(place, np.flatnonzero(moved))))
    return _at(numbers, into, place)


def _at(numbers: np.ndarray, into: np.ndarray, place: np.ndarray) -> np.ndarray:
    """int64 [n]: the number of the cluster that each product's has become; _NOISE for those in none."""
    return np.append(numbers[into], _NOISE)[place]


def _scatter(middle: np.ndarray, size: np.ndarray) -> np.ndarray:
    """float [K, K]: by how much the sum of squared distances to the middle grows where two clusters become one."""
    squared = (middle**2).sum(axis=1)
    apart = np.maximum(squared[:, None] + squared[None, :] - 2 * middle @ middle.T, 0) * (size[:, None] * size[None, :])
    return np.asarray(apart / (size[:, None] + size[None, :]))
