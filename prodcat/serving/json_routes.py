"""Routes that take one JSON object and answer one, read and written by pydantic alone.

FastAPI documents them like all others, but its layers, its reading and its checking of what we answer ourselves cost as much as the model: on the way
of every product there is only what this API needs. Knows no route by name.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from prodcat.serving.refusals import NOT_JSON, Refused, refused

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


class JsonRoute(APIRoute):
    """Its endpoint takes one pydantic model, the body, and nothing else, and answers with one, or with a Response as it is."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        (parameter,) = inspect.signature(self.endpoint).parameters.values()
        kind: type[BaseModel] = parameter.annotation

        async def handle(request: Request) -> Response:
            answer = await self.endpoint(await read_json(request, kind))
            return answer if isinstance(answer, Response) else json_response(answer)

        return handle


class DirectAPI(FastAPI):
    """FastAPI, but for POSTs to JsonRoutes, which pass `layers` only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._direct: dict[str, ASGIApp] = {}
        self._layers: list[tuple[Any, dict[str, Any]]] = []

    def add_layer(self, layer: Any, **options: Any) -> None:
        """An ASGI layer around every route; the one added last is the outermost."""
        self.add_middleware(layer, **options)
        self._layers.append((layer, options))

    def go_direct(self) -> None:
        """To be called when all routes, layers and exception handlers are there."""
        for route in self.routes:
            if isinstance(route, JsonRoute):
                app: ASGIApp = _Answering(route.get_route_handler(), self.exception_handlers)
                for layer, options in self._layers:
                    app = layer(app, **options)
                self._direct[route.path] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = None
        if scope["type"] == "http" and scope["method"] == "POST":
            # As the router finds them.
            app = self._direct.get(scope["path"].removeprefix(scope.get("root_path", "")))
        await (super().__call__ if app is None else app)(scope, receive, send)


class _Answering:
    """A handler with an API's exception handlers, as an ASGI application."""

    def __init__(self, handle: Handler, failed: Mapping[Any, Callable[[Request, Any], Any]]) -> None:
        self._handle, self._failed = handle, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._handle(request)
        except Exception as error:
            handler = next((self._failed[kind] for kind in type(error).__mro__ if kind in self._failed), None)
            if handler is None:
                raise
            response = handler(request, error)
        await response(scope, receive, send)


async def read_json(request: Request, kind: type[M]) -> M:
    """Raises Refused for what is no JSON, is not sent as JSON, or does not fit."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        # To its end also where it is not wanted: a connection closed on unread bytes takes the answer with it.
        body = await request.body()
    except ClientDisconnect as error:
        raise Refused(400, "invalid_json", "the client has gone") from error
    if content_type != "application/json" and not (content_type.startswith("application/") and content_type.endswith("+json")):
        raise Refused(422, "invalid_request", f"body: {NOT_JSON}")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise refused(error.errors(include_input=False, include_url=False)) from error


def json_response(answer: BaseModel) -> Response:
    return Response(answer.__pydantic_serializer__.to_json(answer), media_type="application/json")
