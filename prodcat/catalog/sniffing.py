"""`prodcat ingest FEED --sniff`: how a feed is written, which column is which field, and ten rows as they would be read. Writes nothing.

What it prints is a mapping file: all that is said beside the mapping stands in comments, so the output can be saved as FEED.mapping.yaml.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from prodcat.catalog.chunks import find_feeds
from prodcat.catalog.column_facts import ColumnFacts
from prodcat.catalog.column_roles import Proposal, propose
from prodcat.catalog.dialects import delimiter_of, encoding_of, first_rows, has_header
from prodcat.catalog.feeds import registry
from prodcat.catalog.feeds.reader import FeedReader, RawRow, ReadOptions
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.pictures import PictureConfig
from prodcat.catalog.records import Record, RecordMaker
from prodcat.config import validate
from prodcat.errors import FeedError
from prodcat.location import Location
from prodcat.taxonomy import format_path

SHOWN = 10
# Enough for shares and uniqueness, few enough for rows that carry photos.
_SAMPLE_ROWS = 1000
_HEAD_BYTES = 1_000_000
_WIDTH = 60
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_FIELDS = ("platform", "product_id", "title", "description", "brand", "language", "raw_category", "label", "label_source", "image")
_DEFAULT_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row as it would be read: a product's fields, or why it would be rejected."""

    row: int
    product_id: str | None = None
    title: str | None = None
    path: str | None = None
    raw_category: str | None = None
    image: str | None = None
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What was found out about a feed.

    Args:
        source: the feed.
        format: name of its format.
        encoding: codec of its text; None for formats that are no text.
        document: the mapping, as the YAML file would hold it.
        why: key of the mapping -> why it is so.
        columns: facts of each column.
        rows: rows looked at.
        unreadable: rows among them that the format could not read.
        preview: the first rows as they would be read with `document`.
    """

    source: str
    format: str
    encoding: str | None
    document: dict[str, Any]
    why: dict[str, str]
    columns: tuple[ColumnFacts, ...]
    rows: int
    unreadable: int
    preview: tuple[PreviewRow, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "yaml": self.yaml(), "lines": self.lines()}

    def yaml(self) -> str:
        """The mapping file, with the reasons as comments."""
        lines = []
        for key, value in self.document.items():
            text = yaml.safe_dump([value], allow_unicode=True, default_flow_style=True, width=10_000, sort_keys=False).strip()[1:-1]
            lines.append(f"{key}: {text}" + (f"  # {' '.join(self.why[key].split())}" if self.why.get(key) else ""))
        return "\n".join(lines) + "\n"

    def lines(self) -> list[str]:
        """For printing; a mapping file as a whole."""
        head = f"# {self.source}: {self.format}" + (f", {self.encoding}" if self.encoding else "") + f"; {self.rows:,} rows looked at"
        result = [head + (f", {self.unreadable:,} of them cannot be read" if self.unreadable else "")]
        result += self.yaml().splitlines()
        used = set(_columns_in(self.document))
        rest = [fact for fact in self.columns if fact.name not in used]
        if rest:
            result.append("# columns left out:")
            result += [f"#   {_short(fact.name)}: {_said(fact)}" for fact in rest]
        result.append(f"# the first {len(self.preview)} rows, as they would be read:")
        for row in self.preview:
            if row.rejected is not None:
                result.append(f"#   row {row.row}: REJECTED {_short(row.rejected, 3 * _WIDTH)}")
            else:
                category = f"label {row.path}" if row.path else f"category {row.raw_category}" if row.raw_category else "no category"
                result.append(f"#   row {row.row}: {_short(row.title)} | {_short(category, 2 * _WIDTH)} | {row.image} | id {_short(row.product_id)}")
        return result


def sniff(sources: Sequence[str]) -> list[Sniffed]:
    """Every feed among files and below folders.

    Raises:
        FeedError: a source does not exist, the format of a file cannot be told, or its header has a column twice.
    """
    return [sniff_feed(location) for location in find_feeds(sources)[0]]


def sniffed(sources: Sequence[str]) -> dict[str, Any]:
    """As `sniff`, as JSON can hold it; `sniffed_lines` prints it."""
    return {"feeds": [each.as_json() for each in sniff(sources)]}


def sniffed_lines(summary: dict[str, Any]) -> list[str]:
    return [line for feed in summary["feeds"] for line in feed["lines"]]


def sniff_feed(feed: Location) -> Sniffed:
    """One feed; the mapping beside it, if there is one, is not looked at. Errors as in `sniff`."""
    data = _beginning(feed)
    is_text = not data.startswith(b"PAR1")
    encoding = encoding_of(data) if is_text else None
    options = ReadOptions(encoding=encoding or "utf-8")
    reader = registry.reader_of(feed, options)
    document: dict[str, Any] = {}
    why: dict[str, str] = {}
    if reader.defaults:
        document["format"] = reader.name
        why["format"] = "known by how the file begins; its own columns are the default, so this file may be left out"
    declares = reader.name == "google_merchant_xml" and b"encoding=" in data[:200]
    if encoding is not None and encoding not in ("utf-8", "utf-16", "utf-32") and not declares:
        document["encoding"] = encoding
        why["encoding"] = "the bytes are no utf-8, and this fits them best: look whether the titles below read well"
    if reader.name == "delimited":
        text = data.decode(encoding or "utf-8", "replace").lstrip("\ufeff")
        options = _dialect(feed, text, document, why)
    options = ReadOptions(**{**options.model_dump(), "encoding": document.get("encoding", "utf-8")})
    rows = _sample(feed, options)
    good = [raw.values for raw in rows if raw.values is not None]
    names = registry.columns(feed, options) or list(dict.fromkeys(name for values in good for name in values))
    proposals, facts = propose(names, good)
    if reader.defaults:
        proposals = {}
    if options.header is not None:
        names, proposals, facts, rows = _renamed(names, proposals, facts, rows)
        document["header"], why["header"] = names, "the first line is a row like the others; these names are made up"
    for key in _FIELDS:
        if key in proposals:
            document[key], why[key] = proposals[key].value, proposals[key].why
    _say_more(document, why, facts)
    preview = _preview(feed, document, reader, rows[:SHOWN])
    if "image" in why and preview and all(row.image == "no image (image_not_found)" for row in preview):
        why["image"] += "; there are no such files beside the feed"
    return Sniffed(
        source=feed.source,
        format=reader.name,
        encoding=encoding,
        document=document,
        why=why,
        columns=tuple(facts),
        rows=len(rows),
        unreadable=len(rows) - len(good),
        preview=tuple(preview),
    )


def _beginning(feed: Location) -> bytes:
    try:
        with feed.open_stream() as stream:
            return bytes(stream.read(_HEAD_BYTES))
    except OSError as error:
        raise FeedError(f"{feed.source}: cannot be read: {error}") from error


def _dialect(feed: Location, text: str, document: dict[str, Any], why: dict[str, str]) -> ReadOptions:
    """Delimiter and header line of a delimited feed, put into the document where they differ from the defaults."""
    default = _DEFAULT_DELIMITERS.get(feed.suffix, ",")
    delimiter = delimiter_of(text) or default
    if delimiter != default:
        document["delimiter"] = delimiter
        why["delimiter"] = f"the lines are cut by {_DELIMITERS[delimiter]} into equally many fields"
    records = first_rows(text, delimiter)
    header = None
    if records and not has_header(records):
        header = tuple(f"column {place}" for place in range(1, max(map(len, records)) + 1))
    return ReadOptions(delimiter=document.get("delimiter"), header=header)


def _sample(feed: Location, options: ReadOptions) -> list[RawRow]:
    parts = registry.parts(feed, options)
    return list(itertools.islice(itertools.chain.from_iterable(registry.rows(feed, part, options) for part in parts), _SAMPLE_ROWS))


def _renamed(
    names: Sequence[str], proposals: dict[str, Proposal], facts: list[ColumnFacts], rows: list[RawRow]
) -> tuple[list[str], dict[str, Proposal], list[ColumnFacts], list[RawRow]]:
    """Columns without names get that of the field they are proposed for."""
    by_column: dict[str, str] = {}
    for key in ("raw_category", "product_id", "title", "description", "brand", "image"):
        if key in proposals and proposals[key].value is not None:
            by_column[str(proposals[key].value)] = "category" if key == "raw_category" else key
    named = [by_column.get(name, name.replace(" ", "_")) for name in names]
    renames = dict(zip(names, named, strict=True))
    moved = {key: Proposal(_with_names(proposal.value, renames), proposal.why) for key, proposal in proposals.items()}
    facts = [ColumnFacts(**{**asdict(fact), "name": renames[fact.name]}) for fact in facts]
    rows = [raw._replace(values={renames[name]: cell for name, cell in raw.values.items()}) if raw.values is not None else raw for raw in rows]
    return named, moved, facts, rows


def _with_names(value: Any, renames: dict[str, str]) -> Any:
    if isinstance(value, str):
        return renames.get(value, value)
    if isinstance(value, dict):
        moved = {key: [renames[name] for name in inner] if key == "columns" else inner for key, inner in value.items()}
        return {**moved, "column": renames[value["column"]]} if "column" in value else moved
    return value


def _say_more(document: dict[str, Any], why: dict[str, str], facts: Sequence[ColumnFacts]) -> None:
    """Warnings that belong to a key."""
    kinds = {fact.name: fact for fact in facts}
    image = document.get("image")
    if isinstance(image, str) and image in kinds and kinds[image].kind in ("url", "image_url"):
        why["image"] += "; they are addresses, of which prodcat fetches none: save the images beside the feed to use them"
    if document.get("label") is not None and "label" in why and "own name" not in why["label"]:
        why["label"] += "; null if this shop's own categories are not the tree to learn"
    identifier = document.get("product_id")
    if isinstance(identifier, str) and identifier in kinds and kinds[identifier].examples:
        examples = kinds[identifier].examples
        if all(example.endswith(".0") for example in examples):
            why["product_id"] += "; each ends in '.0', as a program writes whole numbers that it took for fractions: kept as they stand"


def _preview(feed: Location, document: dict[str, Any], reader: FeedReader, rows: Sequence[RawRow]) -> list[PreviewRow]:
    mapping = validate(FeedMapping, document, f"{feed.source}: the proposed mapping").over(reader.name, reader.defaults)
    maker = RecordMaker(feed, mapping, PictureConfig())
    shown = []
    for raw in rows:
        made = maker.make(raw)
        if not isinstance(made, Record):
            shown.append(PreviewRow(made.row, rejected=f"{made.reason}: {made.detail}"))
            continue
        product = made.product
        image = "image" if product.image is not None else f"no image ({product.image_problem})" if product.image_problem else "no image"
        path = format_path(product.path) if product.path else None
        shown.append(PreviewRow(made.row, product.product_id, product.title, path, product.raw_category, image))
    return shown


def _columns_in(document: dict[str, Any]) -> list[str]:
    label = document.get("label") or {}
    named = [document.get(key) for key in _FIELDS if key != "label"]
    return [name for name in [*named, label.get("column"), *label.get("columns", [])] if isinstance(name, str)]


def _said(fact: ColumnFacts) -> str:
    if not fact.filled:
        return "empty"
    if fact.constant:
        return f"always {_short(fact.examples[0])!r}"
    filled = "" if fact.filled == 1 else f", filled in {fact.filled:.0%}"
    return f"{fact.kind}, {fact.distinct:,} different{filled}, such as {_short(fact.examples[0])!r}"


def _short(text: str | None, width: int = _WIDTH) -> str:
    # One line of what YAML takes, whatever stands in it: every line of the output is a comment.
    text = "".join(character if character.isprintable() else "\ufffd" for character in " ".join((text or "(none)").split()))
    return text if len(text) <= width else text[: width - 1] + "…"
