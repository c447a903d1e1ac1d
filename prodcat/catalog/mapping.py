"""Which column of a feed is which field of a product: a small YAML file, `<feed>.mapping.yaml` beside the feed, or one given for all feeds.

    platform: {value: myshop}            # or a column; without either, the feed's file name without suffix
    product_id: sku                      # a column; without one, ids are "<file name>:<row>", so they change when rows are inserted
    title: name
    label: {column: category, separator: ">"}     # or {columns: [level1, level2, level3]}
    image: photo
    image_is: path

The defaults are prodcat's own column names. Names are not guessed: what is called otherwise is mapped. A column named here must be in the feed;
the default ones may be missing.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from prodcat.catalog.feeds.location import Location
from prodcat.catalog.feeds.reader import ReadOptions
from prodcat.config import Config, validate
from prodcat.errors import ConfigError, FeedError


class Constant(Config):
    """One value for every row of the feed."""

    value: str = Field(min_length=1, description="the value")


class LabelFrom(Config):
    """Where the category path stands."""

    columns: tuple[str, ...] | None = Field(None, min_length=1, description="one column a level, from level 1 down")
    column: str | None = Field(None, description="one column that holds the whole path")
    separator: str = Field(">", min_length=1, description="between the names of the path in `column`")
    strip: str = Field("", description="characters taken off both ends of the path in `column`, for feeds that dress it up, such as '[\"]'")

    @model_validator(mode="after")
    def _one_form(self) -> "LabelFrom":
        if (self.columns is None) == (self.column is None):
            raise ValueError("give either `columns` (one a level) or `column` (the whole path)")
        return self


ImageForm = Literal["bytes", "path", "base64", "auto"]
Source = str | Constant | None


class FeedMapping(ReadOptions):
    """A field takes the name of a column, {value: ...} for the same value in every row, or null if the feed has nothing for it."""

    platform: Source = Field("platform", description="shop")
    product_id: str | None = Field("product_id", description="the shop's id")
    title: str | None = Field("title", description="title")
    description: str | None = Field("description", description="description")
    brand: Source = Field("brand", description="brand")
    language: Source = Field("language", description="ISO 639-1 code, or the language's name; where it is empty, ingestion detects it")
    raw_category: str | None = Field("raw_category", description="the shop's own category")
    label: LabelFrom | None = Field(LabelFrom(columns=("level1", "level2", "level3")), description="the category path a person or table assigned")
    label_source: Source = Field("label_source", description="how the label came about")
    image: str | None = Field("image", description="image")
    image_is: ImageForm = Field(
        "auto", description="bytes in the cell, a path relative to the feed's folder, base64 text, or auto: told by its looks"
    )

    def required_columns(self) -> list[tuple[str, str]]:
        """(key, column) for every column that the user named; the defaults are not among them."""
        named: list[tuple[str, str]] = []
        for key in ("platform", "product_id", "title", "description", "brand", "language", "raw_category", "label_source", "image"):
            value = getattr(self, key)
            if key in self.model_fields_set and isinstance(value, str):
                named.append((key, value))
        if "label" in self.model_fields_set and self.label is not None:
            named.extend(("label", column) for column in _label_columns(self.label))
        return named

    def check(self, source: str, columns: list[str]) -> None:
        """Raises FeedError if a column that the user named is not among the feed's."""
        missing = [f"{key}: {column!r}" for key, column in self.required_columns() if column not in columns]
        if missing:
            raise FeedError(f"{source}: the mapping names columns that the feed lacks ({', '.join(missing)}); it has {columns}")

    @property
    def read_options(self) -> ReadOptions:
        return ReadOptions(delimiter=self.delimiter, encoding=self.encoding, header=self.header)


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
