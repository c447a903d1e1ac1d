"""The mapping file: one line a raw category of a platform, made by `propose`, decided by a person, kept in git. Reads and writes; decides nothing.

    platform      the shop
    raw_category  its own category, as it stands in the feed
    products      products under it when the file was written; 0: the shop has it no more
    path          category of the tree, "A > B > C"; empty: open
    how           exact or fuzzy (by name), votes (of products), hand (a person's)
    score         similarity of the names, 1 is equal; empty for votes and hand
    agreement     share of the products' votes at this path or below; empty without votes
    candidates    what else it may be, parted by "|"
    decision      empty, accept or reject: only accepted lines are applied, and decided lines are never proposed anew
    note          yours

A path you change counts with a decision; without one the line is proposed anew, unless `how` says hand or nothing.
Lines stand by platform and raw category, so a diff shows what changed. A cell that a spreadsheet would run as a formula begins with an apostrophe.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from prodcat.errors import CrosswalkError, TaxonomyError
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path, parse_path

How = Literal["", "exact", "fuzzy", "votes", "hand"]
Decision = Literal["", "accept", "reject"]
COLUMNS = ("platform", "raw_category", "products", "path", "how", "score", "agreement", "candidates", "decision", "note")
_NEEDED = ("platform", "raw_category", "path", "decision")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_TO_QUOTE = re.compile('[,"\r\n]')
_FIELD_LIMIT = 1_000_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file; `number` is its place as an editor counts, 0 before it is written."""

    platform: str
    raw_category: str
    products: int = 0
    path: CategoryPath | None = None
    how: How = ""
    score: float | None = None
    agreement: float | None = None
    candidates: str = ""
    decision: Decision = ""
    note: str = ""
    number: int = 0

    @property
    def key(self) -> Key:
        return (self.platform, self.raw_category)


def write(file: Path, lines: Iterable[Line]) -> None:
    """The same lines give the same bytes, in whatever order they come."""
    rows = [COLUMNS, *(_cells(line) for line in sorted(lines, key=lambda line: (line.key, line.number)))]
    text = "".join(",".join(map(_quoted, row)) + "\n" for row in rows)
    # utf-8-sig: else a spreadsheet takes the file for another encoding, and destroys the names when it saves.
    file.write_text(text, encoding="utf-8-sig", newline="")


def _cells(line: Line) -> Sequence[str]:
    return (
        line.platform,
        line.raw_category,
        str(line.products),
        format_path(line.path) if line.path else "",
        line.how,
        "" if line.score is None else f"{line.score:.2f}",
        "" if line.agreement is None else f"{line.agreement:.2f}",
        line.candidates,
        line.decision,
        line.note,
    )


def read(file: Path) -> list[Line]:
    """The file's lines, in its order. A raw category may stand twice: `checks.py` and `accepted` say so.

    Columns besides path, decision and the two names may be missing, and others may be there.

    Raises:
        CrosswalkError: names file and line: not readable, a needed column or a name is missing, a path that cannot be, an unknown `how` or decision.
    """
    csv.field_size_limit(_FIELD_LIMIT)
    lines: list[Line] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                raise CrosswalkError(f"{file}, line 1: lacks the columns {missing}; expected are {', '.join(COLUMNS)}")
            last = reader.line_num
            for fields in reader:
                number, last = last + 1, reader.line_num
                if not fields:
                    continue
                where = f"{file}, line {number}"
                if len(fields) > len(header):
                    raise CrosswalkError(f"{where}: {len(fields)} fields, the header has {len(header)}; put a text with commas into quotes")
                lines.append(_line(dict(zip(header, fields, strict=False)), number, where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CrosswalkError(f"{file}: cannot be read as CSV in UTF-8: {error}; make one with `prodcat crosswalk propose`") from error
    return lines


def _line(row: Mapping[str, str], number: int, where: str) -> Line:
    given = {name: _unsafe(row.get(name, "").strip()) for name in COLUMNS}
    for name in ("platform", "raw_category"):
        if not given[name]:
            raise CrosswalkError(f"{where}: no {name}; every line needs both platform and raw_category, or remove the line")
    for name, allowed in (("how", get_args(How)), ("decision", get_args(Decision))):
        if given[name].lower() not in allowed:
            raise CrosswalkError(f"{where}: {name} {given[name]!r}; expected is {', '.join(value for value in allowed if value)}, or nothing")
    decision = given["decision"].lower()
    if decision == "accept" and not given["path"]:
        raise CrosswalkError(f"{where}: accepted, but there is no path; write one as 'A > B > C', or decide reject")
    return Line(
        given["platform"],
        given["raw_category"],
        int(_number(given["products"], "products", where) or 0),
        _path(given["path"], where) if given["path"] else None,
        cast(How, given["how"].lower()),
        _number(given["score"], "score", where),
        _number(given["agreement"], "agreement", where),
        given["candidates"],
        cast(Decision, decision),
        given["note"],
        number,
    )


def _number(text: str, name: str, where: str) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        number = -1.0
    if number is not None and not 0 <= number < float("inf"):
        raise CrosswalkError(f"{where}: {name} {text!r} is no number from 0; leave it empty where there is none")
    return number


def _path(text: str, where: str) -> CategoryPath:
    try:
        return parse_path(text)
    except TaxonomyError as error:
        raise CrosswalkError(f"{where}: {error}") from None


def _quoted(cell: str) -> str:
    # Not csv.writer: it leaves a carriage return bare, which the reader takes for the end of the line.
    safe = "'" + cell if _FORMULA.match(cell) else cell
    return '"' + safe.replace('"', '""') + '"' if _TO_QUOTE.search(safe) else safe


def _unsafe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def accepted(file: Path, lines: Iterable[Line], tree: Taxonomy | None = None) -> dict[Key, CategoryPath]:
    """What is applied: (platform, raw category) -> path of the accepted lines.

    Args:
        tree: in which all paths must lie; None: any.

    Raises:
        CrosswalkError: names file and line: a raw category is accepted twice, or a path is not in the tree.
    """
    paths: dict[Key, CategoryPath] = {}
    first: dict[Key, int] = {}
    for line in lines:
        if line.decision != "accept" or line.path is None:
            continue
        where = f"{file}, line {line.number}"
        if line.key in paths:
            raise CrosswalkError(f"{where}: {line.raw_category!r} of {line.platform} is accepted in line {first[line.key]} too; keep one of the two")
        if tree is not None and line.path not in tree:
            raise CrosswalkError(f"{where}: {format_path(line.path)!r} is not in the tree; write a path of the tree, or give the tree that has it")
        paths[line.key], first[line.key] = line.path, line.number
    return paths
