"""A replica answers so many at once, lets so many wait, and refuses the rest at once; what waits is let in in order, and leaves without a trace."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from prodcat.serving.admission import Admission, Turns


class Inside:
    """Answers when told to."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.append(scope["path"])
        await self.go_on.wait()
        if scope["path"] == "/broken":
            raise ValueError("broken")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def _ask(app: Admission, path: str, method: str = "POST") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def receive() -> Message:
        raise AssertionError("a body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": [], "state": {"request_id": "r1"}}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def _until_quiet() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_more_than_may_wait_are_refused_at_once_and_the_others_come_in_order() -> None:
    async def run() -> None:
        inside = Inside()
        app = Admission(inside, Turns(at_once=2, waiting=3))
        asked = [asyncio.create_task(_ask(app, f"/{number}")) for number in range(5)]
        await _until_quiet()
        assert inside.entered == ["/0", "/1"]
        status, headers, body = await _ask(app, "/late")
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert json.loads(body)["error"] == {
            "reason": "overloaded",
            "message": "3 requests are waiting already; send the request again after 1 s",
            "request_id": "r1",
        }
        inside.go_on.set()
        assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 5
        assert inside.entered == [f"/{number}" for number in range(5)]
        assert (await _ask(app, "/after"))[0] == 200

    asyncio.run(run())


def test_health_and_documents_need_no_turn() -> None:
    async def run() -> None:
        inside = Inside()
        app = Admission(inside, Turns(at_once=1, waiting=0))
        busy = asyncio.create_task(_ask(app, "/busy"))
        await _until_quiet()
        assert (await _ask(app, "/more"))[0] == 503
        health = asyncio.create_task(_ask(app, "/healthz", "GET"))
        await _until_quiet()
        assert inside.entered == ["/busy", "/healthz"]
        inside.go_on.set()
        assert (await health)[0] == (await busy)[0] == 200

    asyncio.run(run())


def test_who_fails_or_goes_away_gives_the_turn_back() -> None:
    async def run() -> None:
        inside = Inside()
        turns = Turns(at_once=1, waiting=1)
        app = Admission(inside, turns)
        broken = asyncio.create_task(_ask(app, "/broken"))
        await _until_quiet()
        gone = asyncio.create_task(_ask(app, "/gone"))
        await _until_quiet()
        assert turns.full()
        gone.cancel()
        await _until_quiet()
        assert not turns.full()
        inside.go_on.set()
        with pytest.raises(ValueError, match="broken"):
            await broken
        assert (await _ask(app, "/after"))[0] == 200
        assert inside.entered == ["/broken", "/after"]

    asyncio.run(run())
