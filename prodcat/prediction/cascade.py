"""The one way from product to category, in batch and online: stage one answers what it is sure of, stage two the rest.

    first(products)                -> answers of stage one, and the products that stage two must see
    finish(first, stage two logits) -> an answer or a named reason for every product, in order
    classify(products)             -> both, in this process

Serving calls `first` in the ingress, sends what is unsure over to the other deployment, and calls `finish`; so HTTP, batch jobs and the Python API
agree. Knows no model: stage two is whatever reads products and gives logits. Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prodcat.config import Config
from prodcat.contracts import Product
from prodcat.decoding import best_leaves, greedy_nodes, path_log_probabilities, sibling_log_softmax
from prodcat.encoders.inputs import TextFields, product_text
from prodcat.prediction.gate import Gate
from prodcat.taxonomy import CategoryPath, Taxonomy

ALTERNATIVES = 3


class CascadeSettings(Config):
    """What the cascade was fitted to on validation products; travels in the bundle."""

    text_fields: tuple[TextFields, ...]
    temperatures_one: tuple[float, ...]
    temperatures_two: tuple[float, ...]
    gate: Gate


@dataclass(frozen=True, slots=True)
class Alternative:
    path: CategoryPath
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified product.

    Args:
        confidences: calibrated probability of the path down to each of its levels; falls from level to level.
        alternatives: the next best leaves with their path probabilities.
        stage: 1 or 2.
        bundle: version of the bundle that answered.
        image_problem: why the image was not used (images.REASONS), though there was one.
    """

    key: str
    category_id: str
    path: CategoryPath
    confidences: tuple[float, ...]
    alternatives: tuple[Alternative, ...]
    stage: int
    bundle: str
    image_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A product with nothing to go by."""

    key: str
    reason: str
    detail: str


class StageOne(Protocol):
    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class StageTwoOutput:
    """Stage two's logits for n products.

    Args:
        logits: float32 [n, N]; any values where nothing could be read.
        readable: bool [n]: False where neither text nor a usable image was there.
        image_problems: n entries: why an image was not used, as (reason, detail); None where it was, or there was none.
    """

    logits: np.ndarray
    readable: np.ndarray
    image_problems: tuple[tuple[str, str] | None, ...]


class StageTwo(Protocol):
    def read(self, products: Sequence[Product]) -> StageTwoOutput: ...


@dataclass(frozen=True)
class FirstPass:
    """Stage one's part: answers where it was sure, and the rows that stage two must see."""

    products: tuple[Product, ...]
    answers: tuple[Answer | None, ...]
    unsure: tuple[int, ...]

    @property
    def for_stage_two(self) -> list[Product]:
        return [self.products[row] for row in self.unsure]


class Cascade:
    """Both stages over one tree.

    Args:
        stage_two: None in a process that holds stage one only; then `classify` may not be called.
        version: of the bundle; every answer names it.
    """

    def __init__(self, tree: Taxonomy, settings: CascadeSettings, stage_one: StageOne, stage_two: StageTwo | None, version: str) -> None:
        self.tree, self.settings, self.version = tree, settings, version
        self.stage_one, self.stage_two = stage_one, stage_two

    def classify(self, products: Sequence[Product]) -> list[Answer | Unreadable]:
        """n products -> n results in the same order; each the same as if the product were alone."""
        if self.stage_two is None:
            raise ValueError("this cascade holds stage one only: call first() and finish() around a stage two elsewhere")
        first = self.first(products)
        return self.finish(first, self.stage_two.read(first.for_stage_two) if first.unsure else None)

    def first(self, products: Sequence[Product]) -> FirstPass:
        texts = [product_text(p.title, p.description, p.brand, self.settings.text_fields) for p in products]
        readable = [row for row, text in enumerate(texts) if text is not None]
        answers: list[Answer | None] = [None] * len(products)
        # With the gate shut there is no use in asking.
        if readable and self.settings.gate.threshold < 1:
            logits, _ = self.stage_one.read([text for text in texts if text is not None])
            decoded = self._decode([products[row] for row in readable], logits, stage=1)
            sure = self.settings.gate.sure(np.array([answer.confidences[-1] for answer in decoded]))
            for row, answer, is_sure in zip(readable, decoded, sure, strict=True):
                answers[row] = answer if is_sure else None
        unsure = tuple(row for row, answer in enumerate(answers) if answer is None)
        return FirstPass(tuple(products), tuple(answers), unsure)

    def finish(self, first: FirstPass, output: StageTwoOutput | None) -> list[Answer | Unreadable]:
        """Args: output: stage two's, for first.for_stage_two in that order; None if there was none to ask."""
        results: list[Answer | Unreadable | None] = list(first.answers)
        if first.unsure:
            assert output is not None
            asked = first.for_stage_two
            decoded = self._decode(asked, output.logits, stage=2, image_problems=output.image_problems)
            for row, product, answer, readable, problem in zip(first.unsure, asked, decoded, output.readable, output.image_problems, strict=True):
                results[row] = answer if readable else _unreadable(product, problem)
        return [result for result in results if result is not None]

    def _decode(
        self, products: Sequence[Product], logits: np.ndarray, *, stage: int, image_problems: Sequence[tuple[str, str] | None] | None = None
    ) -> list[Answer]:
        tree = self.tree
        conditional = sibling_log_softmax(logits, tree, self.settings.temperatures_one if stage == 1 else self.settings.temperatures_two)
        joint = path_log_probabilities(conditional, tree)
        nodes = greedy_nodes(conditional, tree)
        best = best_leaves(joint, tree, ALTERNATIVES + 1)
        # min: rounding may carry a certain path a hair above 1.
        probabilities = np.minimum(np.exp(joint), 1.0)
        answers = []
        for row, (product, node) in enumerate(zip(products, nodes, strict=True)):
            category = tree.categories[node]
            path = tree.path_indices[node, : category.level]
            others = [leaf for leaf in best[row] if leaf != node][:ALTERNATIVES]
            problem = image_problems[row] if image_problems is not None else None
            answers.append(
                Answer(
                    key=product.key,
                    category_id=category.id,
                    path=category.path,
                    confidences=tuple(float(value) for value in probabilities[row, path]),
                    alternatives=tuple(Alternative(tree.categories[leaf].path, float(probabilities[row, leaf])) for leaf in others),
                    stage=stage,
                    bundle=self.version,
                    image_problem=problem[0] if problem else product.image_problem,
                )
            )
        return answers


def _unreadable(product: Product, problem: tuple[str, str] | None) -> Unreadable:
    if problem is not None:
        return Unreadable(product.key, problem[0], f"no title, and the image cannot be used: {problem[1]}")
    return Unreadable(product.key, "nothing_to_read", "neither title nor image; send at least one")
