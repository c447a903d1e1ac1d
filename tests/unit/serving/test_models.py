"""Bundles change while requests run: nothing is dropped, a canary gets its share and costs no answer, and what does not load is not served."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prodcat.contracts import Product
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.cascade import Answer, Cascade, StageTwoOutput
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import COMPARED_AT_ONCE, Model, Models, NotYet, follow
from prodcat.serving.schema import ModelInfo
from prodcat.serving.store import Entry, ModelStore, Promoted

LIMITS = RequestLimits(recent_seconds=0)


def products(count: int, title: str = "Footwear: Shoes, Boots") -> list[Product]:
    return [Product("shop", str(row), title=f"{title} {row}") for row in range(count)]


class Maker:
    """Models of one cascade under several versions."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self.go = asyncio.Event()
        self.go.set()
        self.stage_two_asked: list[str] = []

    def __call__(self, version: str, *, fails: bool = False) -> Model:
        base = self.cascade
        own = Cascade(base.tree, base.settings, base.stage_one, None, version)
        if fails:
            own.first = self._broken  # type: ignore[method-assign]

        async def ask(given: list[Product], vectors: np.ndarray | None) -> StageTwoOutput:
            self.stage_two_asked.append(version)
            await self.go.wait()
            assert base.stage_two is not None
            return base.stage_two.read(given, vectors)

        return Model(own, ask, ModelInfo.model_construct(bundle=version), LIMITS)

    @staticmethod
    def _broken(*_: Any) -> Any:
        raise RuntimeError("a bundle that fails")


def run(cascade: Cascade, body: Callable[[Maker], Awaitable[None]]) -> None:
    async def inside() -> None:
        await body(Maker(cascade))

    asyncio.run(inside())


def bundles(results: list[Any]) -> list[str]:
    assert all(isinstance(result, Answer) for result in results)
    return [result.bundle for result in results]


def test_what_has_begun_ends_with_the_bundle_it_began_with(cascade: Cascade) -> None:
    async def body(make: Maker) -> None:
        make.go.clear()
        models = Models(make("old"))
        begun = asyncio.create_task(models.classify([Product("shop", "1", title="boots")]))
        while not make.stage_two_asked:
            await asyncio.sleep(0)
        models.take_up(make("new"))
        later = asyncio.create_task(models.classify([Product("shop", "1", title="boots")]))
        sure = await models.classify(products(1))
        make.go.set()
        assert (bundles(await begun), bundles(await later), bundles(sure)) == (["old"], ["new"], ["new"])
        models.close()

    run(cascade, body)


def test_a_model_closes_once_and_not_under_a_request(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prodcat.serving.models.RETIRED_AFTER_SECONDS", 0.01)
    closed: list[str] = []

    async def body(make: Maker) -> None:
        make.go.clear()
        old = make("old")
        old._on_closed = lambda: closed.append("old")
        models = Models(old)
        begun = asyncio.create_task(models.classify([Product("shop", "1", title="boots")]))
        while not make.stage_two_asked:
            await asyncio.sleep(0)
        models.take_up(make("new"))
        # What was about to begin with the old one, and begins now.
        late = asyncio.create_task(old.classify(products(1)))
        await asyncio.sleep(0.05)
        assert closed == []
        assert bundles(await late) == ["old"]
        make.go.set()
        assert bundles(await begun) == ["old"]
        old.close()
        old.close()
        assert closed == ["old"]
        models.close()

    run(cascade, body)


def test_a_canary_answers_its_share_always_the_same_products_and_in_order(cascade: Cascade) -> None:
    async def body(make: Maker) -> None:
        models = Models(make("current"))
        models.take_up(models.current, make("canary"), 0.25)
        given = products(400)
        results = await models.classify(given)
        assert [result.key for result in results] == [product.key for product in given]
        first = bundles(results)
        assert 0.17 < first.count("canary") / len(first) < 0.33
        alone = [bundles(await models.classify([product]))[0] for product in given[:40]]
        assert alone == first[:40]
        # The same product under another id goes to the same bundle.
        assert bundles(await models.classify([Product("shop", "other", title=given[0].title)])) == first[:1]
        await asyncio.sleep(0.05)
        about = models.info.canary
        assert about is not None
        assert (about.bundle, about.share, about.failed) == ("canary", 0.25, 0)
        assert about.products >= first.count("canary")
        # Compared as far as there was room, and found alike: it is the same cascade.
        assert 0 < about.compared == about.same_path
        models.take_up(models.current)
        assert models.info.canary is None
        models.close()

    run(cascade, body)


def test_comparing_is_bounded(cascade: Cascade) -> None:
    async def body(make: Maker) -> None:
        models = Models(make("current"))
        models.take_up(models.current, make("canary"), 1.0)
        await models.classify(products(COMPARED_AT_ONCE + 1))
        await asyncio.sleep(0.05)
        assert (models.comparison.products, models.comparison.compared) == (COMPARED_AT_ONCE + 1, 0)
        models.close()

    run(cascade, body)


def test_a_canary_that_fails_costs_no_answer(cascade: Cascade, caplog: pytest.LogCaptureFixture) -> None:
    async def body(make: Maker) -> None:
        models = Models(make("current"))
        models.take_up(models.current, make("canary", fails=True), 0.5)
        assert set(bundles(await models.classify(products(40)))) == {"current"}
        assert models.info.canary is not None
        assert 10 < models.info.canary.failed < 30
        models.close()

    run(cascade, body)
    assert "canary canary failed" in caplog.text


A, B, C = (Entry(folder=f"/{name}", version=name) for name in "abc")


def test_following_takes_up_refuses_and_waits(cascade: Cascade) -> None:
    async def body(make: Maker) -> None:
        loads: list[str] = []
        promoted: list[Promoted | Exception | None] = [Promoted(current=A)]
        down = True

        def look() -> Promoted | None:
            if isinstance(promoted[-1], Exception):
                raise promoted[-1]
            return promoted[-1]

        async def load(entry: Entry) -> Model:
            loads.append(entry.version)
            if entry == C:
                raise BundleError("/c: its stage two does not answer a warm-up")
            if entry == B and down:
                raise NotYet("stage two is not running")
            return make(entry.version)

        async def settle() -> None:
            for _ in range(6):
                await asyncio.sleep(0.005)

        models = Models(make("a"))
        task = asyncio.create_task(follow(models, Promoted(current=A), look, load, seconds=0.001))
        await settle()
        assert (models.current.info.bundle, loads, models.refused) == ("a", [], None)

        promoted.append(Promoted(current=C, previous=A))
        await settle()
        # Tried once, refused by name, and the old one stays.
        assert (models.current.info.bundle, loads) == ("a", ["c"])
        assert "does not answer a warm-up" in str(models.info.refused)

        promoted.append(Promoted(current=B, previous=A))
        await settle()
        assert models.current.info.bundle == "a"
        assert "not served yet" in str(models.info.refused)
        down = False
        await settle()
        assert (models.current.info.bundle, models.info.refused) == ("b", None)

        promoted.append(Promoted(current=B, canary=A, canary_share=0.1))
        await settle()
        assert models.canary is not None
        assert (models.canary.info.bundle, models.share) == ("a", 0.1)
        # The current one was not loaded again.
        assert loads.count("b") == loads.index("a") - 1

        for trouble in (ConfigError("models.json: damaged"), None):
            promoted.append(trouble)
            await settle()
            assert models.current.info.bundle == "b"
        promoted.append(Promoted(current=C, previous=B))
        await settle()
        promoted.append(Promoted(current=B))
        await settle()
        assert (models.current.info.bundle, models.canary, models.info.refused) == ("b", None, None)
        task.cancel()
        models.close()

    run(cascade, body)


class _Bundle:
    def __init__(self, name: str) -> None:
        self.folder, self.version = Path(f"/{name}"), name


def test_the_store_goes_forward_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prodcat.serving.store.open_entry", lambda entry: entry)
    store = ModelStore(tmp_path / "models")
    a, b, c = (_Bundle(name) for name in "abc")
    assert store.read() is None
    with pytest.raises(ConfigError, match="nothing to go back to"):
        store.rollback()
    with pytest.raises(ConfigError, match="without --canary first"):
        store.promote(a, 0.05)  # type: ignore[arg-type]
    assert store.promote(a) == Promoted(current=A)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="nothing to go back to"):
        store.rollback()
    with pytest.raises(ConfigError, match="must be another one"):
        store.promote(a, 0.05)  # type: ignore[arg-type]
    assert store.promote(b, 0.05) == Promoted(current=A, canary=B, canary_share=0.05)  # type: ignore[arg-type]
    assert store.rollback() == Promoted(current=A)
    store.promote(b, 0.05)  # type: ignore[arg-type]
    # The canary is taken for good.
    assert store.promote(b) == Promoted(current=B, previous=A)  # type: ignore[arg-type]
    assert store.promote(c, 0.5) == Promoted(current=B, previous=A, canary=C, canary_share=0.5)  # type: ignore[arg-type]
    # Promoting the current one again means: this one and nothing else.
    assert store.promote(b) == Promoted(current=B, previous=A)  # type: ignore[arg-type]
    assert store.rollback() == Promoted(current=A, previous=B)
    assert store.rollback() == Promoted(current=B, previous=A)
    assert store.read() == Promoted(current=B, previous=A)
    assert [file.name for file in store.file.parent.iterdir()] == ["models.json"]
    store.file.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"models\.json: damaged"):
        store.read()
