"""How well clusters of a branch match categories that it was not told: purity, coverage, NMI, ARI, beside plain baselines on the same vectors.

Purity is the share of clustered products that are of their cluster's commonest category: it rises with the number of clusters, so it is always told
beside it. NMI and ARI are of the clustered products alone, as purity is; coverage says how many those are.

Shapes: n products, d dimensions of the vectors.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from prodcat.recategorization.clusters import CascadeConfig, Clusters, cascade
from prodcat.recategorization.projection import ProjectionConfig, project

FIGURES = ("purity", "coverage", "clusters", "nmi", "ari")


def scores(clusters: Clusters, truth: Sequence[Hashable | None]) -> dict[str, float]:
    """purity, coverage, clusters, nmi, ari over the n products that have a truth; without one, or without a cluster, 0."""
    have = np.array([each is not None for each in truth], dtype=bool)
    cluster = np.array([-1 if each is None else each for each in clusters.of(len(truth))], dtype=np.int64)[have]
    number = {each: place for place, each in enumerate(dict.fromkeys(each for each in truth if each is not None))}
    category = np.array([number[each] for each in truth if each is not None], dtype=np.int64)
    return _scores(cluster, category, len(clusters.members))


def _scores(cluster: np.ndarray, category: np.ndarray, count: int) -> dict[str, float]:
    """int64 [n] each; -1 for a product in no cluster."""
    inside = cluster >= 0
    if not inside.any():
        return {"purity": 0.0, "coverage": 0.0, "clusters": float(count), "nmi": 0.0, "ari": 0.0}
    own, true = cluster[inside], category[inside]
    table = np.zeros((own.max() + 1, true.max() + 1), dtype=np.int64)
    np.add.at(table, (own, true), 1)
    return {
        "purity": float(table.max(axis=1).sum() / inside.sum()),
        "coverage": float(inside.mean()),
        "clusters": float(count),
        "nmi": float(normalized_mutual_info_score(true, own)),
        "ari": float(adjusted_rand_score(true, own)),
    }


def over_seeds(of: Callable[[int], Clusters], truth: Sequence[Hashable | None], seeds: Sequence[int], resamples: int = 500) -> dict[str, Any]:
    """Figure -> {median, low, high, spread, seeds}: the median over seeds with a 95 % interval over products and seeds together, and the distance
    between the best seed and the worst.

    Args:
        of: seed -> clusters of the n products.
        resamples: bootstrap samples of the products, each under one of the seeds in turn.
    """
    made = [of(seed) for seed in seeds]
    found = [scores(each, truth) for each in made]
    have = np.flatnonzero([each is not None for each in truth])
    number = {each: place for place, each in enumerate(dict.fromkeys(each for each in truth if each is not None))}
    category = np.array([number[truth[row]] for row in have.tolist()], dtype=np.int64)
    labels = [np.array([-1 if each is None else each for each in clusters.of(len(truth))], dtype=np.int64)[have] for clusters in made]
    draw = np.random.default_rng(0)
    again: list[dict[str, float]] = []
    for resample in range(resamples if len(have) else 0):
        rows = draw.integers(0, len(have), len(have))
        place = resample % len(seeds)
        again.append(_scores(labels[place][rows], category[rows], len(made[place].members)))
    told: dict[str, Any] = {}
    for figure in FIGURES:
        values = [each[figure] for each in found]
        drawn = [each[figure] for each in again] or values
        told[figure] = {
            "median": round(float(np.median(values)), 4),
            "low": round(float(np.quantile(drawn, 0.025)), 4),
            "high": round(float(np.quantile(drawn, 0.975)), 4),
            "spread": round(float(np.ptp(values)), 4),
            "seeds": [round(value, 4) for value in values],
        }
    return told


def k_means(vectors: np.ndarray, count: int, seed: int) -> Clusters:
    """k-means on the vectors themselves, or on a projection: every product is in a cluster."""
    if not len(vectors):
        return Clusters((), np.zeros(0, dtype=np.int64), ())
    with threadpool_limits(1):
        found = KMeans(min(count, len(np.unique(vectors, axis=0))), n_init=4, random_state=seed).fit_predict(vectors)
    return of_labels(found.astype(np.int64))


def density(places: np.ndarray, smallest: int) -> Clusters:
    """Plain HDBSCAN, once: what is noise stays noise."""
    import hdbscan

    if len(places) < 2 * smallest:
        return of_labels(np.full(len(places), -1, dtype=np.int64))
    return of_labels(hdbscan.HDBSCAN(min_cluster_size=smallest, core_dist_n_jobs=1).fit_predict(places).astype(np.int64))


def of_labels(labels: np.ndarray) -> Clusters:
    """int64 [n], below 0 for none -> clusters, the largest first, without decisions."""
    members = [np.flatnonzero(labels == number) for number in np.unique(labels[labels >= 0])]
    members.sort(key=lambda rows: (-len(rows), rows[0]))
    return Clusters(tuple(members), np.flatnonzero(labels < 0), ((),) * len(labels))


def judge(
    vectors: np.ndarray,
    truth: Sequence[Hashable | None],
    projection: ProjectionConfig,
    config: CascadeConfig,
    seeds: Sequence[int],
    raw: np.ndarray | None = None,
) -> dict[str, Any]:
    """The cascade and its baselines over the same seeds: name -> over_seeds.

    Args:
        vectors: float32 [n, d] of length 1, what the cascade reads.
        truth: n categories that none of them is told.
        raw: float32 [n, e] of length 1, of a frozen encoder, that the baselines read; None: `vectors`.
    """
    raw = vectors if raw is None else raw
    own = {seed: project(vectors, projection, seed).places for seed in seeds}
    plain = {seed: project(raw, projection.once(), seed).places for seed in seeds}
    made = {seed: cascade(own[seed], vectors, config) for seed in seeds}
    kinds = len({each for each in truth if each is not None}) or 1
    count = round(float(np.median([len(each.members) for each in made.values()]))) or 1
    smallest = max(config.least, round(config.smallest * len(vectors)))
    table: dict[str, Callable[[int], Clusters]] = {
        "cascade": lambda seed: made[seed],
        "umap_hdbscan": lambda seed: density(plain[seed], smallest),
        f"umap_k_means_{kinds}": lambda seed: k_means(plain[seed], kinds, seed),
        f"k_means_{kinds}": lambda seed: k_means(raw, kinds, seed),
        f"k_means_{count}": lambda seed: k_means(raw, count, seed),
    }
    return {name: over_seeds(of, truth, seeds) for name, of in table.items()}
