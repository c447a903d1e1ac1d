"""Products that were asked a moment ago, or are being asked now, are answered once: by what a product says, not by its id. Knows no HTTP.

Shops send one product again and again: a page opened, a feed retried, colours of one shirt under one title. Bounded in entries and in age; it lives
in one replica and is made anew with every bundle, so no answer outlives the model that gave it.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, Unreadable

Result = Answer | Unreadable
Classify = Callable[[list[Product]], Awaitable[list[Result]]]


class RecentAnswers:
    """Around a function that classifies products.

    Args:
        classify: n products -> n results, in order.
        seconds: how long an answer is kept; 0: not at all, only what is under way is shared.
        entries: kept at most; the one unused for longest goes first.
        clock: seconds; for tests.
    """

    def __init__(self, classify: Classify, *, seconds: float, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._classify = classify
        self._seconds, self._entries, self._clock = seconds, entries, clock
        self._kept: OrderedDict[bytes, tuple[float, Result]] = OrderedDict()
        # None: whoever asked has gone, and somebody else must.
        self._under_way: dict[bytes, asyncio.Future[Result | None]] = {}

    async def classify(self, products: Sequence[Product]) -> list[Result]:
        """As `classify`, each result under its own product's key. What one request raises, all that wait for the same product raise."""
        keys = [content_key(product) for product in products]
        first = dict(zip(reversed(keys), reversed(products), strict=True))
        found: dict[bytes, Result] = {}
        while left := {key: product for key, product in first.items() if key not in found}:
            for key in left:
                if (kept := self._fresh(key)) is not None:
                    found[key] = kept
            waiting = {key: self._under_way[key] for key in left if key not in found and key in self._under_way}
            own = {key: product for key, product in left.items() if key not in found and key not in waiting}
            if own:
                found.update(await self._ask(own))
            for key, future in waiting.items():
                # Not awaited itself: a caller that goes would cancel it for all the others.
                await asyncio.wait([future])
                if (result := future.result()) is not None:
                    found[key] = result
        return [
            result if (result := found[key]).key == product.key else replace(result, key=product.key)
            for key, product in zip(keys, products, strict=True)
        ]

    async def _ask(self, own: dict[bytes, Product]) -> dict[bytes, Result]:
        loop = asyncio.get_running_loop()
        futures = {key: loop.create_future() for key in own}
        self._under_way.update(futures)
        try:
            results = dict(zip(own, await self._classify(list(own.values())), strict=True))
        except Exception as error:
            for future in futures.values():
                future.set_exception(error)
                # Looked at, or asyncio complains of an exception that nobody waited for.
                future.exception()
            raise
        else:
            for key, result in results.items():
                futures[key].set_result(result)
                self._keep(key, result)
            return results
        finally:
            for key, future in futures.items():
                del self._under_way[key]
                if not future.done():
                    future.set_result(None)

    def _fresh(self, key: bytes) -> Result | None:
        entry = self._kept.get(key)
        if entry is None:
            return None
        if self._clock() >= entry[0]:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return entry[1]

    def _keep(self, key: bytes, result: Result) -> None:
        # What stage two could not answer now it may in a moment.
        if self._seconds <= 0 or isinstance(result, Unreadable) or result.degraded is not None:
            return
        self._kept[key] = (self._clock() + self._seconds, result)
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)


def content_key(product: Product) -> bytes:
    """Equal for products that every model must answer alike: all that a model or the gate may read of them."""
    digest = hashlib.blake2b(digest_size=16)
    for value in (product.title, product.description, product.brand, product.language, product.platform, product.image_problem, product.image):
        part = b"" if value is None else value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        # With its length, or two fields could be cut elsewhere and be the same.
        digest.update(b"-" if value is None else b"%d:" % len(part))
        digest.update(part)
    return digest.digest()
