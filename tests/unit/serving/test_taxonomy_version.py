"""Old clients are answered in the version of the tree that they know, by every route and whichever bundle answers."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from prodcat.client import Client
from prodcat.contracts import Product
from prodcat.errors import RequestRefused
from prodcat.prediction.cascade import Answer, Cascade, StageTwoOutput
from prodcat.prediction.versions import Earlier, Versions
from prodcat.serving.api import create_api
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Model, Models
from prodcat.serving.schema import ClassifyResponse, Problem

from .conftest import INFO as PLAIN_INFO
from .conftest import TREE, ToApi

LIMITS = RequestLimits(max_products=4)
BOOTS = {"title": "Footwear: Shoes, Boots"}
SHOES = ("0123456789ab", ("Footwear", "Shoes"))


def identifier(*path: str) -> str:
    return TREE.categories[TREE.index(path)].id


# Shoes were not told apart in version 1, and there were no bags.
GROWN = Versions(
    earlier=(
        Earlier(
            told={
                **{identifier("Footwear", "Shoes", name): SHOES for name in ("Boots", "Heels")},
                identifier("Footwear", "Shoes"): SHOES,
                identifier("Bags"): None,
            }
        ),
    )
)


def model(cascade: Cascade, versions: Versions, bundle: str = "feedc0ffee00") -> Model:
    own = Cascade(cascade.tree, cascade.settings, cascade.stage_one, cascade.stage_two, bundle, versions.present)

    async def ask(products: list[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        assert cascade.stage_two is not None
        return cascade.stage_two.read(products, vectors)

    info = PLAIN_INFO.model_copy(update={"limits": LIMITS.model_dump(), "taxonomy_version": versions.present, "bundle": bundle})
    return Model(own, ask, info, LIMITS, versions=versions)


@pytest.fixture
def client(cascade: Cascade) -> Iterator[TestClient]:
    async def ready() -> str | None:
        return None

    with TestClient(create_api(Models(model(cascade, GROWN)), LIMITS, ready)) as client:
        yield client


def post(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_answer_says_its_version_and_is_told_in_the_one_that_is_asked_for(client: TestClient) -> None:
    now = post(client, BOOTS)
    assert (now["path"], now["taxonomy_version"]) == (["Footwear", "Shoes", "Boots"], 2)
    assert post(client, BOOTS | {"taxonomy_version": 2}) == now
    then = post(client, BOOTS | {"taxonomy_version": 1})
    assert (then["path"], then["category"], then["category_id"], then["taxonomy_version"]) == (["Footwear", "Shoes"], "Footwear > Shoes", SHOES[0], 1)
    assert [level["confidence"] for level in then["confidences"]] == [level["confidence"] for level in now["confidences"]][:2]
    assert [other["path"] for other in then["alternatives"]] == [["Footwear", "Sandals"]]
    # What was told an old client is told nobody else, though the product is remembered.
    assert post(client, BOOTS) == now
    assert client.get("/v1/model").json()["taxonomy_version"] == 2


def test_a_version_that_never_was_and_a_category_that_was_not_are_refused_by_name(client: TestClient) -> None:
    never = client.post("/v1/classify", json=BOOTS | {"taxonomy_version": 3})
    assert never.status_code == 422
    assert never.json()["error"]["reason"] == "unknown_taxonomy_version"
    assert "ask for one from 1 to 2" in never.json()["error"]["message"]
    nothing = client.post("/v1/classify", json={"title": "bags", "taxonomy_version": 1})
    assert (nothing.status_code, nothing.json()["error"]["reason"]) == (422, "not_in_taxonomy_version")
    for wrong in (0, -1, "one", 1.5):
        found = client.post("/v1/classify", json=BOOTS | {"taxonomy_version": wrong})
        assert (found.status_code, found.json()["error"]["reason"]) == (422, "invalid_request")
        assert "taxonomy_version" in found.json()["error"]["message"]


def test_forms_batches_and_streams_take_it_for_each_product(client: TestClient) -> None:
    form = client.post("/v1/classify", files={"title": (None, BOOTS["title"]), "taxonomy_version": (None, "1")})
    assert (form.status_code, form.json()["path"]) == (200, ["Footwear", "Shoes"])
    products = [BOOTS, BOOTS | {"taxonomy_version": 1}, {"title": "bags", "taxonomy_version": 1}, BOOTS | {"taxonomy_version": 7}]
    batch = client.post("/v1/classify/batch", json={"products": products}).json()["results"]
    lines = "".join(f"{json.dumps(product)}\n" for product in products)
    stream = client.post("/v1/classify/stream", content=lines, headers={"Content-Type": "application/x-ndjson"}).text
    for found in (batch, [json.loads(line) for line in stream.splitlines()]):
        assert [each.get("path") for each in found] == [["Footwear", "Shoes", "Boots"], ["Footwear", "Shoes"], None, None]
        assert [each["error"]["reason"] for each in found[2:]] == ["not_in_taxonomy_version", "unknown_taxonomy_version"]


def test_the_client_asks_in_a_version(client: TestClient) -> None:
    with Client("http://test", transport=ToApi(client)) as asking:
        assert asking.classify(title=BOOTS["title"]).taxonomy_version == 2
        assert asking.classify(title=BOOTS["title"], taxonomy_version=1).path == ["Footwear", "Shoes"]
        assert asking.classify(title=BOOTS["title"], image=b"no image", taxonomy_version=1).path == ["Footwear", "Shoes"]
        with pytest.raises(RequestRefused, match="unknown_taxonomy_version"):
            asking.classify(title=BOOTS["title"], taxonomy_version=3)
        found = asking.classify_batch([BOOTS, {**BOOTS, "taxonomy_version": 2}, {"title": "bags"}], taxonomy_version=1)
    assert [each.path if isinstance(each, ClassifyResponse) else None for each in found] == [
        ["Footwear", "Shoes"],
        ["Footwear", "Shoes", "Boots"],
        None,
    ]
    assert isinstance(found[2], Problem)


def test_a_canary_tells_its_own_versions_and_is_not_asked_for_one_that_it_or_the_current_bundle_does_not_know(cascade: Cascade) -> None:
    async def body() -> None:
        models = Models(model(cascade, Versions(), "current"))
        canary = model(cascade, GROWN, "canary")
        models.take_up(models.current, canary, 0.5)
        products = [Product("shop", str(row), title=f"{BOOTS['title']} {row}") for row in range(40)]
        first = await models.classify(products, [1] * 40)
        paths: dict[str, set[tuple[str, ...]]] = {"canary": set(), "current": set()}
        for found in first:
            assert isinstance(found, Answer)
            assert found.taxonomy_version == 1
            paths[found.bundle].add(found.path)
        assert paths == {"canary": {("Footwear", "Shoes")}, "current": {("Footwear", "Shoes", "Boots")}}
        second = await models.classify(products, [2] * 40)
        assert {getattr(found, "reason", None) for found in second} == {"unknown_taxonomy_version"}
        assert models.comparison.failed == 0
        models.close()

    asyncio.run(body())
