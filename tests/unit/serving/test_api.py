"""The HTTP API around a cascade of small real stages: answers, problems, limits and hostile bodies."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, Cascade, StageTwoOutput
from prodcat.serving.api import create_api
from prodcat.serving.limits import BodyLimit, RequestLimits
from prodcat.serving.models import Model, Models

from .conftest import INFO as PLAIN_INFO

SURE = {"title": "Footwear: Shoes, Boots"}
UNSURE = {"title": "boots"}
LIMITS = RequestLimits(max_body_bytes=200_000, max_products=4)
INFO = PLAIN_INFO.model_copy(update={"limits": LIMITS.model_dump()})


class Readiness:
    missing: str | None = None

    async def __call__(self) -> str | None:
        return self.missing


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def api(cascade: Cascade, readiness: Readiness) -> FastAPI:
    async def ask(products: list[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        assert cascade.stage_two is not None
        return cascade.stage_two.read(products, vectors)

    return create_api(Models(Model(cascade, ask, INFO, LIMITS, threads=2)), LIMITS, readiness)


@pytest.fixture
def client(api: FastAPI) -> Iterator[TestClient]:
    # Our own outermost layer answers what fails; nothing may be left for the server to raise.
    with TestClient(api) as client:
        yield client


def _png(side: int = 16) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _product(body: dict[str, Any]) -> Product:
    image = base64.b64decode(body["image"]) if "image" in body else None
    return Product("http", "request", title=body.get("title"), description=body.get("description"), brand=body.get("brand"), image=image)


# ---- answers --------------------------------------------------------------------------------------------------------------------


def test_a_sure_product_is_answered_by_stage_one_in_full(client: TestClient) -> None:
    answer = client.post("/v1/classify", json=SURE | {"brand": "Acme", "platform": "shop", "product_id": "7"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["path"] == ["Footwear", "Shoes", "Boots"]
    assert body["category"] == "Footwear > Shoes > Boots"
    assert [level["category"] for level in body["confidences"]] == body["path"]
    assert [level["level"] for level in body["confidences"]] == [1, 2, 3]
    assert body["confidences"][2]["confidence"] > 0.9
    assert body["alternatives"][0] == {"path": ["Footwear", "Shoes", "Heels"], "confidence": pytest.approx(0.00012, abs=1e-5)}
    assert (body["stage"], body["bundle"], body["image_problem"]) == (1, "feedc0ffee00", None)


@pytest.mark.parametrize(
    "body",
    [
        SURE,
        UNSURE,
        {"title": "bags"},
        {"title": "thing", "image": _png()},
        {"image": _png()},
        {"description": "sandals, footwear"},
        {"title": "小さな鞄 🙂", "brand": "b"},
    ],
)
def test_http_answers_as_the_cascade_does(client: TestClient, cascade: Cascade, body: dict[str, Any]) -> None:
    (expected,) = cascade.classify([_product(body)])
    assert isinstance(expected, Answer)
    got = client.post("/v1/classify", json=body).json()
    assert tuple(got["path"]) == expected.path
    assert tuple(level["confidence"] for level in got["confidences"]) == expected.confidences
    assert [(tuple(a["path"]), a["confidence"]) for a in got["alternatives"]] == [(a.path, a.confidence) for a in expected.alternatives]
    assert got["stage"] == expected.stage


def test_a_batch_answers_each_product_as_if_alone_and_in_order(client: TestClient) -> None:
    bodies = [UNSURE, SURE, {"title": " "}, {"image": "!!"}]
    results = client.post("/v1/classify/batch", json={"products": bodies}).json()["results"]
    assert results[:2] == [client.post("/v1/classify", json=body).json() for body in bodies[:2]]
    assert [result["error"]["reason"] for result in results[2:]] == ["nothing_to_read", "image_not_base64"]
    assert client.post("/v1/classify/batch", json={"products": []}).json() == {"results": []}


def test_text_is_cleaned_as_ingestion_cleans_it(client: TestClient) -> None:
    clean = client.post("/v1/classify", json=SURE)
    assert client.post("/v1/classify", json={"title": f"  {SURE['title']}\n", "brand": ""}).json() == clean.json()


def test_images_come_with_line_breaks_and_as_data_urls(client: TestClient) -> None:
    plain, wrapped = _png(), "\r\n".join(_png()[i : i + 20] for i in range(0, len(_png()), 20))
    answers = [client.post("/v1/classify", json={"image": image}).json() for image in (plain, wrapped, f"data:image/png;base64,{plain}")]
    assert answers[0]["path"] == ["Bags"]
    assert answers[0] == answers[1] == answers[2]


def test_a_corrupt_image_beside_a_title_is_named_and_the_title_answers(client: TestClient) -> None:
    answer = client.post("/v1/classify", json=UNSURE | {"image": base64.b64encode(b"just text").decode()}).json()
    assert (answer["path"][-1], answer["image_problem"]) == ("Boots", "image_not_an_image")


def test_model_and_health(client: TestClient, readiness: Readiness) -> None:
    assert client.get("/v1/model").json() == INFO.model_dump()
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    readiness.missing = "stage two is loading"
    refused = client.get("/readyz")
    assert (refused.status_code, refused.json()["error"]["message"]) == (503, "stage two is loading")


# ---- problems -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "nothing_to_read"),
        ({"title": "   ", "brand": "Acme"}, "nothing_to_read"),
        ({"image": base64.b64encode(b"just text").decode()}, "image_not_an_image"),
        ({"image": ""}, "image_empty"),
        ({"image": _png(4)}, "image_too_small"),
        ({"title": "boots", "image": "%%%%"}, "image_not_base64"),
        ({"title": "boots", "image": "abc"}, "image_not_base64"),
        ({"title": "boots", "image": "data:image/png,abc"}, "image_not_base64"),
        ({"title": "boots", "image": "https://shop.example/1.jpg"}, "image_not_base64"),
    ],
)
def test_what_cannot_be_read_is_422_with_its_reason(client: TestClient, body: dict[str, Any], reason: str) -> None:
    answer = client.post("/v1/classify", json=body, headers={"X-Request-ID": "order-66"})
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"], error["request_id"]) == (422, reason, "order-66")
    assert answer.headers.get_list("X-Request-ID") == ["order-66"]


@pytest.mark.parametrize(
    ("path", "document", "names"),
    [
        ("/v1/classify", {"title": 5}, ["title", "valid string"]),
        ("/v1/classify", {"title": ["boots"]}, ["title", "valid string"]),
        ("/v1/classify", {"titel": "boots"}, ["titel", "unknown field", "title, description"]),
        ("/v1/classify", {"title": "x" * 2001}, ["title", "2000"]),
        ("/v1/classify", {"description": "x" * 20001}, ["description", "20000"]),
        ("/v1/classify", {"title": "a\0b"}, ["title", "NUL"]),
        ("/v1/classify", ["boots"], ["body", "JSON object"]),
        ("/v1/classify/batch", {"products": [SURE, {"title": {"a": 1}}]}, ["products.1.title", "valid string"]),
        ("/v1/classify/batch", {}, ["products", "required"]),
        ("/v1/classify/batch", {"products": [SURE] * 5}, ["5 products", "4 a request"]),
    ],
)
def test_a_body_that_does_not_fit_says_where_and_what_was_expected(client: TestClient, path: str, document: Any, names: list[str]) -> None:
    answer = client.post(path, json=document)
    assert answer.status_code == 422
    for name in names:
        assert name in answer.json()["error"]["message"]


def test_errors_do_not_echo_what_was_sent(client: TestClient) -> None:
    secret = "c2VjcmV0" * 500
    for body in ({"image": [secret]}, {"title": secret}, {secret: 1}, {"products": secret}, {f"key{i}": secret for i in range(40)}):
        answer = client.post("/v1/classify", json=body)
        assert answer.status_code == 422
        assert secret[:100] not in answer.text
        assert len(answer.content) < 1500


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe{}", 400, "invalid_json"),
        (b'{"title": NaN}', 422, "invalid_request"),
        (b'{"title": 1e999}', 422, "invalid_request"),
        (b'{"title": "\\ud800"}', 400, "invalid_json"),
        (b'{"\\ud800": 1}', 400, "invalid_json"),
        (b"[" * 90_000, 400, "invalid_json"),
        (b'{"title":' * 20_000, 400, "invalid_json"),
        (b'{"title": "' + b"9" * 5 + b'", "title": ' + b"9" * 10_000 + b"}", 400, "invalid_json"),
        (b'{"title": "' + "\U0001f600".encode() * 20_000 + b'"}', 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
    ],
    ids=[
        "empty",
        "half",
        "no utf-8",
        "NaN",
        "infinity",
        "half a character",
        "half a character as key",
        "deep list",
        "deep object",
        "huge number",
        "emojis",
        "null",
    ],
)
def test_hostile_json_is_refused_with_a_reason(client: TestClient, content: bytes, status: int, reason: str) -> None:
    answer = client.post("/v1/classify", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
    assert len(answer.content) < 1000


def test_a_body_without_its_content_type_is_told_so(client: TestClient) -> None:
    answer = client.post("/v1/classify", content=json.dumps(SURE).encode(), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_unknown_routes_and_methods_answer_in_the_same_form(client: TestClient) -> None:
    for method, path, status, reason in [("GET", "/v2", 404, "not_found"), ("GET", "/v1/classify", 405, "method_not_allowed")]:
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
        assert answer.json()["error"]["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("given", ["x" * 65, "a b", 'a"b', "<script>"])
def test_a_request_id_that_could_do_harm_is_replaced(client: TestClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] != given


# ---- size -----------------------------------------------------------------------------------------------------------------------


def _reads(size: int, chunk: int = 50_000) -> tuple[Iterator[bytes], list[int]]:
    """A body in parts, and a list that shows how much of it was asked for."""
    taken = [0]

    def parts() -> Iterator[bytes]:
        for start in range(0, size, chunk):
            taken[0] = start + chunk
            yield b" " * chunk

    return parts(), taken


def _scope(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/classify/batch",
        "raw_path": b"/v1/classify/batch",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def _send(api: FastAPI, headers: list[tuple[bytes, bytes]], parts: Iterator[bytes]) -> tuple[int, dict[str, Any]]:
    """One request straight on the ASGI interface: the test client reads a streamed body to its end before it asks."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        part = next(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    await api(_scope(headers), receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


async def _too_large(api: FastAPI, *headers: tuple[bytes, bytes]) -> tuple[int, dict[str, Any], int]:
    parts, taken = _reads(50_000_000)
    status, body = await _send(api, list(headers), parts)
    return status, body, taken[0]


LENGTH = b"content-length"


@pytest.mark.parametrize(
    ("headers", "most"),
    # The API's limit is 200 kB: what is read to see that it is passed, and at most four times as much so that the client sees the answer.
    [
        ([(LENGTH, b"50000000")], 850_000),
        ([], 1_100_000),
        ([(LENGTH, b"10")], 1_100_000),
        ([(LENGTH, b"50000000"), (b"expect", b"100-continue")], 0),
    ],
    ids=["announced", "chunked", "a lie", "a client that waits"],
)
def test_a_body_of_50_mb_is_413_and_little_of_it_is_read(api: FastAPI, headers: list[tuple[bytes, bytes]], most: int) -> None:
    status, body, taken = asyncio.run(_too_large(api, *headers))
    assert (status, body["error"]["reason"]) == (413, "body_too_large")
    assert "200000 bytes" in body["error"]["message"]
    assert taken <= most


def test_a_body_a_little_too_large_is_read_to_its_end_before_the_answer(api: FastAPI) -> None:
    parts, taken = _reads(300_000)
    status, _ = asyncio.run(_send(api, [(LENGTH, b"300000")], parts))
    assert (status, taken[0]) == (413, 300_000)


def test_a_client_that_stalls_gets_the_refusal(api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyLimit, "LINGER_SECONDS", 0.01)
    sent: list[Any] = []

    async def stalled() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(api(_scope([(LENGTH, b"50000000")]), stalled, send))
    assert sent[0]["status"] == 413


def test_a_body_at_the_limit_is_read(client: TestClient) -> None:
    body = json.dumps(SURE).encode()
    assert client.post("/v1/classify", content=body.ljust(200_000), headers={"Content-Type": "application/json"}).status_code == 200
    assert client.post("/v1/classify", content=body.ljust(200_001), headers={"Content-Type": "application/json"}).status_code == 413


# ---- failures of ours -----------------------------------------------------------------------------------------------------------


def test_a_failure_inside_answers_with_an_id_and_no_traceback(cascade: Cascade, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: Any) -> StageTwoOutput:
        raise RuntimeError("secret detail of the server")

    with TestClient(create_api(Models(Model(cascade, broken, INFO, LIMITS)), LIMITS, Readiness())) as client:
        answer = client.post("/v1/classify", json=UNSURE, headers={"X-Request-ID": "r1"})
        assert client.post("/v1/classify", json=SURE).status_code == 200
    assert answer.status_code == 500
    assert answer.json()["error"] == {"reason": "internal_error", "message": answer.json()["error"]["message"], "request_id": "r1"}
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "r1" in caplog.text
    assert "secret detail of the server" in caplog.text


def test_the_document_describes_every_route_with_examples(api: FastAPI) -> None:
    document = api.openapi()
    assert sorted(document["paths"]) == ["/healthz", "/readyz", "/v1/classify", "/v1/classify/batch", "/v1/classify/stream", "/v1/model"]
    for name in ("ClassifyRequest", "ClassifyResponse", "BatchRequest", "BatchResponse", "Problem"):
        assert document["components"]["schemas"][name]["examples"]
    for path in ("/v1/classify", "/v1/classify/batch"):
        for status in ("400", "413", "422", "503"):
            schema = document["paths"][path]["post"]["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
