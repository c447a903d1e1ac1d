"""Fits the model of words (model/words.py). Knows no catalog and no Ray."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy.sparse import hstack

from prodcat.config import Config
from prodcat.encoders.inputs import TextReading
from prodcat.errors import TrainingError
from prodcat.model.words import Terms, Words
from prodcat.taxonomy import HeadLayout


class WordsConfig(Config):
    """A linear SVM on n-grams. Defaults are ours, chosen by leaving shops out in turn (docs/log.md)."""

    text: TextReading = Field(TextReading(glossary="added", synonyms=True), description="what is read of a product")
    words: tuple[int, int] = Field((1, 2), description="shortest and longest n-gram of words")
    characters: tuple[int, int] = Field((3, 5), description="the same of characters within words")
    min_products: tuple[int, int] = Field((2, 3), description="training products that an n-gram of words, and one of characters, must be in")
    c: float = Field(1.0, gt=0, description="inverse strength of the regularisation")
    sharpness: float = Field(4.0, gt=0, description="margins times this are log odds, to be added to the fusion's")


def fit_words(texts: Sequence[str], targets: np.ndarray, layout: HeadLayout, config: WordsConfig, seed: int) -> Words:
    """
    Args:
        texts: n of them.
        targets: int [n, D] columns (HeadLayout.end_targets); products whose label does not say where they end teach nothing.

    Raises:
        TrainingError: labels of fewer than two ends, or no term that enough products share.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    depth = (targets >= 0).sum(axis=1)
    ends = targets[np.arange(len(targets)), np.maximum(depth, 1) - 1]
    own = np.flatnonzero(np.isin(ends, layout.ends) & np.array([bool(text) for text in texts], dtype=bool))
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
    model = LinearSVC(C=config.c, random_state=seed).fit(hstack(columns).tocsr(), ends[own])
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        # scikit-learn keeps one row for two classes.
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    return Words(
        tuple(parts),
        np.concatenate(idf).astype(np.float32),
        np.ascontiguousarray(weights.T).astype(np.float16),
        bias.astype(np.float32),
        model.classes_.astype(np.int64),
        config.sharpness,
    )
