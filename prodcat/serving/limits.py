"""What a request may cost, and the ASGI layer that holds the size of bodies to it. Knows no JSON.

Starlette's own body limit answers in plain text and only since 1.x; here a body that is too large gets the same JSON as every other error.
"""

import asyncio

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prodcat.config import Config
from prodcat.serving.schema import MOST_PRODUCTS


class RequestLimits(Config):
    """Limits of one request. A replica's worst case is max_body_bytes times its requests at once."""

    max_body_bytes: int = Field(32_000_000, gt=0, description="largest body; holds one image of 20 MB in base64, or a batch of small ones")
    max_products: int = Field(256, gt=0, le=MOST_PRODUCTS, description="products in one batch request, and of a stream under way at once")
    max_waiting_products: int = Field(4096, gt=0, description="products that may wait for stage one in a replica; above it new requests get 503")
    stage_two_seconds: float = Field(
        20.0, gt=0, description="how long stage two may take; after it stage one's own answer is sent, marked `degraded`"
    )
    recent_seconds: float = Field(60.0, ge=0, description="how long a product's answer is kept for the next who asks the same; 0: not at all")
    recent_entries: int = Field(4096, gt=0, description="answers kept, about 2 KB each")


class BodyLimit:
    """Refuses a body by its Content-Length before any of it is parsed, and one without an honest length as soon as too much of it has come.

    What a client is still sending is read and dropped before the refusal is sent, within bounds: a connection closed on unread bytes is reset, and a
    reset takes the answer with it. A client that waits for "100 Continue" gets the refusal at once.

    Args:
        unbounded: routes that read their body piece by piece and bound the pieces themselves. Everything else, known or not, is bounded.
    """

    # How much is dropped, as a multiple of max_bytes, and for how long: nothing of it is kept in memory.
    LINGER_TIMES = 4
    LINGER_SECONDS = 5.0

    def __init__(self, app: ASGIApp, max_bytes: int, unbounded: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The router strips the same prefix from the same string: what is unbounded here cannot be another route there.
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) in self._unbounded:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        too_large = announced.isdigit() and int(announced[:20]) > self._max_bytes
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            if too_large:
                if b"expect" not in headers:
                    await self._drop_rest(receive)
                raise self._refusal()
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    if message.get("more_body", False):
                        await self._drop_rest(receive)
                    raise self._refusal()
            return message

        await self._app(scope, limited, send)

    async def _drop_rest(self, receive: Receive) -> None:
        dropped, more = 0, True
        try:
            async with asyncio.timeout(self.LINGER_SECONDS):
                while more and dropped <= self.LINGER_TIMES * self._max_bytes:
                    message = await receive()
                    dropped += len(message.get("body", b""))
                    more = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            pass

    def _refusal(self) -> HTTPException:
        # An HTTPException passes FastAPI's own handling of unreadable bodies unchanged. What is left of the body stays unread: the connection ends.
        return HTTPException(
            413,
            f"the body is larger than {self._max_bytes} bytes; send fewer products a request or smaller images",
            headers={"Connection": "close"},
        )
