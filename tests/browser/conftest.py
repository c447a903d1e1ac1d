"""A real browser: Debian's chromium and its driver, found on PATH. Tests are skipped, with the remedy, where there are none.

The server runs in a thread of the test, on a free port of the loopback.
"""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from ..unit.reviewing.conftest import catalog, folder

# The folder of proposals that the review's other tests look at.
__all__ = ["catalog", "folder"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless chromium under WebDriver; 1280 x 900 pixels."""
    selenium = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'selenium>=4.30'")
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(f"no {'chromium' if program is None else 'chromedriver'} on PATH: apt-get install -y chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    # In a container chromium has no user namespaces and a small /dev/shm; no page but our own is opened.
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        "--lang=en",
        "--no-proxy-server",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    made.set_window_size(1280, 900)
    yield made
    made.quit()


@pytest.fixture
def served() -> Iterator[Callable[[FastAPI], str]]:
    """Serves an app until the test ends; called, it returns the app's address."""
    running: list[Any] = []

    def start(app: FastAPI) -> str:
        server = _served(app)
        running.append(server)
        return server.__enter__()

    yield start
    for server in running:
        server.__exit__(None, None, None)


@contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()
