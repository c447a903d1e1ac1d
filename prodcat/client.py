"""A typed client of the served API: one class around httpx. Loads no model and no server, only the models of what travels.

with Client("http://127.0.0.1:8000", key="...") as client:
    answer = client.classify(title="Silk scarf", image=Path("scarf.jpg"))
"""

import base64
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from prodcat.errors import PredictionError, RequestRefused
from prodcat.serving.schema import BatchResponse, ClassifyRequest, ClassifyResponse, ModelInfo, Problem

M = TypeVar("M", bound=BaseModel)

Image = bytes | Path
"""An image file, as it is: its bytes, or where it lies."""

# Answers that say "later": more is waiting than would be done in time, or the key's rate is used up.
_LATER = (429, 503)
_WAIT, _LONGEST_WAIT = 1.0, 30.0
# Room in a body for what is around the products.
_AROUND = 64


class Client:
    """Asks a served prodcat. Safe for several threads, as httpx.Client is.

    Args:
        base_url: of the server, as "https://categories.example".
        key: where the server asks for one.
        timeout: of one request, seconds; stage two alone may take 20.
        retries: how often a request is sent again that is answered 429 or 503, each time after as long as Retry-After says, at most 30 seconds.
        transport: another way to the server; for tests, proxies, client certificates.
        sleep: waits that many seconds; for tests.

    Every method raises RequestRefused if the server refuses the request (4xx), and PredictionError if it gives no answer.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        timeout: float = 60.0,
        *,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout, transport=transport)
        self._retries, self._sleep = retries, sleep
        self._limits: dict[str, float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def classify(
        self,
        *,
        title: str | None = None,
        description: str | None = None,
        brand: str | None = None,
        language: str | None = None,
        platform: str | None = None,
        product_id: str | None = None,
        image: Image | None = None,
        image_url: str | None = None,
        taxonomy_version: int | None = None,
    ) -> ClassifyResponse:
        """The category of one product; an image travels as it is, not in base64.

        Args:
            taxonomy_version: of the category tree, to be answered in; None: the last. `model` names it.
        """
        values = {
            "title": title,
            "description": description,
            "brand": brand,
            "language": language,
            "platform": platform,
            "product_id": product_id,
            "image_url": image_url,
            "taxonomy_version": taxonomy_version,
        }
        given = {name: value for name, value in values.items() if value is not None}
        if image is None:
            return _parsed(ClassifyResponse, self._send("POST", "/v1/classify", json=given))
        # All of them as parts: httpx sends `data` beside `files` in the same form, but a part with None for a file name is a text.
        parts: list[tuple[str, Any]] = [(name, (None, str(value).encode())) for name, value in given.items()]
        parts.append(("image", ("image", _bytes(image), "application/octet-stream")))
        return _parsed(ClassifyResponse, self._send("POST", "/v1/classify", files=parts))

    def classify_batch(
        self, products: Iterable[ClassifyRequest | Mapping[str, Any]], *, taxonomy_version: int | None = None
    ) -> list[ClassifyResponse | Problem]:
        """The categories of several products, in order; a product that cannot be read has a Problem in its place.

        Args:
            products: fields as `classify` takes them, images as bytes or paths too. As many as you like: they are sent in as many requests as needed.
            taxonomy_version: of products that name none themselves.
        """
        return list(self.stream(products, taxonomy_version=taxonomy_version))

    def stream(
        self, products: Iterable[ClassifyRequest | Mapping[str, Any]], *, taxonomy_version: int | None = None
    ) -> Iterator[ClassifyResponse | Problem]:
        """As classify_batch for products without end: one request's worth of them is taken at a time, and answered before more are.

        Not over the server's stream route: httpx sends a body to its end before it reads an answer, and that route reads no further while its answers
        are not read. Batches can be sent again when the server is overloaded, too.
        """
        for body, count in self._bodies(products, taxonomy_version):
            answers = self._send("POST", "/v1/classify/batch", content=body, headers={"Content-Type": "application/json"})
            results = _parsed(BatchResponse, answers).results
            if len(results) != count:
                raise PredictionError(
                    "unexpected_answer", f"{len(results)} results for {count} products; is this a prodcat server?", answers.status_code
                )
            yield from results

    def model(self) -> ModelInfo:
        """Which model answers, and within which limits."""
        return _parsed(ModelInfo, self._send("GET", "/v1/model"))

    def ready(self) -> bool:
        """Whether the server is there and both stages answer. Raises nothing for a server that is not."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _bodies(self, products: Iterable[ClassifyRequest | Mapping[str, Any]], taxonomy_version: int | None) -> Iterator[tuple[bytes, int]]:
        """Bodies of batch requests within the server's limits, and how many products each holds."""
        held: list[str] = []
        size = _AROUND
        for product in products:
            if self._limits is None:
                self._limits = self.model().limits
            text = _json(product, taxonomy_version)
            length = len(text.encode()) + 1
            if held and (len(held) >= self._limits["max_products"] or size + length > self._limits["max_body_bytes"]):
                yield _batch(held), len(held)
                held, size = [], _AROUND
            held.append(text)
            size += length
        if held:
            yield _batch(held), len(held)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        for left in range(self._retries, -1, -1):
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                what = "timeout" if isinstance(error, httpx.TimeoutException) else "unreachable"
                message = f"{self._http.base_url}: {error or type(error).__name__}; check the URL, and that the server runs"
                raise PredictionError(what, message) from error
            if response.status_code not in _LATER or not left:
                break
            self._sleep(_wait(response))
        if response.is_success:
            return response
        raise _error(response)


def _wait(response: httpx.Response) -> float:
    try:
        seconds = float(response.headers.get("Retry-After", _WAIT))
    except ValueError:
        # A date, which prodcat never sends; something in between does.
        return _WAIT
    # In this order NaN becomes 0.
    return min(max(0.0, seconds), _LONGEST_WAIT)


def _error(response: httpx.Response) -> PredictionError:
    try:
        detail = Problem.model_validate_json(response.content).error
        reason, message, request_id = detail.reason, detail.message, detail.request_id
    except ValidationError:
        # A proxy's own page, not ours.
        reason, message = "http_error", f"status {response.status_code}, and no explanation that can be read; is this a prodcat server?"
        request_id = response.headers.get("X-Request-ID")
    kind = RequestRefused if response.is_client_error and response.status_code not in _LATER else PredictionError
    return kind(reason, message, response.status_code, request_id)


def _parsed(kind: type[M], response: httpx.Response) -> M:
    try:
        # A newer server may say more than this client knows of.
        return kind.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        message = f"the answer is no {kind.__name__}; is this a prodcat server, and not older than this client?"
        raise PredictionError("unexpected_answer", message, response.status_code, response.headers.get("X-Request-ID")) from error


def _bytes(image: Image) -> bytes:
    return image.read_bytes() if isinstance(image, Path) else image


def _json(product: ClassifyRequest | Mapping[str, Any], taxonomy_version: int | None) -> str:
    if not isinstance(product, ClassifyRequest):
        image = product.get("image")
        if isinstance(image, (bytes, Path)):
            product = {**product, "image": base64.b64encode(_bytes(image)).decode()}
        try:
            product = ClassifyRequest.model_validate(product)
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestRefused("invalid_request", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if product.taxonomy_version is None and taxonomy_version is not None:
        product = product.model_copy(update={"taxonomy_version": taxonomy_version})
    return product.model_dump_json(exclude_none=True)


def _batch(products: Iterable[str]) -> bytes:
    return f'{{"products":[{",".join(products)}]}}'.encode()
