"""From a catalog on disk to a table of doubted labels, and back into training as reviewed labels."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prodcat.auditing import AuditConfig, audit, summary_lines
from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.duplicates import DuplicateConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog
from prodcat.config import load
from prodcat.encoders.features import write_part
from prodcat.errors import ConfigError, FeedError
from prodcat.evaluation.label_issues import ISSUES
from prodcat.overlay import read_overlay
from prodcat.stored import find_stored

LEAVES = [("Apparel", "Shirts"), ("Apparel", "Socks"), ("Shoes", "Boots")]
WORDS = {"Shirts": "collar shirt", "Socks": "wool sock", "Boots": "leather boot"}
CONFIG = load(AuditConfig, None, ["out_of_fold.folds=3"])
WRONG = "7"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's catalog of 90 products, one of them with a wrong label, and its features."""
    run = tmp_path_factory.mktemp("run")
    rows = []
    for number in range(90):
        first, leaf = LEAVES[number % 3]
        title = ("=" if number == int(WRONG) else "") + f"{WORDS[leaf]} model{number}"
        if number == int(WRONG):
            first, leaf = "Shoes", "Boots"
        rows.append({"product_id": str(number), "title": title, "level1": first, "level2": leaf})
    rows.append({"product_id": "90", "title": "a boot nobody labelled"})
    feed = run / "shop.jsonl"
    feed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ingest([str(feed)], run / "catalog", IngestConfig())
    identities = Catalog.open(run / "catalog").products(["key", "digest"])
    number = np.array([int(key.split("/")[1]) % 3 for key in identities["key"].to_pylist()])
    for name, noise in (("image-0123456789abcdef", 0.1), ("vit-0123456789abcdef", 0.01), ("vit-fedcba9876543210", 9.0)):
        values = np.eye(3, dtype=np.float32)[number] + np.random.default_rng(0).normal(0, noise, (len(number), 3)).astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3)
        table = pa.table({"key": identities["key"], "digest": identities["digest"], "vector": column})
        # An older set of the same name, of which one product is left as it is.
        write_part(run / "features" / name, table.slice(0, 1) if name.startswith("vit-f") else table)
    (run / "encoders" / "vit" / "training").mkdir(parents=True)
    (run / "encoders" / "vit" / "ready").mkdir()
    (run / "encoders" / "vit" / "ready" / "encoder.json").write_text('{"family": "vit", "dim": 3}')
    return run


@pytest.fixture(scope="module")
def audited(run_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("audit") / "new"
    lines: list[str] = []
    return audit(run_folder, out, CONFIG, on_progress=lines.append), out, lines


def test_the_wrong_label_is_found_and_all_files_say_so(audited, run_folder):
    found, out, _ = audited
    (issue,) = found.issues.to_pylist()
    assert issue["key"].endswith("/" + WRONG)
    assert (issue["given"], issue["suggested"], issue["kind"]) == (["Shoes", "Boots"], ["Apparel", "Socks"], "wrong_level_1")
    assert pq.read_table(out / "issues.parquet").schema.equals(ISSUES)
    splits = Catalog.open(run_folder / "catalog").splits()
    assert issue["split"] == dict(zip(splits["key"].to_pylist(), splits["split"].to_pylist(), strict=True))[issue["key"]]
    with (out / "issues.csv").open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["key"], row["decision"], row["given"], row["path"]) == (issue["key"], "keep", "Shoes > Boots", "Apparel > Socks")
    # A title that a spreadsheet would run is text.
    assert row["title"].startswith("'=")


def test_the_summary_says_how_far_the_judge_can_be_believed(audited):
    found, out, _ = audited
    assert json.loads((out / "summary.json").read_text()) == found.summary
    assert (found.summary["labels"], found.summary["issues"], found.summary["kinds"]) == (90, 1, {"wrong_level_1": 1})
    assert found.summary["accuracy"] == pytest.approx(89 / 90)
    assert "1 labels are likely wrong: wrong_level_1 1" in "\n".join(summary_lines(found.summary))


def test_nothing_changes_until_a_person_decides_and_then_fit_can_take_it(audited, run_folder, tmp_path):
    _, out, _ = audited
    catalog = Catalog.open(run_folder / "catalog")
    key = catalog.products(["key"])["key"].to_pylist()[int(WRONG)]
    for name in ("overlay.csv", "issues.csv"):
        text = (out / name).read_text(encoding="utf-8-sig")
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_overlay(tmp_path / name, catalog, catalog.taxonomy, change_test=True).labels == {}
        (tmp_path / name).write_text(text.replace("keep", "accept"), encoding="utf-8")
    assert read_overlay(tmp_path / "issues.csv", catalog, catalog.taxonomy, change_test=True).labels == {key: ("Apparel", "Socks")}


def test_an_encoder_that_learned_from_the_labels_does_not_judge_them(audited, run_folder):
    found, _, lines = audited
    assert found.summary["features"] == ["image"]
    assert any("['vit'] are left out: their encoder learned from these labels" in line for line in lines)
    stored = find_stored(run_folder)
    assert stored.label_trained == {"vit"}
    # Of two sets of one name that which holds the products.
    assert stored.features["vit"].fingerprint == "0123456789abcdef"


def test_a_text_encoder_knows_the_labels_only_where_it_was_trained_on_them(run_folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    encoder = run / "encoders" / "image"
    (encoder / "training").mkdir(parents=True)
    (encoder / "ready").mkdir()
    (encoder / "ready" / "encoder.json").write_text('{"family": "roberta", "dim": 3}')
    assert find_stored(run).label_trained == {"vit"}
    (encoder / "training" / "by_categories").mkdir()
    assert find_stored(run).label_trained == {"vit", "image"}


def test_features_can_be_named_and_unknown_ones_are(run_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no stored features \['clip'\]; there are \['image', 'vit'\]"):
        audit(run_folder, tmp_path / "out", load(AuditConfig, None, ["features=[clip]"]), on_progress=print)


def test_decisions_of_an_earlier_audit_are_not_overwritten(audited, run_folder):
    _, out, _ = audited
    with pytest.raises(FeedError, match="not empty"):
        audit(run_folder, out, CONFIG, on_progress=print)


def test_what_is_no_run_and_no_catalog_is_said(run_folder, tmp_path):
    with pytest.raises(FeedError, match="neither a catalog nor a run that holds one"):
        find_stored(tmp_path)
    with pytest.raises(FeedError, match="no such folder of features"):
        find_stored(run_folder, tmp_path / "features")
    assert find_stored(run_folder / "catalog").features == {}
    assert set(find_stored(run_folder / "catalog", run_folder / "features").features) == {"image", "vit"}


def test_a_catalog_without_labels_is_refused(tmp_path):
    feed = tmp_path / "shop.csv"
    feed.write_text("product_id,title\n1,red shirt\n2,blue shirt\n")
    ingest([str(feed)], tmp_path / "catalog", IngestConfig(duplicates=DuplicateConfig()))
    with pytest.raises(FeedError, match="no product has a label"):
        audit(tmp_path / "catalog", tmp_path / "out", CONFIG, on_progress=print)
