"""Two sets of answers to the same products, compared product by product: how much better one is, with intervals. Knows no model.

Shapes: n products, three sums a product (metrics.ancestor_sums).
"""

from dataclasses import dataclass

import numpy as np

from prodcat.evaluation.metrics import COVERAGE, RESAMPLES, hierarchical


@dataclass(frozen=True)
class Paired:
    """One model's hierarchical F1 against another's, on the same products.

    Args:
        difference: F1 of the first less that of the second.
        difference_ci: [low, high], 95 %.
        errors: (1 - F1) of the first over that of the second; below 1 the first errs less. None where the second makes no error.
        errors_ci: [low, high], 95 %; None as above.
    """

    difference: float
    difference_ci: list[float]
    errors: float | None
    errors_ci: list[float] | None

    @property
    def shown(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        low, high = self.difference_ci
        return low > 0 or high < 0


def paired(first: np.ndarray, second: np.ndarray, groups: np.ndarray, seed: int) -> Paired:
    """Percentile bootstrap that draws near-duplicate groups, the same for both.

    Args:
        first, second: int [n, 3], from `ancestor_sums`, of the same products in the same order.
        groups: [n] names or numbers of groups.
        seed: same seed, same interval.
    """
    _, member = np.unique(groups, return_inverse=True)
    both = np.concatenate([first, second], axis=1)
    per_group = np.stack([np.bincount(member, weights=both[:, k]) for k in range(6)], axis=1)
    # As in metrics.f1_ci: draws of whole groups, counted per distinct row.
    kinds, count = np.unique(per_group, axis=0, return_counts=True)
    total = len(per_group)
    draws = (np.random.default_rng(seed).multinomial(total, count / total, size=RESAMPLES) @ kinds).T
    tail = (1 - COVERAGE) / 2
    one, two = (2 * draws[at] / np.maximum(draws[at + 1] + draws[at + 2], 1) for at in (0, 3))
    low, high = np.quantile(one - two, [tail, 1 - tail])
    f1_one, f1_two = hierarchical(first)["f1"], hierarchical(second)["f1"]
    errors, errors_ci = None, None
    if f1_two < 1:
        # A draw in which the second makes no error says nothing of a ratio; with a real F1 below 1 there are few.
        some = two < 1
        errors = (1 - f1_one) / (1 - f1_two)
        errors_ci = [float(value) for value in np.quantile((1 - one[some]) / (1 - two[some]), [tail, 1 - tail])]
    return Paired(f1_one - f1_two, [float(low), float(high)], errors, errors_ci)
