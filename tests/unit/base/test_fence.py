"""The fence of this folder holds: what a unit test may not do fails at the call."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest


def _connect() -> None:
    with socket.socket() as each:
        each.connect(("127.0.0.1", 9))


def _listen() -> None:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        each.listen()


FORBIDDEN: list[Callable[[], object]] = [
    _connect,
    _listen,
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: time.sleep(0),
    lambda: subprocess.run([sys.executable, "-c", ""], check=True),
]


@pytest.mark.parametrize("call", FORBIDDEN, ids=["connect", "listen", "getaddrinfo", "sleep", "subprocess"])
def test_a_forbidden_call_fails_even_where_errors_are_swallowed(call: Callable[[], object]) -> None:
    def swallowing() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001  the point of the test
            return

    with pytest.raises(pytest.fail.Exception, match="a unit test called"):
        swallowing()


def test_ray_init_is_forbidden_where_ray_was_imported(fence: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SimpleNamespace(init=lambda: None)
    fence(monkeypatch, {"ray": ray})
    with pytest.raises(pytest.fail.Exception, match=r"ray\.init"):
        ray.init()


def test_an_event_loop_still_runs() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert asyncio.run(answer()) == 42
