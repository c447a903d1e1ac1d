"""Where answers and labels part."""

import numpy as np
import pytest

from prodcat.evaluation.mistakes import parting_level, sibling_confusions, worst_errors
from prodcat.taxonomy import parse_path

SHIRT, TOP, DRESS, CASUAL = "Apparel > Topwear > Shirts", "Apparel > Topwear > Tops", "Apparel > Dresses", "Footwear > Shoes > Casual"


def nodes(tree, texts):
    return np.array([tree.index(parse_path(text)) if text else -1 for text in texts])


@pytest.mark.parametrize(
    ("label", "answer", "level"),
    [
        (SHIRT, SHIRT, 0),
        (SHIRT, TOP, 3),
        (SHIRT, DRESS, 2),
        (SHIRT, CASUAL, 1),
        (SHIRT, "Apparel", 0),  # stops above: names no other category
        ("Apparel", TOP, 0),  # cut to the label's level
        (None, TOP, 0),
        (SHIRT, None, 0),
    ],
)
def test_parting_level(tree, label, answer, level):
    assert parting_level(nodes(tree, [answer]), nodes(tree, [label]), tree).tolist() == [level]


def test_confusions_are_pairs_of_siblings_by_count(tree):
    target = nodes(tree, [SHIRT, SHIRT, SHIRT, TOP, DRESS, CASUAL])
    pred = nodes(tree, [TOP, TOP, SHIRT, SHIRT, CASUAL, CASUAL])
    found = sibling_confusions(pred, target, tree, limit=10)
    assert [(c["parent"], c["truth"], c["predicted"], c["level"], c["products"], c["of"]) for c in found] == [
        ("Apparel > Topwear", "Shirts", "Tops", 3, 2, 3),
        ("", "Apparel", "Footwear", 1, 1, 5),
        ("Apparel > Topwear", "Tops", "Shirts", 3, 1, 1),
    ]
    assert sibling_confusions(pred, target, tree, limit=1) == found[:1]


def test_no_confusion(tree):
    target = nodes(tree, [SHIRT, DRESS])
    assert sibling_confusions(target, target, tree, limit=10) == []


def test_worst_errors_are_the_surest_one_of_a_group(tree, predictions, truth):
    labels = {"a/1": SHIRT, "a/2": SHIRT, "a/3": DRESS, "a/4": CASUAL, "a/5": None, "a/6": "Apparel"}
    answers = {"a/1": TOP, "a/2": TOP, "a/3": CASUAL, "a/4": CASUAL, "a/5": TOP, "a/6": TOP}
    confidence = {"a/1": 0.7, "a/2": 0.8, "a/3": 0.75, "a/4": 1.0, "a/5": 1.0, "a/6": 1.0}
    table = predictions(tree, answers, confidence=confidence, stage={"a/3": 2})
    found = worst_errors(table, truth(labels, group={"a/1": "g", "a/2": "g"}), tree, limit=24)
    assert [(e.key, e.confidence, e.stage) for e in found] == [("a/2", 0.8, 1), ("a/3", 0.75, 2)]
    assert (found[0].truth, found[0].predicted) == (parse_path(SHIRT), parse_path(TOP))
    assert worst_errors(table, truth(labels), tree, limit=1)[0].key == "a/2"


def test_an_answer_that_stops_above_its_label_is_an_error_too(tree, predictions, truth):
    found = worst_errors(predictions(tree, {"a/1": "Apparel"}), truth({"a/1": SHIRT}), tree, limit=5)
    assert [e.predicted for e in found] == [("Apparel",)]
