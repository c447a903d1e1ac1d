"""Back-off: answer as deep as a wanted precision holds, and stop at the parent otherwise. Thresholds are chosen on validation products.

An answer that stops at a category claims that category and those above it; it is right if they are on the label's path. Answering rule: the deepest
level whose confidence reaches that level's threshold. Where none does, the first level is answered all the same and marked: it does not hold.

Choice of the thresholds, in two steps (ours):
1. Each level by itself: as low as it can be certified that of all products whose confidence there reaches it, the wanted share is right there.
   Thresholds are tested with the exact binomial bound (Clopper and Pearson 1934) from a start on down, until the first failure: a fixed order needs
   no correction for the number of tests (fixed-sequence testing, Angelopoulos et al. 2021, "Learn then Test", algorithm 1). The start is where the
   bound bears half the errors that it bears with all products, which depends on their number and not on labels; with many products there are two
   earlier starts beside it, each at a third of the risk: a late start survives wrong labels among the surest, an early one a model seldom sure.
2. From the deepest level up, a threshold is raised until the answers that stop there are on the validation products as precise as wanted: they are
   what was too unsure below, and would otherwise hide behind the many that went on.
So: at each level, with probability `confidence` over the draw of validation products, step 1 holds for products drawn alike; what stops at a level
was also by itself as precise on validation. Temperatures and gate were fitted to the same products; they are a handful of numbers and hardly change
the order of confidences, but the bound is by that much optimistic; so it is where near-duplicates, which are right or wrong together, are counted as
products of their own. It does not reach shops unlike those of the validation products.

Shapes: n products, D levels.
"""

import math

import numpy as np
from pydantic import Field

from prodcat.config import Config

# Thresholds tried a level: quantiles of its confidences, for nearly all of them lie near 1. A finer grid stops sooner at a run of bad luck.
GRID = 50
# Errors that the bound must bear with all products before three starts are worth their price.
MANY = 8


class BackoffConfig(Config):
    """What answers must hold."""

    precision: float | None = Field(None, gt=0.5, lt=1, description="wanted share of right answers; null: always answer down to the leaf")
    confidence: float = Field(
        0.8, gt=0.5, lt=1, description="probability with which a level's threshold holds it, over the draw of validation products"
    )

    @property
    def fewest_products(self) -> int:
        """Validation products without which not even answers free of error would prove the precision."""
        return math.ceil(math.log(1 - self.confidence) / math.log(self.precision)) if self.precision is not None else 0


class Depth(Config):
    """The validation products whose answer stopped at a level, or ended there."""

    level: int
    products: int
    right: int


class Backoff(Config):
    """Fitted back-off.

    Args:
        thresholds: D numbers: the least confidence of an answer at each level; None: no answer stops there.
        products, held: validation products with a whole label, and those among them whose answer holds.
        depths: of those that hold.
    """

    precision: float
    confidence: float
    thresholds: tuple[float | None, ...]
    products: int
    held: int
    depths: tuple[Depth, ...] = ()

    def levels(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float [n, D] confidences down each path (NaN below its end) -> int [n] levels to answer at, from 1, and bool [n] whether they hold."""
        return _levels(along, np.array([np.inf if threshold is None else threshold for threshold in self.thresholds]))


def choose_backoff(along: np.ndarray, right: np.ndarray, config: BackoffConfig) -> Backoff:
    """
    Args:
        along: float [n, D]: confidences down each answered path, NaN below its end; of validation products with whole labels.
        right: bool [n, D]: the answered category at each level is the label's.
        config: with a precision.
    """
    assert config.precision is not None
    depth = along.shape[1]
    named = np.isfinite(along)
    risk = 1 - config.confidence
    thresholds = np.array(
        [_certified(along[named[:, level], level], right[named[:, level], level], config.precision, risk) for level in range(depth)]
    )
    for level in range(depth, 0, -1):
        levels, holds = _levels(along, thresholds)
        here = np.flatnonzero(holds & (levels == level))
        thresholds[level - 1] = max(thresholds[level - 1], _least(along[here, level - 1], right[here, level - 1], config.precision))
    levels, holds = _levels(along, thresholds)
    correct = right[np.arange(len(right)), levels - 1]
    depths = tuple(
        Depth(level=level, products=int((holds & (levels == level)).sum()), right=int((holds & (levels == level) & correct).sum()))
        for level in range(1, depth + 1)
    )
    return Backoff(
        precision=config.precision,
        confidence=config.confidence,
        thresholds=tuple(None if math.isinf(threshold) else float(threshold) for threshold in thresholds),
        products=len(along),
        held=int(holds.sum()),
        depths=depths,
    )


def _levels(along: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reached = along >= thresholds
    holds = np.asarray(reached.any(axis=1))
    deepest = along.shape[1] - np.argmax(reached[:, ::-1], axis=1)
    return np.where(holds, deepest, 1), holds


def _certified(confidence: np.ndarray, right: np.ndarray, precision: float, risk: float) -> float:
    """The lowest threshold that fixed-sequence testing reaches; infinity if not even its first test passes."""
    # Here and not above: whoever only reads a bundle needs no scipy.
    from scipy.special import bdtr

    # bdtr(k, n, q): chance of k errors or fewer in n answers that err with probability q.
    def bears(share: float) -> int:
        """The most errors among all answers that the bound lets pass; -1 if not even none."""
        return int((bdtr(np.arange(len(confidence)), len(confidence), 1 - precision) <= share).sum()) - 1

    if bears(risk) < 0:
        return math.inf
    starts = [math.ceil(bears(risk) / 2)]
    if bears(risk) >= MANY:
        risk /= 3
        starts = [1, math.ceil(bears(risk) / 4), math.ceil(bears(risk) / 2)]
    grid = np.unique(np.quantile(confidence, np.linspace(0, 1, GRID + 1), method="inverted_cdf"))[::-1]
    answered = np.array([(confidence >= threshold).sum() for threshold in grid])
    errors = np.array([((confidence >= threshold) & ~right).sum() for threshold in grid])
    passed = bdtr(errors, answered, 1 - precision) <= risk
    lowest = math.inf
    for borne in starts:
        start = int(np.argmax(bdtr(borne, answered, 1 - precision) <= risk))
        failure = int(np.argmin(passed[start:])) if not passed[start:].all() else len(grid) - start
        if failure:
            lowest = min(lowest, float(grid[start + failure - 1]))
    return lowest


def _least(confidence: np.ndarray, right: np.ndarray, precision: float) -> float:
    """The lowest threshold above which these answers are precise; infinity if there is none, or no answer."""
    if not len(confidence):
        return -np.inf
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    precise = np.cumsum(right[order]) / np.arange(1, len(ranked) + 1) >= precision
    # Equal confidences come in together.
    ends = np.append(ranked[1:] != ranked[:-1], True)
    good = np.flatnonzero(precise & ends)
    return float(ranked[good[-1]]) if len(good) else np.inf
