"""CSV files that people open in a spreadsheet. Knows no table of ours."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# A spreadsheet runs what begins so; titles come from shops.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """A shop's text as a cell that no spreadsheet runs."""
    return "'" + text if text.startswith(_FORMULA) else text


def write_csv(file: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Rows under the first one's keys; `columns` are the header if there is no row. Texts from shops are the caller's to make `harmless`."""
    listed = list(rows)
    # utf-8-sig: else a spreadsheet takes the file for another encoding.
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, list(listed[0]) if listed else list(columns))
        writer.writeheader()
        writer.writerows(listed)
