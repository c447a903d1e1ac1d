"""Routes of one JSON object pass our layers only, and answer as every other route does."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from prodcat.serving.json_routes import DirectAPI, JsonRoute
from prodcat.serving.refusals import Refused


class Asked(BaseModel):
    number: int


class Doubled(BaseModel):
    number: int
    comment: str | None = None


class Layer:
    """Writes down what passes."""

    def __init__(self, app: ASGIApp, name: str, passed: list[str]) -> None:
        self._app, self._name, self._passed = app, name, passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._passed.append(f"{self._name} {scope['method']} {scope['path']}")
        await self._app(scope, receive, send)


@pytest.fixture
def passed() -> list[str]:
    return []


@pytest.fixture
def api(passed: list[str]) -> DirectAPI:
    api = DirectAPI()
    api.add_layer(Layer, name="inner", passed=passed)
    api.add_layer(Layer, name="outer", passed=passed)

    def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return JSONResponse({"reason": error.reason, "message": error.message}, error.status)

    api.add_exception_handler(Refused, refuse)

    async def double(body: Asked) -> Doubled | Response:
        """Twice the number."""
        if body.number == 13:
            raise Refused(422, "unlucky", "choose another")
        if body.number == 14:
            raise ZeroDivisionError
        return Response("seven", 203) if body.number == 7 else Doubled(number=2 * body.number)

    api.router.add_api_route("/double", double, methods=["POST"], response_model=Doubled, route_class_override=JsonRoute)

    @api.get("/plain")
    async def plain() -> dict[str, str]:
        return {}

    api.go_direct()
    return api


@pytest.fixture
def client(api: DirectAPI) -> Iterator[TestClient]:
    with TestClient(api) as client:
        yield client


def test_an_object_is_read_and_answered_with_nulls_and_passes_the_layers_from_outside(client: TestClient, passed: list[str]) -> None:
    answer = client.post("/double", json={"number": 4})
    assert answer.json() == {"number": 8, "comment": None}
    assert answer.headers["content-type"] == "application/json"
    assert client.get("/plain").status_code == 200
    assert passed == ["outer POST /double", "inner POST /double", "outer GET /plain", "inner GET /plain"]


def test_other_methods_and_routes_are_fastapis(client: TestClient) -> None:
    assert client.get("/double").status_code == 405
    assert client.post("/nothing", json={}).status_code == 404


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.shop+json"])
def test_json_is_told_by_its_type(client: TestClient, kind: str) -> None:
    assert client.post("/double", content=b'{"number": 1}', headers={"Content-Type": kind}).json()["number"] == 2


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b'{"number": 1}', "text/plain", 422, "invalid_request"),
        (b'{"number": 1}', "text/x+json", 422, "invalid_request"),
        (b'{"number": "x"}', "application/json", 422, "invalid_request"),
        (b"[1]", "application/json", 422, "invalid_request"),
        (b'{"number": 1', "application/json", 400, "invalid_json"),
        (b"", "application/json", 400, "invalid_json"),
        (b'{"number": 13}', "application/json", 422, "unlucky"),
    ],
)
def test_what_does_not_fit_goes_to_the_exception_handlers(client: TestClient, content: bytes, kind: str, status: int, reason: str) -> None:
    answer = client.post("/double", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


def test_a_response_is_sent_as_it_is_and_what_nobody_handles_goes_on(client: TestClient) -> None:
    answer = client.post("/double", json={"number": 7})
    assert (answer.status_code, answer.text) == (203, "seven")
    with pytest.raises(ZeroDivisionError):
        client.post("/double", json={"number": 14})


def test_it_is_found_under_a_root_path(api: DirectAPI, passed: list[str]) -> None:
    """As Ray Serve mounts an application under a prefix: the prefix stands in path and root_path."""
    with TestClient(api, root_path="/shop") as client:
        assert client.post("/shop/double", json={"number": 3}).json()["number"] == 6
    assert "inner POST /shop/double" in passed


def test_it_is_documented_as_any_other_route(api: DirectAPI) -> None:
    operation: dict[str, Any] = api.openapi()["paths"]["/double"]["post"]
    assert operation["description"] == "Twice the number."
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Asked"}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Doubled"}
