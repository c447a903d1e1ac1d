"""The fence: a unit test starts no Ray, opens no network connection, sleeps not and runs no other program. It fails at the call that tries.

Imports neither ray nor torch: ray.init is patched only if a test module has imported ray. A Ray imported later, inside a test, cannot start either:
starting it takes subprocess.Popen.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import joblib
import pytest

# scikit-learn asks once a process how many cores there are, by running another program: here, and not inside the first test that sorts neighbours.
joblib.cpu_count(only_physical_cores=True)


def _forbidden(what: str) -> Any:
    def fail(*_: Any, **__: Any) -> NoReturn:
        # pytest.fail raises past `except Exception`, so code that swallows errors cannot hide it.
        pytest.fail(f"a unit test called {what}: such tests belong into tests/ray, tests/serving or tests/e2e; here pass in what the code needs")

    return fail


def _unless_unix(what: str, original: Any) -> Any:
    """asyncio wakes its loop through a pair of AF_UNIX sockets: these stay allowed."""
    fail = _forbidden(what)

    def call(self: socket.socket, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs) if self.family == socket.AF_UNIX else fail()

    return call


def _fence(monkeypatch: pytest.MonkeyPatch, modules: Mapping[str, Any]) -> None:
    for name in ("connect", "connect_ex", "listen", "sendto"):
        monkeypatch.setattr(socket.socket, name, _unless_unix(f"socket.{name}", getattr(socket.socket, name)))
    monkeypatch.setattr(socket, "getaddrinfo", _forbidden("socket.getaddrinfo"))
    monkeypatch.setattr(time, "sleep", _forbidden("time.sleep"))
    monkeypatch.setattr(subprocess.Popen, "__init__", _forbidden("subprocess.Popen"))
    if "ray" in modules:
        monkeypatch.setattr(modules["ray"], "init", _forbidden("ray.init"))


@pytest.fixture(autouse=True)
def _fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    _fence(monkeypatch, sys.modules)


@pytest.fixture
def fence() -> Callable[[pytest.MonkeyPatch, Mapping[str, Any]], None]:
    """The fence itself, for the test of it."""
    return _fence
