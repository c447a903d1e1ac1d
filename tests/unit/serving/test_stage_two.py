"""Stage two may be slow, full, down or broken: the client says which, in bounded time, and the API goes on with stage one."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from prodcat.contracts import Product
from prodcat.prediction.cascade import Cascade
from prodcat.prediction.degradation import DEGRADED
from prodcat.prediction.preparing import Prepared
from prodcat.serving.api import create_api
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Model, Models
from prodcat.serving.stage_two import FAILURES, PAUSE_SECONDS, PRODUCTS_A_CALL, StageTwoClient, StageTwoError

from .conftest import INFO


def prepare(products: Sequence[Product], vectors: np.ndarray | None) -> Prepared:
    ids = np.array([[int(product.product_id)] for product in products], np.int32)
    return Prepared(len(products), {"text": (np.arange(len(products)), ids)}, (None,) * len(products))


async def echo(prepared: Prepared) -> np.ndarray:
    return prepared.inputs["text"][1].astype(np.float32)


def products(count: int) -> list[Product]:
    return [Product("shop", str(row), title="x") for row in range(count)]


def test_a_large_request_is_sent_in_calls_and_comes_back_in_order() -> None:
    sizes = []

    async def send(prepared: Prepared) -> np.ndarray:
        sizes.append(prepared.size)
        # Later calls answer first.
        await asyncio.sleep(0.01 / len(sizes))
        return await echo(prepared)

    count = 2 * PRODUCTS_A_CALL + 5
    output = asyncio.run(StageTwoClient(prepare, send, threads=2).read(products(count), None))
    assert output.logits[:, 0].tolist() == list(range(count))
    assert sorted(sizes) == [5, PRODUCTS_A_CALL, PRODUCTS_A_CALL]
    assert output.readable.all()


def test_the_deadline_ends_the_work() -> None:
    cancelled = []

    async def send(prepared: Prepared) -> np.ndarray:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(prepared.size)
            raise
        return np.zeros((prepared.size, 1), np.float32)

    async def ask() -> None:
        with pytest.raises(StageTwoError, match="stage_two_slow"):
            await StageTwoClient(prepare, send, deadline=0.02).read(products(PRODUCTS_A_CALL + 1), None)

    asyncio.run(ask())
    assert sorted(cancelled) == [1, PRODUCTS_A_CALL]


def test_a_caller_that_has_gone_is_not_computed() -> None:
    begun, cancelled = asyncio.Event(), []

    async def send(prepared: Prepared) -> np.ndarray:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)
        return np.zeros((1, 1), np.float32)

    async def ask() -> None:
        client = StageTwoClient(prepare, send)
        task = asyncio.create_task(client.read(products(1), None))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert cancelled == [True]


def test_after_some_failures_it_is_left_alone_and_tried_again_by_one_at_a_time() -> None:
    now, calls = 0.0, []
    works = False

    async def send(prepared: Prepared) -> np.ndarray:
        calls.append(now)
        if not works:
            raise RuntimeError("down")
        return await echo(prepared)

    async def ask(client: StageTwoClient) -> str:
        try:
            await client.read(products(1), None)
        except StageTwoError as error:
            return error.reason
        return "answered"

    async def body() -> None:
        nonlocal now, works
        client = StageTwoClient(prepare, send, clock=lambda: now)
        assert [await ask(client) for _ in range(FAILURES + 3)] == ["stage_two_failed"] * FAILURES + ["stage_two_unavailable"] * 3
        now = PAUSE_SECONDS
        assert [await ask(client) for _ in range(3)] == ["stage_two_failed", "stage_two_unavailable", "stage_two_unavailable"]
        assert not client.answered
        works, now = True, 2 * PAUSE_SECONDS
        assert [await ask(client) for _ in range(3)] == ["answered"] * 3
        assert client.answered
        assert len(calls) == FAILURES + 1 + 3

    asyncio.run(body())


def test_being_full_is_no_failure() -> None:
    calls = []

    async def send(prepared: Prepared) -> np.ndarray:
        calls.append(prepared.size)
        raise StageTwoError("stage_two_busy")

    async def body() -> None:
        client = StageTwoClient(prepare, send)
        for _ in range(3 * FAILURES):
            with pytest.raises(StageTwoError, match="stage_two_busy"):
                await client.read(products(1), None)

    asyncio.run(body())
    assert len(calls) == 3 * FAILURES


@pytest.mark.parametrize("reason", sorted(DEGRADED))
def test_the_api_goes_on_with_stage_one(cascade: Cascade, reason: str) -> None:
    async def down(*_: Any) -> Any:
        raise StageTwoError(reason)

    async def ready() -> None:
        return None

    with TestClient(create_api(Models(Model(cascade, down, INFO, RequestLimits())), RequestLimits(), ready)) as client:
        sure = client.post("/v1/classify", json={"title": "Footwear: Shoes, Boots"}).json()
        assert (sure["path"], sure["stage"], sure["degraded"]) == (["Footwear", "Shoes", "Boots"], 1, None)
        unsure = client.post("/v1/classify", json={"title": "boots"})
        assert unsure.status_code == 200
        assert (unsure.json()["path"], unsure.json()["stage"], unsure.json()["degraded"]) == (["Footwear", "Shoes", "Boots"], 1, reason)
        # Its own confidence, below the gate: nothing is made to look surer than it is.
        assert unsure.json()["confidences"][-1]["confidence"] < cascade.settings.gate.threshold
        image = client.post("/v1/classify", json={"image": "aGVsbG8="})
        assert (image.status_code, image.headers["Retry-After"], image.json()["error"]["reason"]) == (503, "1", reason)
        batch = client.post("/v1/classify/batch", json={"products": [{"title": "Footwear: Shoes, Boots"}, {"title": "boots"}, {"image": "aGVsbG8="}]})
        assert batch.status_code == 200
        results = batch.json()["results"]
        assert [result.get("degraded", result.get("error", {}).get("reason")) for result in results] == [None, reason, reason]


def test_too_much_waiting_is_503_at_once(cascade: Cascade) -> None:
    busy, free = threading.Event(), threading.Event()
    first = cascade.first

    def slow(given: Sequence[Product]) -> Any:
        busy.set()
        assert free.wait(10)
        return first(given)

    async def never(*_: Any) -> Any:
        raise AssertionError("all are sure")

    async def ready() -> None:
        return None

    cascade.first = slow  # type: ignore[method-assign]
    limits = RequestLimits(max_waiting_products=2, recent_seconds=0)
    api = create_api(Models(Model(cascade, never, INFO, limits)), limits, ready)

    async def body() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:

            def ask(name: int) -> asyncio.Task[httpx.Response]:
                given = [{"title": f"Footwear: Shoes, Boots {name} {row}"} for row in range(2)]
                return asyncio.create_task(client.post("/v1/classify/batch", json={"products": given}))

            running = ask(0)
            assert await asyncio.to_thread(busy.wait, 10)
            others = [ask(name) for name in range(1, 5)]
            refused: set[asyncio.Task[httpx.Response]] = set()
            while len(refused) < 3:
                done, _ = await asyncio.wait(set(others) - refused, timeout=10, return_when=asyncio.FIRST_COMPLETED)
                assert done, "a request waits that should have been refused"
                refused |= done
            for task in refused:
                answer = task.result()
                assert (answer.status_code, answer.headers["Retry-After"], answer.json()["error"]["reason"]) == (503, "1", "overloaded")
            free.set()
            for task in (running, *set(others) - refused):
                assert [result["stage"] for result in (await task).json()["results"]] == [1, 1]

    asyncio.run(body())
