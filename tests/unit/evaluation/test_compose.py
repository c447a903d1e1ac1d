"""From tables to metrics.json: the join, the parts, and what is refused."""

import json

import pyarrow as pa
import pytest

from prodcat.contracts import PREDICTIONS
from prodcat.errors import ContractError
from prodcat.evaluation.answers import TRUTH
from prodcat.evaluation.compose import evaluate
from prodcat.taxonomy import HeadLayout

SHIRT, TOP, DRESS, CASUAL, SPORTS = (
    "Apparel > Topwear > Shirts",
    "Apparel > Topwear > Tops",
    "Apparel > Dresses",
    "Footwear > Shoes > Casual",
    "Footwear > Shoes > Sports",
)
LABELS = {"a/1": SHIRT, "a/2": DRESS, "b/1": CASUAL, "b/2": "Apparel > Topwear", "b/3": None}
ANSWERS = {"b/3": TOP, "b/2": TOP, "b/1": SPORTS, "a/2": DRESS, "a/1": SHIRT}  # another order than the labels
STAGE = {"b/1": 2, "b/3": 2}


def run(predictions, truth, tree, **changes):
    return evaluate(predictions, truth, tree, **{"gate": None, "baseline": None, "probes": {}, "seed": 0, **changes})


@pytest.fixture(scope="module")
def metrics(tree, predictions, truth):
    return run(predictions(tree, ANSWERS, stage=STAGE), truth(LABELS, language={"a/1": "en", "b/1": "tr", "b/3": "tr"}), tree)


def test_figures_by_hand(metrics):
    # shared 3 + 2 + 2 + 2, answered 3 + 2 + 3 + 2, labelled 3 + 2 + 3 + 2
    assert metrics["hierarchical"]["f1"] == pytest.approx(9 / 10)
    assert (metrics["products"], metrics["unlabelled"], metrics["bundle"], metrics["seed"]) == (4, 1, "b1", 0)
    assert metrics["classes"] == {"1": 2, "2": 3, "3": 2}
    assert metrics["tree_classes"] == {"1": 3, "2": 3, "3": 4}
    assert metrics["valid_paths"] == 1.0
    assert {name: part["hierarchical"]["f1"] for name, part in metrics["by_platform"].items()} == pytest.approx({"a": 1.0, "b": 8 / 10})


def test_cascade_counts_labelled_products_by_stage(metrics):
    assert metrics["cascade"] == {
        "stage_two_share": 0.25,
        "stage_one": {"products": 3, "f1": 1.0},
        "stage_two": {"products": 1, "f1": pytest.approx(2 / 3)},
        "gate": None,
    }


def test_a_stage_without_products_has_no_f1(tree, predictions, truth):
    cascade = run(predictions(tree, ANSWERS), truth(LABELS), tree)["cascade"]
    assert cascade["stage_two_share"] == 0.0
    assert cascade["stage_two"] == {"products": 0, "f1": None}


def test_languages_are_those_the_feed_names(metrics):
    assert {name: (part["products"], part["unlabelled"]) for name, part in metrics["by_language"].items()} == {"en": (1, 0), "tr": (1, 1)}
    assert metrics["language_unknown"] == 2


def test_small_languages_are_joined_and_their_products_counted(tree, predictions, truth):
    labels = {"a/1": SHIRT, "a/2": DRESS, "b/1": CASUAL, "b/2": "Apparel > Topwear", "b/3": None}
    language = {"a/1": "en", "a/2": "en", "b/1": "tr", "b/2": "ko", "b/3": "tr"}
    figures = run(predictions(tree, ANSWERS), truth(labels, language=language), tree, min_language_products=2)
    assert {name: part["products"] for name, part in figures["by_language"].items()} == {"en": 2, "others": 2}
    assert figures["languages_joined"] == {"ko": 1, "tr": 1}
    assert figures["language_unknown"] == 0
    assert figures["by_language"]["others"]["hierarchical"]["f1"] == pytest.approx(8 / 10)
    assert figures["by_language"]["en"]["leaf"] == {"products": 2, "accuracy": 1.0}
    # Unknown is no language: it is joined with none.
    assert run(predictions(tree, ANSWERS), truth(labels), tree, min_language_products=9)["by_language"] == {}


def test_every_input_is_scored_by_language(tree, predictions, truth):
    answers, labels = predictions(tree, ANSWERS), truth(LABELS, language={"a/1": "en", "b/1": "tr"}, no_image=["b/1"])
    figures = run(answers, labels, tree, probes={"title": predictions(tree, {**ANSWERS, "a/1": TOP})})
    by_input = {name: {code: part["products"] for code, part in probe["by_language"].items()} for name, probe in figures["probes"].items()}
    assert by_input == {"title+image": {"en": 1}, "title": {"en": 1, "tr": 1}}
    assert figures["probes"]["title"]["by_language"]["en"]["hierarchical"]["f1"] == pytest.approx(2 / 3)
    assert figures["probes"]["title"]["by_language"]["en"]["leaf"]["accuracy"] == 0.0


def test_leaf_accuracy_is_over_products_labelled_with_a_leaf(metrics):
    assert metrics["leaf"] == {"products": 3, "accuracy": pytest.approx(2 / 3)}


def test_confusions_are_counted(metrics):
    assert metrics["confusions"] == [{"parent": "Footwear > Shoes", "truth": "Casual", "predicted": "Sports", "level": 3, "products": 1, "of": 1}]


def test_metrics_are_json(metrics):
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_predictions_of_other_products_are_left_aside(tree, predictions, truth, metrics):
    assert run(predictions(tree, {**ANSWERS, "z/9": "Gifts"}, stage=STAGE), truth(LABELS), tree)["hierarchical"] == metrics["hierarchical"]


def test_an_answer_outside_the_tree_is_counted_and_wrong(tree, predictions, truth):
    figures = run(predictions(tree, {**ANSWERS, "a/1": "Apparel > Topwear > Blouses"}), truth(LABELS), tree)
    assert figures["valid_paths"] == pytest.approx(4 / 5)
    assert figures["hierarchical"]["recall"] == pytest.approx(6 / 10)


def test_names_of_one_category_with_the_id_of_another_are_no_valid_answer(tree, predictions, truth):
    table = predictions(tree, ANSWERS)
    ids = table.column("category_id").to_pylist()
    swapped = table.set_column(PREDICTIONS.get_field_index("category_id"), PREDICTIONS.field("category_id"), pa.array([ids[2], *ids[1:]]))
    assert run(swapped, truth(LABELS), tree)["valid_paths"] == pytest.approx(4 / 5)


def test_a_label_outside_the_bundles_tree_costs_recall(tree, predictions, truth):
    figures = run(predictions(tree, {"a/1": SHIRT}), truth({"a/1": "Apparel > Topwear > Kurtas"}), tree)
    assert figures["outside_tree"] == 1
    assert figures["valid_paths"] == 1.0
    assert figures["hierarchical"]["recall"] == pytest.approx(2 / 3)
    assert figures["tree_classes"]["3"] == 4  # the bundle's tree, not the one that is scored on


def test_where_answers_may_end_an_answer_below_the_label_costs_precision(tree, predictions, truth):
    answers, labels = predictions(tree, {"a/1": SHIRT}), truth({"a/1": "Apparel > Topwear"})
    assert run(answers, labels, tree)["hierarchical"]["precision"] == 1.0
    stopping = run(answers, labels, HeadLayout(tree, (tree.index(("Apparel", "Topwear")),)))
    assert (stopping["hierarchical"]["precision"], stopping["hierarchical"]["recall"]) == (pytest.approx(2 / 3), 1.0)
    assert stopping["probes"]["title+image"]["hierarchical"]["precision"] == pytest.approx(2 / 3)


def test_a_label_below_a_leaf_does_not_make_other_answers_right(tree, predictions, truth):
    """ "Dresses" is a leaf of the bundle's tree; a deeper label elsewhere opens it, and the answer is judged against that label whole."""
    labels = {"a/1": "Apparel > Dresses > Gowns", "a/2": DRESS}
    figures = run(predictions(tree, {"a/1": DRESS, "a/2": DRESS}), truth(labels), tree)
    assert (figures["hierarchical"]["precision"], figures["hierarchical"]["recall"]) == (1.0, pytest.approx(4 / 5))


def test_probes_leave_out_what_lacks_their_input(tree, predictions, truth):
    table = truth(LABELS, no_image=["a/1"], no_title=["b/1", "b/3"])
    probes = {
        "title": predictions(tree, {"a/1": SHIRT, "a/2": DRESS, "b/2": SPORTS}),
        "image": predictions(tree, {"a/2": TOP, "b/1": CASUAL, "b/2": TOP, "b/3": TOP}),
    }
    figures = run(predictions(tree, ANSWERS), table, tree, probes=probes)["probes"]
    assert {name: (part["products"], part["unlabelled"], part["left_out"]) for name, part in figures.items()} == {
        "title+image": (2, 0, 3),
        "title": (3, 0, 2),
        "image": (3, 1, 1),
    }
    assert figures["title+image"]["hierarchical"]["f1"] == 1.0
    assert figures["title"]["hierarchical"]["f1"] == pytest.approx(2 * 5 / (7 + 7))
    assert figures["image"]["hierarchical"]["f1"] == pytest.approx(2 * 6 / (8 + 7))
    assert figures["image"]["levels"]["3"]["products"] == 1


def test_a_probe_that_no_product_has_input_for(tree, predictions, truth):
    table = truth(LABELS, no_image=list(LABELS))
    figures = run(predictions(tree, ANSWERS), table, tree, probes={"image": predictions(tree, {})})["probes"]
    nothing = {"products": 0, "unlabelled": 0, "hierarchical": None, "levels": {}, "leaf": {"products": 0, "accuracy": None}, "left_out": 5}
    assert figures["image"] == {**nothing, "by_platform": {}, "by_language": {}, "seeds": None}


def test_a_masked_probe_leaves_out_titles_that_were_all_category_and_the_one_with_images_does_not(tree, predictions, truth):
    table = truth(LABELS, no_image=["a/2"], no_masked_title=["b/1"])
    probes = {
        "masked-title": predictions(tree, {"a/1": TOP, "a/2": DRESS, "b/2": TOP, "b/3": TOP}),
        "masked-title+image": predictions(tree, {"a/1": SHIRT, "b/1": CASUAL, "b/2": TOP, "b/3": TOP}),
    }
    figures = run(predictions(tree, ANSWERS), table, tree, probes=probes)["probes"]
    assert {name: (figures[name]["products"], figures[name]["left_out"]) for name in probes} == {"masked-title": (3, 1), "masked-title+image": (3, 1)}
    assert figures["masked-title"]["hierarchical"]["f1"] == pytest.approx(2 * 6 / (7 + 7))


def test_every_probe_is_scored_by_platform(tree, predictions, truth):
    probes = {"image": predictions(tree, {**ANSWERS, "a/1": TOP})}
    figures = run(predictions(tree, ANSWERS), truth(LABELS), tree, probes=probes)["probes"]
    f1 = {name: {shop: part["hierarchical"]["f1"] for shop, part in probe["by_platform"].items()} for name, probe in figures.items()}
    assert f1["title+image"] == pytest.approx({"a": 1.0, "b": 8 / 10})
    assert f1["image"] == pytest.approx({"a": 8 / 10, "b": 8 / 10})
    assert all(len(part["hierarchical"]["f1_ci"]) == 2 for part in figures["image"]["by_platform"].values())


def test_other_seeds_stand_beside_with_mean_least_and_greatest(tree, predictions, truth):
    perfect = {"a/1": SHIRT, "a/2": DRESS, "b/1": CASUAL, "b/2": TOP, "b/3": TOP}
    seeds = {
        "title+image": [predictions(tree, perfect, bundle="s1"), predictions(tree, ANSWERS, bundle="s2"), predictions(tree, ANSWERS, bundle="s3")]
    }
    figures = run(predictions(tree, ANSWERS), truth(LABELS), tree, probes={"image": predictions(tree, perfect)}, seeds=seeds)["probes"]
    expected = {"f1": pytest.approx([1.0, 0.9, 0.9]), "mean": pytest.approx(2.8 / 3), "min": pytest.approx(0.9), "max": 1.0}
    assert figures["title+image"]["seeds"] == expected
    assert figures["image"]["seeds"] is None


def test_seeds_of_a_probe_that_is_not_there_or_that_lack_a_product_are_refused(tree, predictions, truth):
    table = predictions(tree, ANSWERS)
    with pytest.raises(ContractError, match=r"other seeds have predictions for the probes \['image'\]"):
        run(table, truth(LABELS), tree, seeds={"image": [table]})
    with pytest.raises(ContractError, match=r"probe title\+image, seed 1.*4 of 5 products have no prediction"):
        run(table, truth(LABELS), tree, seeds={"title+image": [table, predictions(tree, {"a/1": SHIRT})]})


def test_the_masked_baseline_is_compared_with_the_masked_probe(tree, predictions, truth):
    baseline = {"name": "svm", "hierarchical": {"precision": 0.6, "recall": 0.6, "f1": 0.6, "f1_ci": [0.5, 0.7]}, "levels": {}}
    table = predictions(tree, ANSWERS), truth(LABELS), tree
    probes = {"masked-title": predictions(tree, {**ANSWERS, "a/1": TOP})}
    assert run(*table, masked_baseline=baseline, probes=probes)["masked_baseline"]["error_ratio"] == pytest.approx((1 - 0.8) / 0.4)
    assert run(*table, masked_baseline=baseline)["masked_baseline"]["error_ratio"] is None
    assert "absent" in run(*table)["masked_baseline"]


def test_confidence_is_judged_by_whoever_is_handed_in(tree, predictions, truth):
    def reliability(answers, labels):
        return {"ece": {"1": abs(answers.rows[0]["confidences"][0] - (answers.pred == labels.target).mean())}}

    figures = run(predictions(tree, ANSWERS), truth(LABELS), tree, reliability=reliability)
    assert figures["reliability"] == {"ece": {"1": pytest.approx(0.9 - 2 / 5)}}
    assert run(predictions(tree, ANSWERS), truth(LABELS), tree)["reliability"] is None


def test_the_baseline_stands_beside_with_the_ratio_of_errors(tree, predictions, truth):
    baseline = {"name": "svm", "hierarchical": {"precision": 0.8, "recall": 0.8, "f1": 0.8, "f1_ci": [0.7, 0.9]}, "levels": {}}
    table = predictions(tree, ANSWERS), truth(LABELS), tree
    assert run(*table, baseline=baseline)["baseline"] == {**baseline, "error_ratio": pytest.approx(0.5)}
    perfect = {**baseline, "hierarchical": {**baseline["hierarchical"], "f1": 1.0}}
    assert run(*table, baseline=perfect)["baseline"]["error_ratio"] is None
    assert run(*table, baseline={"absent": "no titles"})["baseline"] == {"absent": "no titles"}
    assert "absent" in run(*table)["baseline"]


def test_the_gate_is_passed_on(tree, predictions, truth):
    gate = {"threshold": 0.9, "curve": [{"threshold": 0.9, "stage_two_share": 0.2, "f1": 0.99, "cost": 0.012}]}
    cascade = run(predictions(tree, ANSWERS), truth(LABELS), tree, gate=gate)["cascade"]
    assert cascade["gate"] == gate
    assert {"stage_two_share", "stage_one", "stage_two"} < cascade.keys()


def test_a_product_without_prediction_is_named(tree, predictions, truth):
    short = {key: path for key, path in ANSWERS.items() if key != "b/2"}
    with pytest.raises(ContractError, match="1 of 5 products have no prediction, the first is 'b/2'"):
        run(predictions(tree, short), truth(LABELS), tree)
    with pytest.raises(ContractError, match=r"probe title.*the first is 'a/2'"):
        run(predictions(tree, ANSWERS), truth(LABELS), tree, probes={"title": predictions(tree, {"a/1": SHIRT})})


def test_a_key_twice_is_named(tree, predictions, truth):
    table = predictions(tree, ANSWERS)
    with pytest.raises(ContractError, match="predictions: the product 'b/3' stands there twice"):
        run(pa.concat_tables([table, table.slice(0, 1)]), truth(LABELS), tree)
    labels = truth(LABELS)
    with pytest.raises(ContractError, match="truth: the product 'a/1' stands there twice"):
        run(table, pa.concat_tables([labels, labels.slice(0, 1)]), tree)


def test_two_bundles_are_refused(tree, predictions, truth):
    one, two = predictions(tree, {"a/1": SHIRT}), predictions(tree, {"a/2": DRESS}, bundle="b2")
    with pytest.raises(ContractError, match=r"predictions of 2 bundles \(b1, b2\)"):
        run(pa.concat_tables([one, two]), truth({"a/1": SHIRT, "a/2": DRESS}), tree)


def test_empty_input_is_a_clear_error(tree, predictions):
    with pytest.raises(ContractError, match="no product to evaluate"):
        run(predictions(tree, {}), TRUTH.empty_table(), tree)


def test_no_label_at_all_is_a_clear_error(tree, predictions, truth):
    with pytest.raises(ContractError, match="none of the 2 products has a label"):
        run(predictions(tree, {"a/1": SHIRT, "a/2": TOP}), truth({"a/1": None, "a/2": None}), tree)


def test_a_missing_column_is_named(tree, predictions, truth):
    with pytest.raises(ContractError, match="group"):
        run(predictions(tree, ANSWERS), truth(LABELS).drop_columns(["group"]), tree)


def test_an_unknown_probe_is_named(tree, predictions, truth):
    with pytest.raises(ContractError, match="'smell' is not known"):
        run(predictions(tree, ANSWERS), truth(LABELS), tree, probes={"smell": predictions(tree, ANSWERS)})
