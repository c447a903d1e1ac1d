"""The client against the real API, and against servers that answer what ours does not."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from prodcat.client import Client
from prodcat.contracts import Product
from prodcat.errors import PredictionError, RequestRefused
from prodcat.prediction.cascade import Answer, Unreadable
from prodcat.serving.api import create_api
from prodcat.serving.first_pass import Overloaded
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Asked
from prodcat.serving.recent import Result
from prodcat.serving.schema import ClassifyRequest, ClassifyResponse, Problem

from .conftest import INFO as PLAIN_INFO
from .conftest import ToApi

LIMITS = RequestLimits(max_body_bytes=2_000, max_products=3)
INFO = PLAIN_INFO.model_copy(update={"limits": LIMITS.model_dump()})


class Echo:
    """Answers a product with its own title as the category."""

    info = INFO

    def __init__(self) -> None:
        self.calls: list[list[Product]] = []
        self.overloaded = 0

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        if self.overloaded:
            self.overloaded -= 1
            raise Overloaded("9 products are waiting already")
        self.calls.append(list(products))
        return [self._one(product) for product in products]

    def close(self) -> None:
        pass

    def _one(self, product: Product) -> Result:
        if product.title is None and product.image is None:
            return Unreadable(product.key, "nothing_to_read", "neither title nor image; send at least one")
        return Answer(product.key, "id", path=(product.title or "?",), confidences=(0.9,), alternatives=(), stage=1, bundle="feedc0ffee00")


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[ToApi]:
    async def ready() -> str | None:
        return None

    with TestClient(create_api(echo, LIMITS, ready)) as test_client:
        yield ToApi(test_client)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(server: ToApi, waits: list[float]) -> Iterator[Client]:
    with Client("http://api.example", key="secret", transport=server, sleep=waits.append) as client:
        yield client


def _answering(*answers: Callable[[httpx.Request], httpx.Response] | httpx.Response, waits: list[float] | None = None) -> Client:
    rest = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        answer = next(rest)
        return answer if isinstance(answer, httpx.Response) else answer(request)

    return Client("http://api.example", transport=httpx.MockTransport(handle), sleep=(waits if waits is not None else []).append)


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(stream, "PNG")
    return stream.getvalue()


def test_one_product_with_everything(client: Client, echo: Echo, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(_png())
    texts = {"title": "Bottes d'été 🙂", "description": "long", "brand": "Acme", "platform": "shop", "product_id": "7"}
    answers = [client.classify(**texts, image=image) for image in (None, _png(), photo)]  # type: ignore[arg-type]
    assert all(isinstance(answer, ClassifyResponse) for answer in answers)
    assert {answer.category for answer in answers} == {"Bottes d'été 🙂"}
    assert [call[0].image for call in echo.calls] == [None, _png(), _png()]
    assert {(call[0].description, call[0].brand, call[0].platform, call[0].product_id) for call in echo.calls} == {("long", "Acme", "shop", "7")}


def test_the_key_is_sent_and_not_shown(client: Client, server: ToApi) -> None:
    client.model()
    assert server.seen[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(client)


def test_model_and_readiness(client: Client) -> None:
    assert client.model() == INFO
    assert client.ready()
    assert not _answering(httpx.Response(503)).ready()


def test_any_number_of_products_goes_in_requests_of_the_servers_size(client: Client, echo: Echo) -> None:
    products = [{"title": f"t{n}"} for n in range(7)]
    results = client.classify_batch([*products, ClassifyRequest(title="t7"), {}, {"title": "i", "image": _png()}])
    assert [each.category for each in results if isinstance(each, ClassifyResponse)] == [*(f"t{n}" for n in range(8)), "i"]
    assert isinstance(results[8], Problem)
    assert [len(call) for call in echo.calls] == [3, 3, 3, 1]
    assert client.classify_batch([]) == []


def test_large_products_go_in_smaller_requests(client: Client, echo: Echo) -> None:
    assert len(client.classify_batch([{"title": "x" * 900}] * 4)) == 4
    assert [len(call) for call in echo.calls] == [2, 2]


def test_a_stream_takes_no_more_products_than_it_asks(client: Client) -> None:
    taken: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        while True:
            taken.append(len(taken))
            yield {"title": f"t{len(taken)}"}

    answers = client.stream(endless())
    first = next(answers)
    assert isinstance(first, ClassifyResponse)
    assert first.category == "t1"
    assert len(taken) == LIMITS.max_products + 1


def test_a_refusal_says_what_the_server_said(client: Client, waits: list[float]) -> None:
    for ask in (
        client.classify,
        lambda: client.classify(title="x" * 2001),
        lambda: client.classify(image=b"x", image_url="https://a.example"),
    ):
        with pytest.raises(RequestRefused) as caught:
            ask()
        assert caught.value.status in (413, 422)
        assert caught.value.request_id
        assert caught.value.reason in ("nothing_to_read", "invalid_request", "body_too_large", "image_given_twice")
    with pytest.raises(RequestRefused, match="titel"):
        client.classify_batch([{"titel": "x"}])
    assert waits == []


def test_an_overloaded_server_is_asked_again_and_not_for_ever(client: Client, echo: Echo, waits: list[float]) -> None:
    echo.overloaded = 2
    assert client.classify(title="boots", image=b"x").category == "boots"
    assert waits == [1.0, 1.0]
    echo.overloaded = 9
    with pytest.raises(PredictionError) as caught:
        client.classify_batch([{"title": "boots"}])
    assert (type(caught.value), caught.value.status, caught.value.reason) == (PredictionError, 503, "overloaded")
    assert echo.overloaded == 5


@pytest.mark.parametrize(
    ("header", "waited"), [("7", 7.0), ("0.5", 0.5), ("9999", 30.0), ("-1", 0.0), ("Fri, 01 Jan 2027 00:00:00 GMT", 1.0), ("nan", 0.0)]
)
def test_retry_after_is_believed_within_reason(header: str, waited: float) -> None:
    waits: list[float] = []
    answer = httpx.Response(200, json=INFO.model_dump() | {"new_in_the_next_version": 1})
    client = _answering(httpx.Response(429, headers={"Retry-After": header}), answer, waits=waits)
    assert client.model() == INFO
    assert waits == [waited]


def _broken(error: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error("no route")

    return fail


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (_broken(httpx.ConnectError), "unreachable", None),
        (_broken(httpx.ReadTimeout), "timeout", None),
        (httpx.Response(502, text="<html>Bad Gateway"), "http_error", 502),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), "http_error", 302),
        (httpx.Response(200, text="hello"), "unexpected_answer", 200),
        (httpx.Response(200, json={"path": 1}), "unexpected_answer", 200),
        (httpx.Response(500, json={"error": {"reason": "internal_error", "message": "m", "request_id": "r1"}}), "internal_error", 500),
    ],
)
def test_no_answer_is_a_prediction_error(answer: Any, reason: str, status: int | None) -> None:
    with pytest.raises(PredictionError) as caught:
        _answering(answer).classify(title="x")
    assert not isinstance(caught.value, RequestRefused)
    assert (caught.value.reason, caught.value.status) == (reason, status)


def test_a_server_that_answers_fewer_than_asked_is_no_server() -> None:
    client = _answering(httpx.Response(200, json=INFO.model_dump()), httpx.Response(200, content=json.dumps({"results": []})))
    with pytest.raises(PredictionError, match="0 results for 1"):
        client.classify_batch([{"title": "x"}])


def test_an_unreachable_server_is_not_ready() -> None:
    assert not _answering(_broken(httpx.ConnectError)).ready()
