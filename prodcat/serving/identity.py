"""The outermost ASGI layer: every request has an id, and whatever fails inside answers with that id and no traceback. Knows no route."""

import json
import logging
import random
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prodcat.serving.schema import problem

HEADER = "X-Request-ID"
# A caller's id goes into logs and back into a header: short, and nothing that could break either.
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")

# No secret, only unlike the others. Asking the system for random bytes lets go of the interpreter's lock, and getting that back from a thread that
# computes takes up to a millisecond: more than all else that a request costs here.
_random = random.Random()

_log = logging.getLogger(__name__)


class RequestIdentity:
    """Takes the caller's X-Request-ID if it is harmless, else makes one; leaves it in scope["state"]["request_id"].

    Args:
        header: put the id into the answer's header. False where the server around does so, as Ray Serve: the header would stand there twice.
    """

    def __init__(self, app: ASGIApp, header: bool = True) -> None:
        self._app = app
        self._header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ACCEPTED.fullmatch(given) else f"{_random.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def identified(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._header:
                    MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, identified)
        except Exception:
            caller = scope["state"].get("caller", "nobody in particular")
            _log.exception("request %s of %s failed: %s %s", request_id, caller, scope["method"], scope["path"])
            if started:
                # Half an answer is out: only breaking the connection tells the caller.
                raise
            body = problem("internal_error", "the server failed on this request; report the request id to whoever runs it", request_id)
            await _send_json(identified, 500, body.model_dump())


async def _send_json(send: Send, status: int, document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
