"""The ASGI layer before the review: who may come in, from which page, under which name of the server; and what browsers may do with the answers.

Without a token only this machine's own names are answered to, or a page from elsewhere could reach the server by a name of its own (DNS rebinding).
A token comes as a bearer's, or once in the address of the page, which puts it into a cookie and out of sight.
"""

import hmac
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "prodcat_review"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """
    Args:
        token: None: whoever asks under a loopback name.
        policy: Content-Security-Policy of every answer.
    """

    def __init__(self, app: ASGIApp, token: str | None, policy: str) -> None:
        self._app, self._token, self._policy = app, token, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket here"})
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, sealed)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._token is None and urlsplit(f"//{host}").hostname not in LOOPBACK:
            return refusal(
                403, "unknown_host", f"this server answers to {', '.join(LOOPBACK)}, not to {host!r}; start it with a token for other names"
            )
        if scope["method"] not in _SAFE:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            if (origin is not None and urlsplit(origin).netloc != host) or site not in (None, "same-origin", "none"):
                return refusal(403, "foreign_page", "decisions are taken from this server's own page only; open the page itself")
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return refusal(415, "not_json", "send the decision as application/json")
        return self._without_token(scope, headers) if self._token is not None else None

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(secret.strip(), self._token):
            return None
        if _same(_cookie(headers.getlist("cookie")), self._token):
            return None
        asked = parse_qsl(scope["query_string"].decode("latin-1"))
        if (scope["method"], scope["path"]) == ("GET", "/") and _same(dict(asked).get("token", ""), self._token):
            rest = urlencode([(name, value) for name, value in asked if name != "token"])
            answer = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
            return answer
        message = "this review needs its token: open the address that `prodcat review` printed, or send 'Authorization: Bearer TOKEN'"
        return refusal(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def refusal(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"reason": reason, "message": message}}, status, headers)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _cookie(lines: Sequence[str]) -> str:
    try:
        found = SimpleCookie("; ".join(lines)).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
