from typing import Any

import numpy as np
import pytest

from prodcat.crossing.judged import shipped
from prodcat.errors import ConfigError
from prodcat.evaluation.cross_platform import Answered, RelatedShops, against, best, verdict
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("A", "a"), ("A", "b"), ("B", "c")])
A, B, C = (TREE.index(path) for path in (("A", "a"), ("A", "b"), ("B", "c")))


def test_related_shops_are_left_out_together() -> None:
    related = RelatedShops((("hm", "ew_hm"), ("hm", "cos"), ("myntra", "jabong")))
    assert related.of("hm") == {"hm", "ew_hm", "cos"}
    assert related.of("cos") == {"cos", "hm"}
    assert related.of("tiki") == {"tiki"}


@pytest.mark.parametrize(("groups", "message"), [((("hm",),), "at least two"), ((("hn", "ew_hn"),), "none of .*hn.* is a platform")])
def test_a_group_that_cannot_be_meant(groups: tuple[tuple[str, ...], ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RelatedShops(groups).check(["hm", "tiki"])


def test_a_group_may_name_a_shop_that_is_not_there() -> None:
    RelatedShops((("hm", "ew_hm"),)).check(["hm", "tiki"])


def test_the_best_baseline_and_the_errors_against_it() -> None:
    target = np.array([A, A, B, C] * 10)
    good, bad = target.copy(), np.full(40, C)
    good[0] = B
    assert best([Answered("bad", bad), Answered("good", good)], target, TREE).name == "good"
    found = against(good, bad, target, np.arange(40), TREE, 0)
    assert found.shown
    assert found.errors is not None
    assert found.errors < 0.1


def test_the_verdict_names_the_better_and_says_whether_it_is_sure() -> None:
    target = np.array([A, B, C] * 40)
    wrong = np.where(np.arange(120) % 4 == 0, C, target)
    groups = np.arange(120)
    said = verdict({"early": wrong, "late": target, "attention": target}, target, groups, TREE, 0)
    assert said is not None
    assert (said["ship"], said["over"], said["shown"]) == ("late", "early", True)
    assert 0 < said["difference_ci"][0] <= said["difference"] <= said["difference_ci"][1]
    same = verdict({"early": target, "late": target}, target, groups, TREE, 0)
    assert same is not None
    assert not same["shown"]
    assert verdict({"late": target}, target, groups, TREE, 0) is None


def test_the_fusion_to_ship_is_the_one_other_shops_speak_for() -> None:
    def fold(platform: str, inputs: str, early: float, late: float, *related: str) -> dict[str, Any]:
        f1 = {"early": early, "late": late}
        kinds = {kind: {"unseen": {"hierarchical": {"f1": value}}, "against_baseline": None} for kind, value in f1.items()}
        return {"platform": platform, "inputs": inputs, "left_out": [platform, *related], "kinds": kinds}

    found = shipped(
        [
            fold("a", "text", 0.9, 0.4),  # its own is not asked
            fold("b", "text", 0.6, 0.7, "a2"),
            fold("c", "text", 0.6, 0.7),
            fold("a2", "text", 0.6, 0.7, "b"),
            fold("d", "text+image", 0.1, 0.2),
            fold("e", "text+image", 0.9, 0.1),
        ]
    )
    assert [each["shipped"]["name"] for each in found] == ["late", "early", "early", "early", "early", "early"]
    # One other shop with images (d speaks for late) says too little: all others are asked.
    assert found[5]["shipped"]["figures"]["hierarchical"]["f1"] == 0.9
