"""Projections: seeded, kept, and new products placed among the old."""

from pathlib import Path

import numpy as np
import pytest

from prodcat.recategorization.projection import Projection, ProjectionConfig, project


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def groups(size: int, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed)
    return unit(np.repeat(np.eye(6), size, axis=0) + draws.normal(0, 0.05, (6 * size, 6)))


@pytest.fixture(scope="module")
def projection() -> Projection:
    return project(groups(20, 0), ProjectionConfig(dimensions=2, layouts=1), 0)


def test_the_same_seed_gives_the_same_places(projection: Projection) -> None:
    again = project(groups(20, 0), ProjectionConfig(dimensions=2, layouts=1), 0)
    np.testing.assert_array_equal(again.places, projection.places)


def test_new_products_are_placed_among_their_like(projection: Projection, tmp_path: Path) -> None:
    new = groups(5, 1)
    placed = projection.place(new)
    centres = projection.places.reshape(6, 20, 2).mean(axis=1)
    nearest = np.linalg.norm(placed[:, None] - centres[None], axis=2).argmin(axis=1)
    assert nearest.tolist() == np.repeat(np.arange(6), 5).tolist()
    # One that is there already lies where it lay.
    own = projection.place(projection.vectors[:3])
    assert np.linalg.norm(own - projection.places[:3], axis=1).max() < np.ptp(projection.places, axis=0).max() / 10
    projection.save(tmp_path)
    np.testing.assert_array_equal(Projection.load(tmp_path).place(new), placed)


def test_layouts_stand_side_by_side_under_seeds_that_no_other_seed_has() -> None:
    config = ProjectionConfig(dimensions=2, layouts=2)
    found = [project(groups(20, 0), config, seed).places for seed in (0, 1)]
    alone = [project(groups(20, 0), config.once(), seed).places for seed in range(4)]
    scaled = [(each - each.mean(axis=0)) / each.std(axis=0) for each in alone]
    np.testing.assert_array_equal(found[0], np.concatenate(scaled[:2], axis=1))
    np.testing.assert_array_equal(found[1], np.concatenate(scaled[2:], axis=1))
    # Of many products there is one.
    assert project(groups(20, 0), config.model_copy(update={"repeated": 119}), 0).places.shape == (120, 2)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_too_few_for_a_layout_are_placed_by_their_axes(n: int) -> None:
    found = project(groups(1, 0)[:n], ProjectionConfig(dimensions=4), 0)
    assert found.places.shape == (n, 4)
    assert np.isfinite(found.places).all()
    assert np.isfinite(found.place(groups(1, 1))).all()
    assert found.place(groups(1, 1)[:0]).shape == (0, 4)


def test_a_place_is_weighed_by_nearness() -> None:
    line = Projection(unit(np.array([[1, 0], [1, 0.1], [0, 1.0]])), np.array([[0.0], [1.0], [9.0]], dtype=np.float32), 3)
    (place,) = line.place(unit(np.array([[1, 0.02]])))
    assert 0 < place[0] < 1.5
