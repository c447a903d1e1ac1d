"""A product as a form: answered as its JSON is, and every way in which a form can be wrong."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from prodcat.contracts import Product
from prodcat.prediction.cascade import Cascade, StageTwoOutput
from prodcat.serving.api import create_api
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Model, Models
from prodcat.serving.schema import ModelInfo
from prodcat.serving.upload import MAX_TEXT_BYTES, is_form

LIMITS = RequestLimits(max_body_bytes=200_000, max_products=4)
UNSURE = {"title": "boots"}


@pytest.fixture
def client(cascade: Cascade, model_info: ModelInfo) -> Iterator[TestClient]:
    async def ask(products: list[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        assert cascade.stage_two is not None
        return cascade.stage_two.read(products, vectors)

    async def ready() -> str | None:
        return None

    with TestClient(create_api(Models(Model(cascade, ask, model_info, LIMITS)), LIMITS, ready)) as client:
        yield client


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(stream, "PNG")
    return stream.getvalue()


def _part(name: str, value: bytes, filename: str | None = None, headers: str = "") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{headers}\r\n'.encode() + value + b"\r\n"


def _send(client: TestClient, *parts: bytes, end: bytes = b"--b--\r\n", kind: str = "multipart/form-data; boundary=b") -> Any:
    return client.post("/v1/classify", content=b"".join(parts) + end, headers={"Content-Type": kind, "X-Request-ID": "r1"})


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "Footwear: Shoes, Boots", "brand": "Acme", "platform": "shop", "product_id": "7"},
        UNSURE,
        {"title": "  小さな鞄 🙂 boots ", "brand": ""},
        {"description": "sandals, footwear"},
    ],
)
@pytest.mark.parametrize("image", [None, _png(), b"just text", b""])
def test_a_form_is_answered_as_its_json_is(client: TestClient, fields: dict[str, str], image: bytes | None) -> None:
    body = fields | ({} if image is None else {"image": base64.b64encode(image).decode()})
    files = [(name, (None, value)) for name, value in fields.items()] + ([] if image is None else [("image", ("photo", image))])
    form = client.post("/v1/classify", files=files)
    plain = client.post("/v1/classify", json=body)
    assert (form.status_code, form.json()) == (plain.status_code, plain.json())
    assert form.headers["content-type"] == plain.headers["content-type"]


def test_an_image_alone_is_answered(client: TestClient) -> None:
    assert client.post("/v1/classify", files={"image": ("p.png", _png())}).json()["path"] == ["Bags"]
    # As curl -F image=@p.png sends it, with a part's own Content-Type.
    assert _send(client, _part("image", _png(), "p.png", "Content-Type: image/png\r\n")).json()["path"] == ["Bags"]


def test_an_image_may_hold_what_looks_like_a_boundary(client: TestClient) -> None:
    answer = _send(client, _part("title", b"boots"), _part("image", b"\r\n--B\r\n--\r\n-b" * 999, "x"))
    assert (answer.status_code, answer.json()["image_problem"]) == (200, "image_not_an_image")


TITLE, IMAGE = _part("title", b"boots"), _part("image", b"x", "x")


@pytest.mark.parametrize(
    ("parts", "status", "reason", "names"),
    [
        ([IMAGE, IMAGE], 422, "image_given_twice", ["one image"]),
        ([IMAGE, _part("image_url", b"https://a.example/1.jpg")], 422, "image_given_twice", ["image_url"]),
        ([TITLE, TITLE], 422, "invalid_request", ["title: given twice"]),
        ([_part("titel", b"boots")], 422, "invalid_request", ["titel: unknown field", "title, description"]),
        ([_part("ключ", b"boots")], 422, "invalid_request", ["ключ: unknown field"]),
        ([_part("", b"boots")], 422, "invalid_request", ["unknown field"]),
        ([_part("x" * 1500, b"boots")], 422, "invalid_request", ["x...: unknown field"]),
        ([TITLE, _part("image", b"aGVsbG8=")], 422, "invalid_request", ["image: expected a file", "filename"]),
        ([_part("title", b"boots", "title.txt")], 422, "invalid_request", ["title: expected a text"]),
        ([_part("title", b"x" * 2001)], 422, "invalid_request", ["title", "2000"]),
        ([_part("title", b"x" * (MAX_TEXT_BYTES + 1))], 422, "invalid_request", ["title", str(MAX_TEXT_BYTES)]),
        ([_part("title", b"a\0b")], 422, "invalid_request", ["title", "NUL"]),
        ([_part("title", b"ok \xff\xfe")], 422, "invalid_request", ["title: not UTF-8 at byte 3"]),
        ([], 422, "nothing_to_read", []),
        ([_part("brand", b"Acme")], 422, "nothing_to_read", []),
        ([IMAGE], 422, "image_not_an_image", []),
        ([_part("image_url", b"https://a.example/1.jpg")], 422, "image_url_off", []),
        ([b"--b\r\n\r\nboots\r\n"], 400, "invalid_form", ["Content-Disposition", "curl -F"]),
        ([b"--b\r\nContent-Disposition: form-data\r\n\r\nboots\r\n"], 400, "invalid_form", ["with a name"]),
        ([b'--b\r\nContent-Disposition: attachment; name="title"\r\n\r\nboots\r\n'], 400, "invalid_form", ["form-data"]),
        ([b"--b\r\nContent-Disposition: form-data; name*=utf-8''title\r\n\r\nboots\r\n"], 400, "invalid_form", ["with a name"]),
        ([_part("title", b"x", headers='content-disposition: form-data; name="brand"\r\n')], 400, "invalid_form", ["two headers"]),
        ([_part("title", b"x", headers="Content-Transfer-Encoding: base64\r\n")], 400, "invalid_form", ["Transfer-Encoding"]),
        ([_part("title", b"x", headers="".join(f"X-{n}: 1\r\n" for n in range(9)))], 400, "invalid_form", ["header count"]),
        ([_part("title", b"x", headers=f"X: {'y' * 5_000}\r\n")], 400, "invalid_form", ["header size"]),
        ([_part("title", b"x", headers="bad header\r\n")], 400, "invalid_form", ["header"]),
        ([b"not a form at all"], 400, "invalid_form", []),
        ([b"--c\r\n"], 400, "invalid_form", []),
    ],
)
def test_a_form_that_does_not_fit_says_so(client: TestClient, parts: list[bytes], status: int, reason: str, names: list[str]) -> None:
    answer = _send(client, *parts)
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"], error["request_id"]) == (status, reason, "r1")
    for name in names:
        assert name in error["message"]
    assert len(answer.content) < 1000


@pytest.mark.parametrize("end", [b"", b"--b", b"--b-", b'--b\r\nContent-Disposition: form-data; name="brand"\r\n\r\nAc'])
def test_a_form_that_breaks_off_is_refused(client: TestClient, end: bytes) -> None:
    answer = _send(client, TITLE, end=end)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "invalid_form")
    assert "breaks off" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 300, "MULTIPART/FORM-DATA;boundary=other"],
)
def test_a_form_without_a_usable_boundary_is_refused(client: TestClient, kind: str) -> None:
    answer = _send(client, TITLE, kind=kind)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "invalid_form")


def test_a_form_is_bounded_like_every_body(client: TestClient) -> None:
    answer = _send(client, _part("image", b"x" * 200_000, "x"))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "body_too_large")
    # Also where it was refused before: it is read to its end, but not beyond the limit.
    assert _send(client, _part("nope", b"x" * 200_000)).status_code == 413


def test_a_form_arrives_in_any_pieces(client: TestClient) -> None:
    body = TITLE + _part("image", _png(), "x") + b"--b--\r\n"

    def pieces() -> Iterator[bytes]:
        for place in range(len(body)):
            yield body[place : place + 1]

    answer = client.post("/v1/classify", content=pieces(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.json()["path"] == ["Bags"]


def test_only_one_route_takes_forms(client: TestClient) -> None:
    answer = client.post("/v1/classify/batch", content=TITLE, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 422
    assert is_form("Multipart/Form-Data; boundary=b")
    assert not is_form("application/json")


def test_the_document_names_both_kinds_of_body(client: TestClient) -> None:
    content = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]["requestBody"]["content"]
    assert sorted(content) == ["application/json", "multipart/form-data"]
    fields = json.loads(json.dumps(content["multipart/form-data"]["schema"]["properties"]))
    assert sorted(fields) == ["brand", "description", "image", "image_url", "language", "platform", "product_id", "taxonomy_version", "title"]
    assert content["multipart/form-data"]["example"]["title"]
