"""The one way from product to category, in batch and online: stage one answers what it is sure of, stage two the rest.

    first(products)                -> answers of stage one, and the products that stage two must see
    finish(first, stage two logits) -> an answer or a named reason for every product, in order
    classify(products)             -> both, in this process

    alone(first, reason)           -> what stage one says of all of them, where stage two cannot be had

Serving calls `first` in the ingress, sends what is unsure over to the other deployment, and calls `finish`; so HTTP, batch jobs and the Python API
agree. Knows no model: stage two is whatever reads products and gives logits. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from prodcat.config import Config
from prodcat.contracts import Product
from prodcat.decoding import DecoderName, best_ends
from prodcat.encoders.inputs import TextReading
from prodcat.prediction.backoff import Backoff
from prodcat.prediction.calibration import Calibration, Reading
from prodcat.prediction.conformal import Conformal
from prodcat.prediction.degradation import DEGRADED
from prodcat.prediction.gate import Gate
from prodcat.taxonomy import CategoryPath, HeadLayout, Taxonomy

ALTERNATIVES = 3


class CascadeSettings(Config):
    """How logits become answers, and what was fitted to that on validation products; travels in the bundle.

    Args:
        text: what stage one reads of a product.
        decoder: of both stages.
        stops: ids of the inner categories at which an answer may end: the last columns of both stages' logits, in the tree's order.
        backoff: applied to the answer of whichever stage answered; None: answers go down to the leaf.
        conformal: None: answers carry no set.
    """

    text: TextReading
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
        degraded: why stage two did not answer, though stage one was unsure: one of DEGRADED. None, as nearly always: it was not needed, or answered.
        taxonomy_version: which version of the tree it is told in (versions.py).
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
    degraded: str | None = None
    taxonomy_version: int = 1


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A product with nothing to go by."""

    key: str
    reason: str
    detail: str


class StageOne(Protocol):
    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]: ...


class Elsewhere:
    """Stage one where another process holds it."""

    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError(f"{len(texts)} texts for a cascade that only finishes what another process began")


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
    def read(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> StageTwoOutput:
        """Args: vectors: stage one's, float32 [n, W], NaN where there is no title; None: made again if they are wanted."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """What stage one makes of a product that it leaves to stage two.

    Args:
        logits: float32 [C]; None where there is no title to read.
        vector: float32 [W], before its heads; stage two may read it.
    """

    logits: np.ndarray | None
    vector: np.ndarray | None


@dataclass(frozen=True)
class FirstPass:
    """Stage one's part: answers where it was sure, and what it makes of the products that stage two must see."""

    products: tuple[Product, ...]
    results: tuple[Answer | Unsure, ...]

    @property
    def unsure(self) -> tuple[int, ...]:
        """Rows that stage two must see."""
        return tuple(row for row, result in enumerate(self.results) if isinstance(result, Unsure))

    @property
    def for_stage_two(self) -> list[Product]:
        return [self.products[row] for row in self.unsure]

    @property
    def vectors(self) -> np.ndarray:
        """float32 [u, W] of `for_stage_two`, NaN where there is no title."""
        found = [result.vector for result in self.results if isinstance(result, Unsure)]
        width = max((len(vector) for vector in found if vector is not None), default=1)
        return np.stack([np.full(width, np.nan, np.float32) if vector is None else vector for vector in found])


class Cascade:
    """Both stages over one tree.

    Args:
        stage_one: Elsewhere() in a process that finishes what another one began; then only `finish` may be called.
        stage_two: None in a process that holds stage one only; then `classify` may not be called.
        version: of the bundle; every answer names it.
        taxonomy_version: of the tree; the same.
    """

    def __init__(
        self,
        tree: Taxonomy,
        settings: CascadeSettings,
        stage_one: StageOne,
        stage_two: StageTwo | None,
        version: str,
        taxonomy_version: int = 1,
    ) -> None:
        self.tree, self.settings, self.version, self.taxonomy_version = tree, settings, version, taxonomy_version
        self.layout = settings.layout(tree)
        self.stage_one, self.stage_two = stage_one, stage_two

    def classify(self, products: Sequence[Product]) -> list[Answer | Unreadable]:
        """n products -> n results in the same order; each the same as if the product were alone."""
        if self.stage_two is None:
            raise ValueError("this cascade holds stage one only: call first() and finish() around a stage two elsewhere")
        first = self.first(products)
        return self.finish(first, self.stage_two.read(first.for_stage_two, first.vectors) if first.unsure else None)

    def first(self, products: Sequence[Product]) -> FirstPass:
        texts = [self.settings.text.of(p.title, p.description, p.brand, p.language) for p in products]
        readable = [row for row, text in enumerate(texts) if text is not None]
        results: list[Answer | Unsure] = [Unsure(None, None)] * len(products)
        if readable:
            logits, vectors = self.stage_one.read([text for text in texts if text is not None])
            reading = self.settings.calibration_one.read(logits, self.layout, self.settings.decoder)
            # The gate asks for the whole answer's confidence; back-off may shorten what passes it.
            sure = self.settings.gate.sure(reading.whole, [products[row].platform for row in readable])
            answers = iter(self._answers([products[readable[row]] for row in np.flatnonzero(sure)], reading, np.flatnonzero(sure), stage=1))
            for row, place in enumerate(readable):
                results[place] = next(answers) if sure[row] else Unsure(logits[row], vectors[row])
        return FirstPass(tuple(products), tuple(results))

    def finish(self, first: FirstPass, output: StageTwoOutput | None) -> list[Answer | Unreadable]:
        """Args: output: stage two's, for first.for_stage_two in that order; None if there was none to ask."""
        results: dict[int, Answer | Unreadable] = {}
        if first.unsure:
            assert output is not None
            asked = first.for_stage_two
            foreign = np.array([self.settings.gate.foreign(product.platform) for product in asked], dtype=bool)
            reading = self.settings.calibration_two.read(output.logits, self.layout, self.settings.decoder, foreign)
            decoded = self._answers(asked, reading, np.arange(len(asked)), stage=2, image_problems=output.image_problems)
            for row, product, answer, readable, problem in zip(first.unsure, asked, decoded, output.readable, output.image_problems, strict=True):
                results[row] = answer if readable else _unreadable(product, problem)
        return _in_order(first, results)

    def alone(self, first: FirstPass, reason: str) -> list[Answer | Unreadable]:
        """What stage one says of all products, for want of stage two; those without a title cannot be answered.

        Args:
            reason: one of DEGRADED; every answer that stage two should have given carries it.
        """
        results: dict[int, Answer | Unreadable] = {}
        having = [(row, result.logits) for row, result in enumerate(first.results) if isinstance(result, Unsure) and result.logits is not None]
        if having:
            reading = self.settings.calibration_one.read(np.stack([logits for _, logits in having]), self.layout, self.settings.decoder)
            answers = self._answers([first.products[row] for row, _ in having], reading, np.arange(len(having)), stage=1)
            results = {row: replace(answer, degraded=reason) for (row, _), answer in zip(having, answers, strict=True)}
        for row in set(first.unsure) - set(results):
            message = f"{DEGRADED[reason]}, and without a title only stage two could answer; send the product again later"
            results[row] = Unreadable(first.products[row].key, reason, message)
        return _in_order(first, results)

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
        nodes = tree.path_indices[reading.nodes[rows], levels - 1]
        best = best_ends(confidences, layout, ALTERNATIVES + 1)
        # As Python's own numbers, all at once: one by one out of the arrays they would cost more than the decoding.
        likely = np.take_along_axis(confidences, best, axis=1).tolist()
        own = confidences[np.arange(len(ends)), ends].tolist()
        plain = zip(products, along.tolist(), ends.tolist(), deepest.tolist(), levels.tolist(), nodes.tolist(), best.tolist(), strict=True)
        answers = []
        for row, (product, down, end, depth, level, node, others) in enumerate(plain):
            stopped = level < depth
            # A shortened answer keeps its own leaf among the alternatives, even where a decoder picked one that is not among the likeliest.
            next_best = [(other, value) for other, value in zip(others, likely[row], strict=True) if stopped or other != end][:ALTERNATIVES]
            if stopped and all(other != end for other, _ in next_best):
                next_best[-1] = end, own[row]
            problem = image_problems[row] if image_problems is not None else None
            answers.append(
                Answer(
                    key=product.key,
                    category_id=tree.categories[node].id,
                    path=tree.categories[node].path,
                    confidences=tuple(down[:level]),
                    alternatives=tuple(Alternative(self._path(other), value) for other, value in next_best),
                    stage=stage,
                    bundle=self.version,
                    image_problem=problem[0] if problem else product.image_problem,
                    stopped_at_parent=stopped,
                    holds_precision=None if holds is None else bool(holds[row]),
                    candidates=self._candidates(confidences[row], end),
                    taxonomy_version=self.taxonomy_version,
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


def _in_order(first: FirstPass, instead: Mapping[int, Answer | Unreadable]) -> list[Answer | Unreadable]:
    """Stage one's answers, and in the rows where it was unsure what came instead."""
    return [result if isinstance(result, Answer) else instead[row] for row, result in enumerate(first.results)]


def _unreadable(product: Product, problem: tuple[str, str] | None) -> Unreadable:
    if problem is not None:
        return Unreadable(product.key, problem[0], f"no title, and the image cannot be used: {problem[1]}")
    return Unreadable(product.key, "nothing_to_read", "neither title nor image; send at least one")
