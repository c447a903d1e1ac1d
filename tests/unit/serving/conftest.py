"""A cascade whose two stages are small real readers of words: the titles name the leaf, so every expected answer can be told by eye."""

from collections.abc import Sequence

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from prodcat.contracts import Product
from prodcat.encoders.inputs import TextReading, product_text
from prodcat.errors import ImageError
from prodcat.images import ImageLimits, decode
from prodcat.prediction.calibration import Calibration
from prodcat.prediction.cascade import Cascade, CascadeSettings, StageTwoOutput
from prodcat.prediction.gate import Gate
from prodcat.serving.schema import ModelInfo
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("Footwear", "Shoes", "Boots"), ("Footwear", "Shoes", "Heels"), ("Footwear", "Sandals"), ("Bags",)])


def _scores(text: str) -> np.ndarray:
    """A named category scores 9, one above a named category 2: a text that names the whole path is all but certain, a leaf alone is not."""
    named = [category.path for category in TREE.categories if category.name.lower() in text.lower()]
    return np.array([9.0 * (c.path in named) + 2.0 * any(c.path == path[: c.level] != path for path in named) for c in TREE.categories], np.float32)


class WordReader:
    """Stage one: sure where the title names every level's category."""

    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([_scores(text) for text in texts]), np.zeros((len(texts), 1), np.float32)


class WordAndImageReader:
    """Stage two: as stage one, and a readable image speaks for bags."""

    def read(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> StageTwoOutput:
        logits = np.zeros((len(products), len(TREE)), np.float32)
        readable = np.zeros(len(products), dtype=bool)
        problems: list[tuple[str, str] | None] = [None] * len(products)
        for row, product in enumerate(products):
            text = product_text(product.title, product.description, product.brand, ("title",))
            if text is not None:
                logits[row] += _scores(text)
                readable[row] = True
            if product.image is not None:
                try:
                    decode(product.image, ImageLimits())
                except ImageError as error:
                    problems[row] = (error.reason, error.detail)
                else:
                    logits[row] += 20 * _scores("bags")
                    readable[row] = True
        return StageTwoOutput(logits, readable, tuple(problems))


@pytest.fixture
def cascade() -> Cascade:
    plain = Calibration(temperatures=(1.0,) * 3)
    settings = CascadeSettings(text=TextReading(), calibration_one=plain, calibration_two=plain, gate=Gate(threshold=0.9))
    return Cascade(TREE, settings, WordReader(), WordAndImageReader(), "feedc0ffee00")


INFO = ModelInfo(
    bundle="feedc0ffee00",
    taxonomy="abc",
    categories=6,
    leaves=4,
    levels=3,
    gate=0.9,
    decoder="greedy",
    precision=None,
    coverage=None,
    text_fields=["title"],
    encoders={},
    limits={},
)


@pytest.fixture
def model_info() -> ModelInfo:
    return INFO


class ToApi(httpx.BaseTransport):
    """From the client's requests to an application in this process."""

    def __init__(self, server: TestClient) -> None:
        self._server = server
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        headers = [(name, value) for name, value in request.headers.multi_items() if name != "host"]
        answer = self._server.request(request.method, str(request.url.raw_path, "ascii"), content=request.read(), headers=dict(headers))
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)
