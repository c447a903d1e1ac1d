"""Products of concurrent requests are answered together, each as if alone, without blocking the event loop."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, Cascade, FirstPass, Unsure
from prodcat.serving.first_pass import MAX_BATCH, ON_THE_SPOT_SECONDS, FirstPassQueue, Overloaded

WORDS = ("Footwear: Shoes, Boots", "boots", "Bags", "footwear shoes heels", "thing")


def _products(count: int) -> list[Product]:
    return [Product("shop", str(row), title=f"{WORDS[row % len(WORDS)]} {row}") for row in range(count)]


def test_every_product_is_answered_as_if_alone(cascade: Cascade) -> None:
    products = _products(150)

    async def ask() -> list[FirstPass]:
        queue = FirstPassQueue(cascade.first, threads=3)
        requests = [products[:1], products[1:100], products[100:], []]
        results = await asyncio.gather(*(queue.first(request) for request in requests))
        queue.close()
        return results

    results = asyncio.run(ask())
    answers = [answer for result in results for answer in result.results]
    alone = [cascade.first([product]).results[0] for product in products]
    for got, wanted in zip(answers, alone, strict=True):
        if isinstance(wanted, Unsure):
            assert isinstance(got, Unsure)
            np.testing.assert_array_equal(got.logits, wanted.logits)
        else:
            assert got == wanted
    unsure = [product for product, answer in zip(products, answers, strict=True) if isinstance(answer, Unsure)]
    assert 0 < len(unsure) < len(products)
    assert [product for result in results for product in result.for_stage_two] == unsure


def test_what_comes_while_a_thread_is_busy_is_taken_together_and_the_gone_are_not_computed(cascade: Cascade) -> None:
    batches: list[list[str]] = []
    busy, free = threading.Event(), threading.Event()

    def first(products: Sequence[Product]) -> FirstPass:
        batches.append([product.product_id for product in products])
        busy.set()
        assert free.wait(5)
        return cascade.first(products)

    async def ask() -> None:
        queue = FirstPassQueue(first)
        products = _products(MAX_BATCH + 4)
        tasks = [asyncio.create_task(queue.first([product])) for product in products]
        # The loop is free while stage one works.
        assert await asyncio.to_thread(busy.wait, 5)
        late = asyncio.create_task(queue.first([Product("shop", "gone", title="boots")]))
        await asyncio.sleep(0)
        late.cancel()
        free.set()
        await asyncio.gather(*tasks)
        queue.close()

    asyncio.run(ask())
    assert [len(batch) for batch in batches] == [MAX_BATCH, 4]
    assert "gone" not in {name for batch in batches for name in batch}


def test_a_failure_reaches_every_request_of_its_batch_and_no_later_one(cascade: Cascade) -> None:
    def first(products: Sequence[Product]) -> FirstPass:
        if any(product.product_id == "0" for product in products):
            raise RuntimeError("broken")
        return cascade.first(products)

    async def ask() -> None:
        queue = FirstPassQueue(first)
        results = await asyncio.gather(*(queue.first([product]) for product in _products(3)), return_exceptions=True)
        assert all(isinstance(result, RuntimeError) for result in results)
        (answer,) = (await queue.first([Product("shop", "9", title=WORDS[0])])).results
        assert isinstance(answer, Answer)
        queue.close()

    asyncio.run(ask())


def test_what_would_wait_too_long_is_refused_at_once_and_one_request_alone_never(cascade: Cascade) -> None:
    busy, free = threading.Event(), threading.Event()

    def first(products: Sequence[Product]) -> FirstPass:
        busy.set()
        assert free.wait(5)
        return cascade.first(products)

    async def ask() -> None:
        queue = FirstPassQueue(first, most=10)
        # Larger than the bound, and taken all the same: it would be refused for ever.
        large = asyncio.create_task(queue.first(_products(MAX_BATCH + 9)))
        assert await asyncio.to_thread(busy.wait, 5)
        fits = asyncio.create_task(queue.first(_products(1)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="10 products are waiting"):
            await queue.first(_products(1))
        free.set()
        assert len((await large).results) == MAX_BATCH + 9
        assert len((await fits).results) == 1
        assert len((await queue.first(_products(3))).results) == 3
        queue.close()

    asyncio.run(ask())


def test_a_lone_product_of_a_quick_model_needs_no_thread_and_company_does(cascade: Cascade) -> None:
    threads: list[bool] = []

    def first(products: Sequence[Product]) -> FirstPass:
        threads.append(threading.current_thread() is not threading.main_thread())
        return cascade.first(products)

    async def ask() -> None:
        queue = FirstPassQueue(first)
        # Nothing is known of the model yet.
        await queue.first(_products(1))
        queue._seconds = 0.0001
        await queue.first(_products(1))
        assert threads == [True, False]
        queue._seconds = 0.0001
        await asyncio.gather(*(queue.first(_products(1)) for _ in range(3)))
        assert threads[2:] == [True]
        queue._seconds = 10 * ON_THE_SPOT_SECONDS
        await queue.first(_products(1))
        assert threads[3:] == [True]
        queue.close()

    asyncio.run(ask())


def test_its_threads_outlive_an_event_loop_and_end_when_it_is_closed(cascade: Cascade) -> None:
    queue = FirstPassQueue(cascade.first)
    for _ in range(2):
        assert len(asyncio.run(queue.first(_products(3))).results) == 3
    (thread,) = queue._threads
    assert thread.is_alive()
    queue.close()
    thread.join(5)
    assert not thread.is_alive()
