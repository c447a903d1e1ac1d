"""What is scored: known probes, and leaves that are large enough."""

import pytest

from prodcat.config import load
from prodcat.errors import ConfigError
from prodcat.evaluation.scoring import ScoringConfig, small_leaves

SHIRTS, DRESSES, GOWNS = ("Apparel", "Topwear", "Shirts"), ("Apparel", "Dresses"), ("Apparel", "Dresses", "Gowns")


def test_every_probe_runs_unless_others_are_named():
    assert set(ScoringConfig().probes) == {"title", "image", "masked-title", "masked-title+image"}
    assert load(ScoringConfig, None, ["probes=[image, title, image]"]).probes == ("image", "title")


def test_an_unknown_probe_is_named_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"the probes \['titel'\] are not known; known are .*masked-title"):
        load(ScoringConfig, None, ["probes=[titel]"])


def test_leaves_below_the_least_number_are_small_and_inner_labels_are_not(tree):
    paths = [SHIRTS, SHIRTS, DRESSES, ("Apparel",), None, ("Gifts",)]
    small = small_leaves(paths, tree, 2)
    assert small.paths == {DRESSES, ("Gifts",)}
    assert small.among(paths).tolist() == [False, False, True, False, False, True]
    assert small_leaves(paths, tree, 1).paths == frozenset()


def test_a_leaf_of_the_bundles_tree_that_a_label_opens_is_none(tree):
    assert small_leaves([DRESSES, GOWNS], tree, 5).paths == {GOWNS}
