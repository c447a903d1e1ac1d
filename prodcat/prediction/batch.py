"""What batch classification does with rows: stage one's part, stage two's, and their results into shards. Knows no Ray and no torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from prodcat.contracts import PREDICTIONS, REJECTED, Product, rows_to_table
from prodcat.ledger import Ledger
from prodcat.prediction.cascade import Answer, Cascade, FirstPass, StageTwoOutput, Unreadable, Unsure
from prodcat.prediction.preparing import Preparation, Prepared

T = TypeVar("T")
R = TypeVar("R")
Result = Answer | Unreadable


def rejected_place(view: str) -> str:
    """The place in the ledger of a view's rejections; its answers' is the view itself."""
    return f"rejected/{view}"


@dataclass(frozen=True)
class Told:
    """What became of rows; see Tally.add."""

    rows: int
    reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Left:
    """Products of one view that stage one leaves to stage two. Without texts and images: they are in `prepared`.

    Args:
        rows: S16 [n].
        origins: source and row of each.
    """

    view: str
    rows: np.ndarray
    products: list[Product]
    origins: list[tuple[str, int]]
    prepared: Prepared


class Writer:
    """Results of a view into a shard."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def write(
        self,
        view: str,
        rows: np.ndarray,
        products: Sequence[Product | None],
        results: Sequence[Answer | Unreadable | None],
        origins: Sequence[tuple[str, int]],
    ) -> Told:
        """Args: products, results: None where a view leaves nothing of the product."""
        answered, refused = (self._ledger.places.index(place) for place in (view, rejected_place(view)))
        outcomes = np.array([-1 if result is None else answered if isinstance(result, Answer) else refused for result in results], dtype=np.int8)
        answers = [
            prediction_row(result, product) for result, product in zip(results, products, strict=True) if isinstance(result, Answer) and product
        ]
        poison = [(result, origin) for result, origin in zip(results, origins, strict=True) if isinstance(result, Unreadable)]
        rejected = [_rejected_row(result, *origin) for result, origin in poison]
        if len(rows):
            tables = {view: rows_to_table(answers, PREDICTIONS), rejected_place(view): rows_to_table(rejected, REJECTED)}
            self._ledger.write(rows, outcomes, tables)
        reasons: dict[str, int] = {}
        examples: dict[str, str] = {}
        for row in rejected:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
            examples.setdefault(row["reason"], f"{row['source']}, row {row['row']}: {row['detail']}")
        return Told(len(rows), reasons, examples)


class FirstStage:
    """Stage one over the rows of a view: answers written, the rest prepared for stage two.

    Args:
        size: products that stage two is to read at once.
    """

    def __init__(self, cascade: Cascade, preparation: Preparation, ledger: Ledger, size: int) -> None:
        self._cascade, self._preparation, self._writer, self._size = cascade, preparation, Writer(ledger), size

    def __call__(
        self, view: str, rows: np.ndarray, products: Sequence[Product | None], origins: Sequence[tuple[str, int]]
    ) -> tuple[Told, list[Left]]:
        having = [row for row, product in enumerate(products) if product is not None]
        results: list[Answer | Unreadable | Unsure | None] = [None] * len(products)
        for part, first in apart(lambda part: self._cascade.first(_there(products, part)).results, having):
            for place, row in enumerate(part):
                results[row] = _failed(products[row], first) if isinstance(first, Exception) else first[place]
        unsure = [row for row, result in enumerate(results) if isinstance(result, Unsure)]
        left = []
        for chunk in (unsure[start : start + self._size] for start in range(0, len(unsure), self._size)):
            for part, prepared in apart(partial(self._prepared, products, results), chunk):
                if isinstance(prepared, Exception):
                    results[part[0]] = _failed(products[part[0]], prepared)
                    continue
                light = [Product(p.platform, p.product_id, image_problem=p.image_problem) for p in _there(products, part)]
                left.append(Left(view, rows[list(part)], light, [origins[row] for row in part], prepared))
        here = [row for row, result in enumerate(results) if not isinstance(result, Unsure)]
        finished = [result for result in results if not isinstance(result, Unsure)]
        told = self._writer.write(view, rows[here], [products[row] for row in here], finished, [origins[row] for row in here])
        return told, left

    def _prepared(self, products: Sequence[Product | None], results: Sequence[Any], part: Sequence[int]) -> Prepared:
        first = FirstPass(tuple(_there(products, part)), tuple(results[row] for row in part))
        return self._preparation.prepare(first.for_stage_two, first.vectors)


class SecondStage:
    """Stage two over what stage one left.

    Args:
        infer: prepared products -> logits float32 [n, C].
        cascade: makes answers of them.
    """

    def __init__(self, infer: Callable[[Prepared], np.ndarray], cascade: Cascade, ledger: Ledger) -> None:
        self._infer, self._cascade, self._writer = infer, cascade, Writer(ledger)

    def __call__(self, left: Left) -> Told:
        output = StageTwoOutput(self._infer(left.prepared), left.prepared.readable, left.prepared.image_problems)
        first = FirstPass(tuple(left.products), (Unsure(None, None),) * len(left.products))
        return self._writer.write(left.view, left.rows, left.products, self._cascade.finish(first, output), left.origins)


def apart(work: Callable[[Sequence[T]], R], items: Sequence[T]) -> Iterator[tuple[Sequence[T], R | Exception]]:
    """Work on all items at once; where that fails, on halves of them, down to the single ones that fail, and the error each gives.

    Raises:
        Exception: the work's own, where there are several items and it fails with every one: then the fault is not theirs.
    """
    found = list(_halved(work, items))
    if len(items) > 1 and all(isinstance(result, Exception) for _, result in found):
        raise next(result for _, result in found if isinstance(result, Exception))
    yield from found


def _halved(work: Callable[[Sequence[T]], R], items: Sequence[T]) -> Iterator[tuple[Sequence[T], R | Exception]]:
    if not items:
        return
    try:
        found: R | Exception = work(items)
    # Whatever one row does to the code that reads it, the others are to be answered.
    except Exception as error:  # noqa: BLE001
        if len(items) > 1:
            half = len(items) // 2
            yield from _halved(work, items[:half])
            yield from _halved(work, items[half:])
            return
        found = error
    yield items, found


def _failed(product: Product | None, error: Exception) -> Unreadable:
    assert product is not None
    told = " ".join(str(error).split())[:500]
    return Unreadable(
        product.key, "failed", f"the classifier failed on this product alone ({type(error).__name__}: {told}); look at its texts and image"
    )


def prediction_row(answer: Answer, product: Product) -> dict[str, Any]:
    """An answer as a row of PREDICTIONS."""
    return {
        "key": answer.key,
        "platform": product.platform,
        "category_id": answer.category_id,
        "path": list(answer.path),
        "confidences": list(answer.confidences),
        "alternatives": [{"path": list(other.path), "confidence": other.confidence} for other in answer.alternatives],
        "stage": answer.stage,
        "bundle": answer.bundle,
        "stopped_at_parent": None if answer.holds_precision is None else answer.stopped_at_parent,
        "holds_precision": answer.holds_precision,
        "candidates": None if answer.candidates is None else [list(path) for path in answer.candidates],
    }


def _rejected_row(result: Unreadable, source: str, row: int) -> dict[str, Any]:
    return {"source": source, "row": row, "reason": result.reason, "detail": f"{result.key}: {result.detail}", "raw": None}


def _there(products: Sequence[Product | None], rows: Sequence[int]) -> list[Product]:
    return [product for row in rows if (product := products[row]) is not None]
