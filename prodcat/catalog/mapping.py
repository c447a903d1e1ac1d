"""Which column of a feed is which field of a product: a small YAML file, `<feed>.mapping.yaml` beside the feed, or one given for all feeds.

    platform: {value: myshop}            # or a column; without either, the feed's file name without suffix
    product_id: sku                      # a column; without one, ids are "<file name>:<row>", so they change when rows are inserted
    title: name
    label: {column: category, separator: ">"}     # or {columns: [level1, level2, level3]}
    image: photo
    image_is: path

The defaults are the format's (registry.FORMATS), and prodcat's own column names where it has none. Names are not guessed while reading: what is
called otherwise is mapped, and `prodcat ingest FEED --sniff` proposes how. A column named here must be in the feed; the default ones may be missing.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from prodcat.catalog.feeds.reader import ReadOptions
from prodcat.config import Config, validate
from prodcat.errors import ConfigError, FeedError
from prodcat.location import Location


class Constant(Config):
    """One value for every row of the feed."""

    value: str = Field(min_length=1, description="the value")


class LabelFrom(Config):
    """Where the category path stands."""

    columns: tuple[str, ...] | None = Field(None, min_length=1, description="one column a level, from level 1 down")
    column: str | None = Field(None, description="one column that holds the whole path")
    separator: str = Field(">", min_length=1, description="between the names of the path in `column`")
    strip: str = Field("", description="characters taken off both ends of the path in `column`, for feeds that dress it up, such as '[\"]'")
    is_json: bool = Field(
        False, description="`column` holds a JSON list as text: of paths, of which the first counts, or of the path's names; or one JSON string"
    )
    drop_title: bool = Field(False, description="leave out a last name that only repeats the product's title, cut off or not")

    @model_validator(mode="after")
    def _one_form(self) -> "LabelFrom":
        if (self.columns is None) == (self.column is None):
            raise ValueError("give either `columns` (one a level) or `column` (the whole path)")
        return self


ImageForm = Literal["bytes", "path", "base64", "auto"]
# One column, or several of which the first that is not empty counts.
Column = str | Annotated[tuple[str, ...], Field(min_length=1)] | None
Source = Column | Constant


class FeedMapping(ReadOptions):
    """A field takes the name of a column (or several: the first that is not empty counts), {value: ...} for the same value in every row, or null if
    the feed has nothing for it."""

    platform: Source = Field("platform", description="shop")
    product_id: Column = Field("product_id", description="the shop's id")
    title: Column = Field("title", description="title")
    description: Column = Field("description", description="description")
    brand: Source = Field("brand", description="brand")
    language: Source = Field("language", description="ISO 639-1 code, or the language's name; where it is empty, ingestion detects it")
    raw_category: Column = Field("raw_category", description="the shop's own category")
    label: LabelFrom | None = Field(LabelFrom(columns=("level1", "level2", "level3")), description="the category path a person or table assigned")
    label_source: Source = Field("label_source", description="how the label came about")
    image: Column = Field("image", description="image")
    image_is: ImageForm = Field(
        "auto", description="bytes in the cell, a path relative to the feed's folder, base64 text, or auto: told by its looks"
    )

    html: bool = Field(True, description="tags and entities of HTML in title, description and brand become text")
    empty: tuple[str, ...] = Field(
        ("nan", "NaN", "null", "NULL", "None", "\\N", "#N/A"), description="what programs write into a cell that has no value; read as empty"
    )

    def required_columns(self) -> list[tuple[str, str]]:
        """(key, column) for every column that the user named; the defaults are not among them."""
        named: list[tuple[str, str]] = []
        for key in ("platform", "product_id", "title", "description", "brand", "language", "raw_category", "label_source", "image"):
            if key in self.model_fields_set:
                named.extend((key, column) for column in columns_of(getattr(self, key)))
        if "label" in self.model_fields_set and self.label is not None:
            named.extend(("label", column) for column in _label_columns(self.label))
        return named

    def check(self, source: str, columns: list[str]) -> None:
        """Raises FeedError if a column that the user named is not among the feed's."""
        groups: dict[str, list[str]] = {}
        for key, column in self.required_columns():
            groups.setdefault(key, []).append(column)
        # Of alternatives one is enough, of a label's levels every one is needed.
        missing = [
            f"{key}: {column!r}"
            for key, named in groups.items()
            for column in named
            if column not in columns and (key == "label" or not any(other in columns for other in named))
        ]
        if missing:
            raise FeedError(
                f"{source}: the mapping names columns that the feed lacks ({', '.join(missing)}); it has {columns}; "
                "`prodcat ingest FEED --sniff` proposes a mapping"
            )

    @property
    def read_options(self) -> ReadOptions:
        return ReadOptions(format=self.format, delimiter=self.delimiter, encoding=self.encoding, header=self.header)

    def over(self, format_name: str, defaults: Mapping[str, Any]) -> "FeedMapping":
        """This mapping for a feed of a format: what it does not say itself is the format's default. Only what it says itself counts as named."""
        named = {key: getattr(self, key) for key in self.model_fields_set}
        whole = validate(FeedMapping, {**defaults, **named, "format": format_name}, f"format {format_name}")
        return FeedMapping.model_construct(_fields_set=set(self.model_fields_set), **dict(whole))


def columns_of(source: Source) -> tuple[str, ...]:
    """The columns that a field is taken from, the first one first."""
    if isinstance(source, tuple):
        return source
    return (source,) if isinstance(source, str) else ()


def _label_columns(label: LabelFrom) -> Iterator[str]:
    if label.columns is not None:
        yield from label.columns
    if label.column is not None:
        yield label.column


def mapping_beside(feed: Location) -> FeedMapping:
    """The mapping of `<feed>.mapping.yaml` in the feed's folder ("shop.csv" -> "shop.mapping.yaml"), else the defaults."""
    beside = feed.folder.child(f"{feed.stem}.mapping.yaml")
    if not beside.info().is_file:
        return FeedMapping()
    return read_mapping(beside)


def read_mapping(location: Location) -> FeedMapping:
    """Raises ConfigError naming file and key."""
    try:
        with location.open_stream() as stream:
            document: Any = yaml.safe_load(stream.read())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{location.source}: not a mapping that can be read: {error}") from error
    if not isinstance(document, dict | None):
        raise ConfigError(f"{location.source}: the top level must be 'key: value' lines, found a {type(document).__name__}")
    return validate(FeedMapping, document or {}, location.source)


def is_mapping(location: Location) -> bool:
    return PurePosixPath(location.path).name.endswith(".mapping.yaml")
