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

WORDS, TERMS = "words.safetensors", "words.json"
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
class Words:
    """A fitted model of words.

    Args:
        parts: the vocabularies side by side, V terms together.
        idf: float32 [V].
        weights: float [V, K]; bias: float [K].
        columns: int [K], the end that each class is.
        sharpness: margins times this are the logits of a softmax: an SVM's margins are no log odds.
    """

    parts: tuple[Terms, ...]
    idf: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    columns: np.ndarray
    sharpness: float

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
        found = np.zeros((len(texts), len(layout)), dtype=np.float32)
        if not len(texts):
            return found
        x = self.matrix(texts)
        known = np.flatnonzero(np.diff(x.indptr))
        if len(known):
            ends = np.full((len(known), len(layout)), _UNSEEN)
            ends[:, self.columns] = log_softmax((x[known] @ self._weights + self.bias) * self.sharpness, axis=1)
            found[known] = conditionals(ends, layout)
        return found

    def save(self, folder: Path) -> None:
        """folder/words.safetensors and folder/words.json."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {"idf": self.idf.astype(np.float32), "weights": self.weights.astype(np.float16)}
        save_file({**arrays, "bias": self.bias.astype(np.float32), "columns": self.columns.astype(np.int64)}, folder / WORDS)
        document = {"sharpness": self.sharpness, "parts": [part.model_dump(mode="json") for part in self.parts]}
        (folder / TERMS).write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Words":
        """Raises BundleError for files that do not belong together."""
        arrays = load_file(folder / WORDS)
        document = json.loads((folder / TERMS).read_text(encoding="utf-8"))
        parts = tuple(Terms.model_validate(part) for part in document["parts"])
        if sum(len(part.terms) for part in parts) != len(arrays["weights"]):
            raise BundleError(f"{folder / TERMS}: not the terms of {WORDS}, which has weights of {len(arrays['weights']):,}; rebuild the bundle")
        return cls(parts, arrays["idf"], arrays["weights"], arrays["bias"], arrays["columns"], float(document["sharpness"]))


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
