"""What is different about a platform, and how much of the loss each difference explains. Knows no model but its answers.

Three differences are looked at: the mix of labels, the words, the look of the photos. Each is measured, and each is turned into the question "what
would the model score on the platforms it knows, if they had this platform's mix?": the known products are weighed so that they resemble the
platform in that respect, and the weighed F1 is taken. What no weighing explains is left to what a category means there, and to chance.

Weights by a discriminator's odds are those of covariate shift (Shimodaira 2000; Bickel et al. 2007). Clipping and the order (labels, then words or
photos on top) are ours.

Shapes: n known products, m of the platform, d dimensions of a feature.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

# A product of the known platforms counts at most so many times; without a limit a handful would decide the figure.
_CLIP = 20.0
_MOST = 2000
_FOLDS = 3


def label_divergence(known: Sequence[int], platform: Sequence[int]) -> float:
    """Jensen-Shannon divergence of two label mixes, in bits: 0 for equal ones, 1 for ones that share no category."""
    return _divergence(Counter(known), Counter(platform))


def vocabulary(known: Sequence[str], platform: Sequence[str]) -> dict[str, float]:
    """{divergence, unknown_words, without_known_word}: of words (lower case, split at what is no letter or digit).

    divergence: Jensen-Shannon, in bits. unknown_words: share of the platform's running words that no known title has. without_known_word: share of
    its titles that hold no known word at all.
    """
    have, meet = [Counter(word for title in titles for word in _words(title)) for titles in (known, platform)]
    running = sum(meet.values())
    unknown = sum(count for word, count in meet.items() if word not in have)
    blind = sum(not any(word in have for word in _words(title)) for title in platform)
    return {
        "divergence": _divergence(have, meet),
        "unknown_words": unknown / running if running else 0.0,
        "without_known_word": blind / len(platform) if platform else 0.0,
    }


def telling_apart(known: np.ndarray, platform: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """How well a logistic regression tells the platform's products from the known ones by a feature, judged out of fold.

    Args:
        known: float [n, d].
        platform: float [m, d].

    Returns:
        area under the ROC curve (0.5: not at all, 1: always), and float [n] odds of "of the platform" for the known products.
    """
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(len(each))[:_MOST] for each in (known, platform)]
    x = np.concatenate([known[rows[0]], platform[rows[1]]])
    y = np.repeat([0, 1], [len(rows[0]), len(rows[1])])
    if min(len(rows[0]), len(rows[1])) < 2 * _FOLDS:
        return 0.5, np.ones(len(known))
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    # Balanced, so that odds do not depend on how many products there happen to be.
    model = LogisticRegression(C=0.1, max_iter=200, class_weight="balanced")
    out_of_fold = cross_val_predict(model, (x - mean) / std, y, cv=_FOLDS, method="predict_proba")[:, 1]
    probability = model.fit((x - mean) / std, y).predict_proba((known - mean) / std)[:, 1]
    # For products that the model has learned from, what it says of them unlearned.
    probability[rows[0]] = out_of_fold[: len(rows[0])]
    return _area(out_of_fold, y), probability / np.maximum(1 - probability, 1e-6)


def label_weights(known: np.ndarray, platform: np.ndarray) -> np.ndarray:
    """float [n]: weights that give the known products the platform's label mix; 0 for categories that the platform lacks.

    Args:
        known, platform: int [n] and [m], label nodes.
    """
    have, want = Counter(known.tolist()), Counter(platform.tolist())
    return np.array([want[node] / len(platform) / (have[node] / len(known)) for node in known.tolist()])


def explained(sums: np.ndarray, weights: Sequence[tuple[str, np.ndarray]], unseen_f1: float) -> list[dict[str, Any]]:
    """How F1 falls on the known products as they are made to resemble the platform, one respect after the other.

    Args:
        sums: int [n, 3], from `ancestor_sums`, of answers to the known products.
        weights: (respect, float [n]) in the order in which they are laid one over the other.
        unseen_f1: of the same model on the platform.

    Returns:
        [{what, f1, explains}]: `explains` is the share of the whole loss (known less unseen) that this step accounts for, null where nothing is lost.
        Last stands "rest".
    """
    running = np.ones(len(sums))
    before = start = _f1(sums, running)
    lost = start - unseen_f1
    steps: list[dict[str, Any]] = []
    for what, weight in weights:
        running = np.minimum(running * weight / max(float(np.mean(weight)), 1e-9), _CLIP)
        # All weights 0: nothing known resembles the platform, so this says nothing.
        now = _f1(sums, running) if running.any() else before
        steps.append({"what": what, "f1": now, "explains": (before - now) / lost if lost > 0 else None})
        before = now
    steps.append({"what": "rest", "f1": unseen_f1, "explains": (before - unseen_f1) / lost if lost > 0 else None})
    return steps


def _f1(sums: np.ndarray, weights: np.ndarray) -> float:
    shared, predicted, true = (float(value) for value in weights @ sums)
    return 2 * shared / (predicted + true) if predicted + true else 0.0


def _words(title: str) -> list[str]:
    return "".join(char if char.isalnum() else " " for char in title.lower()).split()


def _divergence(one: Counter[Any], two: Counter[Any]) -> float:
    total_one, total_two = sum(one.values()), sum(two.values())
    if not total_one or not total_two:
        return 0.0
    names = list(one | two)
    p = np.array([one[name] / total_one for name in names])
    q = np.array([two[name] / total_two for name in names])
    middle = (p + q) / 2
    return float(sum(0.5 * np.sum(each[each > 0] * np.log2(each[each > 0] / middle[each > 0])) for each in (p, q)))


def _area(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, by ranks; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    positive = int(labels.sum())
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))
