"""The ASGI layer that bounds how many requests a replica answers at once and how many wait for their turn. Knows no route.

Ray Serve has such a bound too, but refuses in plain text without a request id; it stands behind this one, for a flood that even refusing is too
much for.
"""

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from prodcat.serving.schema import problem

# Seconds; long enough for a replica to start answering again, short enough that nobody gives up.
RETRY_AFTER = "1"


class Turns:
    """Shared by all layers of one replica.

    Args:
        at_once: requests inside; each may hold a body.
        waiting: requests that may wait outside, without theirs.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = waiting
        self.waiting = 0

    def full(self) -> bool:
        return self._free.locked() and self.waiting >= self._most

    async def take(self) -> None:
        """In the order in which they came."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1

    def give_back(self) -> None:
        self._free.release()


class Admission:
    """Lets POSTs in as their turn comes, and refuses one that would wait behind too many with 503 and Retry-After, before its body is read."""

    def __init__(self, app: ASGIApp, turns: Turns) -> None:
        self._app, self._turns = app, turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._turns.full():
            message = f"{self._turns.waiting} requests are waiting already; send the request again after {RETRY_AFTER} s"
            document = problem("overloaded", message, scope["state"]["request_id"]).model_dump()
            await JSONResponse(document, 503, {"Retry-After": RETRY_AFTER})(scope, receive, send)
            return
        await self._turns.take()
        try:
            await self._app(scope, receive, send)
        finally:
            self._turns.give_back()
