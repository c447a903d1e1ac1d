"""From a catalog on disk to the four files of feed quality."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.cli import app
from prodcat.errors import BundleError, FeedError
from prodcat.evaluation.feeds.columns import FeedQualityConfig
from prodcat.inspecting import inspect_feeds


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feeds")
    rows = [{"product_id": str(n), "title": "=red dress" if n < 12 else f"shirt number {n}", "level1": "A", "level2": "B"} for n in range(20)]
    (folder / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"product_id": "x"}]))
    ingest([str(folder)], folder / "catalog", IngestConfig())
    return folder / "catalog"


def test_writes_figures_page_table_and_examples(catalog: Path, tmp_path: Path) -> None:
    told: list[str] = []
    quality = inspect_feeds(catalog, tmp_path / "new" / "out", FeedQualityConfig(), on_progress=told.append)
    out = tmp_path / "new" / "out"
    metrics = json.loads((out / "feed_quality.json").read_text(encoding="utf-8"))
    assert metrics == quality.metrics
    shop = metrics["platforms"]["shop"]
    assert (shop["products"], shop["with_image"], shop["template_share"], shop["rejected"]) == (20, 0.0, 0.6, {"nothing_to_read": 1})
    assert shop["copies"] == pytest.approx(11 / 20)
    assert "**shop** (20)" in (out / "feed_quality.md").read_text(encoding="utf-8")
    with (out / "feed_quality.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert [row["platform"] for row in csv.DictReader(stream)] == ["shop"]
    with (out / "examples.csv").open(encoding="utf-8-sig", newline="") as stream:
        examples = list(csv.DictReader(stream))
    shared = next(row for row in examples if row["problem"] == "shared_title")
    assert (shared["key"], shared["products"], shared["title"]) == ("shop/0", "12", "'=red dress")
    assert told == ["20 products of 1 platforms"]
    # Once more into the same folder.
    inspect_feeds(catalog, out, FeedQualityConfig(), on_progress=told.append)


def test_what_is_missing_is_named(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no such catalog folder"):
        inspect_feeds(tmp_path / "nothing", tmp_path / "out", FeedQualityConfig())
    with pytest.raises(BundleError):
        inspect_feeds(catalog, tmp_path / "out", FeedQualityConfig(), bundle=tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FeedError, match="is a file"):
        inspect_feeds(catalog, tmp_path / "file", FeedQualityConfig())
    assert not (tmp_path / "out").exists()


def test_the_command_prints_where_its_files_lie(catalog: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["feed-quality", str(catalog), "--out", str(tmp_path / "out"), "--set", "examples=1", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout.strip().splitlines()[-1])
    assert printed["platforms"] == 1
    assert all(Path(printed[name]).is_file() for name in ("report", "figures", "table", "examples"))
    refused = CliRunner().invoke(app, ["feed-quality", str(catalog), "--out", str(tmp_path / "out"), "--set", "exampels=1"])
    assert refused.exit_code == 1
    assert "did you mean 'examples'" in refused.stderr


@pytest.mark.shared_data
def test_real_shops_are_seen_as_their_description_says(shared: Path, tmp_path: Path) -> None:
    platforms = shared / "data" / "platforms"
    ingest([str(platforms / f"{name}.parquet") for name in ("lamoda_ru", "adidas_us", "boohoo_fr")], tmp_path / "catalog", IngestConfig())
    found = inspect_feeds(tmp_path / "catalog", tmp_path / "out", FeedQualityConfig(), on_progress=lambda line: None).metrics["platforms"]
    # Titles are often the bare noun, and the category is a word of the title.
    assert found["lamoda_ru"]["one_word_titles"] > 0.5
    assert found["lamoda_ru"]["raw_category_in_title"] == 1.0
    assert found["lamoda_ru"]["distinct_titles"] == pytest.approx(314 / 772, abs=0.01)
    # Two flat nodes.
    assert found["adidas_us"]["label_depths"].keys() == {"1"}
    assert found["boohoo_fr"]["languages"]["fr"] == 487
