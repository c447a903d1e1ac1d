"""Vectors of every platform standardised by themselves, so that what all of a shop's photos or titles share says nothing. Knows no product.

It takes away what a shop's share of categories says as well: on most shops left out it costs (docs/log.md), so it is off.
"""

import numpy as np

# Of fewer vectors a mean and a spread say little: theirs are those of all.
LEAST = 30


def by_platform(vectors: np.ndarray, present: np.ndarray, platforms: np.ndarray) -> np.ndarray:
    """float32 [n, d] -> the same with mean 0 and standard deviation 1 within each platform that has LEAST of them; zeros where absent.

    Args:
        present: bool [n]; platforms: [n] names.
    """
    found = np.zeros_like(vectors)
    if not present.any():
        return found
    found[present] = _standardised(vectors[present])
    for platform in np.unique(platforms[present].astype(str)).tolist():
        rows = np.flatnonzero(present & (platforms == platform))
        if len(rows) >= LEAST:
            found[rows] = _standardised(vectors[rows])
    return found


def _standardised(vectors: np.ndarray) -> np.ndarray:
    # What never changes has no spread to be divided by.
    spread = vectors.std(axis=0)
    return np.asarray((vectors - vectors.mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0), dtype=np.float32)
