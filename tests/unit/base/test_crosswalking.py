"""From a catalog to a mapping file and back into a catalog; and the commands that need no cluster."""

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog
from prodcat.cli import app
from prodcat.contracts import PREDICTIONS, rows_to_table
from prodcat.crosswalking import CrosswalkConfig, check, propose, read_crosswalk, read_predictions, write_overlay
from prodcat.errors import CrosswalkError
from prodcat.ingesting import catalog_of_run
from prodcat.overlay import read_overlay
from prodcat.run_folder import Steps
from prodcat.taxonomy import Taxonomy

# The commands import it late, and torch looks for its libraries with a subprocess, which is fenced inside a test.
importlib.import_module("prodcat.commands.crosswalk")

TREE = Taxonomy([("Clothing", "Tops", "Shirts"), ("Clothing", "Tops", "T-Shirts"), ("Footwear", "Boots"), ("Footwear", "Heels")])
CONFIG = IngestConfig(chunk_rows=7)


def feed_of(folder: Path) -> str:
    """Two shops: one whose names say it, one whose names say nothing to this tree; 6 products each, and one without a raw category."""
    rows: list[dict[str, Any]] = []
    for shop, raws in (("acme", ("Men > Shirts", "Women > Acme Boots", "Gadgets")), ("çarşı", ("Bot", "Gömlek", "=1"))):
        for raw in raws:
            rows += [{"platform": shop, "product_id": f"{raw}{n}", "title": f"{raw} {n} of {shop}", "raw_category": raw} for n in range(6)]
    rows.append({"platform": "acme", "product_id": "none", "title": "nothing"})
    (folder / "feed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / "feed.jsonl")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    ingest([feed_of(tmp_path)], tmp_path / "catalog", CONFIG, taxonomy=TREE)
    return Catalog.open(tmp_path / "catalog")


@pytest.fixture
def answers(tmp_path: Path, catalog: Catalog) -> Path:
    """As `classify` leaves them: boots for Bot, and unsure of which top Gömlek is."""
    rows = []
    for row in catalog.products(["key", "platform", "raw_category"]).to_pylist():
        path = {"Bot": ["Footwear", "Boots"], "Gömlek": ["Clothing", "Tops", "Shirts"]}.get(row["raw_category"], ["Footwear", "Heels"])
        sure = [0.9, 0.8, 0.3][: len(path)]
        rows.append(
            {
                "key": row["key"],
                "platform": row["platform"],
                "category_id": "x",
                "path": path,
                "confidences": sure,
                "alternatives": [],
                "stage": 1,
                "bundle": "b",
            }
        )
    folder = tmp_path / "classified" / "answers" / "predictions"
    folder.mkdir(parents=True)
    pq.write_table(rows_to_table(rows, PREDICTIONS), folder / "shard.parquet")
    return tmp_path / "classified"


def cells(file: Path) -> dict[tuple[str, str], dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return {(row["platform"], row["raw_category"]): row for row in csv.DictReader(stream)}


def decide(file: Path, decisions: dict[tuple[str, str], dict[str, str]]) -> None:
    """As a person with a spreadsheet does."""
    rows = cells(file)
    for key, changes in decisions.items():
        rows[key].update(changes)
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, list(next(iter(rows.values()))))
        writer.writeheader()
        writer.writerows(rows.values())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_names_and_votes_are_proposed_and_a_second_time_is_the_same_file(tmp_path: Path, catalog: Catalog, answers: Path) -> None:
    out = tmp_path / "crosswalk.csv"
    predictions = read_predictions(answers)
    merged = propose(catalog, out, CrosswalkConfig(), predictions=predictions)
    assert (merged.new, merged.open) == (6, 0)
    found = {key: (row["path"], row["how"], row["agreement"], row["products"]) for key, row in cells(out).items()}
    assert found == {
        ("acme", "Gadgets"): ("Footwear > Heels", "votes", "1.00", "6"),
        ("acme", "Men > Shirts"): ("Clothing > Tops > Shirts", "exact", "0.00", "6"),
        ("acme", "Women > Acme Boots"): ("Footwear > Boots", "fuzzy", "0.00", "6"),
        ("çarşı", "'=1"): ("Footwear > Heels", "votes", "1.00", "6"),
        ("çarşı", "Bot"): ("Footwear > Boots", "votes", "1.00", "6"),
        # Sure of the first two levels only.
        ("çarşı", "Gömlek"): ("Clothing > Tops", "votes", "1.00", "6"),
    }
    before = out.read_bytes()
    propose(catalog, out, CrosswalkConfig(), predictions=predictions)
    assert out.read_bytes() == before


def test_what_a_person_decided_is_applied_and_stays(tmp_path: Path, catalog: Catalog) -> None:
    out = tmp_path / "crosswalk.csv"
    propose(catalog, out, CrosswalkConfig())
    assert read_crosswalk(out, TREE) == {}
    decide(
        out,
        {
            ("acme", "Men > Shirts"): {"decision": "accept"},
            ("acme", "Women > Acme Boots"): {"decision": "reject", "note": "they sell soles"},
            ("çarşı", "'=1"): {"path": "Footwear", "decision": "accept"},
        },
    )
    mapped = read_crosswalk(out, TREE)
    assert mapped == {("acme", "Men > Shirts"): ("Clothing", "Tops", "Shirts"), ("çarşı", "=1"): ("Footwear",)}
    ingest([feed_of(tmp_path)], tmp_path / "mapped", CONFIG, taxonomy=TREE, crosswalk=mapped)
    labelled = Catalog.open(tmp_path / "mapped")
    rows = labelled.products(["raw_category", "path", "label_source"]).to_pylist()
    assert {(row["raw_category"], tuple(row["path"])) for row in rows if row["label_source"] == "crosswalk"} == {
        ("Men > Shirts", ("Clothing", "Tops", "Shirts")),
        ("=1", ("Footwear",)),
    }
    # Its own labels are no evidence for it.
    merged = propose(labelled, out, CrosswalkConfig())
    assert (merged.kept, merged.renewed) == (3, 3)
    after = cells(out)
    assert after["acme", "Men > Shirts"]["agreement"] == ""
    assert after["acme", "Women > Acme Boots"]["note"] == "they sell soles"
    assert (after["çarşı", "'=1"]["how"], after["çarşı", "'=1"]["decision"]) == ("hand", "accept")
    checked = check(out, labelled, CrosswalkConfig())
    assert (checked.errors, checked.findings) == (0, [])
    assert (checked.coverage["acme"].mapped, checked.coverage["acme"].by_level) == (1, {1: 6, 2: 6, 3: 6})
    assert (checked.coverage["acme"].without_raw_category, checked.coverage["acme"].rejected) == (1, 1)


def test_a_catalog_that_is_there_gets_labels_as_an_overlay(tmp_path: Path, catalog: Catalog) -> None:
    out = tmp_path / "crosswalk.csv"
    propose(catalog, out, CrosswalkConfig())
    decide(out, {("acme", "Men > Shirts"): {"decision": "accept"}})
    done = run("crosswalk", "overlay", out, "--catalog", catalog.path, "--out", tmp_path / "overlay.csv", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    split_of = dict(zip(*(catalog.splits()[name].to_pylist() for name in ("key", "split")), strict=True))
    shirts = {key for key in split_of if key.startswith("acme/Men > Shirts")}
    overlay = read_overlay(tmp_path / "overlay.csv", catalog, TREE)
    assert overlay.labels == {key: ("Clothing", "Tops", "Shirts") for key in shirts if split_of[key] != "test"}
    assert (told["labels"], told["test"]) == (len(overlay.labels), 6 - len(overlay.labels))
    decide(out, {("acme", "Gadgets"): {"path": "Gadgets", "decision": "accept"}})
    with pytest.raises(CrosswalkError, match=r"line 2: 'Gadgets' is not in the tree"):
        write_overlay(out, catalog, tmp_path / "overlay.csv")


def test_a_run_takes_a_crosswalk_for_feeds_only(tmp_path: Path, catalog: Catalog) -> None:
    given = ([str(catalog.path)], tmp_path / "run", CONFIG, None, None)
    steps = Steps(tmp_path / "run", print)
    assert catalog_of_run(*given, None, steps, print).digest == catalog.digest
    with pytest.raises(CrosswalkError, match="is a catalog already; give the crosswalk to `prodcat ingest`"):
        catalog_of_run(*given, {("acme", "Gadgets"): ("Footwear",)}, steps, print)


def test_one_shop_at_a_time(tmp_path: Path, catalog: Catalog) -> None:
    out = tmp_path / "crosswalk.csv"
    propose(catalog, out, CrosswalkConfig(), platforms=["acme"])
    propose(catalog, out, CrosswalkConfig.model_validate({"rules": {"same": [["bot", "boots"]]}}), platforms=["çarşı"])
    assert {key[0] for key in cells(out)} == {"acme", "çarşı"}
    assert cells(out)["çarşı", "Bot"]["path"] == "Footwear > Boots"
    with pytest.raises(CrosswalkError, match=r"no raw categories of the platforms \['nobody'\]; there are some of \['acme', 'çarşı'\]"):
        propose(catalog, out, CrosswalkConfig(), platforms=["nobody"])


def test_what_cannot_be_proposed_is_said(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "bare.jsonl").write_text('{"product_id": "1", "title": "x"}\n')
    ingest([str(tmp_path / "bare.jsonl")], tmp_path / "bare", CONFIG)
    bare = Catalog.open(tmp_path / "bare")
    with pytest.raises(CrosswalkError, match="no product is labelled, so there is no tree; give one with --taxonomy"):
        propose(bare, tmp_path / "x.csv", CrosswalkConfig())
    with pytest.raises(CrosswalkError, match="no product has a raw category; map the feed's own category column"):
        propose(bare, tmp_path / "x.csv", CrosswalkConfig(), taxonomy=TREE)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CrosswalkError, match=r"notes\.csv, line 1: lacks the columns"):
        propose(catalog, tmp_path / "notes.csv", CrosswalkConfig())
    assert (tmp_path / "notes.csv").read_text() == "a,b\n1,2\n"


def test_answers_are_found_where_classify_left_them_and_nowhere_else(tmp_path: Path, answers: Path) -> None:
    tables = [read_predictions(place) for place in (answers, answers / "answers", answers / "answers" / "predictions")]
    assert all(table.equals(tables[0]) for table in tables)
    with pytest.raises(CrosswalkError, match="no answers here"):
        read_predictions(tmp_path / "gone")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(CrosswalkError, match=r"x\.parquet: not the answers of `prodcat classify`"):
        read_predictions(tmp_path / "x.parquet")


def test_the_commands(tmp_path: Path, catalog: Catalog, answers: Path) -> None:
    out = tmp_path / "crosswalk.csv"
    done = run("crosswalk", "propose", catalog.path, "--out", out, "--predictions", answers, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["how"] == {"exact": 1, "fuzzy": 1, "votes": 4}
    assert run("crosswalk", "check", out, "--catalog", catalog.path).exit_code == 0
    decide(out, {("acme", "Gadgets"): {"path": "Gadgets", "decision": "accept"}})
    failed = run("crosswalk", "check", out, "--catalog", catalog.path, "--predictions", answers)
    assert failed.exit_code == 1
    assert f"{out}, line 2: error: 'Gadgets' is not in the tree" in failed.stdout
    assert "acme: 1 of 3 raw categories mapped" in failed.stdout
    wrong = run("crosswalk", "propose", catalog.path, "--out", out, "--set", "rules.similarty=1")
    assert wrong.exit_code == 1
    assert "did you mean 'similarity'" in wrong.stderr


def test_a_published_tree_is_imported_and_shown(tmp_path: Path) -> None:
    (tmp_path / "google.txt").write_text(
        "# Google_Product_Taxonomy_Version: 2021-09-21\n1 - Pets\n166 - Apparel & Accessories\n1604 - Apparel & Accessories > Clothing\n"
    )
    done = run("taxonomy", "import", tmp_path / "google.txt", "--out", tmp_path / "tree.json", "--below", "Apparel & Accessories", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["categories"] == 2
    assert {category.id for category in Taxonomy.load(tmp_path / "tree.json").categories} == {"166", "1604"}
    shown = run("taxonomy", "show", tmp_path / "tree.json")
    assert "level 2: 1 categories, 1 of them leaves" in shown.stdout
    refused = run("taxonomy", "show", tmp_path / "feed.csv")
    assert refused.exit_code == 1
    assert "not a tree" in refused.stderr
