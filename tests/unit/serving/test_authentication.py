"""The API with keys: who is let in, what the others are told, and that nothing tells a key."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodcat.contracts import Product
from prodcat.prediction.cascade import Cascade, StageTwoOutput
from prodcat.serving.api import create_api
from prodcat.serving.authentication import Authentication, presented
from prodcat.serving.key_file import add_key, revoke_key
from prodcat.serving.keys import KeyRing
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Model, Models

from .conftest import INFO

LIMITS = RequestLimits(max_body_bytes=200_000, max_products=4)
SURE = {"title": "Footwear: Shoes, Boots"}
# method, path, body, status with a key
CLOSED = [
    ("POST", "/v1/classify", SURE, 200),
    ("POST", "/v1/classify/batch", {"products": [SURE]}, 200),
    ("GET", "/v1/model", None, 200),
    ("GET", "/docs", None, 200),
    ("GET", "/redoc", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", "/healthz/", None, 200),
    ("GET", "//healthz", None, 404),
    ("GET", "/HEALTHZ", None, 404),
    ("GET", "/healthz/../v1/model", None, 200),
    ("GET", "/nowhere", None, 404),
    ("GET", "/v1/classify", None, 405),
    ("OPTIONS", "/v1/classify", None, 405),
]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def ready() -> None:
    return None


async def no_stage_two(_: list[Product]) -> StageTwoOutput:
    raise AssertionError("every title here is sure")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def secret(file: Path) -> str:
    return add_key(file, "shop-a")


@pytest.fixture
def api(cascade: Cascade, file: Path, secret: str, clock: Clock) -> FastAPI:
    return create_api(Models(Model(cascade, no_stage_two, INFO, LIMITS)), LIMITS, ready, keys=KeyRing(file, clock=clock))


@pytest.fixture
def client(api: FastAPI) -> Iterator[TestClient]:
    with TestClient(api) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# ---- who is let in --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body", "status"), CLOSED)
def test_every_route_but_health_needs_a_key(client: TestClient, secret: str, method: str, path: str, body: Any, status: int) -> None:
    for headers in ({}, bearer("wrong"), bearer(secret[:-1]), {"X-API-Key": "wrong"}):
        answer = client.request(method, path, json=body, headers=headers | {"X-Request-ID": "order-66"})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        error = answer.json()["error"]
        assert (error["reason"], error["request_id"]) == ("unauthorized", "order-66")
        assert answer.headers.get_list("X-Request-ID") == ["order-66"]
    for headers in (bearer(secret), {"X-API-Key": secret}):
        assert client.request(method, path, json=body, headers=headers).status_code == status


def test_health_needs_none(client: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        for headers in ({}, bearer("wrong")):
            assert client.get(path, headers=headers).status_code == 200


def test_under_a_prefix_health_is_open_and_nothing_else(api: FastAPI, secret: str) -> None:
    with TestClient(api, root_path="/prodcat") as client:
        assert client.get("/prodcat/healthz").status_code == 200
        assert client.get("/prodcat/v1/model").status_code == 401
        assert client.get("/prodcat/v1/model", headers=bearer(secret)).status_code == 200


def test_without_keys_the_layer_is_not_there(cascade: Cascade) -> None:
    api = create_api(Models(Model(cascade, no_stage_two, INFO, LIMITS)), LIMITS, ready)
    assert Authentication not in [layer.cls for layer in api.user_middleware]
    with TestClient(api) as client:
        assert client.post("/v1/classify", json=SURE).status_code == 200
        assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([("authorization", "Bearer k")], b"k"),
        ([("authorization", "bEARER   k ")], b"k"),
        ([("authorization", "Bearer")], None),
        ([("authorization", "Bearer ")], None),
        ([("authorization", "Bearerk")], None),
        ([("authorization", "k")], None),
        ([("authorization", "Basic k")], None),
        ([("authorization", "Bearer a b")], b"a b"),
        ([("x-api-key", " k ")], b"k"),
        ([("x-api-key", "")], None),
        ([("x-api-key", "Bearer k")], b"Bearer k"),
        ([("authorization", "Basic dTpw"), ("x-api-key", "k")], b"k"),
        ([("authorization", "Bearer a"), ("x-api-key", "b")], b"a"),
        ([("authorization", "Bearer a"), ("authorization", "Bearer b")], None),
        ([("x-api-key", "a"), ("x-api-key", "b")], None),
        ([("cookie", "k"), ("x-api-keys", "k")], None),
    ],
)
def test_where_a_key_is_read(headers: list[tuple[str, str]], expected: bytes | None) -> None:
    assert presented([(name.encode(), value.encode()) for name, value in headers]) == expected


def test_a_key_in_the_url_is_none(client: TestClient, secret: str) -> None:
    assert client.get("/v1/model", params={"key": secret, "api_key": secret, "access_token": secret}).status_code == 401


@pytest.mark.parametrize("value", [b"\xff\xfe", "ключ".encode(), b"\x00", b"x" * 1_000_000, b"a b c", b"%s%n{0}"])
def test_hostile_header_values_are_401(api: FastAPI, value: bytes) -> None:
    for header in ((b"authorization", b"Bearer " + value), (b"authorization", value), (b"x-api-key", value)):
        status, document = asyncio.run(_ask(api, header))
        assert (status, document["error"]["reason"]) == (401, "unauthorized")
        assert len(json.dumps(document)) < 500


def test_a_key_revoked_while_running_is_refused_and_a_new_one_let_in(client: TestClient, file: Path, secret: str, clock: Clock) -> None:
    assert client.get("/v1/model", headers=bearer(secret)).status_code == 200
    new = add_key(file, "shop-b")
    revoke_key(file, "shop-a")
    clock.now += 1
    assert client.get("/v1/model", headers=bearer(secret)).status_code == 401
    assert client.get("/v1/model", headers=bearer(new)).status_code == 200


def test_the_name_of_the_caller_is_there_for_the_layers_inside(file: Path, secret: str) -> None:
    seen: list[Any] = []

    async def inside(scope: Any, _: Any, __: Any) -> None:
        seen.append(scope["state"].get("caller"))

    async def unused(*_: Any) -> Any:
        raise AssertionError

    layer = Authentication(inside, KeyRing(file))
    for path, headers in (("/v1/model", [(b"x-api-key", secret.encode())]), ("/healthz", [])):
        asyncio.run(layer({"type": "http", "path": path, "headers": headers, "state": {"request_id": "r"}}, unused, unused))
    assert seen == ["shop-a", None]


def test_a_websocket_is_closed(file: Path, secret: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def unused(*_: Any) -> Any:
        raise AssertionError

    scope = {"type": "websocket", "path": "/healthz", "headers": [(b"x-api-key", secret.encode())]}
    asyncio.run(Authentication(unused, KeyRing(file))(scope, unused, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


# ---- before the body ------------------------------------------------------------------------------------------------------------


async def _ask(api: FastAPI, *headers: tuple[bytes, bytes]) -> tuple[int, dict[str, Any]]:
    """One request on the ASGI interface, whose body must not be asked for."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read before the decision")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/classify",
        "raw_path": b"/v1/classify",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"50000000"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await api(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


def test_no_body_is_read_for_a_refusal(api: FastAPI) -> None:
    status, document = asyncio.run(_ask(api))
    assert (status, document["error"]["reason"]) == (401, "unauthorized")


def test_with_a_key_limits_and_errors_are_as_without(client: TestClient, secret: str) -> None:
    large = client.post("/v1/classify", content=b" " * 300_000, headers=bearer(secret) | {"Content-Type": "application/json"})
    assert (large.status_code, large.json()["error"]["reason"]) == (413, "body_too_large")
    assert client.post("/v1/classify", content=b"{", headers=bearer(secret) | {"Content-Type": "application/json"}).status_code == 400


# ---- the rate -------------------------------------------------------------------------------------------------------------------


def test_above_its_rate_a_key_is_429_until_the_time_it_was_told(client: TestClient, file: Path, secret: str, clock: Clock) -> None:
    slow = add_key(file, "slow", rate=0.4, burst=2)
    quick = add_key(file, "quick", rate=100, burst=1)
    clock.now += 1

    def status(key: str) -> int:
        return client.get("/v1/model", headers=bearer(key)).status_code

    assert [status(slow) for _ in range(3)] == [200, 200, 429]
    answer = client.post("/v1/classify", content=b"{", headers=bearer(slow) | {"X-Request-ID": "r7"})
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"], error["request_id"]) == (429, "rate_limited", "r7")
    # 2.5 seconds, as a whole number.
    assert answer.headers["Retry-After"] == "3"
    assert "WWW-Authenticate" not in answer.headers
    # Another caller, and health, do not pay for it; a refusal costs nothing.
    assert status(secret) == 200
    assert client.get("/healthz", headers=bearer(slow)).status_code == 200
    clock.now += 2.4
    assert status(slow) == 429
    clock.now += 0.2
    assert [status(slow), status(slow)] == [200, 429]
    assert status(quick) == 200
    answer = client.get("/v1/model", headers=bearer(quick))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


def test_a_batch_is_one_request(client: TestClient, file: Path, clock: Clock) -> None:
    key = add_key(file, "slow", rate=0.5, burst=2)
    clock.now += 1
    body = {"products": [SURE] * 4}
    assert [client.post("/v1/classify/batch", json=body, headers=bearer(key)).status_code for _ in range(3)] == [200, 200, 429]


# ---- what is told ---------------------------------------------------------------------------------------------------------------


def test_no_key_is_in_any_log_or_answer(cascade: Cascade, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret, wrong = add_key(file, "shop-a", rate=1, burst=2), "prodcat_not-a-key-of-anybody"

    class Broken(KeyRing):
        def wait(self, key: Any) -> float:
            raise RuntimeError(f"a failure with {key!r}")

    texts = []
    for ring in (KeyRing(file, clock=clock), Broken(file, clock=clock)):
        with TestClient(create_api(Models(Model(cascade, no_stage_two, INFO, LIMITS)), LIMITS, ready, keys=ring)) as client:
            for headers in (bearer(secret), {"X-API-Key": secret}, bearer(secret), bearer(wrong), {"Authorization": wrong}, {"X-API-Key": wrong}):
                answer = client.get("/v1/model", headers=headers)
                texts.append(f"{answer.status_code} {answer.headers} {answer.text}")
    assert {text[:3] for text in texts} == {"200", "401", "429", "500"}
    for text in [*texts, caplog.text]:
        assert secret not in text
        assert wrong not in text


def test_the_document_says_that_a_key_is_needed_and_where_not(client: TestClient, secret: str) -> None:
    for _ in range(2):
        document = client.get("/openapi.json", headers=bearer(secret)).json()
    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            closed = path not in ("/healthz", "/readyz")
            assert operation.get("security") == ([{"bearer": []}, {"apiKey": []}] if closed else None)
            assert ({"401", "429"} <= set(operation["responses"])) == closed
            if closed:
                assert operation["responses"]["429"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
