"""The OpenAPI document: the committed one is the code's, it has an example of everything, and the API keeps to it whatever is sent."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

import prodcat
from prodcat.contracts import Product
from prodcat.prediction.cascade import Cascade
from prodcat.serving.api import create_api
from prodcat.serving.document import as_text, openapi_document
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Asked
from prodcat.serving.recent import Result
from prodcat.serving.schema import ModelInfo

FILE = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
DOCUMENT = openapi_document()
METHODS = ("get", "post")
ROUTES = sorted((path, method) for path, operations in DOCUMENT["paths"].items() for method in operations)


def test_the_committed_document_is_the_codes() -> None:
    assert FILE.read_text(encoding="utf-8") == as_text(DOCUMENT), "run: python -m prodcat.serving.document docs/openapi.json"


def test_it_names_its_version() -> None:
    assert DOCUMENT["info"]["version"] == prodcat.__version__
    assert DOCUMENT["openapi"].startswith("3.1")


def _bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, method in ROUTES:
        operation = DOCUMENT["paths"][path][method]
        for kind, body in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{path} {kind}", body
        for status, answer in operation["responses"].items():
            assert answer["description"]
            for kind, body in answer.get("content", {}).items():
                yield f"{path} {status} {kind}", body


@pytest.mark.parametrize(("name", "body"), _bodies(), ids=[name for name, _ in _bodies()])
def test_every_body_has_an_example_that_fits(name: str, body: dict[str, Any]) -> None:
    named = re.fullmatch(r"#/components/schemas/(\w+)", body["schema"].get("$ref", ""))
    schema = DOCUMENT["components"]["schemas"][named[1]] if named else body["schema"]
    examples = [*schema.get("examples", []), *([body["example"]] if "example" in body else [])]
    assert examples, f"{name} has no example"
    for example in examples:
        jsonschema.validate(example, {**schema, "components": DOCUMENT["components"]})


def test_examples_of_lines_are_lines_of_json() -> None:
    operation = DOCUMENT["paths"]["/v1/classify/stream"]["post"]
    for body in (operation["requestBody"], operation["responses"]["200"]):
        assert [json.loads(line) for line in body["content"]["application/x-ndjson"]["example"].splitlines()]


# ---- schemathesis: requests made from the document ----------------------------------------------------------------------------------


class Answering:
    def __init__(self, cascade: Cascade, info: ModelInfo) -> None:
        self._cascade, self.info = cascade, info

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        return self._cascade.classify(products)

    def close(self) -> None:
        pass


@schemathesis.serializer("application/x-ndjson")
def _as_is(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


async def _ready() -> str | None:
    return None


@pytest.mark.parametrize(("path", "method"), ROUTES)
@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE], ids=["fitting", "misfitting"])
def test_no_request_breaks_the_api(cascade: Cascade, model_info: ModelInfo, path: str, method: str, mode: schemathesis.GenerationMode) -> None:
    api = create_api(Answering(cascade, model_info), RequestLimits(max_body_bytes=200_000), _ready)
    operation = schemathesis.openapi.from_asgi("/openapi.json", api)[path][method.upper()]
    if mode is schemathesis.GenerationMode.NEGATIVE and "requestBody" not in DOCUMENT["paths"][path][method]:
        # Nothing to misfit.
        return

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        answer = case.call()
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error, schemathesis.checks.response_schema_conformance])

    send()
