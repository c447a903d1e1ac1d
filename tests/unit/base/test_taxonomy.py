"""Taxonomy: names, ids, hash, files."""

import itertools
import json
from pathlib import Path

import pytest

from prodcat.errors import TaxonomyError
from prodcat.taxonomy import Taxonomy, category_id, format_path, parse_path

RAGGED = [("Footwear", "Shoes", "Heels"), ("Footwear", "Shoes", "Casual Shoes"), ("Footwear", "Sandals"), ("Bags",), ("Apparel", "Topwear")]


def test_a_ragged_tree_has_its_ancestors_and_leaves_at_every_level() -> None:
    tree = Taxonomy(RAGGED)
    assert [str(category) for category in tree.categories] == [
        "Apparel",
        "Bags",
        "Footwear",
        "Apparel > Topwear",
        "Footwear > Sandals",
        "Footwear > Shoes",
        "Footwear > Shoes > Casual Shoes",
        "Footwear > Shoes > Heels",
    ]
    assert tree.depth == 3
    assert [str(tree.categories[i]) for i in range(len(tree)) if tree.is_leaf[i]] == [
        "Bags",
        "Apparel > Topwear",
        "Footwear > Sandals",
        "Footwear > Shoes > Casual Shoes",
        "Footwear > Shoes > Heels",
    ]


def test_one_leaf_is_a_tree() -> None:
    tree = Taxonomy([("Shoes",)])
    assert (len(tree), tree.depth, tree.is_leaf.tolist(), tree.parents.tolist()) == (1, 1, [True], [-1])


def test_the_same_name_under_two_parents_is_two_categories() -> None:
    tree = Taxonomy([("Men", "Shoes"), ("Women", "Shoes")])
    assert tree.index(("Men", "Shoes")) != tree.index(("Women", "Shoes"))
    assert category_id(("Men", "Shoes")) != category_id(("Women", "Shoes"))


def test_order_and_hash_do_not_depend_on_the_order_of_labels() -> None:
    trees = [Taxonomy.from_labels(order) for order in itertools.permutations(RAGGED)]
    assert {tree.hash for tree in trees} == {Taxonomy(RAGGED).hash}
    assert {tree.categories for tree in trees} == {Taxonomy(RAGGED).categories}
    assert len(set(trees)) == 1


def test_another_tree_or_another_id_has_another_hash() -> None:
    tree = Taxonomy(RAGGED)
    assert Taxonomy(RAGGED[:-1]) != tree
    assert Taxonomy(RAGGED, {("Bags",): "166"}) != tree


def test_unlabelled_products_add_nothing_and_nothing_is_no_tree() -> None:
    assert Taxonomy.from_labels([None, ("A", "B"), (), None]) == Taxonomy([("A", "B")])
    with pytest.raises(TaxonomyError, match="at least one category"):
        Taxonomy.from_labels([None, ()])


def test_ids_are_stable_between_runs_and_versions() -> None:
    # Written down once: these ids stand in bundles and in other people's tables.
    assert category_id(("Footwear", "Shoes", "Casual Shoes")) == "bf8e8c3da4d4"
    assert Taxonomy(RAGGED).categories[0].id == category_id(("Apparel",))


def test_googles_lines() -> None:
    lines = [
        "\ufeff# Google_Product_Taxonomy_Version: 2021-09-21",
        "166 - Apparel & Accessories",
        "1604 - Apparel & Accessories > Clothing",
        "",
        "5388 - Apparel & Accessories > Clothing > Baby & Toddler Clothing > Baby One-Pieces",
    ]
    tree = Taxonomy.from_lines(lines)
    assert tree.categories[tree.index_of_id("1604")].path == ("Apparel & Accessories", "Clothing")
    assert str(tree.categories[tree.index_of_id("5388")]) == "Apparel & Accessories > Clothing > Baby & Toddler Clothing > Baby One-Pieces"
    # The ancestor without a line of its own gets the id of its path.
    assert tree.categories[tree.index(("Apparel & Accessories", "Clothing", "Baby & Toddler Clothing"))].id == category_id(
        ("Apparel & Accessories", "Clothing", "Baby & Toddler Clothing")
    )


def test_shopifys_lines() -> None:
    lines = [
        "# Shopify Product Taxonomy - Categories: 2025-06",
        "gid://shopify/TaxonomyCategory/aa       : Apparel & Accessories",
        "gid://shopify/TaxonomyCategory/aa-1-10  : Apparel & Accessories > Clothing > One-Pieces",
    ]
    tree = Taxonomy.from_lines(lines)
    assert tree.categories[tree.index_of_id("gid://shopify/TaxonomyCategory/aa-1-10")].path == ("Apparel & Accessories", "Clothing", "One-Pieces")


def test_plain_lines_may_hold_hyphens_and_numbers() -> None:
    tree = Taxonomy.from_lines(["3D - Printers > 501 Jeans", "T-Shirts"])
    assert ("3D - Printers", "501 Jeans") in tree
    assert ("T-Shirts",) in tree


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["A > B", "A > > C"], "shop.txt, line 2.*every level needs a name"),
        (["1 - A", "2 - A"], "shop.txt, line 2.*'A' has the ids '1' and '2'"),
        (["1 - A", "1 - B"], "id '1' stands for both 'A' and 'B'"),
        (["# nothing", ""], "at least one category"),
    ],
)
def test_bad_lines_are_refused_by_file_and_line(lines: list[str], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_lines(lines, source="shop.txt")


@pytest.mark.parametrize("path", [(), ("",), ("A", ""), ("A", "B > C")])
def test_a_path_that_cannot_be_written_is_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(TaxonomyError, match="every level needs a name"):
        Taxonomy([path])


def test_paths_are_read_as_they_are_written() -> None:
    assert parse_path(" Footwear >Shoes > Casual Shoes ") == ("Footwear", "Shoes", "Casual Shoes")
    assert parse_path(format_path(RAGGED[0])) == RAGGED[0]


def test_children_and_membership() -> None:
    tree = Taxonomy(RAGGED)
    assert [child.name for child in tree.children()] == ["Apparel", "Bags", "Footwear"]
    assert [child.name for child in tree.children(("Footwear",))] == ["Sandals", "Shoes"]
    assert tree.children(("Bags",)) == ()
    assert ["Footwear", "Shoes"] in tree  # as a table gives it: a list
    assert "Bags" not in tree
    assert None not in tree
    assert ("Shoes",) not in tree


def test_unknown_names_are_refused_by_name() -> None:
    tree = Taxonomy(RAGGED)
    with pytest.raises(TaxonomyError, match="'Footwear > Boots' is not in the tree"):
        tree.index(("Footwear", "Boots"))
    with pytest.raises(TaxonomyError, match="id 'nix' is not in the tree"):
        tree.index_of_id("nix")


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    tree = Taxonomy([*RAGGED, ("Ayakkabı", "Çizme")], {("Bags",): "166"})
    tree.save(tmp_path / "tree.json")
    loaded = Taxonomy.load(tmp_path / "tree.json")
    assert loaded == tree
    assert loaded.categories == tree.categories


@pytest.mark.parametrize("edit", ["rename", "id", "drop", "number"])
def test_an_edited_file_is_refused_by_name(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "tree.json"
    Taxonomy(RAGGED).save(path)
    document = json.loads(path.read_text())
    if edit == "rename":
        document["categories"][0]["path"] = ["Clothes"]
    elif edit == "id":
        document["categories"][0]["id"] = "other"
    elif edit == "number":
        document["categories"][0]["path"] = [7]
    else:
        del document["categories"][-1]
    path.write_text(json.dumps(document))
    with pytest.raises(TaxonomyError, match=r"tree\.json.*edited by hand or damaged"):
        Taxonomy.load(path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"hash": "", "categories": [{"id": "1"}]}', '{"hash": "", "categories": [{"id": "1", "path": [""]}]}']
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(TaxonomyError, match=r"other\.json"):
        Taxonomy.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"gone\.json"):
        Taxonomy.load(tmp_path / "gone.json")
