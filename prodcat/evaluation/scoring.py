"""What a report scores and what it shows beside: probes, the baseline, the smallest leaf that counts. Knows no metric."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, field_validator

from prodcat.config import Config
from prodcat.evaluation.answers import scoring_tree
from prodcat.evaluation.baseline import BaselineConfig
from prodcat.evaluation.probes import HIDING, PROBES
from prodcat.taxonomy import CategoryPath, Taxonomy


class ScoringConfig(Config):
    """Nothing here changes an answer."""

    probes: tuple[str, ...] = Field(HIDING, description=f"what is hidden in turn, beside the full input; of {', '.join(HIDING)}")
    baseline: BaselineConfig | None = Field(
        BaselineConfig(), description="TF-IDF and linear SVM, trained on the same training products; null for none"
    )
    min_leaf_products: int = Field(
        1, ge=1, description="leaves with fewer labelled products in the whole catalog are not scored, and counted in the report; 1 scores all"
    )
    min_language_products: int = Field(30, ge=1, description="languages with fewer labelled products scored are joined as `others` in the report")

    @field_validator("probes")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in PROBES]
        if unknown:
            raise ValueError(f"the probes {unknown} are not known; known are {sorted(PROBES)}")
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class SmallLeaves:
    """Leaves with so few products that a figure over them is luck.

    Args:
        paths: the leaves.
        min_products: below which a leaf is small.
    """

    paths: frozenset[CategoryPath]
    min_products: int

    def among(self, paths: Sequence[CategoryPath | None]) -> np.ndarray:
        """bool [n]: labelled with a small leaf."""
        return np.array([path in self.paths for path in paths], dtype=bool)


def small_leaves(paths: Sequence[CategoryPath | None], tree: Taxonomy, min_products: int) -> SmallLeaves:
    """Args: paths: the labels of the whole catalog, whatever split; a label at an inner node is none of a leaf and stays.

    tree: the bundle's; labels that it lacks are leaves where the labels end.
    """
    count = Counter(path for path in paths if path)
    whole = scoring_tree(tree, list(count))
    return SmallLeaves(
        frozenset(path for path, products in count.items() if products < min_products and whole.is_leaf[whole.index(path)]), min_products
    )
