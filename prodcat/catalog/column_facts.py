"""What the values of a column look like: filled, repeated, numbers, addresses, paths, images. Knows no names of columns."""

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)(\?\S*)?$", re.IGNORECASE)
_URL = re.compile(r"(https?:)?//\S+", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+([.,]\d+)*")
_PRICE = re.compile(r"(?:[A-Z]{2,3}|[$€£¥₹₺₽])?\s?-?\d[\d.,\s]*\s?(?:[A-Z]{2,3}|[$€£¥₹₺₽%]|kr|zł|TL)?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?")
_HEX = re.compile(r"[0-9a-fA-F]{16,64}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CODE = re.compile(r"(?=.*\d)[\w.\-/:]{2,64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{200,}={0,2}")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM")
# Of a column's values, the share that must be of one kind.
_MOST = 0.8
_SEPARATORS = (">>", ">", "»", "›", "→", "|", "::", "/", "\\", ";")
# Kinds that a name of a column cannot be taken for.
KINDS_OF_VALUES = frozenset(("number", "price", "date", "hex", "code", "url", "image_url", "image_path", "base64", "json_list"))
IMAGE_KINDS = frozenset(("bytes", "base64", "image_path", "image_url"))


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What a sample of a column holds.

    Args:
        name: the column's.
        filled: share of rows with a value.
        distinct: number of different values.
        unique: distinct values to filled ones, 0 to 1.
        kind: one of bytes, base64, image_path, image_url, url, json_list, hex, number, price, date, code, text, other; empty without values.
        words: mean number of words of a text.
        length: mean number of characters.
        examples: the first different values as text, three at most.
    """

    name: str
    filled: float
    distinct: int
    unique: float
    kind: str
    words: float
    length: float
    examples: tuple[str, ...]

    @property
    def constant(self) -> bool:
        return self.distinct == 1 and self.filled > 0


def facts_of(name: str, cells: Sequence[Any]) -> ColumnFacts:
    """Facts of a column's cells, one a row, None or "" for an empty one."""
    values = [cell for cell in cells if not is_empty(cell)]
    texts = [cell if isinstance(cell, str) else f"<{len(cell)} bytes>" if isinstance(cell, bytes) else str(cell) for cell in values]
    different = dict.fromkeys(texts)
    count = len(texts)
    return ColumnFacts(
        name=name,
        filled=count / len(cells) if cells else 0.0,
        distinct=len(different),
        unique=len(different) / count if count else 0.0,
        kind=kind_of(values),
        words=sum(len(text.split()) for text in texts) / count if count else 0.0,
        length=sum(map(len, texts)) / count if count else 0.0,
        examples=tuple(different)[:3],
    )


def is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and math.isnan(cell))


def kind_of(values: Sequence[Any]) -> str:
    """The kind of four fifths of these values; "text" for text of several kinds, "other" for what is neither text nor number nor bytes."""
    if not values:
        return "empty"
    kinds = Counter(_kind(value) for value in values)
    kind, count = kinds.most_common(1)[0]
    if count >= _MOST * len(values):
        return kind
    # Ids of a shop mix 1017, 1017-2 and A-17.
    if set(kinds) <= {"number", "code", "hex"}:
        return "code"
    return "text" if set(kinds) - {"other", "bytes"} else "other"


def _kind(value: Any) -> str:
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, dict):
        return "bytes" if isinstance(value.get("bytes"), bytes) else "other"
    if isinstance(value, list):
        return _kind(value[0]) if value else "other"
    if isinstance(value, bool):
        return "other"
    if isinstance(value, int | float):
        return "number"
    if not isinstance(value, str):
        return "date" if hasattr(value, "isoformat") else "other"
    text = value.strip()
    if text.startswith("["):
        return "json_list" if json_list(text) is not None or text.endswith("]") else "text"
    if _URL.match(text) and " " not in text.split("~")[0]:
        return "image_url" if any(_IMAGE_SUFFIX.search(part) for part in re.split(r"[~|,;\s]", text)[:3]) else "url"
    if _IMAGE_SUFFIX.search(text) and "\n" not in text:
        return "image_path"
    if text.startswith("data:image/") or (_BASE64.match(text) and _is_image(text)):
        return "base64"
    for kind, pattern in (("number", _NUMBER), ("date", _DATE), ("hex", _HEX), ("price", _PRICE), ("code", _CODE)):
        if pattern.fullmatch(text):
            return kind
    return "text"


def _is_image(text: str) -> bool:
    try:
        return base64.b64decode("".join(text[:400].split())[:200]).startswith(_MAGIC)
    except (binascii.Error, ValueError):
        return False


def json_list(text: str) -> list[Any] | None:
    """A JSON list that stands as text in a cell; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def separator_in(texts: Sequence[str], least: float) -> str | None:
    """What parts the names of a path in at least this share of the texts, as long as fewer first names than texts come out."""
    if not texts:
        return None
    for separator in _SEPARATORS:
        if sum(separator in text.strip(separator + " ") for text in texts) < least * len(texts):
            continue
        first = {text.split(separator)[0].strip() for text in texts}
        if len(texts) < 5 or len(first) <= 0.6 * len(texts):
            return separator
    return None
