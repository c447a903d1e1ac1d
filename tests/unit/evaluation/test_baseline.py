"""The title baseline on titles that are easy to tell apart."""

import numpy as np
import pyarrow as pa
import pytest

from prodcat.errors import ContractError, TaxonomyError, TrainingError
from prodcat.evaluation.baseline import BaselineConfig, TfidfBaseline, baseline_scores
from prodcat.masking import CategoryMask
from prodcat.taxonomy import Taxonomy

SHIRT, DRESS, SPORTS = ("Apparel", "Topwear", "Shirts"), ("Apparel", "Dresses"), ("Footwear", "Shoes", "Sports")
COLOURS = ["red", "blue", "green", "white"]
TITLES = [f"{colour} {noun}" for colour in COLOURS for noun in ("shirt", "summer dress", "running shoe", "shirt slim")]
PATHS = [path for _ in COLOURS for path in (SHIRT, DRESS, SPORTS, SHIRT)]


def fitted(tree: Taxonomy, titles: list[str | None] = TITLES, paths: list = PATHS) -> TfidfBaseline:
    return TfidfBaseline(tree, BaselineConfig(), seed=0).fit(titles, paths)


def table(titles: list[str | None], paths: list) -> pa.Table:
    names = pa.array([list(path) if path else None for path in paths], pa.list_(pa.string()))
    n = len(titles)
    return pa.table({"title": pa.array(titles, pa.string()), "path": names, "group": [str(i) for i in range(n)], "platform": ["shop"] * n})


def test_reads_titles_it_has_not_seen(tree):
    pred = fitted(tree).predict(["yellow dresses", "black running shoes", "SHIRT"])
    assert [tree.categories[node].path for node in pred] == [DRESS, SPORTS, SHIRT]


@pytest.mark.parametrize("title", [None, "", "  "])
def test_no_title_gets_the_most_frequent_category(tree, title):
    pred = fitted(tree).predict([title, "blue summer dress"])
    assert [tree.categories[node].path for node in pred] == [SHIRT, DRESS]


def test_unlabelled_and_untitled_products_teach_nothing(tree):
    titles, paths = [*TITLES, "summer dress", None], [*PATHS, None, SPORTS]
    assert fitted(tree, titles, paths).predict(TITLES).tolist() == fitted(tree).predict(TITLES).tolist()


def test_inner_labels_are_classes(tree):
    titles, paths = [*TITLES, "gift apparel", "apparel gift card"], [*PATHS, ("Apparel",), ("Apparel",)]
    assert tree.categories[fitted(tree, titles, paths).predict(["apparel gift"])[0]].path == ("Apparel",)


def test_one_class_needs_no_svm():
    tree = Taxonomy([("Socks",)])
    assert TfidfBaseline(tree, BaselineConfig(), 0).fit(["sock", "socks"], [("Socks",), ("Socks",)]).predict(["anything", None]).tolist() == [0, 0]


def test_same_seed_same_answers_alone_and_in_a_batch(tree):
    titles = ["yellow dress", "shirt", "shoe", "red"]
    together = fitted(tree).predict(titles)
    assert together.tolist() == [int(fitted(tree).predict([title])[0]) for title in titles]


def test_nothing_to_learn_from_is_an_error_that_says_so(tree):
    with pytest.raises(TrainingError, match="none of the 2 training products has both a title and a label"):
        fitted(tree, [None, "shirt"], [SHIRT, None])
    with pytest.raises(TrainingError, match="min_df=1"):
        fitted(tree, ["aa", "bb"], [SHIRT, DRESS])


def test_scores_have_the_structure_of_score(tree):
    figures = baseline_scores(
        table(TITLES, PATHS),
        table(["pink dress", "brown shirt", None, "x"], [DRESS, DRESS, SHIRT, None]),
        tree,
        config=BaselineConfig(),
        seed=0,
    )
    assert (figures["products"], figures["unlabelled"], figures["train_products"]) == (3, 1, 16)
    assert figures["hierarchical"]["f1"] == pytest.approx(2 * 6 / (8 + 7))
    assert figures["levels"]["2"]["accuracy"] == pytest.approx(2 / 3)
    assert figures["by_platform"]["shop"]["hierarchical"]["f1"] == figures["hierarchical"]["f1"]
    assert "SVM" in figures["name"]


def test_absent_without_titles_and_errors_without_labels(tree):
    absent = baseline_scores(table([None, None], [SHIRT, DRESS]), table(["shirt"], [SHIRT]), tree, config=BaselineConfig(), seed=0)
    assert absent.keys() == {"absent"}
    with pytest.raises(ContractError, match="none of the 1 products has a label"):
        baseline_scores(table(TITLES, PATHS), table(["shirt"], [None]), tree, config=BaselineConfig(), seed=0)
    with pytest.raises(TaxonomyError, match="Hats"):
        baseline_scores(table(["hat", "cap"], [("Hats",)] * 2), table(["shirt"], [SHIRT]), tree, config=BaselineConfig(), seed=0)


def test_a_test_label_outside_the_tree_is_scored(tree):
    figures = baseline_scores(table(TITLES, PATHS), table(["dress"], [("Apparel", "Gowns")]), tree, config=BaselineConfig(), seed=0)
    assert figures["hierarchical"]["f1"] == pytest.approx(0.5)


def test_under_a_mask_it_learns_and_is_scored_without_the_names(tree):
    mask = CategoryMask(tree)
    # The category is told by a word that is no category's: what is left is enough. "dress" and "shirt" are in no title it reads.
    titles = [f"{colour} {noun}" for colour in COLOURS for noun in ("shirt collar", "dress hem", "sports shoe sole", "shirt collar")]
    test = table(["pink dress hem", "brown hem shirt", "Dresses", "x"], [DRESS, DRESS, DRESS, None])
    figures = baseline_scores(table(titles, PATHS), test, tree, config=BaselineConfig(), seed=0, mask=mask)
    assert figures["name"] == "TF-IDF + linear SVM on the masked title"
    assert (figures["products"], figures["hierarchical"]["f1"]) == (2, 1.0)
    plain = baseline_scores(table(titles, PATHS), test, tree, config=BaselineConfig(), seed=0)
    assert plain["products"] == 3
    nothing = baseline_scores(table(titles, PATHS), table(["dress"], [DRESS]), tree, config=BaselineConfig(), seed=0, mask=mask)
    assert nothing == {"absent": "no test product has a title that is more than the words of its category"}


@pytest.mark.shared_data
def test_a_thousand_real_titles_are_enough_to_be_hard_to_beat(shared):
    import hashlib

    import pyarrow.parquet as pq

    rows = pq.read_table(shared / "data/myntra/products.parquet", columns=["title", "level1", "level2", "level3"]).to_pylist()[:1500]
    paths = [tuple(row[f"level{n}"] for n in (1, 2, 3)) for row in rows]
    titles = [row["title"] for row in rows]
    test = np.array([int(hashlib.sha256(" ".join(title.lower().split()).encode()).hexdigest()[:8], 16) % 5 == 0 for title in titles])
    train_table = table(titles, paths).filter(pa.array(~test))
    figures = baseline_scores(train_table, table(titles, paths).filter(pa.array(test)), Taxonomy.from_labels(paths), config=BaselineConfig(), seed=0)
    assert 0.95 < figures["hierarchical"]["f1"] < 1.0
