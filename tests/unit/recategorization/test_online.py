"""New products: into the clusters there are, or into the pool until they make one."""

from pathlib import Path

import numpy as np
import pytest

from prodcat.errors import ReviewError
from prodcat.recategorization.clusters import CascadeConfig, cascade
from prodcat.recategorization.naming import ClusterName
from prodcat.recategorization.online import Assigner, Pool, PoolConfig
from prodcat.recategorization.projection import ProjectionConfig
from prodcat.recategorization.proposals import ProposalConfig, propose_new
from prodcat.taxonomy import Taxonomy

DIMENSIONS = 24


def around(axis: int, count: int, seed: int = 0, spread: float = 0.05) -> np.ndarray:
    vectors = np.eye(DIMENSIONS)[axis] + np.random.default_rng(seed).normal(0, spread, (count, DIMENSIONS))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def assigner() -> Assigner:
    vectors = np.concatenate([around(0, 60), around(1, 40)])
    config = CascadeConfig(smallest=0.1)
    return Assigner.fit([f"a/{row}" for row in range(100)], vectors, cascade(vectors, vectors, config), config)


def pooled(vectors: np.ndarray, first: int = 0) -> Pool:
    keys = tuple(f"b/{first + row}" for row in range(len(vectors)))
    return Pool(keys, ("b",) * len(keys), ("clog",) * len(keys), vectors)


def test_a_new_product_joins_the_cluster_it_is_like(assigner: Assigner) -> None:
    new = np.concatenate([around(1, 20, 5), around(0, 20, 6), around(3, 20, 7)])
    found = assigner.assign(new)
    # The reach is a quantile of the members' own distances: few of their like are outside.
    assert (found[:20] == 1).mean() >= 0.85
    assert (found[20:40] == 0).mean() >= 0.85
    assert set(found[40:].tolist()) == {-1}


def test_what_is_saved_assigns_alike(assigner: Assigner, tmp_path: Path) -> None:
    assigner.save(tmp_path)
    new = np.concatenate([around(1, 10, 8), around(4, 10, 9)])
    again = Assigner.load(tmp_path)
    assert again.assign(new).tolist() == assigner.assign(new).tolist()
    assert again.keys == assigner.keys
    with pytest.raises(ReviewError, match="run `prodcat recategorize` again"):
        Assigner.load(tmp_path / "elsewhere")


def test_no_clusters_assign_nothing() -> None:
    none = np.zeros((0, DIMENSIONS), dtype=np.float32)
    empty = Assigner.fit([], none, cascade(none, none, CascadeConfig()), CascadeConfig())
    assert empty.assign(around(0, 3)).tolist() == [-1, -1, -1]
    assert empty.assign(none).tolist() == []


def test_outliers_become_a_cluster_when_they_are_enough_and_alike(tmp_path: Path) -> None:
    config = PoolConfig(smallest=8, projection=ProjectionConfig(neighbours=5, dimensions=2))
    few = Pool.load(tmp_path, DIMENSIONS).with_new(pooled(around(3, 5)))
    assert few.clusters(config, 0) == []
    few.save(tmp_path)
    # The next day more of them come, and some that are like nothing.
    odd = np.asarray(np.random.default_rng(3).normal(size=(12, DIMENSIONS)), dtype=np.float32)
    odd /= np.linalg.norm(odd, axis=1, keepdims=True)
    later = Pool.load(tmp_path, DIMENSIONS).with_new(pooled(np.concatenate([around(3, 25, 4), odd]), 5))
    assert len(later.keys) == 42
    groups = later.clusters(config, 0)
    (best, *_) = groups
    alike = {f"b/{row}" for row in range(30)}
    found = {later.keys[row] for row in best.tolist()}
    assert len(found & alike) >= 25
    assert len(found - alike) <= 2
    rest = later.without(sorted(found))
    assert set(rest.keys) == set(later.keys) - found
    assert len(rest.vectors) == len(rest.titles) == len(rest.keys)


def test_a_product_that_comes_again_is_in_the_pool_once() -> None:
    pool = pooled(around(2, 4)).with_new(pooled(around(5, 2), 3))
    assert pool.keys == ("b/0", "b/1", "b/2", "b/3", "b/4")
    np.testing.assert_array_equal(pool.vectors[3:], around(5, 2))


def test_their_proposal_adds_a_category_that_no_other_is_called() -> None:
    tree = Taxonomy([("Shoes", "Clog"), ("Shoes", "Boots")])
    vectors, keys = around(3, 9), [f"b/{row}" for row in range(9)]
    proposal = propose_new(("Shoes",), keys, ["b"] * 9, vectors, ClusterName("Clog", (("clog", 1.0),), ()), tree, ProposalConfig())
    assert proposal.change.kind == "add"
    assert proposal.change.part.name not in ("Clog", "Boots")
    assert proposal.change.part.products == tuple(keys)
    assert proposal.evidence[0]["products"] == 9
    named = propose_new(("Shoes",), keys, ["b"] * 9, vectors, ClusterName("Crocs", (), ()), tree, ProposalConfig())
    assert named.change.kind == "add"
    assert named.change.part.name == "Crocs"
    assert named.id != proposal.id
