"""The command line on good and on bad input: what a user gets is an answer, a rejected row, or one line that says what to do."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from prodcat.catalog.store import Catalog
from prodcat.cli import app


@pytest.fixture
def prodcat(ray_cluster: None):
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return run


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """A CSV with one good row and one of each nuisance."""
    folder = tmp_path / "feed"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(40, 40))
    (folder / "text.jpg").write_text("this is no image")
    (folder / "bomb.png").write_bytes(png(10_000, 6_000))
    (folder / "shop.csv").write_text(
        "product_id,title,level1,image\n"
        "1,red shirt,Apparel,good.png\n"
        "2,blue shirt,Apparel,text.jpg\n"
        "3,green shirt,Apparel,bomb.png\n"
        "4,broken,line,with,too,many,fields\n"
        "5,,Apparel,text.jpg\n"
        "6,white shirt,Apparel,../../etc/passwd\n"
    )
    return folder


def test_nothing_of_a_bad_feed_is_lost(prodcat, feed: Path, tmp_path: Path) -> None:
    result = prodcat("ingest", feed, "--out", tmp_path / "catalog", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["products"] == 4
    assert sum(summary["rejected"].values()) == 2
    catalog = Catalog.open(tmp_path / "catalog")
    problems = dict(zip(*(catalog.products(["product_id", "image_problem"]).to_pydict()[c] for c in ("product_id", "image_problem")), strict=True))
    assert problems == {"1": None, "2": "image_not_an_image", "3": "image_too_many_pixels", "6": "image_outside_feed"}
    rejected = {row["row"]: row for row in catalog.rejected().to_pylist()}
    assert set(rejected) == {4, 5}
    assert rejected[5]["reason"] == "nothing_to_read"
    assert all(row["source"].endswith("shop.csv") for row in rejected.values())


def test_fit_takes_a_mended_mapping(prodcat, tmp_path: Path) -> None:
    """The feed itself has not changed."""
    (tmp_path / "shop.csv").write_text("product_id,title,kind\n1,red shirt,Apparel\n")
    arguments = ["fit", tmp_path / "shop.csv", "--config", "offline", "--out", tmp_path / "run"]
    assert "no product has a label" in prodcat(*arguments).stderr
    (tmp_path / "shop.mapping.yaml").write_text("label: {columns: [kind]}\n")
    again = prodcat(*arguments)
    assert "no labelled product fell into" in again.stderr
    assert again.exit_code == 1


@pytest.mark.parametrize("content", [None, "Möbel > Tische".encode("latin-1")])
def test_a_tree_that_cannot_be_read_is_one_line(prodcat, feed: Path, tmp_path: Path, content: bytes | None) -> None:
    tree = tmp_path / "tree.txt"
    if content is not None:
        tree.write_bytes(content)
    result = prodcat("ingest", feed, "--taxonomy", tree, "--out", tmp_path / "catalog")
    assert result.exit_code == 1
    assert "tree.txt: cannot be read" in result.stderr
    assert "lines 'A > B > C' in UTF-8" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("product_id,title\n", "the feeds hold no rows"),
        ("product_id,price\n1,9.99\n2,5\n", "nothing_to_read"),
    ],
)
def test_a_feed_without_products_is_one_line(prodcat, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "shop.csv").write_text(content)
    result = prodcat("ingest", tmp_path / "shop.csv", "--out", tmp_path / "catalog")
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "catalog").exists()


def test_an_unknown_key_is_named_with_its_file_and_the_nearest_one(prodcat, feed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("ingest:\n  chunk_row: 5\n")
    result = prodcat("ingest", feed, "--out", tmp_path / "catalog", "--config", tmp_path / "mine.yaml")
    assert result.exit_code == 1
    assert "mine.yaml" in result.stderr
    assert "'ingest.chunk_row'; did you mean 'chunk_rows'?" in result.stderr
    result = prodcat("ingest", feed, "--out", tmp_path / "catalog", "--set", "ingest.chunk_rows=none")
    assert "ingest.chunk_rows" in result.stderr


def test_a_bundle_with_a_changed_byte_is_refused(prodcat, demo_run: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_run / "bundle", tmp_path / "bundle")
    weights = tmp_path / "bundle" / "stage_two" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for arguments in (
        ("evaluate", tmp_path / "bundle", demo_run / "catalog", "--out", tmp_path / "report"),
        ("classify", tmp_path / "bundle", demo_run / "catalog", "--out", tmp_path / "answers"),
    ):
        result = prodcat(*arguments)
        assert result.exit_code == 1
        assert "stage_two/model.safetensors: its SHA-256 is not the one" in result.stderr


def test_classify_accounts_for_every_row_of_a_feed(prodcat, demo_run: Path, feed: Path, tmp_path: Path) -> None:
    result = prodcat("classify", demo_run / "bundle", feed, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["classified"], summary["rejected"], summary["rejected_at_ingestion"]) == (4, 0, 2)


def test_a_profile_that_is_not_there_is_said_with_those_that_are(prodcat, feed: Path, tmp_path: Path) -> None:
    result = prodcat("fit", feed, "--out", tmp_path / "run", "--config", "offlien")
    assert result.exit_code == 1
    assert "['hub', 'multilingual', 'offline']" in result.stderr


def test_an_unknown_probe_is_named_before_anything_is_started(prodcat, demo_run: Path, tmp_path: Path) -> None:
    result = prodcat("evaluate", demo_run / "bundle", demo_run / "catalog", "--out", tmp_path / "report", "--probe", "titel")
    assert result.exit_code == 1
    assert "--probe: key 'probes'" in result.stderr
    assert "masked-title+image" in result.stderr
    assert not (tmp_path / "report").exists()


def test_evaluate_runs_the_probes_that_are_named_and_leaves_small_leaves_out(prodcat, demo_run: Path, tmp_path: Path) -> None:
    sets = ("--set", "min_leaf_products=8", "--set", "baseline=null")
    result = prodcat("evaluate", demo_run / "bundle", demo_run / "catalog", "--out", tmp_path, "--probe", "masked-title", *sets, "--json")
    assert result.exit_code == 0, result.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["probes"]) == {"title+image", "masked-title"}
    assert metrics["small_leaves"]["min_products"] == 8
    paths = Catalog.open(demo_run / "catalog").products(["path"])["path"].to_pylist()
    count = {tuple(path): paths.count(path) for path in paths if path}
    # A label at an inner category is none of a leaf.
    leaves = {path for path in count if not any(other[: len(path)] == path for other in count if other != path)}
    assert metrics["small_leaves"]["leaves"] == sum(count[path] < 8 for path in leaves) > 0


def test_audit_lists_doubted_labels_and_fit_takes_them_back(
    prodcat, demo_run: Path, demo_feeds: Path, tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    result = prodcat("audit", demo_run, "--out", tmp_path / "audit", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    with Path(summary["issues"]).open(encoding="utf-8-sig", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == summary["issues_found"] == sum(summary["kinds_found"].values())
    # The image encoder was trained on these labels, the others were not.
    assert "['image'] are left out" in result.stderr
    assert "not empty" in prodcat("audit", demo_run, "--out", tmp_path / "audit").stderr
    shutil.copytree(demo_run, tmp_path / "run")
    sets = [argument for entry in tiny_settings for argument in ("--set", entry)]
    fit = ("fit", demo_feeds, "--out", tmp_path / "run", "--config", "offline", *sets, "--labels")
    kept = prodcat(*fit, summary["overlay"])
    assert kept.exit_code == 0, kept.stderr
    # Nothing was decided, so nothing is trained.
    assert "stage one: done before" in kept.stderr
    (tmp_path / "bad.csv").write_text("key,path,decision\nnobody/1,Apparel,accept\n")
    bad = prodcat(*fit, tmp_path / "bad.csv")
    assert bad.exit_code == 1
    assert "bad.csv, row 1: no product 'nobody/1'" in bad.stderr


def test_explain_names_inputs_modalities_and_neighbours(prodcat, demo_run: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(40, 40))
    asked = ("explain", demo_run / "bundle", "--title", "red shirt", "--image", tmp_path / "photo.png", "--catalog", demo_run)
    result = prodcat(*asked, "--neighbours", 3, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found["inputs"]) == {"title", "image"}
    assert set(found["modalities"]) == {"text", "image", "clip_text", "clip_image", "stage_one", "words"}
    assert len(found["neighbours"]) == 3
    assert len(found["mask"]) == len(found["path"])
    assert "nearest training products" in prodcat(*asked).stdout
    nothing = prodcat("explain", demo_run / "bundle")
    assert nothing.exit_code == 1
    assert "nothing to explain: nothing_to_read" in nothing.stderr


def test_doctor_says_what_to_do(demo_run: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--bundle", str(demo_run / "bundle")])
    assert "torch" in result.stdout
    assert "version" in result.stdout.splitlines()[-1]
    broken = CliRunner().invoke(app, ["doctor", "--bundle", str(demo_run)])
    assert broken.exit_code == 1
    assert "no bundle here" in broken.stdout
