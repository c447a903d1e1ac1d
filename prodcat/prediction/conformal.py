"""Sets of categories that hold the right one with a wanted probability: split conformal prediction over the ends of the tree (leaves, and stops).

Score: 1 - confidence of the label's end (Sadinle et al. 2019, "Least ambiguous set-valued classifiers": the smallest sets on average; the method:
Angelopoulos and Bates 2021). A set holds every end that is at least as likely as the threshold, and always the answer itself. Guarantee: over the
draw of validation and new products from one distribution (exchangeable), the set holds the right end with probability at least `coverage`. It is
marginal: over all products together, not for each category or shop. Calibration and gate were fitted to the same products: by a hair optimistic.

A few lines of numpy: the libraries for it (MAPIE, crepes) want to hold the model, and what is kept here is one number in the bundle.
"""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from prodcat.config import Config
from prodcat.taxonomy import CategoryPath


class ConformalConfig(Config):
    """What sets must hold."""

    coverage: float | None = Field(None, gt=0.5, lt=1, description="probability with which the set holds the right category; null: no sets")

    @property
    def fewest_products(self) -> int:
        """Validation products without which a set would have to hold everything."""
        # round: 0.9 / (1 - 0.9) is a hair more than 9.
        return math.ceil(round(self.coverage / (1 - self.coverage), 6)) if self.coverage is not None else 0


class Conformal(Config):
    """Fitted sets.

    Args:
        threshold: least confidence of an end in the set.
        products: validation products it was fitted to.
    """

    coverage: float
    threshold: float
    products: int

    def members(self, confidence: np.ndarray, answered: int) -> np.ndarray:
        """float [E] confidences of all ends -> indices of the set, most confident first.

        Args:
            answered: index of the answer's end, in the set whatever its confidence.
        """
        inside = confidence >= self.threshold
        inside[answered] = True
        order = np.argsort(-confidence, kind="stable")
        return np.asarray(order[inside[order]])


def choose_conformal(truth: np.ndarray, config: ConformalConfig) -> Conformal:
    """
    Args:
        truth: float [n]: confidence that the cascade gave to the label's end; of validation products with whole labels.
        config: with a coverage.
    """
    assert config.coverage is not None
    rank = math.ceil(round((len(truth) + 1) * config.coverage, 6))
    threshold = float(np.sort(truth)[::-1][rank - 1]) if rank <= len(truth) else 0.0
    return Conformal(coverage=config.coverage, threshold=threshold, products=len(truth))


def common_path(paths: Sequence[CategoryPath]) -> CategoryPath:
    """The lowest category that covers all paths; empty where not even the first level is shared."""
    shared = 0
    while all(len(path) > shared for path in paths) and len({path[shared] for path in paths}) == 1:
        shared += 1
    return paths[0][:shared] if paths else ()
