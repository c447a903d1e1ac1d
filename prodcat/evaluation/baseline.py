"""The baseline a person would reach for first: TF-IDF of a title's words and characters, and a linear SVM. Knows no image and no bundle.

A flat classifier over the deepest labelled categories of the training products; its answer is a node, so it is scored as every other one is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.svm import LinearSVC

from prodcat.config import Config
from prodcat.errors import TrainingError
from prodcat.evaluation.answers import paths_of, scoring_layout
from prodcat.evaluation.metrics import UNLABELLED, score
from prodcat.masking import CategoryMask
from prodcat.taxonomy import HasLayout, Taxonomy


class BaselineConfig(Config):
    """C was chosen on the validation titles of one real shop; between 0.1 and 10 the score there moves by 0.003."""

    c: float = Field(3.0, gt=0, description="inverse strength of the SVM's regularisation")
    word_ngrams: int = Field(2, ge=1, description="longest run of words")
    char_ngrams: tuple[int, int] = Field((2, 5), description="shortest and longest run of characters inside a word")
    min_df: int = Field(2, ge=1, description="titles that a term must occur in to count")


class TfidfBaseline:
    """TF-IDF and a linear SVM on the title.

    Args:
        tree: the tree whose nodes `predict` answers with.
        config: terms and regularisation.
        seed: of the SVM's solver.
    """

    def __init__(self, tree: Taxonomy, config: BaselineConfig, seed: int) -> None:
        self._tree = tree
        self._majority = UNLABELLED
        self._pipeline: Pipeline | None = None
        self._config = config
        self._seed = seed

    def fit(self, titles: Sequence[str | None], paths: Sequence[Sequence[str] | None]) -> "TfidfBaseline":
        """Learn from the products that have both a title and a label.

        Args:
            titles: one a product, None without.
            paths: labels, of any depth; None without.

        Raises:
            TrainingError: no product has both, or no term is common enough.
        """
        nodes = [self._tree.index(path) if path else UNLABELLED for path in paths]
        pairs = [(title, node) for title, node in zip(titles, nodes, strict=True) if _readable(title) and node != UNLABELLED]
        if not pairs:
            raise TrainingError(f"baseline: none of the {len(nodes)} training products has both a title and a label; it reads titles only")
        texts, classes = [title for title, _ in pairs], np.array([node for _, node in pairs])
        labelled = np.array([node for node in nodes if node != UNLABELLED])
        self._majority = int(np.bincount(labelled).argmax())
        if len(np.unique(classes)) > 1:
            config = self._config
            shared: dict[str, Any] = {"min_df": config.min_df, "sublinear_tf": True, "dtype": np.float32}
            terms = FeatureUnion(
                [
                    ("words", TfidfVectorizer(ngram_range=(1, config.word_ngrams), **shared)),
                    ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=config.char_ngrams, **shared)),
                ]
            )
            pipeline = Pipeline([("terms", terms), ("svm", LinearSVC(C=config.c, random_state=self._seed))])
            try:
                self._pipeline = pipeline.fit(texts, classes)
            except ValueError as error:
                raise TrainingError(
                    f"baseline: {len(texts)} training titles have too few words in common ({error}); give more products, or set min_df=1"
                ) from error
        return self

    def predict(self, titles: Sequence[str | None]) -> np.ndarray:
        """int64 [n] nodes; the most frequent training category for a product without a title."""
        pred = np.full(len(titles), self._majority, dtype=np.int64)
        if self._pipeline is not None:
            rows = [i for i, title in enumerate(titles) if _readable(title)]
            if rows:
                pred[rows] = self._pipeline.predict([titles[i] for i in rows])
        return pred


def baseline_scores(
    train: pa.Table, test: pa.Table, tree: HasLayout, *, config: BaselineConfig, seed: int, mask: CategoryMask | None = None
) -> dict[str, Any]:
    """Fit on the training products, score on the same test products as the bundle.

    Args:
        train: columns title and path (names), at least; its labels are in the tree.
        test: columns title, path, group and platform, at least.
        tree: the bundle's tree, or its layout where answers may end at inner categories.
        seed: of solver and bootstrap.
        mask: takes words out of the titles that are learned from and of those that are scored. Test products whose title it leaves nothing of are
            not scored, as the probe of that name does not.

    Returns:
        name, train_products, config, and what metrics.score returns; {"absent": reason} if there is nothing to learn from or to score.

    Raises:
        ContractError: no test product is labelled.
        TaxonomyError: a training label is not in the tree.
    """
    if mask is not None:
        train, test = _masked(train, mask), _masked(test, mask)
        test = test.filter(pc.is_valid(test.column("title")))
        if not test.num_rows:
            return {"absent": "no test product has a title that is more than the words of its category"}
    train_paths, test_paths = paths_of(train.column("path")), paths_of(test.column("path"))
    layout = scoring_layout(tree, test_paths)
    scoring = layout.tree
    try:
        model = TfidfBaseline(scoring, config, seed).fit(train.column("title").to_pylist(), train_paths)
    except TrainingError as error:
        return {"absent": str(error)}
    target = np.array([scoring.index(path) if path else UNLABELLED for path in test_paths], dtype=np.int64)
    groups = np.array(test.column("group").to_pylist(), dtype=object)
    platforms = np.array(test.column("platform").to_pylist(), dtype=object)
    return {
        "name": "TF-IDF + linear SVM on the " + ("title" if mask is None else "masked title"),
        "train_products": sum(path is not None for path in train_paths),
        "config": config.model_dump(mode="json"),
        **score(model.predict(test.column("title").to_pylist()), target, groups, platforms, layout, seed),
    }


def _masked(products: pa.Table, mask: CategoryMask) -> pa.Table:
    titles = pa.array([mask(title) for title in products.column("title").to_pylist()], pa.string())
    return products.set_column(products.column_names.index("title"), "title", titles)


def _readable(title: str | None) -> bool:
    return bool(title and title.strip())
