"""What a person would try first on a shop nobody has labelled: linear models on words and on frozen vectors. Knows no fusion and no tree decoding.

All learn flat classes from products of the other shops that are labelled down to a leaf, for an answer at an inner category can be no better.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from prodcat.config import Config
from prodcat.errors import TrainingError

_REGRESSION, _AND_WORDS = " regression", " and tfidf title"


class NewShopBaselineConfig(Config):
    """Regularisation, chosen as libraries have it and not searched."""

    svm_c: float = Field(1.0, gt=0, description="inverse strength of the SVMs' regularisation")
    regression_c: float = Field(10.0, gt=0, description="inverse strength of the logistic regressions'")
    iterations: int = Field(100, ge=1, description="most steps of a logistic regression")


@dataclass(frozen=True)
class Readable:
    """n products as baselines read them; some have no vector of a name, and then zeros.

    Args:
        titles, descriptions: n texts, None without.
        vectors: name -> float32 [n, d].
        present: name -> bool [n].
    """

    titles: Sequence[str | None]
    descriptions: Sequence[str | None]
    vectors: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]

    def rows(self, chosen: np.ndarray) -> "Readable":
        """Args: chosen: row numbers."""
        return Readable(
            [self.titles[i] for i in chosen],
            [self.descriptions[i] for i in chosen],
            {name: values[chosen] for name, values in self.vectors.items()},
            {name: here[chosen] for name, here in self.present.items()},
        )


def names(reads: Mapping[str, str], inputs: str) -> tuple[str, ...]:
    """The baselines there are for these inputs, over feature sets name -> "text" or "image"."""
    found = list(_TEXTS) if inputs != "image" else []
    for name, kind in reads.items():
        if kind in inputs.split("+"):
            found.append(name + _REGRESSION)
        if kind == "text" and inputs != "image":
            found.append(name + _AND_WORDS)
    return tuple(found)


def answer(name: str, train: Readable, nodes: np.ndarray, asked: Readable, config: NewShopBaselineConfig, seed: int) -> np.ndarray:
    """Learn from the other shops, answer the new one.

    Args:
        name: one of `names`.
        nodes: int [n], the leaf of each training product.

    Returns:
        int64 [m] nodes; for a product without the input, the most frequent category.

    Raises:
        TrainingError: no training product has the input.
    """
    svm = LinearSVC(C=config.svm_c, random_state=seed)
    if name in _TEXTS:
        return _flat(name, *_words(train, asked, _TEXTS[name]), nodes, svm)
    if name.endswith(_AND_WORDS):
        which = name.removesuffix(_AND_WORDS)
        words, has, words_asked, has_asked = _words(train, asked, _title)
        both, both_asked = (hstack([x, csr_matrix(part.vectors[which])]).tocsr() for x, part in ((words, train), (words_asked, asked)))
        return _flat(name, both, has & train.present[which], both_asked, has_asked & asked.present[which], nodes, svm)
    which = name.removesuffix(_REGRESSION)
    regression = LogisticRegression(C=config.regression_c, max_iter=config.iterations, tol=1e-3)
    return _flat(name, train.vectors[which], train.present[which], asked.vectors[which], asked.present[which], nodes, regression)


def _flat(name: str, x: Any, has: np.ndarray, asked: Any, has_asked: np.ndarray, nodes: np.ndarray, model: Any) -> np.ndarray:
    if not has.any():
        raise TrainingError(f"baseline {name}: none of {len(nodes)} training products has what it reads")
    classes, count = np.unique(nodes[has], return_counts=True)
    found = np.full(len(has_asked), classes[count.argmax()], dtype=np.int64)
    if len(classes) > 1 and has_asked.any():
        found[has_asked] = model.fit(x[has], nodes[has]).predict(asked[has_asked])
    return found


def _words(train: Readable, asked: Readable, read: Callable[[Readable, int], str]) -> tuple[Any, np.ndarray, Any, np.ndarray]:
    texts, others = ([read(part, row) for row in range(len(part.titles))] for part in (train, asked))
    shared: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
    terms = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=2, **shared)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, **shared)),
        ]
    )
    x = terms.fit_transform(texts).tocsr()
    return x, np.array([bool(text) for text in texts]), terms.transform(others).tocsr(), np.array([bool(text) for text in others])


def _title(part: Readable, row: int) -> str:
    return part.titles[row] or ""


def _title_and_description(part: Readable, row: int) -> str:
    return " ".join(text for text in (part.titles[row], part.descriptions[row]) if text)


_TEXTS: dict[str, Callable[[Readable, int], str]] = {"tfidf title": _title, "tfidf title+description": _title_and_description}
