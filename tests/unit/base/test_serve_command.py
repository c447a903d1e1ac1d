"""`prodcat serve`: what it hands to the application, what it says, and that a signal ends it. The application is tested on Ray, in tests/serving."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prodcat import demonstration
from prodcat.errors import BundleError
from prodcat.serving.arguments import ServeArgs
from prodcat.serving.store import Entry, Promoted


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What `run_local` was called with; no cluster."""
    found: dict[str, Any] = {}

    @contextmanager
    def run_local(bundle: Path, *, port: int, host: str, args: ServeArgs) -> Iterator[str]:
        found.update(bundle=bundle, port=port, host=host, args=args)
        yield f"http://{host}:{port}"

    @contextmanager
    def cluster(_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(demonstration, "run_local", run_local)
    monkeypatch.setattr(demonstration, "cluster", cluster)
    monkeypatch.setattr(demonstration, "served", lambda folder: Promoted(current=Entry(folder=str(folder), version="abc123")))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_with_keys_until_a_signal_comes(handed: dict[str, Any], tmp_path: Path, number: signal.Signals) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        os.kill(os.getpid(), number)

    keys = tmp_path / "keys.yaml"
    result = demonstration.serve_until_stopped(tmp_path, keys=keys, host="127.0.0.1", port=8123, say=say)
    assert result == {"stopped": "http://127.0.0.1:8123"}
    assert said == ["bundle abc123 at http://127.0.0.1:8123: POST /v1/classify, http://127.0.0.1:8123/docs; Ctrl-C stops"]
    assert (handed["bundle"], handed["args"].keys) == (tmp_path, str(keys))


def test_without_keys_everybody_may_ask_and_a_relative_key_file_is_meant_from_here(
    handed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    demonstration.serve_until_stopped(tmp_path, keys=None, host="127.0.0.1", port=8123, say=stop)
    assert handed["args"].keys is None
    monkeypatch.chdir(tmp_path)
    demonstration.serve_until_stopped(tmp_path, keys=Path("keys.yaml"), host="127.0.0.1", port=8123, say=stop)
    assert handed["args"].keys == str(tmp_path / "keys.yaml")


def test_a_folder_with_neither_bundle_nor_store_is_refused_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        demonstration.serve_until_stopped(tmp_path, keys=None, host="127.0.0.1", port=8123, say=print)
