"""Bundles come and go, and replicas die, under load on Ray Serve: no request is lost, and every answer says which bundle and which stage made it."""

import base64
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from PIL import Image

from prodcat.errors import BundleError
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.text_stage import TextStage
from prodcat.promoting import promote, rollback, warm_up
from prodcat.serving.store import Entry, ModelStore, Promoted

from .conftest import variant


class Load:
    """Requests one after the other from some threads; titles never repeat, so that none is answered from memory."""

    def __init__(self, url: str, titles: tuple[str, ...]) -> None:
        self._url, self._titles = url, titles
        self._stop = threading.Event()
        self.answers: list[tuple[float, int, dict[str, Any]]] = []
        self.failures: list[str] = []

    def run(self, name: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            for turn in range(1_000_000):
                if self._stop.is_set():
                    return
                try:
                    answer = client.post("/v1/classify", json={"title": f"{self._titles[turn % len(self._titles)]} {name} {turn}"})
                    self.answers.append((time.monotonic(), answer.status_code, answer.json()))
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def bundles(self, since: float = 0.0) -> Counter[str]:
        return Counter(body["bundle"] for at, status, body in self.answers if status == 200 and at >= since)


@contextmanager
def load(url: str, titles: tuple[str, ...], threads: int = 4) -> Iterator[Load]:
    made = Load(url, titles)
    running = [threading.Thread(target=made.run, args=(name,)) for name in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield made
    finally:
        made._stop.set()
        for thread in running:
            thread.join()


def wait_for(url: str, wanted: Any, read: Any, seconds: float = 60) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        model = httpx.get(f"{url}/v1/model", timeout=30).json()
        if read(model) == wanted:
            return time.monotonic()
        time.sleep(0.2)
    raise AssertionError(f"not {wanted} after {seconds} s: {model}")


def quiet(_: str) -> None:
    pass


def test_promote_canary_and_rollback_under_load(
    url: str, store: ModelStore, tiny_bundle: Bundle, titles: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("variants")
    new = variant(tiny_bundle, place / "new", threshold=0.0)
    old = tiny_bundle.version
    with load(url, titles) as running:
        wait_for(url, old, lambda model: model["bundle"])
        said = promote(new.folder, store.file.parent, canary="30%", say=quiet)
        assert (said["current"], said["canary"]) == (old, new.version)
        began = wait_for(url, new.version, lambda model: (model["canary"] or {}).get("bundle"))
        while sum(running.bundles(began).values()) < 100:
            time.sleep(0.1)
        share = running.bundles(began)[new.version] / sum(running.bundles(began).values())
        assert 0.1 < share < 0.5
        wait_for(url, True, lambda model: model["canary"]["compared"] > 0)

        promote(new.folder, store.file.parent, canary=None, say=quiet)
        done = wait_for(url, (new.version, None), lambda model: (model["bundle"], model["canary"]))
        while sum(running.bundles(done + 0.5).values()) < 30:
            time.sleep(0.1)
        # With its gate open, stage one answers everything.
        assert set(running.bundles(done + 0.5)) == {new.version}
        assert {body["stage"] for at, _, body in running.answers if at > done + 0.5} == {1}

        rollback(store.file.parent)
        done = wait_for(url, old, lambda model: model["bundle"])
        while sum(running.bundles(done + 0.5).values()) < 10:
            time.sleep(0.1)
        assert set(running.bundles(done + 0.5)) == {old}
    assert running.failures == []
    assert {status for _, status, _ in running.answers} == {200}
    assert {body["degraded"] for _, _, body in running.answers} == {None}
    assert set(running.bundles()) == {old, new.version}


def test_a_bundle_that_does_not_answer_is_refused_and_the_old_one_stays(
    url: str, store: ModelStore, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def broken(place: Path) -> None:
        (place / "stage_one" / "model.onnx").write_bytes(b"no model, though its sum is right")

    bad = variant(tiny_bundle, tmp_path_factory.mktemp("bad") / "bundle", broken)
    before = store.read()
    assert before is not None
    with pytest.raises(BundleError, match=r"stage_one: its text tower has fingerprint .*; rebuild the bundle"):
        promote(bad.folder, store.file.parent, canary=None, say=quiet)
    assert store.read() == before
    # Somebody writes the store by hand: the application looks for itself.
    store._write(Promoted(current=Entry(folder=str(bad.folder), version=bad.version), previous=before.current))
    try:
        wait_for(url, True, lambda model: model["refused"] is not None)
        answer = httpx.post(f"{url}/v1/classify", json={"title": "black leather boots, refused"}, timeout=60)
        assert (answer.status_code, answer.json()["bundle"]) == (200, before.current.version)
    finally:
        store._write(before)
    wait_for(url, None, lambda model: model["refused"])


def test_a_bundle_that_fails_while_it_answers_is_refused_by_its_warm_up(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(self: TextStage, texts: Sequence[str]) -> None:
        raise MemoryError("no room")

    assert warm_up(tiny_bundle) > 0
    monkeypatch.setattr(TextStage, "read", out_of_memory)
    with pytest.raises(BundleError, match=r"does not answer a warm-up \(MemoryError: no room\); it is not promoted"):
        warm_up(tiny_bundle)


def _replicas(name: str) -> list[Any]:
    named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if f"#{name}#" in actor["name"]]
    return [ray.get_actor(each, namespace="serve") for each in named]


def test_stage_one_answers_while_stage_two_is_gone_and_stage_two_comes_back(url: str, tiny_bundle: Bundle, titles: tuple[str, ...]) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(stream, "JPEG")
    image = {"image": base64.b64encode(stream.getvalue()).decode()}
    with load(url, titles, threads=2) as running:
        assert len(_replicas("MultimodalStage")) == 1
        killed = time.monotonic()
        refused = 0
        # A replica may be back before a request has met the gap: killed again until titles and an image have. An image alone
        # only stage two could answer: refused with Retry-After, until it can.
        while not (refused and any(body.get("degraded") for _, _, body in running.answers)):
            assert time.monotonic() < killed + 60, "no answer was marked, or no image refused"
            for replica in _replicas("MultimodalStage"):
                ray.kill(replica, no_restart=True)
            answer = httpx.post(f"{url}/v1/classify", json=image, timeout=60)
            if answer.status_code != 200:
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                refused += 1
        while (answer := httpx.post(f"{url}/v1/classify", json=image, timeout=60)).status_code != 200:
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert time.monotonic() < killed + 120, "stage two did not come back"
            time.sleep(0.2)
        assert answer.json()["stage"] == 2
    assert running.failures == []
    assert {status for _, status, _ in running.answers} == {200}
    marked = [body for _, _, body in running.answers if body["degraded"]]
    assert {body["stage"] for body in marked} == {1}
