"""Changes of a tree: what each does to categories, ids and labels, and what is refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.errors import TaxonomyError
from prodcat.recategorization.changes import Add, Change, Changed, Merge, Move, Part, Rename, Split, apply
from prodcat.taxonomy import CategoryPath, Taxonomy, parse_path

TREE = Taxonomy(
    parse_path(line)
    for line in (
        "Apparel > Topwear > Shirts",
        "Apparel > Topwear > Tshirts",
        "Apparel > Dresses",
        "Footwear > Shoes",
        "Footwear > Sandals > Flats",
        "Footwear > Sandals > Heels",
        "Watches",
    )
)


def p(text: str) -> CategoryPath:
    return parse_path(text)


def to_new(changed: Changed, old: str) -> str | None:
    identifier = changed.forward[TREE.categories[TREE.index(p(old))].id]
    return None if identifier is None else str(changed.tree.categories[changed.tree.index_of_id(identifier)])


def to_old(changed: Changed, new: str) -> str | None:
    identifier = changed.backward[changed.tree.categories[changed.tree.index(p(new))].id]
    return None if identifier is None else str(TREE.categories[TREE.index_of_id(identifier)])


def paths(tree: Taxonomy) -> set[str]:
    return {str(category) for category in tree.categories}


def test_no_change_is_the_same_tree() -> None:
    changed = apply(TREE, [])
    assert changed.tree == TREE
    assert changed.forward == changed.backward == {category.id: category.id for category in TREE.categories}


def test_a_renamed_and_a_moved_category_keep_their_ids_and_what_lies_below_them() -> None:
    changed = apply(TREE, [Rename(path=p("Apparel > Topwear"), name="Tops"), Move(path=p("Footwear > Sandals"), parent=())])
    assert paths(changed.tree) >= {"Apparel > Tops > Shirts", "Sandals > Heels"}
    assert not paths(changed.tree) & {"Apparel > Topwear", "Footwear > Sandals", "Footwear > Sandals > Heels"}
    assert to_new(changed, "Apparel > Topwear > Shirts") == "Apparel > Tops > Shirts"
    assert to_old(changed, "Sandals > Heels") == "Footwear > Sandals > Heels"
    assert {category.id for category in changed.tree.categories} == {category.id for category in TREE.categories}


def test_a_new_category_takes_products_from_wherever_they_are() -> None:
    changed = apply(TREE, [Add(parent=p("Footwear"), part=Part(name="Boots", products=("a/1", "a/2"))), Add(parent=(), part=Part(name="Bags"))])
    boots = changed.tree.categories[changed.tree.index(p("Footwear > Boots"))].id
    assert changed.assigned == {"a/1": boots, "a/2": boots}
    assert to_old(changed, "Footwear > Boots") == "Footwear"
    assert to_old(changed, "Bags") is None


@pytest.mark.parametrize("beside", [False, True])
def test_a_split_below_and_a_split_in_place(beside: bool) -> None:
    changed = apply(TREE, [Split(path=p("Footwear > Shoes"), parts=(Part(name="Formal", products=("a/1",)), Part(name="Sports")), beside=beside)])
    formal = "Footwear > Formal" if beside else "Footwear > Shoes > Formal"
    assert formal in paths(changed.tree)
    assert ("Footwear > Shoes" in paths(changed.tree)) is not beside
    # A product nobody has assigned keeps what is still known of it.
    assert to_new(changed, "Footwear > Shoes") == ("Footwear" if beside else "Footwear > Shoes")
    assert to_old(changed, formal) == "Footwear > Shoes"
    top = apply(TREE, [Split(path=p("Watches"), parts=(Part(name="Analog"),), beside=True)])
    assert to_new(top, "Watches") is None
    assert to_old(top, "Analog") == "Watches"


def test_what_is_merged_is_answered_to_old_clients_by_what_lay_above_it_all() -> None:
    changed = apply(TREE, [Merge(paths=(p("Apparel > Topwear > Shirts"), p("Apparel > Topwear > Tshirts")), into=p("Apparel > Topwear > Shirts"))])
    assert to_new(changed, "Apparel > Topwear > Tshirts") == "Apparel > Topwear > Shirts"
    assert to_old(changed, "Apparel > Topwear > Shirts") == "Apparel > Topwear"
    changed = apply(TREE, [Merge(paths=(p("Footwear > Sandals"), p("Footwear > Shoes")), into=p("Footwear > All"))])
    assert paths(changed.tree) >= {"Footwear > All > Heels", "Footwear > All > Flats"}
    assert to_new(changed, "Footwear > Shoes") == "Footwear > All"
    assert to_old(changed, "Footwear > All > Heels") == "Footwear > Sandals > Heels"
    changed = apply(TREE, [Merge(paths=(p("Watches"), p("Apparel > Dresses")), into=p("Watches"))])
    assert to_old(changed, "Watches") is None


def test_the_id_of_a_path_goes_with_the_category_and_not_with_the_path() -> None:
    changed = apply(TREE, [Rename(path=p("Footwear > Shoes"), name="Footgear"), Add(parent=p("Footwear"), part=Part(name="Shoes"))])
    new, old = (changed.tree.categories[changed.tree.index(p(f"Footwear > {name}"))].id for name in ("Shoes", "Footgear"))
    assert old == TREE.categories[TREE.index(p("Footwear > Shoes"))].id != new
    assert to_new(changed, "Footwear > Shoes") == "Footwear > Footgear"


REFUSED: list[tuple[str, Sequence[Change], str]] = [
    ("unknown", [Rename(path=("Bags",), name="Sacks")], r"'Bags' is not in the tree \(hash .*propose it again on this tree"),
    ("unknown parent", [Move(path=("Watches",), parent=("Bags",))], "'Bags' is not in the tree"),
    (
        "twice",
        [Rename(path=("Watches",), name="Clocks"), Move(path=("Watches",), parent=("Apparel",))],
        "both change 'Watches'; accept one",
    ),
    ("one name", [Rename(path=("Watches",), name="Footwear")], "two categories would be 'Footwear'"),
    ("same new name", [Add(parent=(), part=Part(name="Bags")), Add(parent=(), part=Part(name="Bags"))], "two categories would be 'Bags'"),
    ("below itself", [Move(path=("Footwear",), parent=("Footwear", "Sandals"))], "'Footwear' would lie below itself"),
    (
        "below each other",
        [Move(path=("Footwear",), parent=("Apparel",)), Move(path=("Apparel",), parent=("Footwear",))],
        "would lie below itself; accept one",
    ),
    ("into its child", [Merge(paths=(("Footwear",), ("Footwear", "Shoes")), into=("Footwear", "Shoes"))], "would lie below itself"),
    ("inner", [Split(path=("Apparel",), parts=(Part(name="X"),), beside=True)], "only a leaf can give its place to others"),
    (
        "below what goes",
        [Split(path=("Watches",), parts=(Part(name="X"),), beside=True), Add(parent=("Watches",), part=Part(name="Y"))],
        "'Y' would lie below 'Watches', which gives its place to others",
    ),
    ("into a third", [Merge(paths=(("Watches",), ("Apparel",)), into=("Footwear",))], "'Footwear' is a category of the tree; name it among those"),
    (
        "two places",
        [Add(parent=(), part=Part(name="A", products=("s/1",))), Add(parent=(), part=Part(name="B", products=("s/1",)))],
        "product 's/1' is assigned to two categories",
    ),
    ("no name", [Rename(path=("Watches",), name="a > b")], "every level needs a name without '>'"),
]


@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_is_refused_by_name(changes: Sequence[Change], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        apply(TREE, changes)


_CHANGES = [
    Rename(path=p("Apparel > Topwear"), name="Tops"),
    Move(path=p("Footwear > Sandals"), parent=p("Apparel")),
    Add(parent=p("Footwear"), part=Part(name="Boots", products=("s/1",))),
    Split(path=p("Watches"), parts=(Part(name="Analog", products=("s/2",)), Part(name="Digital")), beside=True),
    Merge(paths=(p("Apparel > Topwear > Shirts"), p("Apparel > Dresses")), into=p("Apparel > Dresses")),
    Split(path=p("Footwear > Shoes"), parts=(Part(name="Formal"),)),
]


@given(st.permutations(_CHANGES), st.integers(0, len(_CHANGES)))
def test_the_order_of_changes_is_nothing(order: list[Change], count: int) -> None:
    some = [change for change in order if change in _CHANGES[:count]]
    changed, again = apply(TREE, some), apply(TREE, _CHANGES[:count])
    assert changed == again
    # Every old category has a place, every new one is answered to old clients, and what went on unchanged comes back as itself.
    assert set(changed.forward) == {category.id for category in TREE.categories}
    assert set(changed.backward) == {category.id for category in changed.tree.categories}
    for category in changed.tree.categories:
        back = changed.backward[category.id]
        assert back is None or back in changed.forward
        if back == category.id:
            assert changed.forward[back] == category.id
