"""What does not fit a request, said for a program and a person: pydantic's errors as a status, a reason and a message. Knows no route.

An error is for reading: the first few tell enough, and nothing that was sent is echoed at length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prodcat.serving.schema import ClassifyRequest

_SHOWN_ERRORS, _SHOWN_KEY = 5, 60
NOT_JSON = "expected a JSON object, sent with Content-Type: application/json"


class Refused(Exception):
    """A request, or one product of it, that is not answered.

    Args:
        status: of HTTP, where the request is one product.
        reason: short stable code.
        message: what was found, what was expected, what to do.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def refused(errors: Sequence[Mapping[str, Any]], what: str = "body") -> Refused:
    """The errors of a pydantic ValidationError, their places counted from `what` (which the places themselves do not name)."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return Refused(400, "invalid_json", f"the {what} is not JSON: {first['ctx']['error']}")
    shown = [f"{_field(each['loc'], what)}: {_expected(each)}" for each in errors[:_SHOWN_ERRORS]]
    if len(errors) > len(shown):
        shown.append(f"and {len(errors) - len(shown)} more")
    return Refused(422, "invalid_request", "; ".join(shown))


def shown(key: str) -> str:
    """A key as it may stand in an answer: short, and without half a character (a lone surrogate), which no answer can carry."""
    return (key if len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]}...").encode("utf-8", "replace").decode()


def unknown_field() -> str:
    return f"unknown field; a product has {', '.join(ClassifyRequest.model_fields)}"


def _field(location: Sequence[str | int], what: str) -> str:
    """("products", 3, "title") -> products.3.title"""
    return ".".join(shown(str(part)) for part in location) or what


def _expected(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return unknown_field()
    if not error["loc"] and error["type"] != "value_error":
        return NOT_JSON
    # pydantic's own words name what was expected ("Input should be a valid string") and never the input.
    return str(error["msg"]).removeprefix("Value error, ")
