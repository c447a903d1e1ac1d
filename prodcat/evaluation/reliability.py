"""Whether confidences can be believed: expected calibration error, reliability tables, risk against coverage. Knows no tree, no table and no file.

Bins hold about as many products each ("adaptive" bins: Nguyen and O'Connor 2015; Nixon et al. 2019, "Measuring Calibration in Deep Learning"): nearly
all confidences lie near 1, where bins of equal width would be one bin. Equal confidences share a bin, so the order of the products does not matter.

Shapes: n products, D levels.
"""

from typing import Any

import numpy as np

BINS = 15
POINTS = 101


def reliability_table(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict[str, float | int]]:
    """One row a bin that holds a product, by rising confidence: {low, high, products, confidence (mean), accuracy}.

    Args:
        confidence: float [n] in [0, 1].
        right: bool [n].
    """
    if len(confidence) == 0:
        return []
    # The last confidence of each bin.
    uppers = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:], method="inverted_cdf"))
    where = np.searchsorted(uppers, confidence, side="left")
    rows: list[dict[str, float | int]] = []
    for each in np.unique(where):
        inside = where == each
        members = confidence[inside]
        rows.append(
            {
                "low": float(members.min()),
                "high": float(members.max()),
                "products": int(inside.sum()),
                "confidence": float(members.mean()),
                "accuracy": float(right[inside].mean()),
            }
        )
    return rows


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float | None:
    """Mean over products of the gap between their bin's mean confidence and its accuracy; None without products. Arguments as for the table."""
    rows = reliability_table(confidence, right, bins)
    return float(sum(row["products"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(confidence)) if rows else None


def risk_coverage(confidence: np.ndarray, right: np.ndarray, points: int = POINTS) -> dict[str, Any]:
    """What is wrong among the most confident share of the products (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    Returns:
        {"aurc": mean risk over all coverages (None without products), "curve": [{coverage, risk, threshold}, ...] by rising coverage, at most
        `points` rows}: at `coverage` are the products with a confidence of at least `threshold`, `risk` is the share of them that is wrong.
    """
    if len(confidence) == 0:
        return {"aurc": None, "curve": []}
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    counts = np.arange(1, len(ranked) + 1)
    # Equal confidences come in together: a threshold takes all of them or none.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    risks = np.cumsum(~right[order].astype(bool))[last] / counts[last]
    sizes = np.diff(counts[last], prepend=0)
    shown = np.unique(np.linspace(0, len(last) - 1, points).round().astype(int))
    curve = [{"coverage": float(counts[last[i]] / len(ranked)), "risk": float(risks[i]), "threshold": float(ranked[last[i]])} for i in shown]
    return {"aurc": float((risks * sizes).sum() / len(ranked)), "curve": curve}


def figures(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """{products, accuracy, confidence, ece, table} of one set of answers; None for what nobody can say of no product."""
    some = len(confidence) > 0
    return {
        "products": len(confidence),
        "accuracy": float(right.mean()) if some else None,
        "confidence": float(confidence.mean()) if some else None,
        "ece": expected_calibration_error(confidence, right, bins),
        "table": reliability_table(confidence, right, bins),
    }


def level_figures(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> dict[str, dict[str, Any]]:
    """{"1": `figures` of the answers that name a category on level 1, ...}; levels that no answer reaches are left out.

    Args:
        confidence: float [n, D]: PREDICTIONS.confidences, NaN below the end of a path and where the label cannot judge it.
        right: bool [n, D]: the category named on that level is the label's.
    """
    found = {}
    for level in range(confidence.shape[1]):
        rows = np.isfinite(confidence[:, level])
        if rows.any():
            found[str(level + 1)] = figures(confidence[rows, level], right[rows, level], bins)
    return found
