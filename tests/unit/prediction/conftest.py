"""A tiny cascade whose stages are real: stage one counts words, stage two looks at the text and the size of the image."""

from collections.abc import Sequence

import numpy as np
import pytest

from prodcat.contracts import Product
from prodcat.encoders.inputs import TextReading
from prodcat.prediction.calibration import Calibration
from prodcat.prediction.cascade import Cascade, CascadeSettings, StageTwoOutput
from prodcat.prediction.gate import Gate
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("Apparel", "Shirts"), ("Apparel", "Socks"), ("Shoes", "Sneakers", "Running"), ("Shoes", "Sneakers", "Court"), ("Gifts",)])


class WordStage:
    """Logit of a category: how often the words of its name stand in the title."""

    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = [[6.0 * text.lower().count(category.name.lower()) for category in TREE.categories] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), len(TREE)), np.zeros((len(texts), 1), np.float32)


class SizeStage:
    """Says Gifts of every image and Court of every title without one; cannot read a product without either."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> StageTwoOutput:
        self.asked += [product.key for product in products]
        logits = np.zeros((len(products), len(TREE)), np.float32)
        broken = [product.image == b"broken" for product in products]
        for row, product in enumerate(products):
            logits[row, TREE.index(("Gifts",)) if product.image else TREE.index(("Shoes",))] = 9
            logits[row, TREE.index(("Shoes", "Sneakers", "Court"))] = 9
        readable = np.array([bool(product.title) or (product.image is not None and not bad) for product, bad in zip(products, broken, strict=True)])
        problems = tuple(("image_truncated", "half of it is missing") if bad else None for bad in broken)
        return StageTwoOutput(logits, readable, problems)


@pytest.fixture
def size_stage() -> SizeStage:
    return SizeStage()


@pytest.fixture
def cascade(size_stage: SizeStage) -> Cascade:
    plain = Calibration(temperatures=(1.0, 1.0, 1.0))
    settings = CascadeSettings(text=TextReading(), calibration_one=plain, calibration_two=plain, gate=Gate(threshold=0.9))
    return Cascade(TREE, settings, WordStage(), size_stage, "v1")
