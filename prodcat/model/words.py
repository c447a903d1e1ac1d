"""What the words of a text say of its category: n-grams weighed by TF-IDF, and one linear model a category against the rest. Knows no product.

A frozen sentence encoder reads what a title means and misses the rare word that names the category; n-grams know that word and nothing else. So the
two err on different products, most of all those of shops that neither has seen, and their log probabilities are added (a product of experts).

Shapes: n texts, V terms, K classes, C columns (taxonomy.HeadLayout).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from scipy.special import log_softmax, logsumexp

from prodcat.config import Config
from prodcat.errors import BundleError
from prodcat.taxonomy import HeadLayout

WORDS, TERMS, LESSONS = "words.safetensors", "words.json", "words_lessons.safetensors"
# log p of an end that no training product has. Not less: what the other experts are sure of has to be able to win.
_UNSEEN = -12.0


class Terms(Config):
    """Which pieces of a text are terms.

    Args:
        analyzer: "word", or "char_wb" for pieces of words.
        ngrams: shortest and longest, in words or characters.
        terms: in the order of the weights' rows.
    """

    analyzer: str
    ngrams: tuple[int, int]
    terms: tuple[str, ...] = Field(repr=False)


@dataclass(frozen=True)
class Lessons:
    """Some of what a model of words learned from, kept so that it can be fitted again together with another shop's products.

    Args:
        terms: float32 [m, V], as `Words.matrix` gives it; stored in half precision.
        ends: int64 [m] columns.
        c: inverse strength of the regularisation.
    """

    terms: csr_matrix
    ends: np.ndarray
    c: float

    def save(self, file: Path) -> None:
        """One safetensors file."""
        terms = self.terms
        arrays = {"data": terms.data.astype(np.float16), "indices": terms.indices.astype(np.int32), "indptr": terms.indptr.astype(np.int64)}
        shape = np.array(terms.shape, dtype=np.int64)
        save_file({**arrays, "shape": shape, "ends": self.ends.astype(np.int64), "c": np.array([self.c], dtype=np.float64)}, file)

    @classmethod
    def load(cls, file: Path) -> "Lessons":
        found = load_file(file)
        # Multiplied in single precision: there is no arithmetic of sparse half precision.
        terms = csr_matrix((found["data"].astype(np.float32), found["indices"], found["indptr"]), shape=tuple(found["shape"].tolist()))
        return cls(terms, found["ends"], float(found["c"][0]))


@dataclass(frozen=True)
class Adjustment:
    """What a platform's labelled products change of a model of words.

    Args:
        terms: int64 [t], those of the products; weights: float32 [t, K], added to the terms' own.
        bias: float32 [K], added.
    """

    terms: np.ndarray
    weights: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Words:
    """A fitted model of words.

    Args:
        parts: the vocabularies side by side, V terms together.
        idf: float32 [V].
        weights: float [V, K]; bias: float [K].
        columns: int [K], the end that each class is.
        sharpness: margins times this are the logits of a softmax: an SVM's margins are no log odds.
        lessons: None where none were kept.
    """

    parts: tuple[Terms, ...]
    idf: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    columns: np.ndarray
    sharpness: float
    lessons: Lessons | None = None

    @cached_property
    def _vectorizers(self) -> tuple["TfidfTerms", ...]:
        ends = np.cumsum([0, *(len(part.terms) for part in self.parts)])
        return tuple(TfidfTerms(part, self.idf[start:end]) for part, start, end in zip(self.parts, ends[:-1], ends[1:], strict=True))

    @cached_property
    def _weights(self) -> np.ndarray:
        # Kept and stored in half precision, multiplied in single.
        return self.weights.astype(np.float32)

    def matrix(self, texts: Sequence[str]) -> csr_matrix:
        """n texts -> float32 [n, V], each part's rows of length 1 (or 0 without a known term)."""
        if not len(texts):
            return csr_matrix((0, len(self.idf)), dtype=np.float32)
        return hstack([part(texts) for part in self._vectorizers]).tocsr()

    def read(self, texts: Sequence[str], layout: HeadLayout) -> np.ndarray:
        """n texts -> float32 [n, C]: log p(column | its parent), which every decoder reads as logits.

        A text without a known term says nothing: zeros.
        """
        return self.weigh(self.matrix(texts), layout)

    def weigh(self, terms: csr_matrix, layout: HeadLayout, adjustment: Adjustment | None = None) -> np.ndarray:
        """`read`, of texts whose terms are at hand: float32 [n, V] of `matrix` -> float32 [n, C]."""
        found = np.zeros((terms.shape[0], len(layout)), dtype=np.float32)
        known = np.flatnonzero(np.diff(terms.indptr))
        if len(known):
            x = terms[known]
            margins = x @ self._weights + self.bias
            if adjustment is not None:
                margins = margins + x[:, adjustment.terms] @ adjustment.weights + adjustment.bias
            ends = np.full((len(known), len(layout)), _UNSEEN)
            ends[:, self.columns] = log_softmax(margins * self.sharpness, axis=1)
            found[known] = conditionals(ends, layout)
        return found

    def save(self, folder: Path) -> None:
        """folder/words.safetensors and folder/words.json, and folder/words_lessons.safetensors where there are lessons."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {"idf": self.idf.astype(np.float32), "weights": self.weights.astype(np.float16)}
        save_file({**arrays, "bias": self.bias.astype(np.float32), "columns": self.columns.astype(np.int64)}, folder / WORDS)
        document = {"sharpness": self.sharpness, "parts": [part.model_dump(mode="json") for part in self.parts]}
        (folder / TERMS).write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
        if self.lessons is not None:
            self.lessons.save(folder / LESSONS)

    @classmethod
    def load(cls, folder: Path) -> "Words":
        """Raises BundleError for files that do not belong together."""
        arrays = load_file(folder / WORDS)
        document = json.loads((folder / TERMS).read_text(encoding="utf-8"))
        parts = tuple(Terms.model_validate(part) for part in document["parts"])
        if sum(len(part.terms) for part in parts) != len(arrays["weights"]):
            raise BundleError(f"{folder / TERMS}: not the terms of {WORDS}, which has weights of {len(arrays['weights']):,}; rebuild the bundle")
        lessons = Lessons.load(folder / LESSONS) if (folder / LESSONS).is_file() else None
        return cls(parts, arrays["idf"], arrays["weights"], arrays["bias"], arrays["columns"], float(document["sharpness"]), lessons)


class TfidfTerms:
    """scikit-learn's TF-IDF over terms that are given."""

    def __init__(self, terms: Terms, idf: np.ndarray) -> None:
        # Here and not above: a replica whose bundle has no model of words need not load it.
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            analyzer=terms.analyzer, ngram_range=terms.ngrams, sublinear_tf=True, dtype=np.float32, vocabulary=list(terms.terms)
        )
        self._vectorizer.idf_ = idf.astype(np.float32)

    def __call__(self, texts: Sequence[str]) -> csr_matrix:
        """n texts -> float32 [n, V of this part]."""
        return self._vectorizer.transform(texts)


def conditionals(ends: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """log p of the ends, in their columns of float [n, C] -> float32 [n, C]: of every column, given its parent."""
    joint = ends.astype(np.float64)
    for inner in layout.inner_levels:
        for node in inner:
            joint[:, node] = logsumexp(joint[:, layout.parents == node], axis=1)
    above = np.where(layout.parents >= 0, joint[:, layout.parents], 0.0)
    return np.asarray((joint - above).astype(np.float32))
