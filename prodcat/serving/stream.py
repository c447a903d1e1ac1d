"""Products as lines of JSON (NDJSON), answered line by line in their order while more are still coming. Knows no model.

A stream has no length: what is bounded is one line, and what is under way at once. While the window is full nothing more is read, so a sender that is
faster than the models, or that does not read its answers, waits.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from prodcat.serving.first_pass import Overloaded
from prodcat.serving.limits import BodyLimit, RequestLimits
from prodcat.serving.refusals import Refused, refused
from prodcat.serving.schema import EXAMPLE_ANSWER, EXAMPLE_PRODUCT, ClassifyRequest, ClassifyResponse, LineProblem, Problem, problem

NDJSON = "application/x-ndjson"
_ALSO = ("application/ndjson", "application/jsonl")
# Lines that are asked together, if so many have come: a stage-two call's worth. A line that comes alone waits for no other.
GROUP = 32

Classify = Callable[[Sequence[ClassifyRequest]], Awaitable[list[ClassifyResponse | Problem]]]
"""n requests -> n answers, in order. Raises Overloaded."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Args: data: None: longer than a line may be, and the last one that is read."""

    number: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class _Group:
    lines: list[_Line]
    answers: asyncio.Task[list[ClassifyResponse | LineProblem]]
    size: int


def check_stream(request: Request) -> None:
    """Raises Refused for what is no stream of lines."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in (NDJSON, *_ALSO):
        raise Refused(415, "unsupported_media_type", f"expected one JSON object a line, sent with Content-Type: {NDJSON}")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refused(415, "unsupported_media_type", "the body is compressed; send it as it is, without Content-Encoding")


class LineStream:
    """One request's lines and their answers.

    Args:
        limits: max_products lines are under way at once, max_body_bytes is the longest line, and all lines that are under way together if there are
            several; one more group may have been read ahead.
    """

    def __init__(self, request: Request, classify: Classify, limits: RequestLimits) -> None:
        self._request, self._classify, self._limits = request, classify, limits
        # Fetched images are bounded for each call of `classify`: one call with URLs at a time is one request's worth.
        self._fetching = asyncio.Lock()

    async def answers(self) -> AsyncGenerator[bytes, None]:
        """Whole lines, as soon as they and all before them are known.

        Raises:
            Overloaded: before the first line is out; later it stands in the place of the products it meets.
            ClientDisconnect: the client has gone; what was under way is cancelled.
        """
        body = self._request.stream()
        groups = _groups(body, min(GROUP, self._limits.max_products), self._limits.max_body_bytes)

        async def following() -> list[_Line] | None:
            return await anext(groups, None)

        under_way: deque[_Group] = deque()
        reading: asyncio.Task[list[_Line] | None] | None = asyncio.create_task(following())
        gone: asyncio.Task[bool] | None = None
        begun = ended = cut = False
        try:
            while reading or under_way:
                await asyncio.wait(
                    [task for task in (reading, gone, under_way[0].answers if under_way else None) if task], return_when="FIRST_COMPLETED"
                )
                if gone and gone.done():
                    if gone.result():
                        raise ClientDisconnect
                    gone = None
                if reading and reading.done():
                    lines, reading = reading.result(), None
                    cut = lines is not None and lines[-1].data is None
                    ended = cut or not lines
                    if lines:
                        under_way.append(self._begin(lines))
                    if ended and not cut:
                        # Until here the body's own end told of a client that goes.
                        gone = asyncio.create_task(_disconnected(self._request.receive))
                while under_way and under_way[0].answers.done():
                    yield _text(_results(under_way.popleft(), begun))
                    begun = True
                if not ended and reading is None and self._room(under_way):
                    reading = asyncio.create_task(following())
            if cut:
                await _drop_rest(body, self._limits.max_body_bytes)
        finally:
            left = [task for task in (reading, gone, *(group.answers for group in under_way)) if task]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await groups.aclose()

    def _begin(self, lines: list[_Line]) -> _Group:
        return _Group(lines, asyncio.create_task(self._answered(lines)), sum(len(line.data or b"") for line in lines))

    def _room(self, under_way: Sequence[_Group]) -> bool:
        lines = sum(len(group.lines) for group in under_way)
        return lines < self._limits.max_products and sum(group.size for group in under_way) < self._limits.max_body_bytes

    async def _answered(self, lines: Sequence[_Line]) -> list[ClassifyResponse | LineProblem]:
        requests = [self._request_of(line) for line in lines]
        good = [request for request in requests if isinstance(request, ClassifyRequest)]
        async with AsyncExitStack() as stack:
            if any(request.image_url for request in good):
                await stack.enter_async_context(self._fetching)
            found = iter(await self._classify(good) if good else [])
        answers = [next(found) if isinstance(request, ClassifyRequest) else request for request in requests]
        return [
            LineProblem(error=answer.error, line=line.number) if isinstance(answer, Problem) else answer
            for line, answer in zip(lines, answers, strict=True)
        ]

    def _request_of(self, line: _Line) -> ClassifyRequest | Problem:
        if line.data is None:
            most = self._limits.max_body_bytes
            return problem(
                "line_too_long", f"line {line.number} is longer than {most} bytes, and the stream ends here; send the lines after it again"
            )
        try:
            return ClassifyRequest.model_validate_json(line.data)
        except ValidationError as error:
            refusal = refused(error.errors(include_input=False, include_url=False), "line")
            return problem(refusal.reason, f"line {line.number}: {refusal.message}")


class LinesResponse(Response):
    """Sends lines as they come. Starlette's own would read the request beside us, to see whether the client has gone, and so take our lines."""

    media_type = NDJSON

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], background: BackgroundTask | None = None) -> None:
        super().__init__(None, 200, background=background)
        # The length of nothing, which this is not.
        del self.headers["content-length"]
        self._first, self._rest = first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for lines in self._rest:
                await send({"type": "http.response.body", "body": lines, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (ClientDisconnect, OSError):
            # Nobody is there to be told.
            return
        finally:
            await self._rest.aclose()


async def _groups(body: AsyncIterator[bytes], most: int, max_bytes: int) -> AsyncGenerator[list[_Line], None]:
    """Lines that hold something, in groups of at most `most`, each as soon as its lines have come. Numbers count blank lines too, from 1."""
    held, number = bytearray(), 1
    group: list[_Line] = []
    async for chunk in body:
        start = 0
        while start < len(chunk):
            end = chunk.find(b"\n", start)
            part_end = end if end >= 0 else len(chunk)
            if len(held) + part_end - start > max_bytes:
                yield [*group, _Line(number, None)]
                return
            held += chunk[start:part_end]
            start = part_end + 1
            if end < 0:
                break
            if line := held.strip():
                group.append(_Line(number, bytes(line)))
            held, number = bytearray(), number + 1
            if len(group) == most:
                yield group
                group = []
        if group:
            yield group
            group = []
    if line := held.strip():
        yield [_Line(number, bytes(line))]


async def _drop_rest(body: AsyncIterator[bytes], max_bytes: int) -> None:
    """As BodyLimit does with what is too large, so that the last line reaches a client that is still sending."""
    dropped = 0
    try:
        async with asyncio.timeout(BodyLimit.LINGER_SECONDS):
            async for chunk in body:
                dropped += len(chunk)
                if dropped > BodyLimit.LINGER_TIMES * max_bytes:
                    return
    except TimeoutError:
        pass


async def _disconnected(receive: Receive) -> bool:
    return (await receive())["type"] == "http.disconnect"


def _results(group: _Group, begun: bool) -> Sequence[BaseModel]:
    try:
        return group.answers.result()
    except Overloaded as error:
        if not begun:
            raise
        message = f"{error}; send this product again later, and fewer at once"
        return [LineProblem(error=problem("overloaded", message).error, line=line.number) for line in group.lines]


def _text(answers: Sequence[BaseModel]) -> bytes:
    return "".join(f"{answer.model_dump_json()}\n" for answer in answers).encode()


def _lines_of(*documents: dict[str, Any]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


_EXAMPLE_PROBLEM_LINE = {
    "error": {
        "reason": "invalid_json",
        "message": "line 2: the line is not JSON: EOF while parsing",
        "request_id": None,
    },
    "line": 2,
}
STREAM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            NDJSON: {
                "schema": {"type": "string", "description": "one ClassifyRequest a line; blank lines are skipped"},
                "example": _lines_of(EXAMPLE_PRODUCT, {"title": "Silk scarf"}),
            }
        },
    }
}
"""For the route's `openapi_extra`."""
# Named here and not as `model`: FastAPI would say that problems come as lines, too.
_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "one line a product, in order: a ClassifyResponse, or a Problem with the number of its `line`; the last one if a line was "
        "longer than limits.max_body_bytes",
        "content": {NDJSON: {"schema": {"type": "string"}, "example": _lines_of(EXAMPLE_ANSWER, _EXAMPLE_PROBLEM_LINE)}},
    },
    415: {"content": _PROBLEM, "description": f"the body is not {NDJSON}, or compressed"},
    503: {"content": _PROBLEM, "description": "more is waiting than would be done in time; later in the stream a problem `overloaded` says so"},
}
