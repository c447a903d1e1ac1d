"""Vectors standardised by platform."""

import numpy as np

from prodcat.crossing.normalisation import LEAST, by_platform


def test_what_a_platform_shares_is_gone() -> None:
    draws = np.random.default_rng(0)
    platforms = np.repeat(np.array(["a", "b"], dtype=object), 100)
    own = draws.normal(size=(200, 4)).astype(np.float32)
    shifted = own * np.where(platforms == "a", 1, 7)[:, None] + np.where(platforms == "a", 0, 50)[:, None]
    everywhere = np.ones(200, dtype=bool)
    np.testing.assert_allclose(by_platform(shifted.astype(np.float32), everywhere, platforms), by_platform(own, everywhere, platforms), atol=1e-4)
    for platform in ("a", "b"):
        found = by_platform(own, everywhere, platforms)[platforms == platform]
        np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-4)


def test_absent_and_constant_and_few() -> None:
    draws = np.random.default_rng(1)
    count = 100 + LEAST - 1
    platforms = np.array(["many"] * 100 + ["few"] * (LEAST - 1), dtype=object)
    vectors = draws.normal(size=(count, 3)).astype(np.float32)
    vectors[:, 2] = 5
    present = np.arange(count) % 10 != 0
    found = by_platform(vectors, present, platforms)
    assert not found[~present].any()
    assert not found[:, 2].any()
    # Too few for statistics of their own: those of all.
    rows = np.flatnonzero(present & (platforms == "few"))
    expected = (vectors[rows, 0] - vectors[present, 0].mean()) / vectors[present, 0].std()
    np.testing.assert_allclose(found[rows, 0], expected, atol=1e-4)
    assert not by_platform(vectors, np.zeros(count, dtype=bool), platforms).any()
