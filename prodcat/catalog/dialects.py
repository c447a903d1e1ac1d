"""How a text feed is written, told from its beginning: encoding, delimiter, whether the first line names the columns. Knows no fields."""

import codecs
import csv
from collections import Counter
from collections.abc import Callable, Sequence

from prodcat.catalog.column_facts import KINDS_OF_VALUES, kind_of
from prodcat.catalog.column_names import role_by_name

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_PUNCTUATION = (
    "\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026\u20ac\u2122\u00ae\u00a9\u00b0\u00ab\u00bb\u00b4\u00b7\u00d7\u00bd\u00bc\u00b2\u00b3\xa0"
)
_WESTERN = "àâäáãåæçèéêëìíîïñòóôöõøœùúûüßÀÂÄÁÅÆÇÈÉÊÑÓÔÖØÚÜ¿¡ªº£"
# Codec -> the characters its languages write often. Where two fit alike, the earlier one is taken.
_LETTERS = {
    "cp1252": _WESTERN,
    "cp1254": "ığşçöüİĞŞÇÖÜâî",
    "cp1250": "ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčďéěíňřšťúůýžÁČĎÉĚÍŇŘŠŤÚŮÝŽäöüőűÖÜŐŰ",
    "cp1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяёії",
    "cp1253": "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώ",
}
_LEAST_SHARE = 0.6
_DELIMITERS = (",", ";", "\t", "|")
_LINES = 200
_HEADER_LENGTH = 60


def encoding_of(data: bytes) -> str:
    """The codec that a feed's beginning fits best. latin-1, which fits all bytes, where nothing else does.

    Args:
        data: the first bytes of the feed; may end inside a character.
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if marked is not None:
        return marked
    if len(data) >= 4 and data[1::2].count(0) > 0.4 * len(data[1::2]):
        return "utf-16-le"
    if len(data) >= 4 and data[::2].count(0) > 0.4 * len(data[::2]):
        return "utf-16-be"
    if _decoded(data, "utf-8") is not None:
        return "utf-8"
    scores = {name: _share(data, name, frozenset(letters + _PUNCTUATION).__contains__) for name, letters in _LETTERS.items()}
    scores |= {"shift_jis": 2 * _share(data, "shift_jis", _is_japanese), "euc_kr": _share(data, "euc_kr", _is_korean)}
    scores |= {"gb18030": _share(data, "gb18030", _is_frequent_chinese)}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= _LEAST_SHARE else "cp1252" if _decoded(data, "cp1252") is not None else "latin-1"


def _decoded(data: bytes, codec: str) -> str | None:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        return decoder.decode(data)  # without `final`: the beginning may end inside a character
    except UnicodeDecodeError:
        return None


def _share(data: bytes, codec: str, usual: Callable[[str], bool]) -> float:
    """Of the characters beyond ASCII, the share that the codec's languages often write; 0 if it does not decode."""
    text = _decoded(data, codec)
    beyond = [character for character in text or "" if not character.isascii()]
    return sum(map(usual, beyond)) / len(beyond) if beyond else 0.0


def _is_japanese(character: str) -> bool:
    """Kana alone, for any two bytes are some kanji; every third character or more of a Japanese text is one, so they count twice."""
    return "\u3041" <= character <= "\u30fe"


def _is_korean(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3"


def _is_frequent_chinese(character: str) -> bool:
    """Of the first level of GB 2312, 3,755 characters by frequency: rare ones are what other encodings look like."""
    return "\u4e00" <= character <= "\u9fa5" and 0xB0 <= (character.encode("gb2312", "ignore") or b"\0")[0] <= 0xD7


def delimiter_of(text: str) -> str | None:
    """The delimiter that cuts the lines into most fields, the same number in nearly each. None if none cuts them."""
    best, score = None, 0.0
    for delimiter in _DELIMITERS:
        rows = first_rows(text, delimiter)
        if not rows:
            continue
        width, lines = Counter(len(row) for row in rows).most_common(1)[0]
        # Of two that fit all lines alike the one with more columns: ',' cuts titles too, but not every one at the same place.
        fits = lines / len(rows) * (1 + 0.01 * width)
        if width > 1 and fits > score:
            best, score = delimiter, fits
    return best


def first_rows(text: str, delimiter: str) -> list[list[str]]:
    """Up to 200 records of a text's beginning; the last one, which may be cut off, is left out if there are others."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > _LINES:
                break
    except csv.Error:
        pass  # the records before the broken one are enough to judge by
    return rows[:-1] if len(rows) > 2 else rows


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns.

    A known name says yes. A cell that is like the values below it (a number above numbers, an address above addresses) says no. Else: names are
    short, filled and different from each other.
    """
    if len(rows) < 2:
        return True
    first, rest = rows[0], rows[1:]
    if any(role_by_name(cell) is not None for cell in first):
        return True
    for place, cell in enumerate(first):
        below = [row[place].strip() for row in rest if len(row) > place and row[place].strip()]
        if not below or not cell.strip():
            continue
        kind = kind_of(below)
        if kind in KINDS_OF_VALUES and kind_of([cell.strip()]) == kind:
            return False
        if cell.strip() in below and len(set(below)) < len(below):
            return False
    named = [cell.strip() for cell in first]
    return len(set(named)) == len(named) and all(0 < len(cell) <= _HEADER_LENGTH for cell in named)
