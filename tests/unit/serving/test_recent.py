"""Equal products are answered once, each under its own id, and nobody's failure or departure becomes somebody else's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from prodcat.contracts import Product
from prodcat.prediction.cascade import Answer, Unreadable
from prodcat.serving.recent import RecentAnswers, Result, content_key


class Classifier:
    """Answers slowly enough that requests overlap, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.degraded: str | None = None
        self.fails = False
        self.go = asyncio.Event()

    async def __call__(self, products: list[Product]) -> list[Result]:
        self.asked += [product.title for product in products]
        await self.go.wait()
        if self.fails:
            raise RuntimeError("broken")
        return [
            Answer(p.key, "id", (p.title,), (0.9,), (), 1, "v1", degraded=self.degraded) if p.title else Unreadable(p.key, "nothing_to_read", "")
            for p in products
        ]


def product(title: str | None, name: str = "1") -> Product:
    return Product("shop", name, title=title)


def run(body: Callable[[Classifier], Awaitable[None]]) -> None:
    async def inside() -> None:
        await body(Classifier())

    asyncio.run(inside())


def test_equal_products_are_asked_once_and_keep_their_own_keys() -> None:
    async def body(classifier: Classifier) -> None:
        classifier.go.set()
        recent = RecentAnswers(classifier, seconds=60, entries=10)
        results = await recent.classify([product("a", "1"), product("b", "2"), product("a", "3")])
        assert [result.key for result in results] == [product(None, name).key for name in "123"]
        assert [result.path for result in results if isinstance(result, Answer)] == [("a",), ("b",), ("a",)]
        await recent.classify([product("b", "4")])
        assert classifier.asked == ["a", "b"]

    run(body)


def test_requests_at_the_same_time_share_the_work() -> None:
    async def body(classifier: Classifier) -> None:
        recent = RecentAnswers(classifier, seconds=0, entries=10)
        tasks = [asyncio.create_task(recent.classify([product("a", str(row)), product(f"own {row}")])) for row in range(3)]
        await asyncio.sleep(0)
        classifier.go.set()
        for row, results in enumerate(await asyncio.gather(*tasks)):
            assert [result.path for result in results if isinstance(result, Answer)] == [("a",), (f"own {row}",)]
        assert sorted(str(title) for title in classifier.asked) == ["a", "own 0", "own 1", "own 2"]
        # Nothing is kept with 0 seconds.
        await recent.classify([product("a")])
        assert classifier.asked.count("a") == 2

    run(body)


def test_age_and_number_are_bounded() -> None:
    async def body(classifier: Classifier) -> None:
        now = 0.0
        classifier.go.set()
        recent = RecentAnswers(classifier, seconds=10, entries=2, clock=lambda: now)
        for title in ("a", "b", "a", "c"):
            await recent.classify([product(title)])
        assert classifier.asked == ["a", "b", "c"]
        # b was the one unused for longest.
        await recent.classify([product("a")])
        await recent.classify([product("b")])
        assert classifier.asked == ["a", "b", "c", "b"]
        now = 10.0
        await recent.classify([product("a")])
        assert classifier.asked[-1] == "a"

    run(body)


@pytest.mark.parametrize("kind", ["degraded", "unreadable"])
def test_what_may_be_better_the_next_time_is_not_kept(kind: str) -> None:
    async def body(classifier: Classifier) -> None:
        classifier.go.set()
        classifier.degraded = "stage_two_slow" if kind == "degraded" else None
        recent = RecentAnswers(classifier, seconds=60, entries=10)
        title = "a" if kind == "degraded" else None
        await recent.classify([product(title)])
        await recent.classify([product(title)])
        assert classifier.asked == [title, title]

    run(body)


def test_a_failure_reaches_all_who_wait_and_none_who_come_later() -> None:
    async def body(classifier: Classifier) -> None:
        classifier.fails = True
        recent = RecentAnswers(classifier, seconds=60, entries=10)
        tasks = [asyncio.create_task(recent.classify([product("a")])) for _ in range(3)]
        await asyncio.sleep(0)
        classifier.go.set()
        assert all(isinstance(each, RuntimeError) for each in await asyncio.gather(*tasks, return_exceptions=True))
        classifier.fails = False
        assert len(await recent.classify([product("a")])) == 1

    run(body)


def test_who_waits_for_a_caller_that_has_gone_asks_anew() -> None:
    async def body(classifier: Classifier) -> None:
        recent = RecentAnswers(classifier, seconds=60, entries=10)
        first = asyncio.create_task(recent.classify([product("a")]))
        await asyncio.sleep(0)
        second, third = (asyncio.create_task(recent.classify([product("a", name)])) for name in "23")
        await asyncio.sleep(0)
        first.cancel()
        third.cancel()
        await asyncio.sleep(0)
        classifier.go.set()
        (result,) = await second
        assert isinstance(result, Answer)
        assert classifier.asked == ["a", "a"]
        assert first.cancelled()

    run(body)


def test_the_key_covers_all_that_a_model_reads_and_not_the_id() -> None:
    base = Product("shop", "1", title="a", description="b", brand="c", image=b"d")
    assert content_key(base) == content_key(replace(base, product_id="2"))
    changes = [
        {"platform": "other"},
        {"title": "ab", "description": ""},
        {"title": None},
        {"description": None},
        {"brand": "d"},
        {"language": "de"},
        {"image": b"e"},
    ]
    keys = {content_key(base), *(content_key(replace(base, **change)) for change in changes)}
    assert len(keys) == len(changes) + 1
    assert content_key(Product("shop", "1", title="ab", description="c")) != content_key(Product("shop", "1", title="a", description="bc"))
