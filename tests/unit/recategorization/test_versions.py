"""Versions: there and back again, over several of them."""

import json
from pathlib import Path

import pytest

from prodcat.errors import TaxonomyError
from prodcat.recategorization.changes import Add, Changed, Merge, Move, Part, Rename, Split
from prodcat.recategorization.versions import History, diff, in_version, relabel, told
from prodcat.taxonomy import Taxonomy, parse_path

FIRST = Taxonomy(parse_path(line) for line in ("Apparel > Shirts", "Apparel > Tshirts", "Footwear > Shoes", "Footwear > Sandals", "Watches"))


def grown() -> tuple[History, list[Taxonomy], list[Changed]]:
    """Three versions: shoes are split and watches go; then all is renamed and moved."""
    history, one = History().after(
        FIRST,
        [
            Split(
                path=("Footwear", "Shoes"), parts=(Part(name="Formal", products=("s/1", "s/2")), Part(name="Sports", products=("s/3",))), beside=True
            ),
            Merge(paths=(("Apparel", "Shirts"), ("Apparel", "Tshirts")), into=("Apparel", "Tops")),
        ],
        by="Ada",
        at="2026-11-26T10:00:00+00:00",
    )
    history, two = history.after(
        one.tree,
        [
            Rename(path=("Footwear",), name="Shoes and more"),
            Move(path=("Watches",), parent=("Apparel",)),
            Add(parent=(), part=Part(name="Bags", products=("s/9",))),
        ],
        by="Grace",
        at="2026-11-27T10:00:00+00:00",
    )
    return history, [FIRST, one.tree, two.tree], [one, two]


def test_labels_go_forward_and_answers_come_back() -> None:
    history, trees, _ = grown()
    assert history.version == 3
    present = trees[-1]
    assert [history.tree(number, present) for number in (1, 2, 3)] == trees
    backward = history.backward(1, present)
    answers = {str(category): in_version(category.path, present, backward, FIRST) for category in present.categories}
    assert answers == {
        "Apparel": ("Apparel",),
        "Apparel > Tops": ("Apparel",),
        "Apparel > Watches": ("Watches",),
        "Bags": None,
        "Shoes and more": ("Footwear",),
        "Shoes and more > Formal": ("Footwear", "Shoes"),
        "Shoes and more > Sandals": ("Footwear", "Sandals"),
        "Shoes and more > Sports": ("Footwear", "Shoes"),
    }
    forward = {str(old): forward_path(history, old.id, present) for old in FIRST.categories}
    assert forward["Footwear > Shoes"] == "Shoes and more"
    assert forward["Apparel > Shirts"] == "Apparel > Tops"
    # To the present version and from it, nothing changes.
    assert history.backward(3, present) == history.forward(3, present) == {category.id: category.id for category in present.categories}
    with pytest.raises(TaxonomyError, match="no version 4 of the taxonomy; it has the versions 1 to 3"):
        history.backward(4, present)


def forward_path(history: History, identifier: str, present: Taxonomy) -> str | None:
    target = history.forward(1, present)[identifier]
    return str(present.categories[present.index_of_id(target)]) if target else None


def test_products_are_relabelled_as_assigned_or_as_their_category_went_on() -> None:
    _, trees, changes = grown()
    keys = ["s/1", "s/3", "s/4", "s/5", "s/6"]
    labels = [("Footwear", "Shoes"), ("Footwear", "Shoes"), ("Footwear", "Shoes"), ("Apparel", "Shirts"), None]
    once = relabel(trees[0], changes[0], keys, labels)
    assert once == [("Footwear", "Formal"), ("Footwear", "Sports"), ("Footwear",), ("Apparel", "Tops"), None]
    again = relabel(trees[1], changes[1], keys, once)
    assert again == [("Shoes and more", "Formal"), ("Shoes and more", "Sports"), ("Shoes and more",), ("Apparel", "Tops"), None]
    with pytest.raises(TaxonomyError, match="'Hats' is not in the tree"):
        relabel(trees[0], changes[0], ["s/6"], [("Hats",)])


def test_a_step_says_what_it_did_and_by_whom() -> None:
    history, trees, _ = grown()
    assert {(row["what"], row["old"], row["new"]) for row in diff(history.steps[0], trees[1])} == {
        ("removed", "Footwear > Shoes", "Footwear"),
        ("added", "Footwear > Shoes", "Footwear > Formal"),
        ("added", "Footwear > Shoes", "Footwear > Sports"),
        ("removed", "Apparel > Shirts", "Apparel > Tops"),
        ("removed", "Apparel > Tshirts", "Apparel > Tops"),
        ("added", "Apparel", "Apparel > Tops"),
    }
    assert {(row["what"], row["old"], row["new"]) for row in diff(history.steps[1], trees[2])} == {
        ("renamed", "Footwear", "Shoes and more"),
        ("moved", "Watches", "Apparel > Watches"),
        ("added", None, "Bags"),
    }
    lines = told(history, trees[2])
    assert lines[0].startswith("version 3: 8 categories")
    assert any("by Grace" in line for line in lines)
    assert "  rename 'Footwear' to 'Shoes and more'" in lines


def test_a_history_is_kept_and_one_that_was_edited_is_refused(tmp_path: Path) -> None:
    history, trees, _ = grown()
    file = tmp_path / "history.json"
    history.save(file)
    assert History.load(file) == history
    history.check(trees[-1], "here")
    History().check(FIRST, "here")
    with pytest.raises(TaxonomyError, match=r"here: its tree has hash .*its history leads to"):
        history.check(FIRST, "here")
    document = json.loads(file.read_text())
    document["history"]["steps"][0]["new"] = "0" * 64
    file.write_text(json.dumps(document))
    with pytest.raises(TaxonomyError, match=r"history\.json: a step ends at the tree 000000000000, the next begins at"):
        History.load(file)
    file.write_text('{"format": 9, "history": {}}')
    with pytest.raises(TaxonomyError, match="a history of format 9, this prodcat reads 1"):
        History.load(file)
    file.write_text("[]")
    with pytest.raises(TaxonomyError, match="not a history of a taxonomy"):
        History.load(file)
    with pytest.raises(TaxonomyError, match="nothing to change"):
        History().after(FIRST, [], by="Ada", at="now")
