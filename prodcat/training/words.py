"""Fits the model of words (model/words.py), and fits it again with another shop's products. Knows no catalog and no Ray.

Shapes: n texts, V terms, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, hstack, vstack

from prodcat.config import Config
from prodcat.encoders.inputs import TextReading
from prodcat.errors import TrainingError
from prodcat.model.words import Adjustment, Lessons, Terms, Words
from prodcat.taxonomy import HeadLayout


class WordsConfig(Config):
    """A linear SVM on n-grams. Defaults are ours, chosen by leaving shops out in turn (docs/log.md)."""

    text: TextReading = Field(TextReading(glossary="added", synonyms=True), description="what is read of a product")
    words: tuple[int, int] = Field((1, 2), description="shortest and longest n-gram of words")
    characters: tuple[int, int] = Field((3, 5), description="the same of characters within words")
    min_products: tuple[int, int] = Field((2, 3), description="training products that an n-gram of words, and one of characters, must be in")
    c: float = Field(1.0, gt=0, description="inverse strength of the regularisation")
    sharpness: float = Field(4.0, gt=0, description="margins times this are log odds, to be added to the fusion's")
    lessons: int = Field(
        40, ge=0, description="texts of a category whose terms are kept in the bundle, at most: `adapt` learns from them beside a platform's; 0: none"
    )


def fit_words(texts: Sequence[str], targets: np.ndarray, layout: HeadLayout, config: WordsConfig, seed: int) -> Words:
    """
    Args:
        texts: n of them.
        targets: int [n, D] columns (HeadLayout.end_targets); products whose label does not say where they end teach nothing.

    Raises:
        TrainingError: labels of fewer than two ends, or no term that enough products share.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    ends = ends_of(targets, layout)
    own = np.flatnonzero((ends >= 0) & np.array([bool(text) for text in texts], dtype=bool))
    if len(np.unique(ends[own])) < 2:
        raise TrainingError(f"words: the {len(texts):,} training products with a text are of fewer than two categories; set stage_two.words to null")
    read = [texts[row] for row in own.tolist()]
    parts, idf, columns = [], [], []
    kinds = (("word", config.words, config.min_products[0]), ("char_wb", config.characters, config.min_products[1]))
    for analyzer, ngrams, least in kinds:
        vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, min_df=min(least, len(read)), sublinear_tf=True, dtype=np.float32)
        try:
            columns.append(vectorizer.fit_transform(read))
        except ValueError:  # scikit-learn's word for an empty vocabulary
            continue
        parts.append(Terms(analyzer=analyzer, ngrams=ngrams, terms=tuple(vectorizer.get_feature_names_out().tolist())))
        idf.append(vectorizer.idf_)
    if not parts:
        raise TrainingError(
            f"words: no n-gram is in {config.min_products} of {len(read):,} texts; lower stage_two.words.min_products, or set it to null"
        )
    terms, own_ends = hstack(columns).tocsr(), ends[own]
    classes, weights, bias = _svm(terms, own_ends, config.c, seed)
    kept = _some_of_each(own_ends, config.lessons, seed)
    return Words(
        tuple(parts),
        np.concatenate(idf).astype(np.float32),
        weights.astype(np.float16),
        bias.astype(np.float32),
        classes,
        config.sharpness,
        Lessons(terms[kept], own_ends[kept].astype(np.int64), config.c) if len(kept) else None,
    )


@dataclass(frozen=True)
class Refit:
    """A model of words, fitted again with a few products of another shop: what changes between a fit to its lessons and one to both.

    An SVM that sees the others too moves what its lessons leave open and little else, so that a few products harm less than a correction that knows
    no others (docs/log.md). A difference of two fits and not a second model, for it is small, and the lessons are not all there was.
    """

    words: Words
    seed: int

    @cached_property
    def _before(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self.words.lessons is not None
        return _svm(self.words.lessons.terms, self.words.lessons.ends, self.words.lessons.c, self.seed)

    def adjustment(self, terms: csr_matrix, ends: np.ndarray) -> Adjustment | None:
        """None where there is nothing to learn from.

        Args:
            terms: float32 [n, V] of the labelled products (Words.matrix).
            ends: int [n] columns, -1 where a label does not say where a product ends. A category that the model does not know teaches it nothing.
        """
        lessons = self.words.lessons
        own = np.flatnonzero(np.isin(ends, self.words.columns) & (np.diff(terms.indptr) > 0))
        if lessons is None or not len(own):
            return None
        _, old, old_bias = self._before
        classes, new, new_bias = _svm(vstack([lessons.terms, terms[own]]).tocsr(), np.concatenate([lessons.ends, ends[own]]), lessons.c, self.seed)
        assert np.array_equal(classes, self.words.columns)
        touched = np.unique(terms[own].indices).astype(np.int64)
        return Adjustment(touched, (new[touched] - old[touched]).astype(np.float32), (new_bias - old_bias).astype(np.float32))


def ends_of(targets: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """int [n, D] columns (HeadLayout.end_targets) -> int [n], the column where each product ends; -1 where its label does not say."""
    depth = (targets >= 0).sum(axis=1)
    last = targets[np.arange(len(targets)), np.maximum(depth, 1) - 1]
    return np.where(np.isin(last, layout.ends), last, -1)


def _svm(terms: csr_matrix, ends: np.ndarray, c: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 [n, V] and int [n] -> classes int64 [K], weights [V, K], bias [K]: each class against the rest."""
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=c, random_state=seed).fit(terms, ends)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        # scikit-learn keeps one row for two classes.
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    return model.classes_.astype(np.int64), np.ascontiguousarray(weights.T), bias


def _some_of_each(ends: np.ndarray, most: int, seed: int) -> np.ndarray:
    """int64 [m], in order: rows of each end, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(ends))
    taken = [order[ends[order] == end][:most] for end in np.unique(ends)]
    return np.sort(np.concatenate(taken)) if most else np.zeros(0, dtype=np.int64)
