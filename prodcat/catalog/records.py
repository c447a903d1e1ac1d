"""One raw row -> a product that the later stages can rely on, or a rejection that says why not. Knows no file format and no other row."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from prodcat.catalog.duplicates import title_key
from prodcat.catalog.feeds.location import Location
from prodcat.catalog.feeds.reader import RawRow
from prodcat.catalog.languages import normalise
from prodcat.catalog.mapping import Constant, FeedMapping, Source
from prodcat.catalog.pictures import Picture, PictureConfig, load_picture
from prodcat.contracts import Product
from prodcat.errors import ImageError
from prodcat.taxonomy import Taxonomy, format_path

_RAW_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Record:
    """A product and what ingestion found out about it: one row of PRODUCTS.

    Args:
        image_hash: perceptual hash, 64 bits; None without image or if it is flat.
        thumbnail: of duplicates.py; used while ingesting, not kept.
        digest: SHA-256 of title, description, brand and image bytes.
        language_problem: what the feed calls the language, if that is none that is known.
    """

    product: Product
    title_key: str | None
    image_hash: int | None
    thumbnail: bytes | None
    digest: str
    row: int
    language_problem: str | None = None

    def as_row(self, source: str) -> dict[str, Any]:
        """As PRODUCTS, but for `language_source`: languages.fill says it of a whole chunk."""
        product = self.product
        return {
            "key": product.key,
            "platform": product.platform,
            "product_id": product.product_id,
            "title": product.title,
            "description": product.description,
            "brand": product.brand,
            "language": product.language,
            "language_problem": self.language_problem,
            "raw_category": product.raw_category,
            "path": list(product.path) if product.path else None,
            "label_source": product.label_source,
            "image": product.image,
            "image_problem": product.image_problem,
            "title_key": self.title_key,
            "image_hash": self.image_hash,
            "digest": self.digest,
            "source": source,
            "row": self.row,
        }


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that is no product. `raw` is the row as JSON or text, without image bytes, at most 2,000 characters."""

    row: int
    reason: str
    detail: str
    raw: str | None

    def as_row(self, source: str) -> dict[str, Any]:
        return {"source": source, "row": self.row, "reason": self.reason, "detail": self.detail, "raw": self.raw}


class _Unusable(Exception):
    """Inside this file: the row is to be rejected."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class RecordMaker:
    """Raw rows of one feed -> records.

    Args:
        feed: gives the default platform, the folder that image paths start from, and ids where the feed has none.
        mapping: the feed's.
        pictures: limits and stored size of images.
        taxonomy: if given, labels outside it are rejected.
    """

    def __init__(self, feed: Location, mapping: FeedMapping, pictures: PictureConfig, taxonomy: Taxonomy | None = None) -> None:
        self._feed = feed
        self._folder = feed.folder
        self._mapping = mapping
        self._pictures = pictures
        self._taxonomy = taxonomy

    def make(self, raw: RawRow) -> Record | Rejection:
        """Every raw row leaves once, as one or the other."""
        if raw.values is None:
            reason, detail = raw.problem or ("file_unreadable", "the reader gave no reason")
            return Rejection(raw.row, reason, _clean(detail), _clean(raw.text[:_RAW_CHARACTERS]) if raw.text is not None else None)
        try:
            return self._record(raw.row, raw.values)
        except _Unusable as problem:
            return Rejection(raw.row, problem.reason, _clean(problem.detail), _raw_json(raw.values))

    def _record(self, row: int, values: dict[str, Any]) -> Record:
        mapping = self._mapping
        title = _text(values, mapping.title)
        picture: Picture | None = None
        image_problem, image_detail = None, "no image"
        cell = values.get(mapping.image) if mapping.image is not None else None
        if cell is not None:
            try:
                picture = load_picture(cell, mapping.image_is, self._folder, self._pictures)
            except ImageError as error:
                image_problem, image_detail = error.reason, str(error)
        if title is None and picture is None:
            raise _Unusable("nothing_to_read", f"neither title nor usable image ({image_detail}); {self._where_they_should_be(values)}")
        language, language_problem = normalise(_from(values, mapping.language))
        product = Product(
            platform=self._platform(values),
            product_id=self._product_id(row, values),
            title=title,
            description=_text(values, mapping.description),
            brand=_from(values, mapping.brand),
            language=language,
            raw_category=_text(values, mapping.raw_category),
            path=self._path(values),
            label_source=_from(values, mapping.label_source),
            image=picture.data if picture else None,
            image_problem=image_problem,
        )
        return Record(
            product=product,
            title_key=title_key(title) if title else None,
            image_hash=picture.hash if picture else None,
            thumbnail=picture.thumbnail if picture else None,
            digest=digest_of(product),
            row=row,
            language_problem=language_problem,
        )

    def _where_they_should_be(self, values: dict[str, Any]) -> str:
        wanted = [column for column in (self._mapping.title, self._mapping.image) if column is not None]
        if any(column in values for column in wanted):
            return f"expected in the columns {wanted}"
        return f"the row has none of the columns {wanted}, but {list(values)[:30]}: name them in {self._feed.stem}.mapping.yaml beside the feed"

    def _platform(self, values: dict[str, Any]) -> str:
        source = self._mapping.platform
        if source is None or (isinstance(source, str) and "platform" not in self._mapping.model_fields_set and source not in values):
            platform: str | None = self._feed.stem
        else:
            platform = _from(values, source)
        if platform is None:
            raise _Unusable("platform_missing", f"the column {source!r} is empty in this row; fill it, or map platform: {{value: ...}}")
        if "/" in platform:
            raise _Unusable(
                "platform_has_slash", f"platform {platform!r}: '/' stands between platform and id in a product's key; choose a name without it"
            )
        return platform

    def _product_id(self, row: int, values: dict[str, Any]) -> str:
        column = self._mapping.product_id
        if column is None or ("product_id" not in self._mapping.model_fields_set and column not in values):
            return f"{self._feed.stem}:{row}"
        identifier = _text(values, column)
        if identifier is None:
            raise _Unusable(
                "product_id_missing", f"the column {column!r} is empty in this row; fill it, or map product_id: null to count rows instead"
            )
        return identifier

    def _path(self, values: dict[str, Any]) -> tuple[str, ...] | None:
        label = self._mapping.label
        if label is None:
            return None
        if label.columns is not None:
            names = [_text(values, column) for column in label.columns]
        else:
            names = _split(values, str(label.column), label.separator, label.strip)
        known = next((level for level, name in enumerate(names) if name is None), len(names))
        if any(name is not None for name in names[known:]):
            raise _Unusable(
                "label_has_gap",
                f"level {known + 1} is empty, but a deeper one is not: {names}; fill it, or map `label` to the columns that there are",
            )
        path = tuple(name for name in names[:known] if name is not None)
        if any(">" in name for name in path):
            raise _Unusable("label_not_a_path", f"{list(path)}: a category's name may not hold '>'; is it the separator of a path in one column?")
        if path and self._taxonomy is not None and path not in self._taxonomy:
            raise _Unusable(
                "unknown_category", f"{format_path(path)!r} is not in the given category tree; add it there, or map it to a category that is"
            )
        return path or None


def digest_of(product: Product) -> str:
    """SHA-256 of what encoders may read. Each field is preceded by its length, so that text cannot wander between fields; null differs from empty."""
    sha = hashlib.sha256()
    for value in (product.title, product.description, product.brand, product.image):
        data = value.encode() if isinstance(value, str) else value
        sha.update(b"-" if data is None else b"%d:" % len(data))
        sha.update(data or b"")
    return sha.hexdigest()


def _from(values: dict[str, Any], source: Source) -> str | None:
    return source.value if isinstance(source, Constant) else _text(values, source)


def _text(values: dict[str, Any], column: str | None) -> str | None:
    """A cell as trimmed text; None if it is null, missing, empty or not a number (NaN)."""
    value = values.get(column) if column is not None else None
    if value is None:
        return None
    if not isinstance(value, str):
        if isinstance(value, dict | list | bytes):
            raise _Unusable("value_not_text", f"the column {column!r} holds a {type(value).__name__}, expected text or a number")
        if isinstance(value, float):
            if math.isnan(value):
                return None
            # pandas makes whole numbers floats as soon as one row of the column is empty: 1163.0 is the id 1163.
            value = int(value) if value.is_integer() else value
        value = str(value)
    value = value.strip()
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _Unusable(
                "undecodable_bytes", f"the column {column!r} holds half a character ({_clean(value[:80])!r}); write the feed as utf-8"
            ) from None
    if "\0" in value:
        raise _Unusable("nul_byte", f"the column {column!r} holds a NUL character")
    return value or None


def _split(values: dict[str, Any], column: str, separator: str, strip: str) -> list[str | None]:
    cell = values.get(column)
    if isinstance(cell, list):  # Parquet and JSON may hold the path as a list of names
        return [_text({column: name}, column) for name in cell]
    text = _text(values, column)
    text = text.strip(strip) if text and strip else text
    return [name.strip() or None for name in text.split(separator)] if text else []


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _raw_json(values: dict[str, Any]) -> str:
    return _clean(json.dumps(values, ensure_ascii=False, default=_name_of)[:_RAW_CHARACTERS])


def _name_of(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
