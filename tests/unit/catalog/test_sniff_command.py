"""`prodcat ingest --sniff`: prints a mapping file, or JSON; writes nothing; says what it does not go with."""

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from prodcat.cli import app


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["ingest", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def feed(folder: Path) -> Path:
    (folder / "shop.csv").write_text("Artikelnummer;Bezeichnung\nA1;Rote Jacke\nA2;Blauer Hut\n")
    return folder / "shop.csv"


def test_the_output_is_a_mapping_file(tmp_path: Path) -> None:
    file = feed(tmp_path)
    code, out, _ = run(file, "--sniff")
    assert code == 0
    assert yaml.safe_load(out)["title"] == "Bezeichnung"
    assert yaml.safe_load(out)["delimiter"] == ";"
    assert "row 1: Rote Jacke" in out
    assert list(tmp_path.iterdir()) == [file]


def test_the_same_as_json(tmp_path: Path) -> None:
    code, out, _ = run(feed(tmp_path), "--sniff", "--json")
    assert code == 0
    (found,) = json.loads(out)["feeds"]
    assert (found["document"]["product_id"], found["preview"][1]["title"]) == ("Artikelnummer", "Blauer Hut")


def test_it_takes_feeds_alone(tmp_path: Path) -> None:
    code, _, err = run(feed(tmp_path), "--sniff", "--out", tmp_path / "c")
    assert (code, "feeds and --json alone" in err) == (2, True)


def test_without_it_a_folder_is_named(tmp_path: Path) -> None:
    code, _, err = run(feed(tmp_path))
    assert (code, "--out" in err) == (2, True)


def test_a_feed_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "none.csv", "--sniff")
    assert code == 1
    assert err.startswith(f"prodcat: {tmp_path}/none.csv: no such file")
