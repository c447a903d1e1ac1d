"""Stage one without blocking the event loop: products of concurrent requests are answered together, a bounded number of threads at a time.

No timer: a thread takes whatever has come while the others were busy, so a lone request never waits and load makes its own batches. A lone product
that a small model reads in less time than it takes to wake a thread is read on the spot. Knows no HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, FirstPass, Unsure

# Products a thread takes at once: spreads the cost of decoding, and lets a lone product pass between the parts of a large batch request.
MAX_BATCH = 32

# A product alone is read on the event loop if that takes less: waking a thread and getting the interpreter's lock back from it costs as much.
ON_THE_SPOT_SECONDS = 0.002

_Waiting = tuple[Product, asyncio.Future[Answer | Unsure]]


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
        self._threads = threads
        self._most = most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stage-one")
        self._waiting: deque[_Waiting] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._here = 0
        # Of one product, as measured in the last batch; nothing is known before the first.
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
                if self._here == 1 and not self._workers:
                    return self._timed(products)
            return await self._queued(products)
        finally:
            self._here -= 1

    async def _queued(self, products: Sequence[Product]) -> FirstPass:
        # One request alone always gets in: a bound smaller than it would refuse it for ever.
        if self._waiting and len(self._waiting) + len(products) > self._most:
            raise Overloaded(f"{len(self._waiting)} products are waiting already")
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer | Unsure]] = [loop.create_future() for _ in products]
        self._waiting.extend(zip(products, futures, strict=True))
        self._start()
        return FirstPass(tuple(products), tuple(await asyncio.gather(*futures)))

    def _timed(self, products: Sequence[Product]) -> FirstPass:
        began = time.perf_counter()
        done = self._first(products)
        self._seconds = (time.perf_counter() - began) / len(products)
        return done

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        wanted = min(self._threads, -(-len(self._waiting) // MAX_BATCH) + len(self._workers))
        while len(self._workers) < wanted:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._workers.discard(asyncio.current_task())

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < MAX_BATCH:
            product, future = self._waiting.popleft()
            # Done before it was computed: its request was cancelled.
            if not future.done():
                batch.append((product, future))
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._pool, self._timed, [product for product, _ in batch])
        except Exception as error:  # noqa: BLE001 - not swallowed: every request that waits for this batch gets it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, done.results, strict=True):
            if not future.done():
                future.set_result(result)
