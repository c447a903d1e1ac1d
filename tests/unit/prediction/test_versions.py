"""Answers as a client of an earlier version of the tree is told them."""

from dataclasses import replace
from pathlib import Path

import pytest

from prodcat.errors import BundleError
from prodcat.prediction.cascade import Alternative, Answer, Unreadable
from prodcat.prediction.versions import VERSIONS, Versions
from prodcat.recategorization.changes import Add, Merge, Move, Part, Rename, Split
from prodcat.recategorization.versions import History
from prodcat.taxonomy import Taxonomy, format_path, parse_path
from prodcat.versioning import versions_of

FIRST = Taxonomy(parse_path(line) for line in ("Apparel > Shirts", "Apparel > Tshirts", "Footwear > Shoes", "Footwear > Sandals", "Watches"))
PARTS = (Part(name="Formal"), Part(name="Sports"))


def grown() -> tuple[Versions, Taxonomy]:
    """Three versions."""
    history, one = History().after(
        FIRST,
        [
            Split(path=("Footwear", "Shoes"), parts=PARTS, beside=True),
            Merge(paths=(("Apparel", "Shirts"), ("Apparel", "Tshirts")), into=("Apparel", "Tops")),
            Split(path=("Footwear", "Sandals"), parts=(Part(name="Flats"), Part(name="Heels"))),
        ],
        by="Ada",
        at="now",
    )
    history, two = history.after(
        one.tree,
        [Rename(path=("Footwear",), name="Shoes"), Move(path=("Watches",), parent=("Apparel",)), Add(parent=(), part=Part(name="Bags"))],
        by="Ada",
        at="now",
    )
    return versions_of(history, two.tree), two.tree


VERSIONS_NOW, TREE = grown()


def answer(path: str, confidences: tuple[float, ...], others: dict[str, float] | None = None, **more: object) -> Answer:
    names = parse_path(path)
    alternatives = tuple(Alternative(parse_path(other), value) for other, value in (others or {}).items())
    plain = Answer("shop/1", TREE.categories[TREE.index(names)].id, names, confidences, alternatives, 1, "v", taxonomy_version=3)
    return replace(plain, **more)


def told(found: Answer, version: int | None) -> Answer:
    result = VERSIONS_NOW.told(found, version, TREE)
    assert isinstance(result, Answer)
    return result


def test_what_was_cut_out_of_a_category_is_answered_by_it_and_its_parts_add_up() -> None:
    others = {"Shoes > Formal": 0.3, "Shoes > Sandals > Flats": 0.05, "Shoes > Sandals > Heels": 0.02}
    found = told(answer("Shoes > Sports", (0.97, 0.6), others), 1)
    assert (found.path, found.taxonomy_version) == (("Footwear", "Shoes"), 1)
    assert found.category_id == FIRST.categories[FIRST.index(("Footwear", "Shoes"))].id
    assert found.confidences == pytest.approx((0.97, 0.9))
    assert found.alternatives == (Alternative(("Footwear", "Sandals"), pytest.approx(0.07)),)
    # One version later all is there but the name above.
    later = told(answer("Shoes > Sports", (0.97, 0.6), others), 2)
    assert later.path == ("Footwear", "Sports")
    assert later.confidences == (0.97, 0.6)
    assert [format_path(other.path) for other in later.alternatives] == [
        "Footwear > Formal",
        "Footwear > Sandals > Flats",
        "Footwear > Sandals > Heels",
    ]


def test_the_present_version_and_none_are_the_answer_itself() -> None:
    own = answer("Bags", (0.9,), {"Apparel > Tops": 0.05})
    assert told(own, None) is told(own, 3) is own
    nothing = Unreadable("shop/1", "nothing_to_read", "")
    assert VERSIONS_NOW.told(nothing, 1, TREE) is nothing
    assert Versions().told(own, 1, TREE) is own


def test_what_was_merged_is_answered_by_what_lay_above_and_what_moved_by_its_old_place() -> None:
    merged = told(answer("Apparel > Tops", (0.9, 0.8), {"Apparel > Watches": 0.1}), 1)
    assert (merged.path, merged.confidences, merged.alternatives) == (("Apparel",), (0.9,), (Alternative(("Watches",), 0.1),))
    moved = told(answer("Apparel > Watches", (0.9, 0.7), {"Apparel > Tops": 0.2}), 1)
    assert (moved.path, moved.confidences) == (("Watches",), (0.7,))
    assert moved.alternatives == (Alternative(("Apparel",), 0.2),)


def test_an_answer_that_stopped_goes_on_only_where_something_lies_below() -> None:
    stopped = answer("Shoes > Sandals", (0.9, 0.8), {"Shoes > Sandals > Flats": 0.5, "Shoes > Sandals > Heels": 0.3}, stopped_at_parent=True)
    found = told(stopped, 1)
    assert (found.path, found.stopped_at_parent, found.alternatives) == (("Footwear", "Sandals"), False, ())
    # What lies below it is in its own confidence already.
    assert found.confidences == (0.9, 0.8)
    assert told(stopped, 2).stopped_at_parent


def test_candidates_that_fall_together_are_one() -> None:
    paths = tuple(parse_path(path) for path in ("Shoes > Sports", "Bags", "Shoes > Formal", "Shoes > Sandals > Flats"))
    found = told(answer("Shoes > Sports", (0.9, 0.8), candidates=paths), 1)
    assert found.candidates == (("Footwear", "Shoes"), ("Footwear", "Sandals"))


def test_confidences_fall_from_level_to_level_whatever_adds_up() -> None:
    found = told(answer("Shoes > Sports", (0.5, 0.45), {"Shoes > Formal": 0.4}), 1)
    assert found.confidences == (0.5, 0.5)


@pytest.mark.parametrize(
    ("path", "version", "reason", "message"),
    [
        ("Bags", 1, "not_in_taxonomy_version", "'Bags' has none in version 1"),
        ("Bags", 4, "unknown_taxonomy_version", "there is no version 4 of the taxonomy here; ask for one from 1 to 3"),
        ("Apparel", 0, "unknown_taxonomy_version", "there is no version 0"),
    ],
)
def test_what_has_no_answer_says_why(path: str, version: int, reason: str, message: str) -> None:
    found = VERSIONS_NOW.told(answer(path, (0.9,)), version, TREE)
    assert isinstance(found, Unreadable)
    assert (found.key, found.reason) == ("shop/1", reason)
    assert message in found.detail


def test_what_was_merged_and_is_split_again_is_itself_to_those_who_knew_it_before() -> None:
    shirts = (("Apparel", "Shirts"), ("Apparel", "Tshirts"))
    history, one = History().after(FIRST, [Merge(paths=shirts, into=("Apparel", "Tops"))], by="Ada", at="now")
    again = Split(path=("Apparel", "Tops"), parts=(Part(name="Shirts"), Part(name="Tshirts")), beside=True)
    history, two = history.after(one.tree, [again], by="Ada", at="now")
    assert two.tree == FIRST
    before, merged = versions_of(history, two.tree).earlier
    assert before.told == {}
    assert {path for _, path in (place for place in merged.told.values() if place)} == {("Apparel", "Tops")}


def test_they_are_kept_and_those_of_another_tree_refused(tmp_path: Path) -> None:
    file = tmp_path / VERSIONS
    VERSIONS_NOW.save(file)
    assert Versions.load(file, TREE) == VERSIONS_NOW
    # Only what reads otherwise is written down.
    untouched = TREE.categories[TREE.index(("Apparel",))].id
    assert all(untouched not in earlier.told for earlier in VERSIONS_NOW.earlier)
    with pytest.raises(BundleError, match="which is not in the tree"):
        Versions.load(file, Taxonomy([("Other",)]))
    file.write_text("[]")
    with pytest.raises(BundleError, match="no versions of a tree"):
        Versions.load(file, TREE)
    file.write_text('{"format": 7}')
    with pytest.raises(BundleError, match="another format"):
        Versions.load(file, TREE)
