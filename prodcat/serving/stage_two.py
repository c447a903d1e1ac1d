"""Stage two as the text stage sees it: prepares what it is to read, asks it within a deadline, and says why it did not answer. Knows no Ray.

What stands here keeps stage one answering whatever becomes of stage two: a deadline for one that is slow, and a pause for one that fails again and
again, so that a request does not wait out the deadline of something known to be down.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from prodcat.contracts import Product
from prodcat.prediction.cascade import StageTwoOutput
from prodcat.prediction.preparing import Prepared

Prepare = Callable[[Sequence[Product], np.ndarray | None], Prepared]
Send = Callable[[Prepared], Awaitable[np.ndarray]]
"""Prepared products -> logits float32 [n, C]. Raises StageTwoError."""

# Products sent in one call; a batch request is spread over the replicas.
PRODUCTS_A_CALL = 32
# So many failures one after the other make a pause, in which one request at a time tries again.
FAILURES, PAUSE_SECONDS = 5, 2.0

_log = logging.getLogger(__name__)


class StageTwoError(Exception):
    """Stage two gives no answer.

    Args:
        reason: one of DEGRADED.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StageTwoClient:
    """Asks stage two, wherever it runs.

    Args:
        prepare: bytes to pixels, texts to tokens; called in `threads` threads.
        send: to stage two; cancelled when the caller has gone or the deadline has passed.
        threads: images decoded at once. Each may take three bytes a pixel of the largest image allowed.
        deadline: seconds from the question to the answer.
        clock: seconds; for tests.
    """

    def __init__(
        self, prepare: Prepare, send: Send, *, threads: int = 1, deadline: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._prepare, self._send = prepare, send
        self._deadline = deadline
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
        self._failures = 0
        self._closed_until = 0.0
        self.answered = False

    async def read(self, products: Sequence[Product], vectors: np.ndarray | None, deadline: float | None = None) -> StageTwoOutput:
        """
        Args:
            vectors: stage one's, as StageTwo.read takes them.
            deadline: another one, for a bundle that has to be loaded first.

        Raises:
            StageTwoError: says why there is no answer.
        """
        if self._failures >= FAILURES:
            if self._clock() < self._closed_until:
                raise StageTwoError("stage_two_unavailable")
            # This one tries; the others of the next moments go on without.
            self._closed_until = self._clock() + PAUSE_SECONDS
        try:
            async with asyncio.timeout(deadline or self._deadline):
                output = await self._asked(products, vectors)
        except TimeoutError as error:
            self._failed()
            raise StageTwoError("stage_two_slow") from error
        except StageTwoError as error:
            # Being full is no failure: it works, and says no at once.
            if error.reason != "stage_two_busy":
                self._failed()
            raise
        except Exception as error:
            _log.exception("stage two failed")
            self._failed()
            raise StageTwoError("stage_two_failed") from error
        self._failures = 0
        self.answered = True
        return output

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _asked(self, products: Sequence[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        starts = range(0, len(products), PRODUCTS_A_CALL)
        parts = [slice(start, start + PRODUCTS_A_CALL) for start in starts]
        calls = [asyncio.create_task(self._call(products[part], None if vectors is None else vectors[part])) for part in parts]
        try:
            return joined(await asyncio.gather(*calls))
        finally:
            # One that fails, or a caller that goes, takes the others along.
            for call in calls:
                call.cancel()

    async def _call(self, products: Sequence[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        prepared = await asyncio.get_running_loop().run_in_executor(self._pool, self._prepare, products, vectors)
        return StageTwoOutput(await self._send(prepared), prepared.readable, prepared.image_problems)

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            self._closed_until = self._clock() + PAUSE_SECONDS


def joined(outputs: Sequence[StageTwoOutput]) -> StageTwoOutput:
    """Outputs of several calls, in order, as one."""
    return StageTwoOutput(
        np.concatenate([output.logits for output in outputs]),
        np.concatenate([output.readable for output in outputs]),
        tuple(problem for output in outputs for problem in output.image_problems),
    )
