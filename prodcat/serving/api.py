"""The HTTP API on FastAPI: routes, errors and limits around the cascade. Knows no Ray: stage two is an async function, wherever it runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from prodcat import __version__
from prodcat.contracts import Product
from prodcat.prediction.degradation import DEGRADED
from prodcat.serving.authentication import require_keys
from prodcat.serving.conversion import to_product, to_response
from prodcat.serving.first_pass import Overloaded
from prodcat.serving.identity import RequestIdentity
from prodcat.serving.json_routes import DirectAPI, JsonRoute
from prodcat.serving.keys import KeyRing
from prodcat.serving.limits import BodyLimit, RequestLimits
from prodcat.serving.models import Asked
from prodcat.serving.recent import Result
from prodcat.serving.refusals import Refused, refused
from prodcat.serving.remote_images import RemoteImageConfig, RemoteImages
from prodcat.serving.schema import (
    BatchRequest,
    BatchResponse,
    ClassifyRequest,
    ClassifyResponse,
    ModelInfo,
    Problem,
    problem,
)
from prodcat.serving.stream import STREAM_BODY, STREAM_RESPONSES, LinesResponse, LineStream, check_stream
from prodcat.serving.upload import FORM_BODY, also_as_form

Ready = Callable[[], Awaitable[str | None]]
"""None when requests can be answered, else what is missing, for a person."""

# Seconds; long enough for a replica to start answering again, short enough that nobody gives up.
RETRY_AFTER = "1"

_REASONS = {400: "invalid_json", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 503: "unavailable"}
_MESSAGES = {
    400: "the body is not JSON that can be read; send one JSON object, UTF-8, without deep nesting",
    404: "no such route; POST /v1/classify, /v1/classify/batch, /v1/classify/stream, GET /v1/model, /healthz, /readyz",
    405: "this route does not take that method; classify with POST, ask for the model and health with GET",
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "the body is not JSON, or no form",
        413: "the body is larger than limits.max_body_bytes",
        422: "a field does not fit, or the product cannot be read",
        503: "more is waiting than would be done in time, or only stage two could answer and cannot be had; send it again after Retry-After",
    }.items()
}
STREAM = "/v1/classify/stream"


class Answering(Protocol):
    """What answers: `Models`."""

    @property
    def info(self) -> ModelInfo: ...

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        """n products -> n results in order. Raises Overloaded."""

    def close(self) -> None: ...


def create_api(
    models: Answering,
    limits: RequestLimits,
    ready: Ready,
    *,
    follow: Callable[[], Awaitable[None]] | None = None,
    id_header: bool = True,
    images: RemoteImages | None = None,
    keys: KeyRing | None = None,
) -> FastAPI:
    """
    Args:
        follow: runs as long as the API: takes up what is promoted.
        id_header: see RequestIdentity.
        images: fetches images by URL. Default: they are off.
        keys: who may ask; None: everybody.
    """
    remote = images or RemoteImages(RemoteImageConfig())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.ensure_future(follow()) if follow is not None else None
        yield
        if following is not None:
            following.cancel()
        models.close()

    api = DirectAPI(
        title="prodcat",
        version=__version__,
        description="Puts products into a category tree: a text stage answers what it is sure of, a multimodal stage the rest.",
        lifespan=lifespan,
    )
    _keep_nulls(api)
    # The layer added last is the outermost.
    api.add_layer(BodyLimit, max_bytes=limits.max_body_bytes, unbounded=frozenset({STREAM}))
    if keys is not None:
        require_keys(api, keys)
    api.add_layer(RequestIdentity, header=id_header)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(Overloaded, _too_much)
    api.add_exception_handler(Refused, _not_answered)

    async def answer(body: ClassifyRequest, image: bytes | None = None) -> ClassifyResponse:
        (product,) = await remote.added([to_product(body, image)], [body.image_url])
        response = product if isinstance(product, Problem) else to_response((await models.classify([product], _asked([body])))[0])
        if isinstance(response, Problem):
            reason = response.error.reason
            raise Refused(503 if reason in DEGRADED else 422, reason, response.error.message)
        return response

    async def answer_all(bodies: Sequence[ClassifyRequest]) -> list[ClassifyResponse | Problem]:
        products = await remote.added([to_product(each) for each in bodies], [each.image_url for each in bodies])
        asked = _asked([body for body, product in zip(bodies, products, strict=True) if isinstance(product, Product)])
        results = iter(await models.classify([product for product in products if isinstance(product, Product)], asked))
        return [product if isinstance(product, Problem) else to_response(next(results)) for product in products]

    async def classify(body: ClassifyRequest) -> ClassifyResponse:
        """The category of one product, sent as JSON, or as a form with its image as a file."""
        return await answer(body)

    async def classify_batch(body: BatchRequest) -> BatchResponse:
        """The categories of several products, one result a product in their order; a product that cannot be read has a problem in its place."""
        if len(body.products) > limits.max_products:
            message = f"{len(body.products)} products, allowed are {limits.max_products} a request; send several requests"
            raise Refused(422, "too_many_products", message)
        return BatchResponse.model_construct(results=await answer_all(body.products))

    for path, endpoint, response_model, route, extra in (
        ("/v1/classify", classify, ClassifyResponse, also_as_form(answer), FORM_BODY),
        ("/v1/classify/batch", classify_batch, BatchResponse, JsonRoute, None),
    ):
        api.router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            response_model=response_model,
            responses=_ERRORS,
            openapi_extra=extra,
            route_class_override=route,
        )

    @api.post(STREAM, status_code=200, response_class=LinesResponse, responses=STREAM_RESPONSES, openapi_extra=STREAM_BODY)
    async def classify_stream(request: Request) -> Response:
        """The categories of as many products as come, one JSON object a line, answered in order while they come. Read the answers while you send: a
        sender that does not is no longer read from. A line that cannot be answered has a problem with its number in its place."""
        check_stream(request)
        answers = LineStream(request, answer_all, limits).answers()
        try:
            first = await anext(answers, b"")
        except ClientDisconnect:
            return Response(status_code=400)
        return LinesResponse(first, answers)

    @api.get("/v1/model")
    async def model() -> ModelInfo:
        """Which model answers here."""
        return models.info

    @api.get("/healthz", responses={200: {"content": _example({"status": "ok"})}})
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @api.get(
        "/readyz",
        response_model=dict[str, str],
        responses={200: {"content": _example({"status": "ready"})}, 503: {"model": Problem, "description": "a stage has not answered yet"}},
    )
    async def readyz(request: Request) -> dict[str, str] | Response:
        """Both stages have answered a product."""
        missing = await ready()
        return _respond(request, 503, "not_ready", missing) if missing else {"status": "ready"}

    api.go_direct()
    return api


def _asked(bodies: Sequence[ClassifyRequest]) -> Asked:
    return [body.taxonomy_version for body in bodies] if any(body.taxonomy_version is not None for body in bodies) else ()


def _keep_nulls(api: FastAPI) -> None:
    """FastAPI leaves what is null out of a document, also out of examples, which then lack fields that every answer has."""
    plain = api.openapi

    def whole() -> dict[str, Any]:
        document = plain()
        for model in (ClassifyResponse, BatchResponse, ModelInfo, Problem):
            document["components"]["schemas"][model.__name__]["examples"] = model.model_json_schema()["examples"]
        return document

    api.openapi = whole  # type: ignore[method-assign]


def _example(document: dict[str, str]) -> dict[str, Any]:
    return {"application/json": {"example": document}}


def _respond(request: Request, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem(reason, message, request.state.request_id).model_dump(), status, headers)


def _overloaded(request: Request, reason: str, message: str) -> JSONResponse:
    return _respond(request, 503, reason, message, {"Retry-After": RETRY_AFTER})


def _too_much(request: Request, error: Exception) -> Response:
    return _overloaded(request, "overloaded", f"{error}; send the request again after {RETRY_AFTER} s")


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = _MESSAGES.get(error.status_code, error.detail)
    return _respond(request, error.status_code, _REASONS.get(error.status_code, "http_error"), message, dict(error.headers or {}))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # FastAPI's places begin with "body".
    return _not_answered(request, refused([{**each, "loc": each["loc"][1:]} for each in error.errors()]))


def _not_answered(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if error.status == 503:
        return _overloaded(request, error.reason, error.message)
    return _respond(request, error.status, error.reason, error.message)
