"""The API's OpenAPI document as a file: python -m prodcat.serving.document docs/openapi.json. Knows no model: none is asked.

Of a server that asks for keys, for it says all that one without says, and how to send a key.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from prodcat.contracts import Product
from prodcat.serving.api import create_api
from prodcat.serving.authentication import describe_keys
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Asked
from prodcat.serving.recent import Result
from prodcat.serving.schema import ModelInfo


class _Nobody:
    """Stands where models would; a document is not asked for answers."""

    @property
    def info(self) -> ModelInfo:
        self._asked()

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        self._asked()

    def close(self) -> None: ...

    def _asked(self) -> NoReturn:
        raise AssertionError("the API that is made for its document serves nobody")


async def _ready() -> str | None:
    return "made for its document"


def openapi_document() -> dict[str, Any]:
    document = create_api(_Nobody(), RequestLimits(), _ready).openapi()
    describe_keys(document)
    return document


def as_text(document: dict[str, Any]) -> str:
    """As the file holds it: the same on every machine, a line a value, so that a change shows as one."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m prodcat.serving.document docs/openapi.json")
    Path(sys.argv[1]).write_text(as_text(openapi_document()), encoding="utf-8")
    print(f"wrote {sys.argv[1]}")
