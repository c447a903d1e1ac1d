"""One raw row -> a product that the later stages can rely on, or a rejection that says why not. Knows no file format and no other row."""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from prodcat.catalog.crosswalked import Crosswalk, labelled_by
from prodcat.catalog.duplicates import title_key
from prodcat.catalog.feeds.reader import RawRow
from prodcat.catalog.languages import normalise
from prodcat.catalog.mapping import Constant, FeedMapping, LabelFrom, Source, columns_of
from prodcat.catalog.markup import plain_text
from prodcat.catalog.pictures import Picture, PictureConfig, load_picture
from prodcat.contracts import Product
from prodcat.errors import ImageError
from prodcat.location import Location
from prodcat.taxonomy import Taxonomy, format_path

_RAW_CHARACTERS = 2000
# "1.23E+11": a spreadsheet's rounding of a long number. Only the form that spreadsheets write, for "12E5" may be an id.
_SPREADSHEET_NUMBER = re.compile(r"-?\d(?:[.,]\d+)?[eE]\+\d{2,}")
# Above it a float no longer holds every whole number.
_LARGEST_WHOLE = 2**53
_LONGEST_TEXT = 200_000  # A book's length; every stage would pay for it.
# A name that repeats the title has at least so many words, or shows by dots that it was cut off: "Rings" may be both.
_TITLE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Record:
    """A product and what ingestion found out about it: one row of PRODUCTS.

    Args:
        image_hash: perceptual hash, 64 bits; None without image or if it is flat.
        thumbnail: of duplicates.py; used while ingesting, not kept.
        digest: SHA-256 of title, description, brand and image bytes.
        image_detail: what was wrong with the image, for a person; not kept.
        language_problem: what the feed calls the language, if that is none that is known.
    """

    product: Product
    title_key: str | None
    image_hash: int | None
    thumbnail: bytes | None
    digest: str
    row: int
    image_detail: str | None = None
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
        crosswalk: labels for rows that have a raw category and no label of their own; their label_source is then `crosswalk`.
    """

    def __init__(
        self, feed: Location, mapping: FeedMapping, pictures: PictureConfig, taxonomy: Taxonomy | None = None, crosswalk: Crosswalk | None = None
    ) -> None:
        self._feed = feed
        self._folder = feed.folder
        self._mapping = mapping
        self._pictures = pictures
        self._taxonomy = taxonomy
        self._crosswalk = crosswalk or {}
        self._empty = frozenset(mapping.empty)

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
        title = self._prose(values, mapping.title)
        picture: Picture | None = None
        image_problem, image_detail = None, "no image"
        column, cell = self._image_cell(values)
        if cell is not None:
            try:
                picture = load_picture(cell, mapping.image_is, self._folder, self._pictures)
            except ImageError as error:
                image_problem, image_detail = error.reason, f"the column {column!r}: {error}"
        if title is None and picture is None:
            raise _Unusable("nothing_to_read", f"neither title nor usable image ({image_detail}); {self._where_they_should_be(values)}")
        platform, own = self._platform(values), self._path(values, title)
        raw_category = self._raw_category(values, own)
        path, label_source = labelled_by(self._crosswalk, platform, raw_category, own, self._from(values, mapping.label_source))
        language, language_problem = normalise(self._from(values, mapping.language))
        product = Product(
            platform=platform,
            product_id=self._product_id(row, values),
            title=title,
            description=self._prose(values, mapping.description),
            brand=self._prose(values, mapping.brand),
            language=language,
            raw_category=raw_category,
            path=path,
            label_source=label_source,
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
            image_detail=image_detail if image_problem else None,
            language_problem=language_problem,
        )

    def _from(self, values: dict[str, Any], source: Source) -> str | None:
        """The constant, or the first of the columns that is not empty."""
        if isinstance(source, Constant):
            return source.value
        for column in (source,) if isinstance(source, str) else source or ():
            if (text := _text(values, column, self._empty)) is not None:
                if len(text) > _LONGEST_TEXT:
                    raise _Unusable(
                        "text_too_long", f"the column {column!r} holds {len(text):,} characters, more than {_LONGEST_TEXT:,}; close its quote"
                    )
                return text
        return None

    def _prose(self, values: dict[str, Any], source: Source) -> str | None:
        """As `_from`, HTML turned to text."""
        return self._plain(self._from(values, source))

    def _plain(self, text: str | None) -> str | None:
        if text is not None and self._mapping.html and ("<" in text or "&" in text):
            return plain_text(text) or None
        return text

    def _image_cell(self, values: dict[str, Any]) -> tuple[str | None, Any]:
        """(column, cell) of the first image column that is not empty. Of a list, the first entry: shops put the main photo first."""
        for column in columns_of(self._mapping.image):
            cell = values.get(column)
            if isinstance(cell, list):
                cell = next((each for each in cell if each), None)
            if cell is None or (isinstance(cell, str) and (not cell.strip() or cell.strip() in self._empty)):
                continue
            if isinstance(cell, float) and math.isnan(cell):
                continue
            return column, cell
        return None, None

    def _raw_category(self, values: dict[str, Any], path: tuple[str, ...] | None) -> str | None:
        """As it stood. A list of names, as Parquet and JSON may hold it, is written as a path, and so is the label's column if it is JSON or ends in
        titles: as it stands, it is no category but a product's own."""
        label = self._mapping.label
        for column in columns_of(self._mapping.raw_category):
            if path and label is not None and column == label.column and (label.is_json or label.drop_title):
                return format_path(path)
            cell = values.get(column)
            if isinstance(cell, list) and all(isinstance(name, str) for name in cell):
                text = format_path(tuple(name.strip() for name in cell if name.strip())) or None
            else:
                text = _text(values, column, self._empty)
            if text is not None:
                return self._plain(text)
        return None

    def _where_they_should_be(self, values: dict[str, Any]) -> str:
        wanted = [*columns_of(self._mapping.title), *columns_of(self._mapping.image)]
        if any(column in values for column in wanted):
            return f"expected in the columns {wanted}"
        return (
            f"the row has none of the columns {wanted}, but {list(values)[:30]}: name them in {self._feed.stem}.mapping.yaml beside the feed "
            "(`prodcat ingest FEED --sniff` proposes it)"
        )

    def _platform(self, values: dict[str, Any]) -> str:
        source = self._mapping.platform
        if source is None or (isinstance(source, str) and "platform" not in self._mapping.model_fields_set and source not in values):
            platform: str | None = self._feed.stem
        else:
            platform = self._from(values, source)
        if platform is None:
            raise _Unusable("platform_missing", f"the column {source!r} is empty in this row; fill it, or map platform: {{value: ...}}")
        if "/" in platform:
            raise _Unusable(
                "platform_has_slash", f"platform {platform!r}: '/' stands between platform and id in a product's key; choose a name without it"
            )
        return platform

    def _product_id(self, row: int, values: dict[str, Any]) -> str:
        columns = columns_of(self._mapping.product_id)
        if not columns or ("product_id" not in self._mapping.model_fields_set and not any(column in values for column in columns)):
            return f"{self._feed.stem}:{row}"
        identifier = None
        for column in columns:
            identifier = _text(values, column, self._empty)
            if identifier is not None:
                _check_digits(column, values[column], identifier)
                return identifier
        raise _Unusable("product_id_missing", f"{_named(columns)} is empty in this row; fill it, or map product_id: null to count rows instead")

    def _path(self, values: dict[str, Any], title: str | None) -> tuple[str, ...] | None:
        label = self._mapping.label
        if label is None:
            return None
        if label.columns is not None:
            place = _named(label.columns)
            names = [self._plain(_text(values, column, self._empty)) for column in label.columns]
        else:
            place = _named((str(label.column),))
            names = self._split(values, label)
        known = next((level for level, name in enumerate(names) if name is None), len(names))
        if any(name is not None for name in names[known:]):
            raise _Unusable(
                "label_has_gap",
                f"{place}: level {known + 1} is empty, but a deeper one is not: {names}; fill it, or map `label` to the columns that there are",
            )
        path = tuple(name for name in names[:known] if name is not None)
        if label.drop_title and path and title is not None and repeats_title(path[-1], title):
            path = path[:-1]
        if any(">" in name for name in path):
            raise _Unusable(
                "label_not_a_path",
                f"{place}: {list(path)}: a category's name may not hold '>'; is it the separator of a path in one column?",
            )
        if path and self._taxonomy is not None and path not in self._taxonomy:
            raise _Unusable(
                "unknown_category",
                f"{place}: {format_path(path)!r} is not in the given category tree; add it there, or map it to a category that is",
            )
        return path or None

    def _split(self, values: dict[str, Any], label: LabelFrom) -> list[str | None]:
        """The names of the path in one column."""
        column = str(label.column)
        cell = values.get(column)
        if isinstance(cell, list):  # Parquet and JSON may hold the path as a list of names
            return [self._plain(_text({column: name}, column, self._empty)) for name in cell]
        text = _text(values, column, self._empty)
        if text is not None and label.is_json:
            found = _json_names(column, text, label.separator)
            if isinstance(found, list):
                return [self._plain(_text({column: name}, column, self._empty)) for name in found]
            text = found
        # Before it is cut: the separator may be written "&gt;".
        text = self._plain(text)
        text = text.strip(label.strip) if text and label.strip else text
        return [name.strip() or None for name in text.split(label.separator)] if text else []


def digest_of(product: Product) -> str:
    """SHA-256 of what encoders may read. Each field is preceded by its length, so that text cannot wander between fields; null differs from empty."""
    sha = hashlib.sha256()
    for value in (product.title, product.description, product.brand, product.language, product.image):
        data = value.encode() if isinstance(value, str) else value
        sha.update(b"-" if data is None else b"%d:" % len(data))
        sha.update(data or b"")
    return sha.hexdigest()


def _text(values: dict[str, Any], column: str, empty: frozenset[str]) -> str | None:
    """A cell as trimmed text; None if it is null, missing, empty (or one of `empty`) or not a number (NaN)."""
    value = values.get(column)
    if value is None:
        return None
    if not isinstance(value, str):
        if value is False:
            return None  # what Odoo and PHP write for an empty field
        if isinstance(value, dict | list | bytes | bool):
            raise _Unusable("value_not_text", f"the column {column!r} holds a {type(value).__name__}, expected text or a number")
        if isinstance(value, float):
            if math.isnan(value):
                return None
            if math.isinf(value):
                raise _Unusable("value_not_text", f"the column {column!r} holds an infinite number, expected text or a number")
            # pandas makes whole numbers floats as soon as one row of the column is empty: 1163.0 is the id 1163.
            value = int(value) if value.is_integer() and abs(value) <= _LARGEST_WHOLE else value
        value = str(value)
    value = value.strip()
    if not value.isascii():
        # A byte order mark in the middle of a file, where two were put one behind the other. It shows nowhere, and parts "17" from "17".
        value = value.strip("\ufeff").strip()
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _Unusable(
                "undecodable_bytes",
                f"the column {column!r} holds bytes that do not decode, or half a character ({_clean(value[:80])!r}); "
                "name the feed's encoding in its mapping, or save it as utf-8",
            ) from None
    if "\0" in value:
        raise _Unusable("nul_byte", f"the column {column!r} holds a NUL character")
    return None if not value or value in empty else value


def _named(columns: tuple[str, ...]) -> str:
    return f"the column {columns[0]!r}" if len(columns) == 1 else f"each of the columns {list(columns)}"


def _check_digits(column: str, cell: Any, identifier: str) -> None:
    """Raises if the id is what a spreadsheet or a float left of a longer number: two products could share it."""
    if isinstance(cell, float) and abs(cell) > _LARGEST_WHOLE:
        raise _Unusable(
            "id_lost_digits", f"the column {column!r} holds {identifier} as a float, which keeps 15 digits; write ids as text or whole numbers"
        )
    if _SPREADSHEET_NUMBER.fullmatch(identifier):
        raise _Unusable(
            "id_lost_digits", f"the column {column!r} holds {identifier!r}: a spreadsheet has rounded a long number; export the column as text"
        )


def _json_names(column: str, text: str, separator: str) -> str | list[Any] | None:
    """JSON as text -> a path as text, or its names."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unusable("label_not_json", f"the column {column!r} holds {text[:80]!r}, which is not JSON: {error}") from None
    if isinstance(found, str) or found is None:
        return found
    if not isinstance(found, list):
        raise _Unusable("label_not_json", f"the column {column!r} holds a JSON {type(found).__name__}, expected a list of names or paths")
    return next((each for each in found if isinstance(each, str) and separator in each), None) or found


def repeats_title(name: str, title: str) -> bool:
    """Whether a category's name only repeats the product's title: one begins like the other, and it is long or was cut off."""
    cut = name.rstrip().endswith(("...", "…"))
    a, b = title_key(name.rstrip(". …")) or "", title_key(title) or ""
    if not a or not b or (len(a.split()) < _TITLE_WORDS and not cut):
        return False
    return b.startswith(a) or a.startswith(b)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _raw_json(values: dict[str, Any]) -> str:
    return _clean(json.dumps(values, ensure_ascii=False, default=_name_of)[:_RAW_CHARACTERS])


def _name_of(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
