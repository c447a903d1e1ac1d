"""The bundles that answer in one process: the current one, and a canary that takes a share of the products and is compared with it. Knows no HTTP
and no Ray.

A bundle is taken up while requests run: what has begun ends with the bundle it began with, and every answer names its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prodcat.contracts import Product
from prodcat.errors import ProdcatError
from prodcat.prediction.cascade import Answer, Cascade, StageTwoOutput
from prodcat.prediction.versions import Versions
from prodcat.serving.first_pass import FirstPassQueue
from prodcat.serving.limits import RequestLimits
from prodcat.serving.recent import RecentAnswers, Result, content_key
from prodcat.serving.schema import CanaryInfo, ModelInfo
from prodcat.serving.stage_two import StageTwoError
from prodcat.serving.store import Entry, Promoted

Asked = Sequence[int | None]
"""The version of the tree that each product is to be answered in; None: the last. Empty: all in the last."""

AskStageTwo = Callable[[list[Product], np.ndarray | None], Awaitable[StageTwoOutput]]
"""n products and stage one's vectors of them -> stage two's output, in order. Raises StageTwoError if there is none (StageTwoClient.read)."""

# Products of a canary that the current bundle is asked again at the same time, to compare: beyond it they go uncompared, not unanswered.
COMPARED_AT_ONCE = 64
# Between finding out which model is current and asking it, a request may be put off for some turns of the event loop; this is much longer.
RETIRED_AFTER_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Model:
    """One bundle, answering.

    Args:
        cascade: `first`, `finish` and `alone` run in this process; its stage two is not used.
        ask: this bundle's stage two.
        threads: stage one's, see FirstPassQueue.
        versions: of the bundle's tree.
        on_closed: called once, when nothing is under way any more.
    """

    def __init__(
        self,
        cascade: Cascade,
        ask: AskStageTwo,
        info: ModelInfo,
        limits: RequestLimits,
        *,
        threads: int = 1,
        versions: Versions = Versions(),  # noqa: B008 - frozen
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.cascade, self.info, self.versions = cascade, info, versions
        self._ask, self._on_closed = ask, on_closed
        self._queue = FirstPassQueue(cascade.first, threads=threads, most=limits.max_waiting_products)
        self._recent = RecentAnswers(self._classify, seconds=limits.recent_seconds, entries=limits.recent_entries)
        self._under_way = 0
        self._closed = False

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        """n products -> n results in order. Raises Overloaded."""
        self._under_way += 1
        try:
            results = await self._recent.classify(products)
        finally:
            self._under_way -= 1
        # What is kept for the next who asks is told in no version but the last.
        return [self.versions.told(result, version, self.cascade.tree) for result, version in zip(results, asked, strict=True)] if asked else results

    def retire(self) -> None:
        """Give its threads back, after every request that has begun with it or was about to."""
        asyncio.get_running_loop().call_later(RETIRED_AFTER_SECONDS, self.close)

    def close(self) -> None:
        """Give its threads back as soon as nothing is under way."""
        if self._under_way:
            asyncio.get_running_loop().call_later(1.0, self.close)
        elif not self._closed:
            self._closed = True
            self._queue.close()
            self._on_closed()

    async def _classify(self, products: list[Product]) -> list[Result]:
        first = await self._queue.first(products)
        if not first.unsure:
            return self.cascade.finish(first, None)
        try:
            output = await self._ask(first.for_stage_two, first.vectors)
        except StageTwoError as error:
            return self.cascade.alone(first, error.reason)
        return await asyncio.to_thread(self.cascade.finish, first, output)


@dataclass
class Comparison:
    """What a canary did since it was taken up, in this process."""

    products: int = 0
    failed: int = 0
    compared: int = 0
    same_path: int = 0
    stage_two: int = 0
    stage_two_of_current: int = 0

    def add(self, canary: Sequence[Result], current: Sequence[Result]) -> None:
        for new, old in zip(canary, current, strict=True):
            self.compared += 1
            if isinstance(new, Answer) and isinstance(old, Answer):
                self.same_path += new.path == old.path
                self.stage_two += new.stage == 2
                self.stage_two_of_current += old.stage == 2
            else:
                self.same_path += type(new) is type(old)


class Models:
    """Args: current: answers everything until something else is taken up."""

    def __init__(self, current: Model) -> None:
        self.current = current
        self.canary: Model | None = None
        self.share = 0.0
        self.comparison = Comparison()
        # Why the last bundle that was promoted is not served, for a person.
        self.refused: str | None = None
        self._comparing: set[asyncio.Task[None]] = set()
        self._compared_now = 0

    @property
    def info(self) -> ModelInfo:
        canary, done = self.canary, self.comparison
        about = None
        if canary is not None:
            about = CanaryInfo(
                bundle=canary.info.bundle,
                share=self.share,
                products=done.products,
                failed=done.failed,
                compared=done.compared,
                same_path=done.same_path,
                stage_two=done.stage_two,
                stage_two_of_current=done.stage_two_of_current,
            )
        return self.current.info.model_copy(update={"canary": about, "refused": self.refused})

    def take_up(self, current: Model, canary: Model | None = None, share: float = 0.0) -> None:
        """From now on; what is neither any more is retired."""
        before = {self.current, self.canary} - {None}
        if canary is not self.canary:
            self.comparison = Comparison()
        self.current, self.canary, self.share = current, canary, share
        for model in before - {current, canary}:
            assert model is not None
            model.retire()

    def close(self) -> None:
        for model in (self.current, self.canary):
            if model is not None:
                model.close()

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        """As Model.classify; a product always goes to the same bundle, whatever it is sent with, and a canary that fails costs no answer."""
        current, canary = self.current, self.canary
        if canary is None:
            return await current.classify(products, asked)
        versions = asked or [None] * len(products)
        # A version that only one of the two knows is the current bundle's to answer or to refuse.
        known = min(current.versions.present, canary.versions.present)
        tries = [self._for_canary(product) and (version or 1) <= known for product, version in zip(products, versions, strict=True)]
        rows = {kind: [row for row, tried in enumerate(tries) if tried == kind] for kind in (True, False)}
        new, old = (([products[row] for row in rows[kind]], [versions[row] for row in rows[kind]]) for kind in (True, False))
        by_new, by_old = await asyncio.gather(self._by_canary(canary, current, *new), current.classify(*old))
        results = {True: iter(by_new), False: iter(by_old)}
        return [next(results[tried]) for tried in tries]

    def _for_canary(self, product: Product) -> bool:
        return int.from_bytes(content_key(product)[:8], "little") / 2**64 < self.share

    async def _by_canary(self, canary: Model, current: Model, products: list[Product], asked: Asked) -> list[Result]:
        if not products:
            return []
        done = self.comparison
        try:
            results = await canary.classify(products, asked)
        except Exception:  # noqa: BLE001 - whatever a new bundle does wrong, the current one answers
            _log.exception("canary %s failed", canary.info.bundle)
            done.failed += len(products)
            return await current.classify(products, asked)
        done.products += len(products)
        if self._compared_now + len(products) <= COMPARED_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._compare(current, products, asked, results, done))
            self._comparing.add(task)
            task.add_done_callback(self._comparing.discard)
        return results

    async def _compare(self, current: Model, products: list[Product], asked: Asked, results: list[Result], done: Comparison) -> None:
        self._compared_now += len(products)
        try:
            done.add(results, await current.classify(products, asked))
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and the current bundle's failures show in its own answers
            _log.info("not compared: %s", error)
        finally:
            self._compared_now -= len(products)


class NotYet(Exception):
    """A bundle cannot be tried now, for a reason that is not its own (stage two is down); later it may."""


async def follow(
    models: Models, serves: Promoted, look: Callable[[], Promoted | None], load: Callable[[Entry], Awaitable[Model]], *, seconds: float = 1.0
) -> None:
    """Take up what is promoted, for ever: a bundle only after it has answered a warm-up, and not at all if it fails.

    Args:
        serves: what `models` holds now.
        look: what is promoted now; None or ProdcatError: go on as it is.
        load: a model that has answered a warm-up. Raises ProdcatError for a bundle that cannot be served, NotYet to be called again.
        seconds: between looks.
    """
    held = {serves.current: models.current} | ({serves.canary: models.canary} if serves.canary and models.canary else {})
    refused: Promoted | None = None
    while True:
        await asyncio.sleep(seconds)
        fresh: dict[Entry, Model] = {}
        wanted: Promoted | None = None
        try:
            wanted = await asyncio.to_thread(look)
            if wanted is None or wanted == serves:
                models.refused, refused = None, None
                continue
            if wanted == refused:
                continue
            for entry in wanted.entries:
                if entry not in held:
                    fresh[entry] = await load(entry)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with what was promoted, what is served stays
            for model in fresh.values():
                model.close()
            if isinstance(error, NotYet):
                models.refused = f"not served yet: {error}"
            else:
                _log.exception("what was promoted is not served")
                models.refused = str(error) if isinstance(error, ProdcatError) else f"{type(error).__name__}; the replica's log says more"
                refused = wanted
            continue
        held = {entry: held.get(entry) or fresh[entry] for entry in wanted.entries}
        models.take_up(held[wanted.current], held[wanted.canary] if wanted.canary else None, wanted.canary_share)
        models.refused, refused, serves = None, None, wanted
        _log.info("serves bundle %s", " and ".join(entry.version for entry in wanted.entries))
