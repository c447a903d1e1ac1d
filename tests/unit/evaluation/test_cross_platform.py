import numpy as np
import pytest

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
