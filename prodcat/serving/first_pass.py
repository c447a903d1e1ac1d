"""Stage one without blocking the event loop: products of concurrent requests are answered together, by a bounded number of threads.

No timer: a thread takes whatever has come while it was busy, so a lone request never waits and load makes its own batches. The threads take from the
queue themselves: handed out by the event loop, the next batch would wait until the loop is through with the answers of the one before. A lone product
that a small model reads in less time than it takes to wake a thread is read on the spot. Knows no HTTP.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, FirstPass, Unsure

# Products a thread takes at once, or not many more: spreads the cost of decoding, and several threads share a large batch request.
MAX_BATCH = 32

# A product alone is read on the event loop if that takes less: a thread that computes may have to wait as long for the interpreter's lock.
ON_THE_SPOT_SECONDS = 0.005
# Weight of the last batch in what a product is thought to take: one that was interrupted says little.
_LAST = 0.2

_Results = Sequence[Answer | Unsure]
# A part of a request, and what its caller waits for: one future for all of it, as each costs as much as decoding a product.
_Waiting = tuple[Sequence[Product], asyncio.Future[_Results]]


class Overloaded(Exception):
    """More work is waiting than would be done in time; the caller is to come again later."""


class FirstPassQueue:
    """`Cascade.first` for an event loop.

    Args:
        first: answers products; each the same as if it were alone. Called in `threads` threads at once.
        threads: how many.
        most: products that may wait, over all requests.
    """

    def __init__(self, first: Callable[[Sequence[Product]], FirstPass], *, threads: int = 1, most: int = 4096) -> None:
        self._first = first
        self._most = most
        self._parts: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        # Products in them.
        self._waiting = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"stage-one-{number}", daemon=True) for number in range(threads)]
        self._started = False
        # Calls of `first` that have not ended.
        self._here = 0
        # Of one product; nothing is known before the first batch.
        self._seconds = float("inf")

    async def first(self, products: Sequence[Product]) -> FirstPass:
        """As `Cascade.first`. Products of a caller that has gone away are not computed.

        Raises:
            Overloaded: more would wait than may.
        """
        self._here += 1
        try:
            if len(products) == 1 and self._seconds < ON_THE_SPOT_SECONDS:
                # Whoever came at the same time is here after this.
                await asyncio.sleep(0)
                if self._here == 1:
                    return self._timed(products)
            return await self._queued(products)
        finally:
            self._here -= 1

    def close(self) -> None:
        """End the threads after what is waiting. Must not be called while `first` runs."""
        if self._started:
            for _ in self._threads:
                self._parts.put(None)

    async def _queued(self, products: Sequence[Product]) -> FirstPass:
        # One request alone always gets in: a bound smaller than it would refuse it for ever.
        if self._waiting and self._waiting + len(products) > self._most:
            raise Overloaded(f"{self._waiting} products are waiting already")
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        loop = asyncio.get_running_loop()
        parts = [products[start : start + MAX_BATCH] for start in range(0, len(products), MAX_BATCH)]
        futures: list[asyncio.Future[_Results]] = [loop.create_future() for _ in parts]
        with self._lock:
            self._waiting += len(products)
        for part in zip(parts, futures, strict=True):
            self._parts.put(part)
        return FirstPass(tuple(products), tuple(chain.from_iterable(await asyncio.gather(*futures))))

    def _timed(self, products: Sequence[Product]) -> FirstPass:
        began = time.perf_counter()
        done = self._first(products)
        seconds = (time.perf_counter() - began) / len(products)
        self._seconds = seconds if self._seconds == float("inf") else (1 - _LAST) * self._seconds + _LAST * seconds
        return done

    def _work(self) -> None:
        while batch := self._take():
            try:
                results: _Results | Exception = self._timed([product for part, _ in batch for product in part]).results
            except Exception as error:  # noqa: BLE001 - not swallowed: every request that waits for this batch gets it
                results = error
            # A loop that is closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                batch[0][1].get_loop().call_soon_threadsafe(_deliver, batch, results)

    def _take(self) -> list[_Waiting]:
        """Something, as soon as there is something; nothing: the queue is closed."""
        batch: list[_Waiting] = []
        size = 0
        while size < MAX_BATCH:
            try:
                item = self._parts.get(block=not batch)
            except queue.Empty:
                break
            if item is None:
                # This thread's or another's: one ends for each.
                if batch:
                    self._parts.put(None)
                break
            part, future = item
            with self._lock:
                self._waiting -= len(part)
            # Done before it was computed: its request was cancelled.
            if not future.done():
                batch.append(item)
                size += len(part)
        return batch


def _deliver(batch: Sequence[_Waiting], results: _Results | Exception) -> None:
    start = 0
    for part, future in batch:
        end = start + len(part)
        if not future.done():
            if isinstance(results, Exception):
                future.set_exception(results)
            else:
                future.set_result(results[start:end])
        start = end
