"""Published trees, as they are published, and large ones."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from prodcat.errors import TaxonomyError
from prodcat.taxonomy import Taxonomy
from prodcat.tree_files import below, read_tree, tree_lines

GOOGLE = """# Google_Product_Taxonomy_Version: 2021-09-21
1 - Animals & Pet Supplies
166 - Apparel & Accessories
1604 - Apparel & Accessories > Clothing
212 - Apparel & Accessories > Clothing > Shirts & Tops
"""
SHOPIFY = """# Shopify Product Taxonomy - Categories: 2025-06
# Format: {GID} : {Ancestor name} > ... > {Category name}

gid://shopify/TaxonomyCategory/ap      : Animals & Pet Supplies
gid://shopify/TaxonomyCategory/aa      : Apparel & Accessories
gid://shopify/TaxonomyCategory/aa-1    : Apparel & Accessories > Clothing
gid://shopify/TaxonomyCategory/aa-1-13 : Apparel & Accessories > Clothing > Shirts & Tops
"""


def category(identifier: str, full_name: str, **over: Any) -> dict[str, Any]:
    names = full_name.split(" > ")
    entry = {
        "id": f"gid://shopify/TaxonomyCategory/{identifier}",
        "level": len(names) - 1,
        "name": names[-1],
        "full_name": full_name,
        "parent_id": f"gid://shopify/TaxonomyCategory/{identifier.rpartition('-')[0]}" if len(names) > 1 else None,
        "attributes": [{"id": "gid://shopify/TaxonomyAttribute/1", "name": "Color", "handle": "color", "description": "", "extended": False}],
        "children": [],
        "ancestors": [{"id": "gid://shopify/TaxonomyCategory/x", "name": name} for name in names[-2::-1]],
    }
    return {**entry, **over}


def shopify(*categories: dict[str, Any]) -> dict[str, Any]:
    return {"version": "2025-06", "verticals": [{"name": "Apparel & Accessories", "prefix": "aa", "categories": list(categories)}]}


CATEGORIES = (
    category("aa", "Apparel & Accessories"),
    category("aa-1", "Apparel & Accessories > Clothing"),
    category("aa-1-13", "Apparel & Accessories > Clothing > Shirts & Tops"),
)


def tree_of(tmp_path: Path, name: str, content: str) -> Taxonomy:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return read_tree(tmp_path / name)


def test_every_form_gives_the_same_paths(tmp_path: Path) -> None:
    google = tree_of(tmp_path, "taxonomy-with-ids.en-US.txt", "\ufeff" + GOOGLE)
    text = tree_of(tmp_path, "categories.txt", SHOPIFY)
    plain = tree_of(tmp_path, "tree", "".join(f"{category}\n" for category in google.categories))
    assert [c.path for c in google.categories] == [c.path for c in text.categories] == [c.path for c in plain.categories]
    assert google.categories[google.index_of_id("212")].name == "Shirts & Tops"
    google.save(tmp_path / "own.json")
    assert read_tree(tmp_path / "own.json") == google
    document = json.dumps(shopify(*CATEGORIES))
    from_json = tree_of(tmp_path, "categories.json", document)
    assert from_json == below(text, ("Apparel & Accessories",))
    assert tree_of(tmp_path, "renamed.txt", document) == from_json


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{", "not JSON"),
        ("x.json", "[1]", "neither prodcat's own tree.*found list"),
        ("x.json", '{"categories": []}', "neither prodcat's own tree"),
        ("x.json", json.dumps(shopify({"id": "1"})), "lacks 'name'"),
        ("x.json", '{"verticals": [1]}', "lacks"),
        (
            "x.json",
            json.dumps(shopify(category("aa", "A > B", name="C"))),
            "category gid://shopify/TaxonomyCategory/aa: its full_name 'A > B' does not",
        ),
        ("x.json", json.dumps(shopify(category("aa", "A"), category("ab", "A"))), "'A' has the id"),
        ("x.json", json.dumps(shopify()), "holds no category"),
        ("x.txt", "# nothing\n\n", "holds no category"),
        ("x.csv", "id,name\n1,A", "not a tree; a tree is"),
        ("x.txt", "<html>", "is a page or XML"),
        ("x.txt", "1 - A\n2 - A > > B", "line 2"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(TaxonomyError, match=rf"x\.\w+.*{message}"):
        tree_of(tmp_path, name, content)


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1")
    for name in ("x.xls", "gone.txt"):
        with pytest.raises(TaxonomyError, match=rf"{name}: cannot be read"):
            read_tree(tmp_path / name)


def test_a_part_keeps_paths_and_ids(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "google.txt", GOOGLE)
    part = below(tree, ("Apparel & Accessories", "Clothing"))
    assert {c.path: c.id for c in part.categories} == {c.path: c.id for c in tree.categories if c.id != "1"}
    with pytest.raises(TaxonomyError, match="'Clothing' is not in the tree"):
        below(tree, ("Clothing",))


def test_a_tree_is_shown_in_a_few_lines(tmp_path: Path) -> None:
    lines = tree_lines(tree_of(tmp_path, "google.txt", GOOGLE), show=1)
    assert lines[0].startswith("4 categories, 2 leaves, 3 levels, hash ")
    assert lines[1:] == [
        "level 1: 2 categories, 1 of them leaves",
        "level 2: 1 categories, 0 of them leaves",
        "level 3: 1 categories, 1 of them leaves",
        "  Animals & Pet Supplies: 0 below, id 1",
        "  and 1 more",
        "the first of level 3: Apparel & Accessories > Clothing > Shirts & Tops",
    ]


def test_thirty_thousand_categories_are_no_matter(tmp_path: Path) -> None:
    """Shopify's tree is about a third of that; names are looked up in it too."""
    from prodcat.crosswalk.rules import NameRules, RuleConfig

    names = [f"Part {a} > Group {a}-{b} > Kind {a}-{b}-{c}" for a in range(30) for b in range(30) for c in range(33)]
    lines = "".join(f"{number} - {name}\n" for number, name in enumerate(names, 1))
    started = time.perf_counter()
    tree = tree_of(tmp_path, "large.txt", lines)
    tree.save(tmp_path / "large.json")
    assert read_tree(tmp_path / "large.json") == tree
    assert len(tree) == 30 + 900 + 29_700
    rules = NameRules(tree, RuleConfig())
    match = rules("Shop > Kind 7-8-9")
    assert match.node == tree.index(("Part 7", "Group 7-8", "Kind 7-8-9"))
    assert rules("Shop > nothing like it").node is None
    # Seconds on a busy machine; something quadratic would take minutes.
    assert time.perf_counter() - started < 30
