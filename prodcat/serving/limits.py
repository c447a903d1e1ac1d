"""What a request may cost, and the ASGI layer that holds the size of bodies to it. Knows no JSON.

Starlette's own body limit answers in plain text and only since 1.x; here a body that is too large gets the same JSON as every other error.
"""

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prodcat.config import Config


class RequestLimits(Config):
    """Limits of one request. A replica's worst case is max_body_bytes times its requests at once."""

    max_body_bytes: int = Field(32_000_000, gt=0, description="largest body; holds one image of 20 MB in base64, or a batch of small ones")
    max_products: int = Field(256, gt=0, description="products in one batch request")


class BodyLimit:
    """Refuses a body by its Content-Length before it is read, and one without an honest length as soon as too much of it has come."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        too_large = announced.isdigit() and int(announced[:20]) > self._max_bytes
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            if too_large:
                raise self._refusal()
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    raise self._refusal()
            return message

        await self._app(scope, limited, send)

    def _refusal(self) -> HTTPException:
        # An HTTPException passes FastAPI's own handling of unreadable bodies unchanged. The rest of the body is not read: the connection ends here.
        return HTTPException(
            413,
            f"the body is larger than {self._max_bytes} bytes; send fewer products a request or smaller images",
            headers={"Connection": "close"},
        )
