"""Out-of-fold probabilities: what a light classifier says of every product when it has not learned from it, nor from a near-duplicate of it. Knows no
encoder and no file; vectors come as arrays.

The classifier is a multinomial logistic regression over TF-IDF of the title (reduced by SVD) beside the stored vectors, each block standardised and
weighed alike. It costs seconds where the fusion costs minutes, and it is linear, so it cannot learn a wrong label by heart as easily.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from prodcat.config import Config
from prodcat.errors import TrainingError
from prodcat.taxonomy import Taxonomy


class OutOfFoldConfig(Config):
    """Folds and the light classifier. Chosen by leaf accuracy on train and validation products of one real shop, never on test."""

    folds: int = Field(5, ge=2, description="every product is judged by a classifier trained on the other folds")
    seed: int = Field(0, description="of folds and solver")
    c: float = Field(10.0, gt=0, description="inverse strength of the regularisation")
    text_dim: int = Field(200, ge=2, description="numbers that a title's TF-IDF is reduced to")
    iterations: int = Field(200, ge=1, description="at most, of the solver")


def out_of_fold(
    titles: Sequence[str | None],
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]],
    nodes: np.ndarray,
    groups: np.ndarray,
    tree: Taxonomy,
    config: OutOfFoldConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-validated probabilities of the labelled categories.

    Args:
        titles: n, None without.
        vectors: name -> float [n, d] and bool [n], whether the product has it; may be empty.
        nodes: int [n], the deepest labelled node of each product.
        groups: [n], near-duplicate groups: none is cut by a fold.

    Returns:
        float32 [n, N], a product's row summing to 1 over the nodes that occur as labels; a category that no other fold holds has 0 there;
        and int [n], the fold of each product.

    Raises:
        TrainingError: fewer groups than folds, or nothing to read.
    """
    if len(set(groups.tolist())) < config.folds:
        raise TrainingError(f"audit: {len(set(groups.tolist()))} near-duplicate groups are too few for {config.folds} folds; give more products")
    if not vectors and not any(titles):
        raise TrainingError("audit: no product has a title and there are no features; give a run with features, or embed the catalog first")
    probabilities = np.zeros((len(nodes), len(tree)), dtype=np.float32)
    fold = np.zeros(len(nodes), dtype=np.int64)
    splitter = StratifiedGroupKFold(config.folds, shuffle=True, random_state=config.seed)
    with warnings.catch_warnings():
        # Categories with fewer products than folds are spread as far as they go: that is meant.
        warnings.filterwarnings("ignore", message="The least populated class")
        pairs = list(splitter.split(nodes, nodes, groups))
    for number, (train, held_out) in enumerate(pairs):
        fold[held_out] = number
        known = np.unique(nodes[train])
        if len(known) == 1:
            probabilities[held_out, known[0]] = 1.0
            continue
        learned, read = _inputs(titles, vectors, train, held_out, config)
        model = LogisticRegression(C=config.c, max_iter=config.iterations)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="lbfgs failed to converge")
            model.fit(learned, nodes[train])
        probabilities[np.ix_(held_out, model.classes_)] = model.predict_proba(read)
    return probabilities, fold


def _inputs(
    titles: Sequence[str | None],
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]],
    train: np.ndarray,
    held_out: np.ndarray,
    config: OutOfFoldConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """What the classifier reads, float [n_train, d] and [n_held_out, d]; everything that is learned here is learned from `train`."""
    blocks = [_text(titles, train, held_out, config)] if any(titles[row] for row in train) else []
    for values, present in vectors.values():
        if present[train].any():
            scaler = StandardScaler().fit(values[train][present[train]])
            scaled = scaler.transform(values) * present[:, None]
            blocks.append((scaled[train], scaled[held_out]))
    # Each block counts alike, however wide it is.
    learned, read = ([block[side] / np.sqrt(block[side].shape[1]) for block in blocks] for side in (0, 1))
    return np.concatenate(learned, axis=1), np.concatenate(read, axis=1)


def _text(titles: Sequence[str | None], train: np.ndarray, held_out: np.ndarray, config: OutOfFoldConfig) -> tuple[np.ndarray, np.ndarray]:
    terms = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    try:
        learned = terms.fit_transform([titles[row] or "" for row in train])
    except ValueError:
        # No word stands in two titles.
        terms = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\S+")
        learned = terms.fit_transform([titles[row] or "" for row in train])
    read = terms.transform([titles[row] or "" for row in held_out])
    if learned.shape[1] > config.text_dim:
        reduce = TruncatedSVD(config.text_dim, n_iter=3, random_state=config.seed).fit(learned)
        dense = reduce.transform(learned), reduce.transform(read)
    else:
        dense = learned.toarray(), read.toarray()
    scaler = StandardScaler().fit(dense[0])
    return scaler.transform(dense[0]), scaler.transform(dense[1])
