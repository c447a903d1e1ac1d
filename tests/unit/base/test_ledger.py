"""Shards, commits and manifests: a row counts once, what was cut off counts not at all."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.errors import FeedError
from prodcat.ledger import COMMITS, MANIFEST, NOWHERE, Ledger, among, identities, nothing
from prodcat.location import Location

SCHEMA = pa.schema([pa.field("key", pa.string())])


def rows(*keys: str, digest: str = "d") -> np.ndarray:
    return identities(keys, [digest] * len(keys))


def ledger(folder: Path) -> Ledger:
    return Ledger(Location(str(folder)), ["good", "bad"])


def write(to: Ledger, keys: list[str], outcomes: list[int]) -> None:
    tables = {
        place: pa.table({"key": [key for key, outcome in zip(keys, outcomes, strict=True) if outcome == number]}, schema=SCHEMA)
        for number, place in enumerate(to.places)
    }
    to.write(rows(*keys), np.array(outcomes, dtype=np.int8), tables)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_shard_is_read_back_and_counted(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    mine.begin({"bundle": "b"})
    write(mine, ["1", "2", "3", "4"], [0, 1, 0, -1])
    write(mine, ["5"], [0])
    done = mine.settle()
    assert among(rows("1", "2", "3", "4", "5", "6"), done).tolist() == [True] * 5 + [False]
    said = mine.close({"bundle": "b"})
    assert said["rows"] == {"good": 3, "bad": 1, NOWHERE: 1}
    assert sorted(mine.read("good", SCHEMA)["key"].to_pylist()) == ["1", "3", "5"]
    assert mine.read("bad", SCHEMA)["key"].to_pylist() == ["2"]
    assert json.loads((tmp_path / MANIFEST).read_text()) == said


def test_written_twice_it_stands_once(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    write(mine, ["1", "2"], [0, 1])
    before = files(tmp_path)
    write(mine, ["1", "2"], [0, 1])
    assert files(tmp_path) == before


def test_rows_of_two_shards_are_taken_out_of_one(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    write(mine, ["1", "2", "3"], [0, 1, 0])
    write(mine, ["3", "4"], [0, 0])
    assert len(mine.settle()) == 4
    mine.close({})
    assert sorted(mine.read("good", SCHEMA)["key"].to_pylist()) == ["1", "3", "4"]
    assert mine.read("bad", SCHEMA)["key"].to_pylist() == ["2"]


def test_rows_that_changed_or_went_are_taken_out(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    write(mine, ["1", "2", "3"], [0, 1, 0])
    write(mine, ["4"], [1])
    present = np.sort(np.concatenate([rows("1", "2"), rows("3", digest="changed"), rows("5")]))
    assert among(rows("1", "2", "3", "4"), mine.settle(present)).tolist() == [True, True, False, False]
    mine.close({})
    assert mine.read("good", SCHEMA)["key"].to_pylist() == ["1"]
    # The shard of which nothing is left is gone altogether.
    assert len([name for name in files(tmp_path) if name.startswith(COMMITS)]) == 1


def test_what_was_cut_off_does_not_count(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    write(mine, ["1", "2"], [0, 0])
    write(mine, ["3", "4"], [0, 0])
    (commit, kept) = sorted((tmp_path / COMMITS).iterdir())
    lost = rows("1", "2") if among(rows("1"), mine._shard(commit.stem).identities).all() else rows("3", "4")
    commit.unlink()
    (tmp_path / "good" / ".part-x.parquet.0123").write_bytes(b"half a fi")
    done = mine.settle()
    assert len(done) == 2
    assert not among(lost, done).any()
    assert [path.name for path in (tmp_path / "good").glob("part-*")] == [kept.name]


def test_a_file_cut_short_makes_its_rows_undone(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    write(mine, ["1", "2"], [0, 0])
    (file,) = (tmp_path / "good").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert len(mine.settle()) == 0
    assert not list((tmp_path / COMMITS).iterdir())


def test_a_file_that_was_changed_is_refused_by_name(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    write(mine, ["1", "2"], [0, 0])
    mine.close({})
    (file,) = (tmp_path / "good").iterdir()
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(FeedError, match=f"{file.name}: its SHA-256"):
        mine.read("good", SCHEMA)


def test_an_unfinished_run_has_no_manifest(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    mine.begin({"bundle": "b"})
    write(mine, ["1"], [0])
    with pytest.raises(FeedError, match="has not finished: start it again"):
        mine.read("good", SCHEMA)
    mine.close({})
    mine.begin({"bundle": "b"})
    assert not (tmp_path / MANIFEST).exists()


def test_another_runs_output_is_left_alone(tmp_path: Path) -> None:
    ledger(tmp_path / "a").begin({"bundle": "b", "views": ["x"]})
    with pytest.raises(FeedError, match="another run, bundle 'b' and now 'c'; name a new folder"):
        ledger(tmp_path / "a").begin({"bundle": "c", "views": ["x"]})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(FeedError, match=r"not empty, and no run's output \(\['thesis.txt'\]\)"):
        ledger(tmp_path / "b").begin({})


def test_tables_must_fit_their_outcomes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="good: 0 rows for 1 outcomes"):
        ledger(tmp_path).write(rows("1"), np.zeros(1, dtype=np.int8), {})


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.sampled_from(["", "image"])), unique=True, max_size=50))
def test_identities_are_apart(known: list[tuple[str, str, str]]) -> None:
    found = np.concatenate([nothing(), *(identities([key], [digest], view) for key, digest, view in known)])
    assert len(np.unique(found)) == len({f"{key}\n{digest}\n{view}" for key, digest, view in known})
    half = np.sort(found[::2])
    assert among(found, half).tolist() == [place % 2 == 0 or found[place] in half for place in range(len(found))]
