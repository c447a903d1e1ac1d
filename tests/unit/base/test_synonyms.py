"""Commoner words behind English ones: found whole, the longest first, nothing that the text has already; and read so by text towers told to."""

import csv
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.encoders.inputs import TextReading
from prodcat.errors import GlossaryError
from prodcat.synonyms import COLUMNS, Synonyms

SHIPPED = Synonyms.shipped()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Cable knit jumper", ["sweater"]),
        ("Leather LOAFERS for men", ["casual shoes"]),
        ("Casual shoes: loafers", []),  # it says so itself
        ("Men's track pants", []),  # no trousers, though pants are
        ("Cotton pants", ["trousers"]),
        ("Slip-on shoes, slip ons", ["casual"]),
        ("Gold plated kada", ["bangle bracelet"]),
        ("Jumpers and trainers", ["sweaters", "sneakers sports shoes"]),
        ("Red cotton", []),
        ("Jumperoo for babies", []),  # whole words
        ("", []),
    ],
)
def test_titles(text: str, found: list[str]) -> None:
    assert list(SHIPPED.commoner(text)) == found
    assert SHIPPED.add(text) == (f"{text} ({', '.join(found)})" if found else text)


def test_in_the_place_of_a_term() -> None:
    assert SHIPPED.replaced("Cable JUMPER, blue (cotton)") == "Cable sweater, blue (cotton)"
    assert SHIPPED.replaced("Slip-ons and track pants") == "slip-on casual shoes and track pants"
    assert SHIPPED.replaced("Jümper jumper") == "Jümper jumper"


@given(st.text(max_size=60))
def test_any_text_is_a_title(text: str) -> None:
    found = SHIPPED.commoner(text)
    assert len(set(found)) == len(found)
    assert SHIPPED.add(text).startswith(text)


def test_the_rows_are_well_formed_sorted_and_unique() -> None:
    header, *rows = csv.reader(files("prodcat").joinpath("synonyms.csv").read_text(encoding="utf-8").splitlines())
    assert tuple(header) == COLUMNS
    assert rows == sorted(rows)
    assert len(rows) == len(SHIPPED.terms)
    assert [row for row in rows if any(cell != " ".join(cell.lower().split()) or not cell.isascii() for cell in row)] == []


@pytest.mark.parametrize(
    ("language", "glossary", "text", "read"),
    [
        ("en", "off", "Blue jumper", "Blue jumper (sweater)"),
        (None, "off", "Blue jumper", "Blue jumper (sweater)"),
        ("es", "off", "Blue jumper", "Blue jumper"),
        ("en", "instead", "Blue jumper", "Blue jumper (sweater)"),
        ("de", "instead", "Buntes jumper", "Buntes jumper"),
        ("es", "added", "Mocasines de piel", "Mocasines de piel (loafers, casual shoes)"),
        ("es", "instead", "Mocasines de piel", "loafers, casual shoes"),
    ],
)
def test_what_a_text_tower_reads(language: str | None, glossary: str, text: str, read: str) -> None:
    reading = TextReading.model_validate({"glossary": glossary, "synonyms": True})
    assert reading.of(text, None, None, language) == read
    assert TextReading(synonyms=False).of(text, None, None, language) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("term,english\n", "own.csv, line 1: the columns are term, english; expected are term,commoner"),
        ("", "own.csv, line 1: the columns are none"),
        ("term,commoner\njumper\n", "own.csv, line 2: 'jumper'; expected are a term and the commoner words for it"),
        ("term,commoner\njumper,\n", "own.csv, line 2"),
        ("term,commoner\n-,x\n", "own.csv, line 2"),
        ("term,commoner\nslip on,shoes\nslip-on,shoes\n", "own.csv, line 3: 'slip-on' is there twice; keep one of them"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_by_line(content: str, message: str) -> None:
    with pytest.raises(GlossaryError, match=message):
        Synonyms.read(content, "own.csv")
