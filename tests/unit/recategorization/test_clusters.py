"""The cascade on drawn points: what each step does, that every product has a path of decisions, and what odd branches give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from prodcat.recategorization.clusters import CascadeConfig, Clusters, cascade

CONFIG = CascadeConfig(smallest=0.1, samples=3)


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def blobs(sizes: list[int], spread: float = 0.05, seed: int = 0, dimensions: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Points around as many directions at right angles, and which each is of."""
    draws = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return unit(np.eye(dimensions)[truth] + draws.normal(0, spread, (len(truth), dimensions))), truth


def test_clear_groups_are_found_whole() -> None:
    vectors, truth = blobs([60, 40, 30])
    found = cascade(vectors, vectors, CONFIG)
    assert [len(rows) for rows in found.members] == [60, 40, 30]
    assert adjusted_rand_score(truth, found.of(len(truth))) == 1.0
    assert not len(found.apart)
    assert found.of(130) == truth.tolist()


def test_a_large_cluster_is_looked_at_again_more_finely() -> None:
    # Two halves that are close to each other, beside a third far away.
    draws = np.random.default_rng(1)
    centres = np.array([[1.0, 0.25], [1.0, -0.25], [-1.0, 0.0]])
    truth = np.repeat([0, 1, 2], [60, 60, 40])
    points = centres[truth] + draws.normal(0, 0.04, (160, 2))
    coarse = CascadeConfig(smallest=0.42, finer=0.25, large=0.5, same=1.0, samples=3)
    found = cascade(points, unit(points), coarse)
    assert [len(rows) for rows in found.members] == [60, 60, 40]
    assert {step for each in found.decisions for step, _ in each} >= {"again"}


def test_leftovers_join_those_around_them_or_stay_apart() -> None:
    vectors, _ = blobs([60, 60], 0.1)
    far = unit(np.tile(np.eye(8)[5], (1, 1)) + 0.01)
    near = unit(vectors[:5].mean(axis=0, keepdims=True))
    everything = np.concatenate([vectors, near, far])
    # Density sees neither: they lie far out in the projection.
    projected = np.concatenate([vectors, near + 9, far - 9])
    found = cascade(projected, everything, CONFIG)
    assert found.apart.tolist() == [121]
    assert found.decisions[120][-1][0] == "assigned"
    assert found.decisions[121] == (("apart", None),)
    assert found.of(122)[120] == found.of(122)[0]


def test_clusters_of_the_same_things_are_merged() -> None:
    vectors, truth = blobs([80, 40])
    # The projection tears the first group into two; the vectors do not.
    projected = vectors.copy()
    projected[:40] += 5
    found = cascade(projected, vectors, CONFIG)
    assert [len(rows) for rows in found.members] == [80, 40]
    assert {step for row in range(80) for step, _ in found.decisions[row]} == {"density", "merged"}
    apart = cascade(projected, vectors, CONFIG.model_copy(update={"same": 1.0}))
    assert len(apart.members) == 3
    bounded = cascade(projected, vectors, CONFIG.model_copy(update={"same": 1.0, "most": 2}))
    assert adjusted_rand_score(truth, bounded.of(120)) == 1.0


def paths_are_whole(found: Clusters, n: int) -> None:
    rows = np.concatenate([*found.members, found.apart]) if n else np.zeros(0)
    assert sorted(rows.tolist()) == list(range(n))
    assert len(found.decisions) == n
    for row in range(n):
        assert found.decisions[row]
        assert (found.decisions[row][-1][0] == "apart") == (row in found.apart)


@pytest.mark.parametrize("n", [0, 1, 2, 4, 5, 9, 10, 11])
def test_few_products(n: int) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(n, 4)))
    found = cascade(vectors, vectors, CascadeConfig())
    paths_are_whole(found, n)
    assert len(found.members) <= 1 or n >= 10


def test_products_that_are_all_the_same_are_one_cluster() -> None:
    vectors = unit(np.ones((30, 4)))
    found = cascade(vectors[:, :2], vectors, CascadeConfig())
    paths_are_whole(found, 30)
    assert [len(rows) for rows in found.members] == [30]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 3))
def test_every_product_has_a_path_and_the_same_products_have_the_same(sizes: list[int], seed: int) -> None:
    vectors, _ = blobs(sizes, 0.2, seed)
    found = cascade(vectors, vectors, CascadeConfig())
    paths_are_whole(found, len(vectors))
    assert cascade(vectors, vectors, CascadeConfig()).decisions == found.decisions
