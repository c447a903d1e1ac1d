"""Lines of products, answered while more are still coming: order, bounds, backpressure, overload, and clients that go away."""

import asyncio
import base64
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodcat.contracts import Product
from prodcat.prediction.cascade import Cascade, StageTwoOutput
from prodcat.serving.api import create_api
from prodcat.serving.first_pass import Overloaded
from prodcat.serving.limits import BodyLimit, RequestLimits
from prodcat.serving.models import Asked, Model, Models
from prodcat.serving.recent import Result
from prodcat.serving.schema import ModelInfo

SURE, UNSURE = {"title": "Footwear: Shoes, Boots"}, {"title": "boots"}
LIMITS = RequestLimits(max_body_bytes=20_000, max_products=4, recent_seconds=0)
PATH = "/v1/classify/stream"
NDJSON = ((b"content-type", b"application/x-ndjson"),)
HEADERS = {"Content-Type": "application/x-ndjson"}
Classify = Callable[[Sequence[Product]], Awaitable[list[Result]]]


class Answering:
    """The cascade, counted and at will slowed or failing."""

    def __init__(self, cascade: Cascade, info: ModelInfo) -> None:
        self.cascade, self.info = cascade, info
        self.titles: list[str | None] = []
        self.cancelled = 0
        self.before: Callable[[Sequence[Product]], Awaitable[None]] | None = None

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        self.titles += [product.title for product in products]
        try:
            if self.before is not None:
                await self.before(products)
        except asyncio.CancelledError:
            self.cancelled += len(products)
            raise
        return self.cascade.classify(products)

    def close(self) -> None:
        pass


@pytest.fixture
def answering(cascade: Cascade, model_info: ModelInfo) -> Answering:
    return Answering(cascade, model_info)


@pytest.fixture
def api(answering: Answering) -> FastAPI:
    async def ready() -> str | None:
        return None

    return create_api(answering, LIMITS, ready)


@pytest.fixture
def client(api: FastAPI) -> Iterator[TestClient]:
    with TestClient(api) as client:
        yield client


def _lines(*documents: Any) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in documents)


def _read(content: bytes) -> list[dict[str, Any]]:
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


class Connection:
    """One request straight on the ASGI interface, both directions by hand: the test client sends all before it reads anything."""

    def __init__(
        self, api: FastAPI, path: str = PATH, headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"application/x-ndjson"),)
    ) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.asked = 0
        self.status: int | None = None
        self.received = b""
        self.news = asyncio.Event()
        self.blocked: asyncio.Event | None = None
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": list(headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.task = asyncio.create_task(api(scope, self._receive, self._send))

    def put(self, body: bytes, more: bool = True) -> None:
        self.sent.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.sent.put_nowait({"type": "http.disconnect"})

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Waits for that many lines of answers."""
        async with asyncio.timeout(10):
            while self.received.count(b"\n") < count:
                self.news.clear()
                await self.news.wait()
        return _read(self.received)

    async def end(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(10):
            await self.task
        return _read(self.received)

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        return await self.sent.get()

    async def _send(self, message: dict[str, Any]) -> None:
        if self.blocked is not None:
            await self.blocked.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.received += message.get("body", b"")
        self.news.set()


async def _settled() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


# ---- answers ----------------------------------------------------------------------------------------------------------------------


def test_each_line_is_answered_as_if_alone_and_in_order(client: TestClient) -> None:
    bodies = [UNSURE, SURE, {"title": "bags"}, {"title": "小さな鞄 🙂 sandals"}] * 5
    answer = client.post(PATH, content=_lines(*bodies), headers=HEADERS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert _read(answer.content) == [client.post("/v1/classify", json=body).json() for body in bodies]


def test_lines_arrive_in_any_pieces_with_any_ending(client: TestClient) -> None:
    body = b"\n \r\n" + _lines(SURE)[:-1] + b"\r\n\n" + _lines(UNSURE)[:-1]
    expected = [client.post("/v1/classify", json=each).json() for each in (SURE, UNSURE)]
    for size in (1, 7, 1000):
        pieces = (body[start : start + size] for start in range(0, len(body), size))
        assert _read(client.post(PATH, content=pieces, headers=HEADERS).content) == expected


@pytest.mark.parametrize("body", [b"", b"\n\n \n"])
def test_no_lines_no_answers(client: TestClient, body: bytes) -> None:
    answer = client.post(PATH, content=body, headers=HEADERS)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_line_that_cannot_be_answered_has_a_problem_with_its_number(client: TestClient) -> None:
    bad: list[tuple[Any, str, str]] = [
        (b"{", "invalid_json", "line 3: the line is not JSON"),
        (b"\xff\xfe", "invalid_json", "line 4"),
        (b'{"title": "\\ud800"}', "invalid_json", "line 5"),
        (b"[" * 9000, "invalid_json", "line 6"),
        ({"titel": "x"}, "invalid_request", "line 7: titel: unknown field"),
        ({"title": 5}, "invalid_request", "line 8: title: Input should be a valid string"),
        (b"null", "invalid_request", "line 9: line: expected a JSON object"),
        (b'{"title": NaN}', "invalid_request", "line 10: title"),
        ({}, "nothing_to_read", ""),
        ({"image": "%%"}, "image_not_base64", ""),
        ({"image_url": "https://a.example/x.png"}, "image_url_off", ""),
        ({"image": base64.b64encode(b"text").decode()}, "image_not_an_image", ""),
    ]
    answers = _read(client.post(PATH, content=_lines(SURE, b"", *(each for each, _, _ in bad), SURE), headers=HEADERS).content)
    assert answers[0] == answers[-1]
    assert answers[0]["category"] == "Footwear > Shoes > Boots"
    for number, (answer, (_, reason, message)) in enumerate(zip(answers[1:-1], bad, strict=True), 3):
        assert (answer["line"], answer["error"]["reason"]) == (number, reason)
        assert message in answer["error"]["message"]


def test_what_is_no_stream_is_refused(client: TestClient) -> None:
    for headers in ({"Content-Type": "application/json"}, {}, {**HEADERS, "Content-Encoding": "gzip"}):
        answer = client.post(PATH, content=_lines(SURE), headers=headers)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (415, "unsupported_media_type")
    assert client.post(PATH, content=_lines(SURE), headers={"Content-Type": "Application/JSONL; charset=utf-8"}).status_code == 200


# ---- while it is being read -------------------------------------------------------------------------------------------------------


def test_answers_come_while_the_request_is_still_being_sent(api: FastAPI) -> None:
    async def talk() -> None:
        connection = Connection(api)
        for count in range(1, 4):
            connection.put(_lines(SURE))
            assert len(await connection.until(count)) == count
        assert not connection.task.done()
        connection.put(_lines(UNSURE)[:-1], more=False)
        assert [answer["stage"] for answer in await connection.end()] == [1, 1, 1, 2]

    asyncio.run(talk())


def test_a_full_window_stops_the_reading(api: FastAPI, answering: Answering) -> None:
    async def talk() -> None:
        go = asyncio.Event()

        async def wait(_: Sequence[Product]) -> None:
            await go.wait()

        answering.before = wait
        connection = Connection(api)
        for _ in range(100):
            connection.put(_lines(SURE))
        await _settled()
        assert len(answering.titles) == LIMITS.max_products
        # What is under way, and no more: the rest stays with the sender.
        assert connection.asked <= LIMITS.max_products + 1
        go.set()
        connection.put(b"", more=False)
        assert len(await connection.end()) == 100

    asyncio.run(talk())


def test_long_lines_fill_the_window_by_their_bytes(api: FastAPI, answering: Answering) -> None:
    async def talk() -> None:
        go = asyncio.Event()

        async def wait(_: Sequence[Product]) -> None:
            await go.wait()

        answering.before = wait
        connection = Connection(api)
        for _ in range(10):
            connection.put(_lines({"description": "boots " + "x" * 15_000}))
        await _settled()
        assert len(answering.titles) == 2
        go.set()
        connection.put(b"", more=False)
        assert len(await connection.end()) == 10

    asyncio.run(talk())


def test_a_client_that_does_not_read_its_answers_is_not_read_from(api: FastAPI) -> None:
    async def talk() -> None:
        connection = Connection(api)
        connection.blocked = asyncio.Event()
        for _ in range(100):
            connection.put(_lines(SURE))
        await asyncio.sleep(0.05)
        assert connection.asked <= 2 * LIMITS.max_products + 2
        connection.blocked.set()
        connection.put(b"", more=False)
        assert len(await connection.end()) == 100

    asyncio.run(talk())


def test_lines_that_have_come_are_asked_together(api: FastAPI, answering: Answering) -> None:
    async def talk() -> None:
        sizes: list[int] = []

        async def count(products: Sequence[Product]) -> None:
            sizes.append(len(products))

        answering.before = count
        connection = Connection(api)
        connection.put(_lines(*[SURE] * 10), more=False)
        assert len(await connection.end()) == 10
        assert sizes == [4, 4, 2]

    asyncio.run(talk())


def test_a_slow_product_holds_back_those_after_it_and_not_those_before(api: FastAPI, answering: Answering) -> None:
    async def talk() -> None:
        go = asyncio.Event()

        async def wait(products: Sequence[Product]) -> None:
            if products[0].title == "boots":
                await go.wait()

        answering.before = wait
        connection = Connection(api)
        connection.put(_lines(SURE))
        connection.put(_lines(UNSURE))
        connection.put(_lines({"title": "bags"}), more=False)
        await connection.until(1)
        await _settled()
        assert connection.received.count(b"\n") == 1
        go.set()
        assert [answer["path"][-1] for answer in await connection.end()] == ["Boots", "Boots", "Bags"]

    asyncio.run(talk())


# ---- size -------------------------------------------------------------------------------------------------------------------------


def test_a_stream_may_be_longer_than_any_other_body_in_bounded_memory(api: FastAPI) -> None:
    async def talk() -> int:
        connection = Connection(api, headers=[(b"content-type", b"application/x-ndjson"), (b"content-length", b"9999999")])
        line = _lines(SURE | {"description": "x" * 9_000})
        total = 0
        tracemalloc.start()
        for count in range(1, 151):
            connection.put(line)
            total += len(line)
            await connection.until(count)
        connection.put(b"", more=False)
        assert len(await connection.end()) == 150
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000
        return total

    assert asyncio.run(talk()) > 50 * LIMITS.max_body_bytes


@pytest.mark.parametrize("piece", [1_000, 50_000])
def test_a_line_that_is_too_long_ends_the_stream(api: FastAPI, piece: int) -> None:
    async def talk() -> None:
        connection = Connection(api)
        connection.put(_lines(SURE, b""))
        for _ in range(2_000_000 // piece):
            connection.put(b" " * piece)
        answers = await connection.end()
        assert connection.status == 200
        assert [answer.get("line") for answer in answers] == [None, 3]
        assert answers[1]["error"]["reason"] == "line_too_long"
        assert "20000 bytes" in answers[1]["error"]["message"]
        # As much is read and dropped as of any body that is too large.
        assert connection.asked * piece <= (BodyLimit.LINGER_TIMES + 2) * LIMITS.max_body_bytes + 2 * piece

    asyncio.run(talk())


def test_a_line_at_the_bound_is_answered(client: TestClient) -> None:
    line = json.dumps(SURE).encode()
    for length, found in ((LIMITS.max_body_bytes, None), (LIMITS.max_body_bytes + 1, 1)):
        (answer,) = _read(client.post(PATH, content=line.ljust(length) + b"\n", headers=HEADERS).content)
        assert answer.get("line") == found


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v1/classify/stream/x", "//v1/classify/stream", "/V1/classify/stream", "/x"])
def test_no_other_route_is_unbounded(api: FastAPI, path: str) -> None:
    async def talk() -> None:
        connection = Connection(api, path, [(b"content-type", b"application/json")])
        for _ in range(100):
            connection.put(b" " * 20_000)
        await asyncio.wait_for(connection.task, 10)
        # Routes that are none answer without reading anything.
        assert connection.status in (404, 413)
        assert connection.asked <= BodyLimit.LINGER_TIMES + 4

    asyncio.run(talk())


# ---- overload and clients that go -------------------------------------------------------------------------------------------------


def test_overload_at_the_start_is_503(client: TestClient, answering: Answering) -> None:
    async def overloaded(_: Sequence[Product]) -> None:
        raise Overloaded("9 products are waiting already")

    answering.before = overloaded
    answer = client.post(PATH, content=_lines(SURE, SURE), headers=HEADERS)
    assert (answer.status_code, answer.json()["error"]["reason"], answer.headers["Retry-After"]) == (503, "overloaded", "1")


def test_overload_later_is_a_problem_in_the_place_of_its_products(api: FastAPI, answering: Answering) -> None:
    async def talk() -> None:
        async def overloaded(products: Sequence[Product]) -> None:
            if products[0].title == "bags":
                raise Overloaded("9 products are waiting already")

        answering.before = overloaded
        connection = Connection(api)
        connection.put(_lines(SURE))
        connection.put(_lines({"title": "bags"}, UNSURE))
        connection.put(_lines(SURE), more=False)
        answers = await connection.end()
        assert connection.status == 200
        assert [answer.get("line") for answer in answers] == [None, 2, 3, None]
        assert {answer["error"]["reason"] for answer in answers[1:3]} == {"overloaded"}

    asyncio.run(talk())


@pytest.mark.parametrize("ended", [False, True], ids=["while it sends", "after it has sent all"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the first answer", "after it"])
def test_a_client_that_goes_stops_the_work(api: FastAPI, answering: Answering, ended: bool, begun: bool) -> None:
    async def talk() -> None:
        async def never(products: Sequence[Product]) -> None:
            if products[0].title == "boots":
                await asyncio.Event().wait()

        answering.before = never
        connection = Connection(api)
        if begun:
            connection.put(_lines(SURE))
            await connection.until(1)
        connection.put(_lines(UNSURE, UNSURE), more=not ended)
        await _settled()
        connection.leave()
        await connection.end()
        assert answering.cancelled == 2
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(talk())


def test_a_failure_of_ours_in_the_middle_breaks_the_connection(api: FastAPI, answering: Answering) -> None:
    async def talk() -> None:
        async def broken(products: Sequence[Product]) -> None:
            if products[0].title == "boots":
                raise RuntimeError("secret detail")

        answering.before = broken
        connection = Connection(api)
        connection.put(_lines(SURE))
        await connection.until(1)
        connection.put(_lines(UNSURE))
        with pytest.raises(RuntimeError):
            await connection.end()
        assert b"secret" not in connection.received

    asyncio.run(talk())


def test_a_failure_of_ours_at_the_start_is_500(client: TestClient, answering: Answering) -> None:
    async def broken(_: Sequence[Product]) -> None:
        raise RuntimeError("secret detail")

    answering.before = broken
    answer = client.post(PATH, content=_lines(SURE), headers=HEADERS)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (500, "internal_error")


def test_images_by_url_are_fetched_for_one_group_at_a_time(cascade: Cascade, model_info: ModelInfo) -> None:
    from prodcat.serving.schema import ClassifyRequest, ClassifyResponse, Problem, problem
    from prodcat.serving.stream import LineStream

    at_once, most = 0, 0

    async def classify(requests: Sequence[ClassifyRequest]) -> list[ClassifyResponse | Problem]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return [problem("x", "x") for _ in requests]

    class Sent:
        async def stream(self) -> AsyncIterator[bytes]:
            for _ in range(8):
                yield _lines({"image_url": "https://a.example/1.jpg"})

        async def receive(self) -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

    async def talk() -> int:
        answers = [lines async for lines in LineStream(Sent(), classify, LIMITS).answers()]  # type: ignore[arg-type]
        return b"".join(answers).count(b"\n")

    assert asyncio.run(talk()) == 8
    assert most == 1


def test_it_is_served_by_the_models_of_the_api_too(cascade: Cascade, model_info: ModelInfo) -> None:
    async def ask(products: list[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        assert cascade.stage_two is not None
        return cascade.stage_two.read(products, vectors)

    async def ready() -> str | None:
        return None

    with TestClient(create_api(Models(Model(cascade, ask, model_info, LIMITS)), LIMITS, ready)) as client:
        assert [answer["stage"] for answer in _read(client.post(PATH, content=_lines(SURE, UNSURE), headers=HEADERS).content)] == [1, 2]
