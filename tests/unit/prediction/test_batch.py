"""Batch classification's two stages over rows: what the cascade says of them, in shards, and what one bad row does to the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.contracts import PREDICTIONS, REJECTED, Product
from prodcat.ledger import NOWHERE, Ledger, identities
from prodcat.location import Location
from prodcat.prediction.batch import FirstStage, SecondStage, Told, apart, prediction_row
from prodcat.prediction.cascade import Answer, Cascade, StageTwoOutput

CLEAR = Product("shop", "1", title="Shirts Apparel Shirts")
VAGUE = Product("shop", "2", title="something nice")
PICTURE = Product("shop", "3", image=b"pixels")
NOTHING = Product("shop", "4")
KILLER = Product("shop", "5", title="kills stage one")
CURSED = Product("shop", "6", title="kills what prepares it")
EVERY = [CLEAR, VAGUE, PICTURE, NOTHING]


@dataclass(frozen=True)
class Ready:
    """Stands for Prepared: what stage two makes of it is known already."""

    output: StageTwoOutput

    @property
    def readable(self) -> np.ndarray:
        return self.output.readable

    @property
    def image_problems(self) -> tuple[tuple[str, str] | None, ...]:
        return self.output.image_problems


class Preparing:
    def __init__(self, stage_two) -> None:
        self.stage_two, self.sizes = stage_two, []

    def prepare(self, products: Sequence[Product], vectors: np.ndarray | None) -> Ready:
        if any(product.title == CURSED.title for product in products):
            raise RuntimeError("a\nlong story")
        self.sizes.append(len(products))
        return Ready(self.stage_two.read(products, vectors))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Location(str(tmp_path)), ["all", "rejected/all"])


@pytest.fixture
def run(cascade: Cascade, size_stage, ledger: Ledger) -> Callable[..., list[Told]]:
    """Products through both stages, at most two at once in stage two -> what was told of them."""
    read = cascade.stage_one.read

    def reading(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if KILLER.title in texts:
            raise ValueError("no")
        return read(texts)

    def work(products: Sequence[Product | None]) -> list[Told]:
        rows = identities([product.key if product else f"{place}" for place, product in enumerate(products)], ["d"] * len(products))
        first = FirstStage(cascade, Preparing(size_stage), ledger, size=2)  # type: ignore[arg-type]
        second = SecondStage(lambda prepared: prepared.output.logits, cascade, ledger)  # type: ignore[attr-defined]
        told, left = first("all", rows, products, [("feed.csv", place) for place in range(len(products))])
        return [told, *(second(item) for item in left)]

    cascade.stage_one.read = reading  # type: ignore[method-assign]
    return work


def test_answers_and_rejections_are_the_cascades(cascade: Cascade, run, ledger: Ledger) -> None:
    expected = {product.key: result for product, result in zip(EVERY, cascade.classify(EVERY), strict=True)}
    told = run(EVERY)
    # Stage one is sure of one; the three others go on two at a time.
    assert [part.rows for part in told] == [1, 2, 1]
    ledger.close({})
    answers = {row["key"]: row for row in ledger.read("all", PREDICTIONS).to_pylist()}
    for product in (CLEAR, VAGUE, PICTURE):
        result = expected[product.key]
        assert isinstance(result, Answer)
        assert answers[product.key] == prediction_row(result, product)
    (refused,) = ledger.read("rejected/all", REJECTED).to_pylist()
    assert (refused["source"], refused["row"], refused["reason"]) == ("feed.csv", 3, "nothing_to_read")
    assert refused["detail"].startswith("shop/4: ")


def test_what_a_view_leaves_nothing_of_is_counted(run, ledger: Ledger) -> None:
    run([CLEAR, None, VAGUE])
    assert ledger.close({})["rows"] == {"all": 2, "rejected/all": 0, NOWHERE: 1}


@pytest.mark.parametrize("bad", [KILLER, CURSED])
def test_a_row_that_breaks_a_stage_is_rejected_and_the_others_are_answered(bad: Product, run, ledger: Ledger) -> None:
    told = run([CLEAR, VAGUE, bad, PICTURE])
    assert sum(part.rows for part in told) == 4
    assert sum(part.reasons.get("failed", 0) for part in told) == 1
    ledger.close({})
    assert sorted(ledger.read("all", PREDICTIONS)["key"].to_pylist()) == ["shop/1", "shop/2", "shop/3"]
    (refused,) = ledger.read("rejected/all", REJECTED).to_pylist()
    assert (refused["reason"], refused["row"]) == ("failed", 2)
    assert "failed on this product alone" in refused["detail"]
    assert "\n" not in refused["detail"]


def test_a_stage_that_fails_on_every_row_is_no_poison(run) -> None:
    with pytest.raises(ValueError, match="no"):
        run([KILLER, Product("shop", "7", title=KILLER.title)])


@given(st.lists(st.integers(0, 9), max_size=20))
def test_apart_finds_what_fails_and_loses_nothing(items: list[int]) -> None:
    def work(part: Sequence[int]) -> list[int]:
        if any(item >= 7 for item in part):
            raise ValueError
        return [item * 2 for item in part]

    if len(items) > 1 and all(item >= 7 for item in items):
        with pytest.raises(ValueError):
            list(apart(work, items))
        return
    found = list(apart(work, items))
    assert [item for part, _ in found for item in part] == items
    for part, result in found:
        assert result == [item * 2 for item in part] if isinstance(result, list) else [item >= 7 for item in part] == [True]
