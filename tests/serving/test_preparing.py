"""What travels to stage two says all that stage two would have read itself."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prodcat.contracts import Product
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.preparing import Preparation, Prepared


def _image(color: str, side: int = 40) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), color).save(stream, "PNG")
    return stream.getvalue()


PRODUCTS = [
    Product("shop", "1", title="black leather boots with a rather long title, size 40", image=_image("red")),
    Product("shop", "2", title="boots"),
    Product("shop", "3", image=_image("blue", 80)),
    Product("shop", "4", title="scarf", image=b"no image"),
    Product("shop", "5"),
]


@pytest.fixture(scope="module")
def preparation(tiny_bundle: Bundle) -> Preparation:
    return tiny_bundle.preparation()


def _equal(one: Prepared, other: Prepared) -> None:
    assert (one.size, one.image_problems) == (other.size, other.image_problems)
    assert one.inputs.keys() == other.inputs.keys()
    for name, (rows, values) in one.inputs.items():
        np.testing.assert_array_equal(rows, other.inputs[name][0])
        np.testing.assert_array_equal(values, other.inputs[name][1])


def test_it_says_who_has_what(preparation: Preparation) -> None:
    prepared = preparation.prepare(PRODUCTS)
    assert {name: rows.tolist() for name, (rows, _) in prepared.inputs.items()} == {"text": [0, 1, 3], "image": [0, 2], "stage_one": [0, 1, 3]}
    assert prepared.inputs["image"][1].dtype == np.uint8
    assert prepared.readable.tolist() == [True, True, True, True, False]
    assert [problem[0] if problem else None for problem in prepared.image_problems] == [None, None, None, "image_not_an_image", None]


def test_the_vector_that_came_along_is_the_one_it_would_make(tiny_bundle: Bundle, preparation: Preparation) -> None:
    shut = tiny_bundle.settings.model_copy(update={"gate": tiny_bundle.settings.gate.model_copy(update={"threshold": 1.0})})
    cascade = tiny_bundle.text_cascade()
    cascade.settings = shut
    first = cascade.first(PRODUCTS)
    assert first.unsure == tuple(range(len(PRODUCTS)))
    assert np.isnan(first.vectors[:, 0]).tolist() == [False, False, True, False, True]
    assert preparation.wants_vectors
    _equal(preparation.prepare(PRODUCTS, first.vectors), preparation.prepare(PRODUCTS))


def test_calls_that_are_joined_are_the_batch(preparation: Preparation) -> None:
    parts = [preparation.prepare(PRODUCTS[:1]), preparation.prepare(PRODUCTS[1:2]), preparation.prepare(PRODUCTS[2:])]
    _equal(preparation.joined(parts), preparation.prepare(PRODUCTS))
    _equal(preparation.joined([preparation.prepare(PRODUCTS[4:])]), preparation.prepare(PRODUCTS[4:]))


def test_the_model_reads_the_same_alone_and_joined(tiny_bundle: Bundle) -> None:
    stage = tiny_bundle.multimodal_stage()
    together = stage.infer(stage.preparation.joined([stage.prepare([product]) for product in PRODUCTS]))
    alone = np.concatenate([stage.infer(stage.prepare([product])) for product in PRODUCTS])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_texts_of_like_length_are_read_together_and_come_back_in_order(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prodcat.prediction.multimodal_stage.CHUNK", 2)
    stage = tiny_bundle.multimodal_stage()
    titles = ["boots", "black leather boots with a rather long title, size 40", "scarf", "a wool scarf that is long and warm", "hat"]
    prepared = stage.prepare([Product("shop", title, title=title) for title in titles])
    tower = stage._towers["text"]
    assert tower is not None
    widths: list[int] = []
    encode = tower.encode

    def seen(ids: np.ndarray) -> np.ndarray:
        widths.append(ids.shape[1])
        return encode(ids)

    monkeypatch.setattr(tower, "encode", seen)
    features, _ = stage.encode(prepared)
    # Short ones are not padded to the longest.
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] == prepared.inputs["text"][1].shape[1]
    alone = np.concatenate([encode(tower.prepare([title])) for title in titles])
    np.testing.assert_allclose(features["text"], alone, atol=1e-5)


class _Small:
    """A stage two with memory for two products at once, and none at all for a title of 'large'."""

    def __init__(self, stage: Any) -> None:
        self.preparation, self._stage = stage.preparation, stage
        self.sizes: list[int] = []

    def infer(self, prepared: Prepared) -> np.ndarray:
        self.sizes.append(prepared.size)
        if prepared.size > 2:
            raise MemoryError
        return np.asarray(self._stage.infer(prepared))


def test_a_batch_too_large_for_the_memory_is_halved_and_one_call_too_large_is_named(tiny_bundle: Bundle) -> None:
    from prodcat.serving.deployment import infer_each
    from prodcat.serving.stage_two import StageTwoError

    stage = tiny_bundle.multimodal_stage()
    small = _Small(stage)
    calls = [stage.prepare([product]) for product in PRODUCTS]
    for got, call in zip(infer_each(small, calls), calls, strict=True):  # type: ignore[arg-type]
        np.testing.assert_allclose(got, stage.infer(call), atol=1e-4)
    assert small.sizes == [5, 2, 3, 1, 2]
    with pytest.raises(StageTwoError, match="stage_two_out_of_memory"):
        infer_each(small, [stage.prepare(PRODUCTS[:3])])  # type: ignore[arg-type]
