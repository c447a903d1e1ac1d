"""Wrong labels are found, told apart by where they part from what they may be, and right ones are left alone."""

import numpy as np
import pytest

from prodcat.evaluation.label_issues import ISSUES, IssuesConfig, Judged, kind_of, label_issues, subtree_mass
from prodcat.taxonomy import Taxonomy, parse_path

SHIRT, TOP, DRESS, CASUAL, SPORTS = (
    "Apparel > Topwear > Shirts",
    "Apparel > Topwear > Tops",
    "Apparel > Dresses",
    "Footwear > Shoes > Casual",
    "Footwear > Shoes > Sports",
)
LEAVES = [SHIRT, TOP, DRESS, CASUAL, SPORTS]


def node(tree: Taxonomy, text: str) -> int:
    return tree.index(parse_path(text))


def judge(tree, given, said, groups=None, sure=0.96, **settings):
    """given: labels; said: per product {path: probability}, or the path that is likely, by `sure`."""
    probabilities = np.zeros((len(given), len(tree)))
    for row, each in enumerate(said):
        for path, probability in ({each: sure, SHIRT if each != SHIRT else TOP: 1 - sure} if isinstance(each, str) else each).items():
            probabilities[row, node(tree, path)] = probability
    groups = np.array(groups or [f"g{row}" for row in range(len(given))], dtype=object)
    judged = Judged(probabilities, np.array([node(tree, path) for path in given]), groups, tree)
    keys = [f"shop/{row}" for row in range(len(given))]
    table = label_issues(judged, keys, ["train"] * len(given), [None] * len(given), IssuesConfig(**{"min_groups": 3, **settings}))
    assert table.schema.equals(ISSUES)
    return table.to_pylist()


GIVEN = [leaf for leaf in LEAVES for _ in range(8)]


def test_right_labels_are_left_alone(tree):
    assert judge(tree, GIVEN, GIVEN) == []


def test_each_kind_of_wrong_label_is_found_with_what_it_may_be(tree):
    given = [*GIVEN, TOP, DRESS, CASUAL]
    said = [*GIVEN, SHIRT, TOP, DRESS]
    found = judge(tree, given, said)
    assert {issue["key"]: (issue["kind"], issue["suggested"]) for issue in found} == {
        "shop/40": ("wrong_leaf", list(parse_path(SHIRT))),
        "shop/41": ("wrong_branch", list(parse_path(TOP))),
        "shop/42": ("wrong_level_1", list(parse_path(DRESS))),
    }
    assert {issue["found_by"] for issue in found} == {"model"}
    assert all(issue["given_probability"] < 0.1 and issue["suggested_probability"] > 0.9 for issue in found)
    assert all(issue["quality"] < 0.1 for issue in found)


def test_a_plainly_wrong_branch_is_found_though_its_leaf_is_unclear(tree):
    """No leaf of Footwear is likelier than the label by much; Footwear is."""
    found = judge(tree, [*GIVEN, SHIRT], [*GIVEN, {CASUAL: 0.37, SPORTS: 0.36, SHIRT: 0.22, TOP: 0.05}], sure=0.7)
    (issue,) = found
    assert (issue["kind"], issue["suggested"]) == ("wrong_level_1", list(parse_path(CASUAL)))


def test_a_category_with_few_groups_is_judged_one_level_higher(tree):
    # Two Sports shoes in two groups: a model of the other folds hardly knows them, and says Casual.
    assert judge(tree, [*GIVEN[:32], SPORTS, SPORTS], [*GIVEN[:32], CASUAL, CASUAL]) == []
    found = judge(tree, [*GIVEN[:32], SPORTS, SPORTS], [*GIVEN[:32], CASUAL, DRESS])
    assert [(issue["key"], issue["kind"]) for issue in found] == [("shop/33", "wrong_level_1")]
    # Judged on the first level at most: its quality is that of Footwear.
    assert found[0]["quality"] < 0.1


def test_near_duplicates_that_disagree_are_found_where_the_model_has_no_opinion(tree):
    unsure = {SHIRT: 0.4, TOP: 0.35, DRESS: 0.25}
    groups = [f"g{row}" for row in range(len(GIVEN))] + ["twins"] * 3
    found = judge(tree, [*GIVEN, SHIRT, SHIRT, TOP], [*GIVEN, unsure, unsure, unsure], groups)
    (issue,) = found
    assert (issue["key"], issue["found_by"], issue["kind"]) == ("shop/42", "near_duplicates", "wrong_leaf")
    assert (issue["group_labelled"], issue["group_agreeing"], issue["group_suggested"]) == (3, 0, 2)


def test_of_two_near_duplicates_the_model_decides_which_is_wrong(tree):
    groups = [f"g{row}" for row in range(len(GIVEN))] + ["twins"] * 2
    found = judge(tree, [*GIVEN, SHIRT, DRESS], [*GIVEN, DRESS, DRESS], groups)
    (issue,) = found
    assert (issue["key"], issue["found_by"], issue["suggested"]) == ("shop/40", "both", list(parse_path(DRESS)))


def test_a_label_that_stops_above_is_no_disagreement(tree):
    groups = [f"g{row}" for row in range(len(GIVEN))] + ["twins"] * 2
    assert judge(tree, [*GIVEN, SHIRT, "Apparel > Topwear"], [*GIVEN, SHIRT, SHIRT], groups) == []


def test_a_suggestion_stops_where_the_probability_does(tree):
    given = [*GIVEN, *["Apparel > Topwear"] * 8, CASUAL]
    said = [*GIVEN, *["Apparel > Topwear"] * 8, {"Apparel > Topwear": 0.8, SHIRT: 0.2}]
    (issue,) = judge(tree, given, said, sure=0.7)
    assert (issue["key"], issue["suggested"]) == ("shop/48", ["Apparel", "Topwear"])


def test_the_most_doubtful_stands_first(tree):
    given = [*GIVEN, TOP, CASUAL]
    said = [*GIVEN, {SHIRT: 0.8, TOP: 0.2}, {DRESS: 0.99, SHIRT: 0.01}]
    assert [issue["key"] for issue in judge(tree, given, said, sure=0.7)] == ["shop/41", "shop/40"]


def test_one_category_leaves_nothing_to_doubt():
    tree = Taxonomy([("Socks",)])
    judged = Judged(np.ones((4, 1)), np.zeros(4, dtype=int), np.array(list("abcd"), dtype=object), tree)
    assert label_issues(judged, list("abcd"), ["train"] * 4, [None] * 4, IssuesConfig()).num_rows == 0


@pytest.mark.parametrize(
    ("given", "suggested", "kind"),
    [
        (SHIRT, TOP, "wrong_leaf"),
        (SHIRT, DRESS, "wrong_branch"),
        (SHIRT, CASUAL, "wrong_level_1"),
        (DRESS, SHIRT, "wrong_branch"),
        (DRESS, "Apparel > Topwear", "wrong_leaf"),
        ("Gifts", DRESS, "wrong_level_1"),
    ],
)
def test_kinds_by_where_two_paths_part(given, suggested, kind):
    assert kind_of(parse_path(given), parse_path(suggested)) == kind


def test_mass_of_a_category_is_its_own_and_that_below(tree):
    probabilities = np.zeros((1, len(tree)))
    for path, probability in ((SHIRT, 0.3), ("Apparel > Topwear", 0.2), (DRESS, 0.1), (CASUAL, 0.4)):
        probabilities[0, node(tree, path)] = probability
    mass = subtree_mass(probabilities, tree)[0]
    assert [round(mass[node(tree, path)], 6) for path in ("Apparel > Topwear", "Apparel", "Footwear", "Gifts")] == [0.5, 0.6, 0.4, 0.0]
