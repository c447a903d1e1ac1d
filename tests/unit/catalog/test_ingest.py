"""The whole way in one process: counts, files, tables, errors, and a catalog that grows in place."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prodcat.catalog.chunks import IngestConfig, stamps
from prodcat.catalog.demo import DemoSummary, write_demo
from prodcat.catalog.ingest import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, REJECTED, SPLITS
from prodcat.errors import FeedError, ProdcatError, TaxonomyError, TooManyRejected
from prodcat.taxonomy import Taxonomy

CONFIG = IngestConfig(chunk_rows=7)


def jsonl(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def rows_of(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"product_id": str(n), "title": f"thing {n}", "level1": "A", "level2": "B" if n % 2 else None} for n in range(first, first + count)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoSummary, Catalog]:
    folder = tmp_path_factory.mktemp("demo")
    written = write_demo(folder / "feeds", products=160, seed=3)
    ingest([str(folder / "feeds")], folder / "catalog", IngestConfig())
    return written, Catalog.open(folder / "catalog")


def test_the_demo_comes_out_as_its_summary_says(demo: tuple[DemoSummary, Catalog]) -> None:
    written, catalog = demo
    found = catalog.summary()
    assert found["products"] == written.products == 160
    assert found["rejected"] == written.rejects
    assert found["image_problems"] == written.image_problems
    assert found["with_image"] == written.products - written.missing_images - sum(written.image_problems.values())
    assert set(found["platforms"]) == {"nordwald", "urbanly", "atelier", "bazaar"}
    assert set(catalog.products(["language"])["language"].to_pylist()) == {"en", "de", "fr"}
    assert catalog.taxonomy is not None
    assert catalog.taxonomy.depth == 3


def test_the_demo_s_duplicates_are_found_and_nothing_else_is_joined(demo: tuple[DemoSummary, Catalog]) -> None:
    written, catalog = demo
    truth = json.loads((written.out / "_truth.json").read_text())
    splits = catalog.splits().to_pydict()
    group = dict(zip(splits["key"], splits["group"], strict=True))
    copies = {key: entry["copy_of"] for key, entry in truth.items() if entry["copy_of"]}
    assert len(copies) == written.duplicates > 0
    assert all(group[key] == group[original] for key, original in copies.items())
    assert len(set(group.values())) == written.products - written.duplicates


def test_the_demo_s_labels_and_their_errors_are_as_counted(demo: tuple[DemoSummary, Catalog]) -> None:
    written, catalog = demo
    truth = json.loads((written.out / "_truth.json").read_text())
    labels = {row["key"]: row["path"] for row in catalog.products(["key", "path"]).to_pylist()}
    assert labels == {key: entry["label"] for key, entry in truth.items()}
    assert sum(labels[key] != entry["path"] for key, entry in truth.items()) == written.wrong_labels + written.shallow_labels


def test_the_demo_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_demo(tmp_path / name, products=40, seed=seed)
    files = [file.relative_to(tmp_path / "a") for file in sorted((tmp_path / "a").rglob("*")) if file.is_file()]
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert (tmp_path / "a" / "bazaar.json").read_bytes() != (tmp_path / "c" / "bazaar.json").read_bytes()


def test_tables_keep_their_contracts_and_their_order(demo: tuple[DemoSummary, Catalog]) -> None:
    catalog = demo[1]
    products = catalog.products()
    assert products.schema.equals(PRODUCTS)
    assert catalog.rejected().schema.equals(REJECTED)
    assert catalog.splits().schema.equals(SPLITS)
    places = [(row["source"], row["row"]) for row in catalog.products(["source", "row"]).to_pylist()]
    assert places == sorted(places)
    assert pa.concat_tables([pq.read_table(file) for file in catalog.product_files()]).num_rows == products.num_rows


def test_every_row_leaves_exactly_once(tmp_path: Path) -> None:
    """Contract 5, over chunk borders and with keys that come again."""
    rows = rows_of(20) + rows_of(5, first=10) + [{"product_id": "x"}]
    summary = ingest([jsonl(tmp_path / "shop.jsonl", rows)], tmp_path / "c", CONFIG)
    catalog = Catalog.open(tmp_path / "c")
    assert (summary.products, summary.rejected) == (20, {"duplicate_key": 5, "nothing_to_read": 1})
    rejected = catalog.rejected().to_pylist()
    assert sorted([*catalog.products(["row"])["row"].to_pylist(), *(row["row"] for row in rejected)]) == list(range(1, 27))
    again = next(row for row in rejected if row["row"] == 21)
    assert again["reason"] == "duplicate_key"
    assert f"row 11 of {tmp_path / 'shop.jsonl'}" in again["detail"]


def test_chunks_do_not_change_the_catalog(tmp_path: Path) -> None:
    feed = jsonl(tmp_path / "shop.jsonl", rows_of(30) + rows_of(3))
    for name, size in (("a", 4), ("b", 1000)):
        ingest([feed], tmp_path / name, IngestConfig(chunk_rows=size))
    a, b = Catalog.open(tmp_path / "a"), Catalog.open(tmp_path / "b")
    assert a.products().equals(b.products())
    assert a.rejected().equals(b.rejected())
    assert a.splits().equals(b.splits())
    assert a.digest == b.digest


def test_the_digest_follows_content_and_labels_only(tmp_path: Path) -> None:
    rows = rows_of(6)
    ingest([jsonl(tmp_path / "shop.jsonl", rows)], tmp_path / "a", CONFIG)
    ingest([jsonl(tmp_path / "renamed.jsonl", rows[::-1])], tmp_path / "b", CONFIG, FeedMapping.model_validate({"platform": {"value": "shop"}}))
    ingest([jsonl(tmp_path / "shop.jsonl", [{**row, "level1": "Z"} for row in rows])], tmp_path / "c", CONFIG)
    a, b, c = (Catalog.open(tmp_path / name).digest for name in "abc")
    assert a == b != c


def test_a_catalog_grows_in_place_and_keeps_its_split(tmp_path: Path) -> None:
    """Contract 7: the old rows come again behind new ones, and some are gone."""
    ingest([jsonl(tmp_path / "shop.jsonl", rows_of(40))], tmp_path / "c", CONFIG)
    before = {row["key"]: row["split"] for row in Catalog.open(tmp_path / "c").splits().to_pylist()}
    newcomers = [{"product_id": f"n{n}", "title": f"THING, {n}!"} for n in range(30)]
    summary = ingest([jsonl(tmp_path / "shop.jsonl", newcomers + rows_of(38))], tmp_path / "c", CONFIG)
    after = {row["key"]: row for row in Catalog.open(tmp_path / "c").splits().to_pylist()}
    assert (summary.products, summary.gone, summary.moved, summary.groups) == (68, 2, 0, 38)
    assert all(after[key]["split"] == split for key, split in before.items() if key in after)
    assert after["shop/n3"]["group"] == "shop/3"
    assert not (tmp_path / "c" / ".incoming").exists()


def test_a_changed_feed_and_a_changed_mapping_make_other_stamps(tmp_path: Path) -> None:
    """Also below a folder, whose own time stays when a file in it is written anew."""
    jsonl(tmp_path / "shop.jsonl", rows_of(5))
    jsonl(tmp_path / "other.jsonl", rows_of(5))
    seen = [stamps([str(tmp_path)], None)]
    assert stamps([str(tmp_path)], None) == seen[0]
    jsonl(tmp_path / "shop.jsonl", rows_of(6))
    seen.append(stamps([str(tmp_path)], None))
    (tmp_path / "shop.mapping.yaml").write_text("brand: title\n")
    seen.append(stamps([str(tmp_path)], None))
    seen.append(stamps([str(tmp_path)], FeedMapping(brand="title")))
    seen.append(stamps([(tmp_path / "shop.jsonl").as_uri()], None))
    assert len({tuple(each) for each in seen}) == 5
    assert all(len(each) == 2 for each in seen[:4])
    with pytest.raises(FeedError, match=r"none\.csv: no such file or folder"):
        stamps([str(tmp_path / "none.csv")], None)


MAPPED = {("shop", "Tees"): ("A", "T"), ("shop", "Hats"): ("A",), ("other", "Tees"): ("B",)}


def test_a_crosswalk_labels_rows_that_have_no_label(tmp_path: Path) -> None:
    rows = [
        {"product_id": "1", "title": "a", "raw_category": "Tees", "level1": "C", "label_source": "shop"},
        {"product_id": "2", "title": "b", "raw_category": " Tees ", "label_source": "shop"},
        {"product_id": "3", "title": "c", "raw_category": "Socks"},
        {"product_id": "4", "title": "d"},
        {"product_id": "5", "title": "e", "raw_category": "Tees", "platform": "other"},
    ]
    feed = jsonl(tmp_path / "shop.jsonl", [{"platform": "shop", **row} for row in rows])
    summary = ingest([feed], tmp_path / "c", CONFIG, crosswalk=MAPPED)
    catalog = Catalog.open(tmp_path / "c")
    found = {row["product_id"]: (row["path"], row["label_source"]) for row in catalog.products().to_pylist()}
    assert found == {
        "1": (["C"], "shop"),
        "2": (["A", "T"], "crosswalk"),
        "3": (None, None),
        "4": (None, None),
        "5": (["B"], "crosswalk"),
    }
    assert summary.labelled == 3
    assert catalog.taxonomy == Taxonomy([("A", "T"), ("B",), ("C",)])
    ingest([feed], tmp_path / "without", CONFIG)
    assert Catalog.open(tmp_path / "without").digest != catalog.digest


def test_a_crosswalk_outside_the_given_tree_is_refused(tmp_path: Path) -> None:
    feed = jsonl(tmp_path / "shop.jsonl", rows_of(3))
    with pytest.raises(TaxonomyError, match="'A > T' is not in the tree"):
        ingest([feed], tmp_path / "c", CONFIG, taxonomy=Taxonomy([("A", "B"), ("B",)]), crosswalk=MAPPED)
    assert not (tmp_path / "c").exists()


def test_stamps_follow_what_a_crosswalk_maps_and_not_its_order(tmp_path: Path) -> None:
    feed = [jsonl(tmp_path / "shop.jsonl", rows_of(3))]
    mapped = stamps(feed, None, MAPPED)
    assert mapped == stamps(feed, None, dict(reversed(MAPPED.items())))
    assert stamps(feed, None, {}) == stamps(feed, None) == mapped[:-1]
    assert stamps(feed, None, {**MAPPED, ("shop", "Tees"): ("A",)}) != mapped


def test_a_run_that_fails_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    ingest([jsonl(tmp_path / "shop.jsonl", rows_of(5))], tmp_path / "c", CONFIG)
    digest = Catalog.open(tmp_path / "c").digest
    with pytest.raises(FeedError, match=r"no row became a product \(nothing_to_read 1\).*shop\.jsonl, row 1"):
        ingest([jsonl(tmp_path / "shop.jsonl", [{"name": "x"}])], tmp_path / "c", CONFIG)
    assert Catalog.open(tmp_path / "c").digest == digest
    assert sorted(entry.name for entry in (tmp_path / "c").iterdir()) == ["catalog.json", "products", "rejected", "splits.parquet", "taxonomy.json"]


def test_one_unreadable_feed_among_others_is_counted(tmp_path: Path) -> None:
    jsonl(tmp_path / "good.jsonl", rows_of(3))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but no more")
    (tmp_path / "picture.jpg").write_bytes(b"")
    summary = ingest([str(tmp_path)], tmp_path / "out" / "c", CONFIG)
    assert (summary.products, summary.rejected, summary.skipped) == (3, {"file_unreadable": 1}, 1)
    assert any("file_unreadable 1" in line for line in summary.lines())


def test_a_given_tree_is_kept_and_enforced(tmp_path: Path) -> None:
    tree = Taxonomy([("A", "B"), ("Z",)])
    rows = [{"title": "a", "level1": "A"}, {"title": "b", "level1": "C"}]
    summary = ingest([jsonl(tmp_path / "shop.jsonl", rows)], tmp_path / "c", CONFIG, taxonomy=tree)
    assert summary.rejected == {"unknown_category": 1}
    assert Catalog.open(tmp_path / "c").taxonomy == tree


def test_without_labels_there_is_no_tree(tmp_path: Path) -> None:
    ingest([jsonl(tmp_path / "shop.jsonl", [{"title": "a"}])], tmp_path / "c", CONFIG)
    assert Catalog.open(tmp_path / "c").taxonomy is None


def _csv(folder: Path) -> str:
    (folder / "shop.csv").write_text("name\nx\n")
    return str(folder / "shop.csv")


@pytest.mark.parametrize(
    ("arrange", "mapping", "message"),
    [
        (lambda folder: str(folder / "none.csv"), None, "none.csv: no such file or folder"),
        (str, None, "no feed in"),
        (lambda folder: jsonl(folder / "empty.jsonl", []), None, "hold no rows"),
        (_csv, FeedMapping(title="titel"), r"shop\.csv: .*title: 'titel'.*\['name'\]"),
        (lambda folder: jsonl(folder / "shop.jsonl", rows_of(1)), FeedMapping(brand="marke"), "shop.jsonl: .*brand: 'marke'"),
        (lambda folder: (folder / "notes.docx").write_text("x") and str(folder / "notes.docx"), None, "no feed format ends in '.docx'"),
    ],
)
def test_sources_that_give_nothing_say_why(tmp_path: Path, arrange: Any, mapping: FeedMapping | None, message: str) -> None:
    with pytest.raises(ProdcatError, match=message):
        ingest([arrange(tmp_path)], tmp_path / "c", CONFIG, mapping)
    assert not (tmp_path / "c").exists()


def test_nothing_is_written_into_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    feed = jsonl(tmp_path / "shop.jsonl", rows_of(3))
    with pytest.raises(FeedError, match="is no catalog; choose a new or empty folder"):
        ingest([feed], tmp_path, CONFIG)


def test_a_folder_that_is_no_whole_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no such catalog folder"):
        Catalog.open(tmp_path / "none")
    ingest([jsonl(tmp_path / "shop.jsonl", rows_of(3))], tmp_path / "c", CONFIG)
    Path(Catalog.open(tmp_path / "c").product_files()[0]).unlink()
    with pytest.raises(FeedError, match=r"products/part-.* are missing"):
        Catalog.open(tmp_path / "c")
    (tmp_path / "c" / "catalog.json").unlink()
    with pytest.raises(FeedError, match=r"no readable catalog\.json"):
        Catalog.open(tmp_path / "c")


@pytest.mark.shared_data
def test_real_rows_text_only(shared: Path, tmp_path: Path) -> None:
    summary = ingest([str(shared / "data" / "platforms" / "lamoda_ru.parquet")], tmp_path / "c", IngestConfig())
    assert (summary.products, summary.rejected) == (772, {})
    # Titles that are bare nouns cannot be told apart, so they stand on one side of the split.
    assert summary.groups < 400


def test_a_feed_that_is_mostly_poison_stops_and_leaves_the_catalog_that_was_there(tmp_path: Path) -> None:
    feed, out = tmp_path / "shop.csv", tmp_path / "catalog"
    feed.write_text("product_id,title\n" + "".join(f"{number},shirt {number}\n" for number in range(30)))
    config = IngestConfig(chunk_rows=10, poison={"share": 0.2, "least_rows": 20})
    ingest([str(feed)], out, config)
    before = Catalog.open(out).digest
    feed.write_text("product_id,title\n" + "".join(f"{number},{f'shirt {number}' if number % 4 else ''}\n" for number in range(100)))
    with pytest.raises(
        TooManyRejected, match=r"ingest: stopped, for 5 of 20 rows were rejected, .*poison.share=0.2 .*shop.csv, row 1: neither title"
    ):
        ingest([str(feed)], out, config)
    assert Catalog.open(out).digest == before
    assert ingest([str(feed)], out, IngestConfig(chunk_rows=10)).rejected == {"nothing_to_read": 25}
