"""What is wrong with feeds: every figure by hand on a few products, what is shown of it, and that hostile names stay names."""

import csv
import json
from typing import Any

import pyarrow as pa
import pytest

from prodcat.contracts import PRODUCTS, REJECTED
from prodcat.evaluation.feeds.columns import COLUMNS, EXAMPLES, FeedQualityConfig
from prodcat.evaluation.feeds.compose import FeedQuality, feed_quality
from prodcat.evaluation.feeds.tables import csv_rows, findings, markdown, summary_lines
from prodcat.spreadsheet import harmless, write_csv
from prodcat.taxonomy import Taxonomy

CONFIG = FeedQualityConfig(template_products=3, examples=2)
SHIRT, DRESS, TOP = ["Apparel", "Topwear", "Shirts"], ["Apparel", "Dresses"], ["Apparel", "Topwear"]


def product(key: str, title: str | None = "thing", path: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    values = {
        "key": key,
        "platform": key.split("/", maxsplit=1)[0],
        "title": title,
        "title_key": title.casefold() if title else None,
        "path": path,
        "digest": f"digest of {key}",
        "group": key,
        "has_image": False,
        "source": "feed.csv",
        "label_source": "person" if path else None,
    }
    return {**dict.fromkeys(COLUMNS), **values, **changes}


def run(rows: list[dict[str, Any]], rejected: list[dict[str, Any]] | None = None, tree: Taxonomy | None = None) -> FeedQuality:
    schema = pa.schema([*(PRODUCTS.field(name) for name in COLUMNS), pa.field("has_image", pa.bool_()), pa.field("group", pa.string())])
    return feed_quality(pa.Table.from_pylist(rows, schema=schema), pa.Table.from_pylist(rejected or [], schema=REJECTED), CONFIG, tree)


def figures(rows: list[dict[str, Any]], platform: str = "a", tree: Taxonomy | None = None) -> dict[str, Any]:
    found: dict[str, Any] = run(rows, tree=tree).metrics["platforms"][platform]
    return found


def test_what_is_there_and_what_was_refused() -> None:
    found = figures(
        [
            product("a/1", "one", DRESS, has_image=True, brand="B", description="text", language="en", language_source="feed"),
            product("a/2", "two", image_problem="too_large", language="tr", language_source="detected", language_problem="Klingon"),
            product("a/3", None, has_image=True, raw_category="Women"),
            product("a/4", "four", image_problem="too_large", language="en", language_source="detected"),
        ]
    )
    shares = {name: found[f"with_{name}"] for name in ("image", "title", "description", "brand", "language", "raw_category", "label")}
    assert shares == {"image": 0.5, "title": 0.75, "description": 0.25, "brand": 0.25, "language": 0.75, "raw_category": 0.25, "label": 0.25}
    assert found["image_refused"] == {"too_large": 2}
    assert found["languages"] == {"en": 2, "tr": 1, "unknown": 1}
    assert (found["language_detected"], found["language_problems"]) == (0.5, {"Klingon": 1})


def test_titles_are_measured_and_templates_counted() -> None:
    titles = ["red dress", "red dress", "red dress", "a blue shirt", "x"]
    found = figures([product(f"a/{number}", title) for number, title in enumerate(titles)])
    assert found["title_characters"]["median"] == 9.0
    assert found["title_words"] == {"p5": pytest.approx(1.2), "median": 2.0, "p95": pytest.approx(2.8)}
    assert (found["template_titles"], found["template_share"]) == (1, pytest.approx(3 / 5))
    assert found["distinct_titles"] == pytest.approx(3 / 5)
    assert found["one_word_titles"] == pytest.approx(1 / 5)
    nothing = figures([product("a/1", None, has_image=True)])
    assert (nothing["title_words"], nothing["distinct_titles"], nothing["template_share"]) == (None, None, 0.0)


def test_copies_and_near_duplicates_within_and_across() -> None:
    rows = [
        product("a/1", digest="d", group="g"),
        product("a/2", digest="d", group="g"),
        product("a/3", digest="d", group="g"),
        product("a/4", digest="e", group="h"),
        product("b/1", digest="d", group="g"),
        product("b/2", digest="f", group="f"),
    ]
    a, b = figures(rows), figures(rows, "b")
    assert (a["copies"], a["copies_elsewhere"]) == (0.5, 0.75)
    assert (b["copies"], b["copies_elsewhere"]) == (0.0, 0.5)
    assert (a["near_duplicates"], a["near_duplicate_groups"], a["near_duplicates_elsewhere"]) == (0.75, 1, 0.75)
    assert (a["near_duplicates_with"], b["near_duplicates_with"]) == ({"b": 3}, {"a": 1})


def test_labels_that_contradict_each_other_and_those_that_only_say_less() -> None:
    rows = [
        *(product(f"a/{number}", "same", path, group="g") for number, path in enumerate([SHIRT, SHIRT, DRESS])),
        *(product(f"a/1{number}", "less", path, group="h") for number, path in enumerate([SHIRT, TOP, ["Apparel"]])),
        product("a/20", "alone", DRESS),
        product("b/1", "same", DRESS, group="g"),
    ]
    found = figures(rows)
    assert (found["title_conflicts"], found["title_conflict_share"]) == (1, pytest.approx(3 / 7))
    assert (found["group_conflicts"], found["group_conflict_share"]) == (1, pytest.approx(3 / 7))
    assert figures(rows, "b")["title_conflicts"] == 0
    assert found["label_depths"] == {"1": 1, "2": 3, "3": 3}
    assert found["categories"] == 4


def test_products_off_their_raw_category() -> None:
    labels = [SHIRT, SHIRT, SHIRT, DRESS, TOP]
    rows = [product(f"a/{number}", path=path, raw_category="Women") for number, path in enumerate(labels)]
    found = figures([*rows, product("a/9", path=DRESS, raw_category="Dresses"), product("a/10", raw_category="Women")])
    assert (found["raw_categories"], found["raw_category_conflicts"]) == (2, 1)
    # DRESS parts from SHIRT; TOP only says less.
    assert found["off_raw_category"] == pytest.approx(1 / 6)
    assert figures([product("a/1", path=DRESS)])["off_raw_category"] is None


def test_categories_never_seen_beside_the_others_or_a_tree() -> None:
    rows = [
        product("a/1", path=SHIRT, raw_category="Women > Shirts"),
        product("a/2", path=["Gifts"], raw_category="Oddments"),
        product("b/1", path=["Apparel", "Topwear", "Shirts"], raw_category="shirt"),
        product("b/2", path=["Apparel", "Topwear"], raw_category="Tops"),
    ]
    a, b = figures(rows), figures(rows, "b")
    assert (a["unseen_labels"], a["unseen_label_share"]) == (1, 0.5)
    assert (a["unseen_raw_categories"], b["unseen_raw_categories"]) == (1, 1)
    assert b["unseen_labels"] == 0
    tree = Taxonomy.from_lines(["Gifts", "Apparel > Dresses"])
    assert figures(rows, tree=tree)["unseen_label_share"] == 0.5
    assert figures(rows, "b", tree)["unseen_labels"] == 2
    assert run(rows, tree=tree).metrics["reference"] == "the bundle's tree"


def test_a_category_that_stands_in_the_title_is_noticed() -> None:
    rows = [
        product("a/1", "Red T-Shirts for men", ["Apparel", "Tshirts"], raw_category="Men > red"),
        product("a/2", "A summer dress", ["Apparel", "Dresses"], raw_category="Men"),
        product("a/3", "Backbone", ["Apparel", "Dresses"]),
        product("a/4", None, ["Apparel", "Dresses"], has_image=True, raw_category="Men"),
    ]
    found = figures(rows)
    assert found["category_in_title"] == pytest.approx(2 / 3)
    assert found["raw_category_in_title"] == pytest.approx(1 / 2)


def test_rejected_rows_belong_to_the_platform_of_their_file_if_it_has_one() -> None:
    rows = [product("a/1", source="a.csv"), product("a/2", source="both.csv"), product("b/1", source="both.csv")]
    rejected = [{"source": source, "row": 7, "reason": "broken_line", "detail": "d", "raw": None} for source in ("a.csv", "both.csv", "none.csv")]
    quality = run(rows, rejected)
    assert quality.metrics["rejected"] == {"broken_line": 3}
    assert quality.metrics["platforms"]["a"]["rejected"] == {"broken_line": 1}
    assert quality.metrics["platforms"]["b"]["rejected"] == {}
    assert quality.metrics["sources"]["both.csv"] == {"products": 2, "platforms": {"a": 1, "b": 1}, "rejected": {"broken_line": 1}}
    assert quality.metrics["sources"]["none.csv"]["products"] == 0
    examples = [row for row in quality.examples if row["problem"] == "rejected"]
    assert [(row["platform"], row["key"]) for row in examples] == [("a", "a.csv, row 7"), ("", "both.csv, row 7"), ("", "none.csv, row 7")]


def test_examples_are_the_worst_first_and_no_more_than_wanted() -> None:
    titles = ["c"] * 3 + ["b"] * 5 + ["a"] * 4
    examples = [row for row in run([product(f"a/{n}", title) for n, title in enumerate(titles)]).examples if row["problem"] == "shared_title"]
    assert [(row["title"], row["products"]) for row in examples] == [("b", 5), ("a", 4)]
    assert all(tuple(row) == EXAMPLES for row in examples)


@pytest.fixture(scope="module")
def quality() -> FeedQuality:
    rows = [
        *(product(f"shop|<b>/{number}", "dress", DRESS, language="en", raw_category="x") for number in range(4)),
        *(product(f"fine/{number}", f"good dress number {number}", DRESS, has_image=True, language="en", raw_category="x") for number in range(3)),
    ]
    rejected = [{"source": "shop`s.csv", "row": 1, "reason": "bad_json", "detail": "d", "raw": None}]
    return run(rows, rejected)


def test_the_page_says_what_stands_out_and_names_stay_names(quality: FeedQuality) -> None:
    found = {(entry["platform"], entry["sentence"]): entry["share"] for entry in findings(quality.metrics)}
    assert found[("shop|<b>", "no usable image")] == 1.0
    assert found[("shop|<b>", "a title of one word")] == 1.0
    assert ("fine", "no usable image") not in found
    page = markdown(quality)
    assert "<b>" not in page.replace("\\<b>", "")
    table = [line for line in page.splitlines() if line.startswith("| shop\\|\\<b>")]
    assert len(table) == 1
    assert table[0].replace("\\|", "").count("|") == next(line for line in page.splitlines() if line.startswith("| Platform")).count("|")
    assert "1 rows rejected: bad_json 1" in page
    assert "shop\\`s.csv" in page
    assert "7 products of 2 platforms" in summary_lines(quality.metrics)[0]


def test_one_row_a_platform_under_the_same_columns(quality: FeedQuality) -> None:
    rows = csv_rows(quality.metrics)
    assert [row["platform"] for row in rows] == ["shop|<b>", "fine"]
    assert list(rows[0]) == list(rows[1])
    assert rows[0]["title_words_median"] == 1.0
    assert rows[0]["languages"] == "en 4"
    assert json.loads(json.dumps(quality.metrics, allow_nan=False)) == quality.metrics


def test_cells_that_a_spreadsheet_would_run_are_text(tmp_path: Any) -> None:
    assert [harmless(text) for text in ("=1+1", "-x", "@x", "fine")] == ["'=1+1", "'-x", "'@x", "fine"]
    write_csv(tmp_path / "empty.csv", [], ("a", "b"))
    with (tmp_path / "empty.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert list(csv.reader(stream)) == [["a", "b"]]
