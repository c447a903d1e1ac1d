"""The ASGI layer that lets in whoever has a key, as often as the key may ask. Decides on headers alone: nothing of a body is read before.

Stands inside RequestIdentity, whose request id its refusals carry, and outside BodyLimit. Knows two routes: those that a load balancer asks without a
key. Keys come in a header and never in the URL, which ends up in logs.
"""

import math
from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from prodcat.serving.json_routes import DirectAPI
from prodcat.serving.keys import KeyRing
from prodcat.serving.schema import problem

OPEN = frozenset({"/healthz", "/readyz"})
_HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
_REFUSALS = {"401": "no key, or none that is known here", "429": "the key's rate is used up; Retry-After says for how many seconds"}


class Authentication:
    """Lets a request through with a known key, and leaves the key's name in scope["state"]["caller"]; else 401, and 429 above the key's rate."""

    def __init__(self, app: ASGIApp, ring: KeyRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The router strips the same prefix from the same string: what is open here cannot be another route there.
        route = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] == "lifespan" or (scope["type"] == "http" and route in OPEN):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # No route takes a WebSocket; one that is added later must not find this door open.
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket here"})
            return
        secret = presented(scope["headers"])
        key = None if secret is None else self._ring.identify(secret)
        if key is None:
            message = f"this server needs a key: {_HOW}" if secret is None else "the key is not known here; ask whoever runs the server for one"
            await _refuse(scope, receive, send, 401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
            return
        scope["state"]["caller"] = key.name
        wait = self._ring.wait(key)
        if wait > 0:
            seconds = max(1, math.ceil(wait))
            message = f"key {key.name!r} may ask {key.requests_per_second:g} times a second; wait {seconds} s, or put more products into one request"
            await _refuse(scope, receive, send, 429, "rate_limited", message, {"Retry-After": str(seconds)})
            return
        await self._app(scope, receive, send)


def presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key a request comes with: the bearer's, else X-API-Key's. None if there is none, or more than one in headers of one name.

    Authorization of another scheme (a gateway's Basic) is not ours. Two headers of one name are read differently by every program on the way.
    """
    found: dict[bytes, list[bytes]] = {b"authorization": [], b"x-api-key": []}
    for name, value in headers:
        if name in found:
            found[name].append(value)
    if any(len(values) > 1 for values in found.values()):
        return None
    for value in found[b"authorization"]:
        scheme, _, secret = value.partition(b" ")
        if scheme.lower() == b"bearer":
            return secret.strip() or None
    return next((value.strip() or None for value in found[b"x-api-key"]), None)


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str, message: str, headers: dict[str, str]) -> None:
    answer = JSONResponse(problem(reason, message, scope["state"]["request_id"]).model_dump(), status, headers)
    await answer(scope, receive, send)


def require_keys(api: DirectAPI, ring: KeyRing) -> None:
    """Add the layer to an API, and what it asks for and answers to the API's OpenAPI document."""
    api.add_layer(Authentication, ring=ring)
    plain = api.openapi

    def secured() -> dict[str, Any]:
        if not api.openapi_schema:
            describe_keys(plain())
        return plain()

    api.openapi = secured  # type: ignore[method-assign]


def describe_keys(document: dict[str, Any]) -> None:
    """Put into an OpenAPI document how a key is sent, and what is answered without one."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in document["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                # A list: either of the two.
                operation["security"] = [{"bearer": []}, {"apiKey": []}]
                operation["responses"] |= {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}
