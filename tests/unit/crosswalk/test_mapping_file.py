"""The file that a person edits: what is written comes back, twice the same bytes, and every mistake is named by line."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.crosswalk.mapping_file import COLUMNS, Line, accepted, read, write
from prodcat.errors import CrosswalkError
from prodcat.taxonomy import Taxonomy

HEADER = ",".join(COLUMNS)
TREE = Taxonomy([("A", "B"), ("A", "C")])


def file_of(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder / "crosswalk.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def test_a_line_is_read_as_a_person_sees_it(tmp_path: Path) -> None:
    file = file_of(tmp_path, "shop,Men > Shirts,12,A > B,fuzzy,0.95,0.80,A > C, Accept ,looks right")
    (line,) = read(file)
    assert line == Line("shop", "Men > Shirts", 12, ("A", "B"), "fuzzy", 0.95, 0.8, "A > C", "accept", "looks right", number=2)


def test_few_columns_in_any_order_are_enough_and_further_ones_are_left_alone(tmp_path: Path) -> None:
    file = file_of(tmp_path, "accept,A > B,shop,Shirts,x", header="decision,path,platform,raw_category,mine")
    (line,) = read(file)
    assert (line.key, line.path, line.decision, line.products, line.how) == (("shop", "Shirts"), ("A", "B"), "accept", 0, "")


def test_lines_stand_by_platform_and_raw_category_whatever_their_order(tmp_path: Path) -> None:
    lines = [Line("b", "x"), Line("a", "z"), Line("a", "y", 3, ("A",), "votes", None, 0.9)]
    write(tmp_path / "one.csv", lines)
    write(tmp_path / "two.csv", lines[::-1])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert [line.key for line in read(tmp_path / "one.csv")] == [("a", "y"), ("a", "z"), ("b", "x")]


def test_a_formula_is_written_as_text_and_comes_back(tmp_path: Path) -> None:
    lines = [Line("shop", "=cmd()", note="-1"), Line("shop", "'=x"), Line("shop", "'n")]
    write(tmp_path / "x.csv", lines)
    text = (tmp_path / "x.csv").read_text(encoding="utf-8-sig")
    assert [row.split(",")[1] for row in text.splitlines()[1:]] == ["''=x", "'n", "'=cmd()"]
    assert {line.raw_category for line in read(tmp_path / "x.csv")} == {line.raw_category for line in lines}


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).map(str.strip).filter(bool)
NAMES = CELLS.map(lambda text: text.replace(">", "").strip()).filter(bool)
LINES = st.builds(
    Line,
    platform=CELLS,
    raw_category=CELLS,
    products=st.integers(0, 10**6),
    path=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    how=st.sampled_from(["", "exact", "fuzzy", "votes", "hand"]),
    score=st.none() | st.integers(0, 100).map(lambda value: value / 100),
    agreement=st.none() | st.integers(0, 100).map(lambda value: value / 100),
    candidates=CELLS | st.just(""),
    decision=st.sampled_from(["", "accept", "reject"]),
    note=CELLS | st.just(""),
)


@given(st.lists(LINES, max_size=6, unique_by=lambda line: line.key))
def test_what_is_written_comes_back_and_is_written_the_same(tmp_path_factory: pytest.TempPathFactory, lines: list[Line]) -> None:
    file = tmp_path_factory.mktemp("round") / "crosswalk.csv"
    write(file, lines)
    first = file.read_bytes()
    back = read(file)
    assert [replace(line, number=0) for line in back] == sorted(lines, key=lambda line: line.key)
    write(file, back)
    assert file.read_bytes() == first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["shop,Shirts,1,,,,,,accept,"], "line 2: accepted, but there is no path"),
        (["shop,Shirts,1,A > B,,,,,yes,"], "line 2: decision 'yes'; expected is accept, reject"),
        (["shop,Shirts,1,A > B,guess,,,,,"], "line 2: how 'guess'; expected is exact, fuzzy, votes, hand"),
        (["shop,Shirts,1,A > > B,,,,,,"], "line 2: category path .*every level needs a name"),
        (['shop,"two', 'lines",1,A,,,,,,', "shop,,1,A,,,,,,"], "line 4: no raw_category"),
        (["", ",Shirts,1,A,,,,,,"], "line 3: no platform"),
        (["shop,Shirts,many,A,,,,,,"], "line 2: products 'many' is no number"),
        (["shop,Shirts,1,A,,nan,,,,"], "line 2: score 'nan' is no number"),
        (["shop,Shirts,1,A,,,,,,,too"], "line 2: 11 fields, the header has 10"),
    ],
)
def test_a_mistake_is_named_by_file_and_line(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(CrosswalkError, match=rf"crosswalk\.csv, {message}"):
        read(file_of(tmp_path, *rows))


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CrosswalkError, match=r"line 1: lacks the columns \['raw_category', 'decision'\]"):
        read(file_of(tmp_path, "x,y", header="platform,path"))
    (tmp_path / "utf16.csv").write_bytes(HEADER.encode("utf-16"))
    for name in ("utf16.csv", "gone.csv"):
        with pytest.raises(CrosswalkError, match=rf"{name}: cannot be read"):
            read(tmp_path / name)


def test_only_accepted_lines_are_applied(tmp_path: Path) -> None:
    file = file_of(tmp_path, "s,one,1,A > B,,,,,accept,", "s,two,1,A > C,,,,,,", "s,three,1,A > C,,,,,reject,")
    assert accepted(file, read(file), TREE) == {("s", "one"): ("A", "B")}


def test_what_cannot_be_applied_is_refused_by_line(tmp_path: Path) -> None:
    twice = file_of(tmp_path, "s,one,1,A > B,,,,,accept,", "s,one,1,A > C,,,,,accept,")
    with pytest.raises(CrosswalkError, match=r"crosswalk\.csv, line 3: 'one' of s is accepted in line 2 too"):
        accepted(twice, read(twice), TREE)
    elsewhere = file_of(tmp_path, "s,one,1,A > X,,,,,accept,")
    with pytest.raises(CrosswalkError, match=r"line 2: 'A > X' is not in the tree"):
        accepted(elsewhere, read(elsewhere), TREE)
    assert accepted(elsewhere, read(elsewhere)) == {("s", "one"): ("A", "X")}
