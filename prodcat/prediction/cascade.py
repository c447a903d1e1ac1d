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
from prodcat.decoding import DecoderName, best_ends
from prodcat.encoders.inputs import TextFields, product_text
from prodcat.prediction.backoff import Backoff
from prodcat.prediction.calibration import Calibration, Reading
from prodcat.prediction.conformal import Conformal
from prodcat.prediction.gate import Gate
from prodcat.taxonomy import CategoryPath, HeadLayout, Taxonomy

ALTERNATIVES = 3


class CascadeSettings(Config):
    """How logits become answers, and what was fitted to that on validation products; travels in the bundle.

    Args:
        decoder: of both stages.
        stops: ids of the inner categories at which an answer may end: the last columns of both stages' logits, in the tree's order.
        backoff: applied to the answer of whichever stage answered; None: answers go down to the leaf.
        conformal: None: answers carry no set.
    """

    text_fields: tuple[TextFields, ...]
    decoder: DecoderName = "greedy"
    stops: tuple[str, ...] = ()
    calibration_one: Calibration
    calibration_two: Calibration
    gate: Gate
    backoff: Backoff | None = None
    conformal: Conformal | None = None

    def layout(self, tree: Taxonomy) -> HeadLayout:
        """The columns of both stages' logits. Raises TaxonomyError for stops that are not of this tree."""
        return HeadLayout(tree, tuple(tree.index_of_id(identifier) for identifier in self.stops))


@dataclass(frozen=True, slots=True)
class Alternative:
    path: CategoryPath
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified product.

    Args:
        path: down to the deepest level that holds the bundle's wanted precision, where it has one.
        confidences: calibrated probability of the path down to each of its levels; falls from level to level.
        alternatives: the next best leaves with their path probabilities; after back-off the best leaf is among them.
        stage: 1 or 2.
        bundle: version of the bundle that answered.
        image_problem: why the image was not used (images.REASONS), though there was one.
        stopped_at_parent: the best guess goes on below `path`, but less surely than the wanted precision asks.
        holds_precision: False where not even the first level is sure enough, and is answered all the same; None: the bundle wants no precision.
        candidates: the set that holds the right category with the bundle's coverage, likeliest first; None: the bundle has none.
    """

    key: str
    category_id: str
    path: CategoryPath
    confidences: tuple[float, ...]
    alternatives: tuple[Alternative, ...]
    stage: int
    bundle: str
    image_problem: str | None = None
    stopped_at_parent: bool = False
    holds_precision: bool | None = None
    candidates: tuple[CategoryPath, ...] | None = None


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
        logits: float32 [n, C] (taxonomy.HeadLayout); any values where nothing could be read.
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
        self.layout = settings.layout(tree)
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
        # With the gate shut for every platform there is no use in asking.
        if readable and not self.settings.gate.is_shut:
            logits, _ = self.stage_one.read([text for text in texts if text is not None])
            reading = self.settings.calibration_one.read(logits, self.layout, self.settings.decoder)
            # The gate asks for the whole answer's confidence; back-off may shorten what passes it.
            sure = np.flatnonzero(self.settings.gate.sure(reading.whole, [products[row].platform for row in readable]))
            for row, answer in zip(sure, self._answers([products[readable[row]] for row in sure], reading, sure, stage=1), strict=True):
                answers[readable[row]] = answer
        unsure = tuple(row for row, answer in enumerate(answers) if answer is None)
        return FirstPass(tuple(products), tuple(answers), unsure)

    def finish(self, first: FirstPass, output: StageTwoOutput | None) -> list[Answer | Unreadable]:
        """Args: output: stage two's, for first.for_stage_two in that order; None if there was none to ask."""
        results: list[Answer | Unreadable | None] = list(first.answers)
        if first.unsure:
            assert output is not None
            asked = first.for_stage_two
            reading = self.settings.calibration_two.read(output.logits, self.layout, self.settings.decoder)
            decoded = self._answers(asked, reading, np.arange(len(asked)), stage=2, image_problems=output.image_problems)
            for row, product, answer, readable, problem in zip(first.unsure, asked, decoded, output.readable, output.image_problems, strict=True):
                results[row] = answer if readable else _unreadable(product, problem)
        return [result for result in results if result is not None]

    def _answers(
        self,
        products: Sequence[Product],
        reading: Reading,
        rows: np.ndarray,
        *,
        stage: int,
        image_problems: Sequence[tuple[str, str] | None] | None = None,
    ) -> list[Answer]:
        """Answers to products, whose readings stand in `rows`."""
        tree, layout, backoff = self.tree, self.layout, self.settings.backoff
        confidences, ends, along = reading.confidences[rows], reading.decoded.ends[rows], reading.along[rows]
        deepest = tree.levels[reading.nodes[rows]]
        levels, holds = (deepest, None) if backoff is None else backoff.levels(along)
        best = best_ends(confidences, layout, ALTERNATIVES + 1)
        answers = []
        for row, product in enumerate(products):
            level = int(levels[row])
            stopped = level < deepest[row]
            node = tree.path_indices[reading.nodes[rows[row]], level - 1]
            # A shortened answer keeps its own leaf among the alternatives, even where a decoder picked one that is not among the likeliest.
            others = [end for end in best[row] if stopped or end != ends[row]][:ALTERNATIVES]
            if stopped and ends[row] not in others:
                others[-1] = ends[row]
            problem = image_problems[row] if image_problems is not None else None
            answers.append(
                Answer(
                    key=product.key,
                    category_id=tree.categories[node].id,
                    path=tree.categories[node].path,
                    confidences=tuple(float(value) for value in along[row, :level]),
                    alternatives=tuple(Alternative(self._path(end), float(confidences[row, end])) for end in others),
                    stage=stage,
                    bundle=self.version,
                    image_problem=problem[0] if problem else product.image_problem,
                    stopped_at_parent=bool(stopped),
                    holds_precision=None if holds is None else bool(holds[row]),
                    candidates=self._candidates(confidences[row], ends[row]),
                )
            )
        return answers

    def _candidates(self, confidences: np.ndarray, answered: int) -> tuple[CategoryPath, ...] | None:
        if self.settings.conformal is None:
            return None
        ends = self.layout.ends
        members = self.settings.conformal.members(confidences[ends], int(np.searchsorted(ends, answered)))
        return tuple(self._path(end) for end in ends[members])

    def _path(self, end: int) -> CategoryPath:
        return self.tree.categories[self.layout.nodes[end]].path


def _unreadable(product: Product, problem: tuple[str, str] | None) -> Unreadable:
    if problem is not None:
        return Unreadable(product.key, problem[0], f"no title, and the image cannot be used: {problem[1]}")
    return Unreadable(product.key, "nothing_to_read", "neither title nor image; send at least one")
