"""What a raw category's name says of its place in the tree, and what it leaves open."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.config import validate
from prodcat.crosswalk.rules import NameRules, RuleConfig
from prodcat.errors import ConfigError
from prodcat.taxonomy import Taxonomy, format_path, parse_path

PATHS = [
    "Clothing > Tops > Shirts",
    "Clothing > Tops > T-Shirts",
    "Clothing > Tops > Night Suits",
    "Clothing > Suits",
    "Clothing > Dress > Dresses",
    "Clothing > Bottoms > Leggings",
    "Clothing > Bottoms > Tights",
    "Clothing > Beachwear > Swimwear",
    "Extras > Bags > Handbags",
    "Extras > Bags > Laptop Bag",
    "Extras > Extras > Key Chains",
    "Extras > Jewellery > Necklaces and Chains",
    "Extras > Jewellery > Ring",
    "Shoes > Sandals",
    "Shoes > Boots",
    "Baby > Shoes",
    "Baby > Boots",
]
TREE = Taxonomy([parse_path(path) for path in PATHS])


def found(raw: str, **config: object) -> tuple[str | None, str]:
    match = NameRules(TREE, RuleConfig.model_validate(config))(raw)
    return (format_path(TREE.categories[match.node].path) if match.node is not None else None, match.how)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("Men > Shirts", "Clothing > Tops > Shirts"),
        ("clothing > tops > tshirt", "Clothing > Tops > T-Shirts"),
        ("Rings", "Extras > Jewellery > Ring"),
        ("Jewellery > Chains", "Extras > Jewellery > Necklaces and Chains"),
        ("Jewellery > Chains & Necklaces", "Extras > Jewellery > Necklaces and Chains"),
        ("Leggings/Tights", "Clothing > Bottoms"),
        ("Shirts, T-Shirts & Dresses", "Clothing"),
        # A leaf below a category of its own name is meant; of inner categories the upper one is.
        ("Women > Dresses", "Clothing > Dress > Dresses"),
        ("Women > Extras", "Extras"),
        # Several categories of a name: the names above decide.
        ("Kids > Baby > Boots", "Baby > Boots"),
        ("Women > Shoes > Boots", "Shoes > Boots"),
        ("Kids > Baby's > Boots", "Baby > Boots"),
    ],
)
def test_equal_names(raw: str, path: str) -> None:
    assert found(raw) == (path, "exact")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("Men > Shirts > Acme Shirts", "Clothing > Tops > Shirts"),
        ("Men > Casual & Party Wear Shirts > Marc & Co Casual & Party Wear Shirts", "Clothing > Tops"),
        ("Shirts > Casual & Party Wear Shirts", "Clothing > Tops > Shirts"),
        ("Men > Jewellery > Shirts of Jewellery", "Extras > Jewellery"),
        ("Acme Night Suits", "Clothing > Tops > Night Suits"),
        ("Brown Leather Laptop Bags", "Extras > Bags > Laptop Bag"),
        ("Brown Leather Bags", "Extras > Bags"),
        ("Bags > Brown Leather Laptop Bags", "Extras > Bags > Laptop Bag"),
        ("Women > Jewelry", "Extras > Jewellery"),
        ("Handbag's", "Extras > Bags > Handbags"),
        ("Women > Jewellery > Brooches", "Extras > Jewellery"),
        ("Jewellery > Bags > Novelties", "Extras"),
        ("Women's Clothes", "Clothing"),
        # One of the two is not known: what is above the other.
        ("Pendants & Rings", "Extras > Jewellery"),
        # No top: a name above says something else.
        ("Swimwear > Bikini Shirts", "Clothing"),
    ],
)
def test_names_that_are_like(raw: str, path: str) -> None:
    match = found(raw)
    assert match[0] == path
    assert match[1] == ("exact" if raw == "Handbag's" else "fuzzy")


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "  ",
        "!",
        "Women",
        "Skirts",
        "Men > Polo > Gilets",
        "Boots",
        "Gloves & Hats & Rings",
        "Men > Dungarees & Shirts > Acme Gilets",
        "Baby > Night Lights",
    ],
)
def test_left_open(raw: str) -> None:
    assert found(raw)[0] == ("Baby" if raw.startswith("Baby") else None)


def test_an_ambiguous_name_is_left_open_with_its_candidates() -> None:
    match = NameRules(TREE, RuleConfig())("Boots")
    assert match.node is None
    assert sorted(str(TREE.categories[node]) for node in match.candidates) == ["Baby > Boots", "Shoes > Boots"]


def test_labelled_products_say_which_of_several_categories_is_meant() -> None:
    boots = {("Shoes", "Boots"): 99, ("Baby", "Boots"): 1}
    match = NameRules(TREE, RuleConfig(), boots)("Boots")
    assert match.node == TREE.index(("Shoes", "Boots"))
    fewer = {("Shoes", "Boots"): 90, ("Baby", "Boots"): 10}
    assert NameRules(TREE, RuleConfig(), fewer)("Boots").node is None
    # What a name above says counts more, unless a category is a slip.
    assert NameRules(TREE, RuleConfig(), fewer)("Baby > Boots").node == TREE.index(("Baby", "Boots"))
    slip = {("Shoes", "Boots"): 1000, ("Baby", "Boots"): 1}
    assert NameRules(TREE, RuleConfig(), slip)("Baby > Accessories > Boots").node == TREE.index(("Shoes", "Boots"))


def test_thresholds_decide() -> None:
    assert found("Sandels")[0] is None
    assert found("Sandels", similarity=0.8)[0] == "Shoes > Sandals"
    assert found("Jewellery > Brooches", upper_names=0)[0] is None
    assert found("Bags de cuir", head="first") == ("Extras > Bags", "fuzzy")
    assert found("Bags de cuir")[0] is None
    assert found("Vali", same=[["vali", "handbag"]]) == ("Extras > Bags > Handbags", "fuzzy")
    with pytest.raises(ConfigError, match=r"similarty.*did you mean 'similarity'"):
        validate(RuleConfig, {"similarty": 1}, "test")


def test_two_that_are_nearly_as_like_are_not_guessed_between() -> None:
    tree = Taxonomy([("Aa", "Kaftans"), ("Bb", "Kaptans")])
    rules = NameRules(tree, RuleConfig(similarity=0.7))
    assert rules("Katans").node is None
    assert len(rules("Katans").candidates) == 2


def test_scores_fall_with_what_is_passed_over() -> None:
    rules = NameRules(TREE, RuleConfig())
    scores = [rules(raw).score for raw in ("Rings", "Acme Rings", "Big Acme Rings", "Rings > Acme > Boxes")]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert len(set(scores)) == 4


@pytest.mark.shared_data
@pytest.mark.parametrize(("shop", "decided", "right"), [("hm", 0.8, 0.7), ("flipkart", 0.9, 0.9), ("tiki", 0.0, 1.0)])
def test_a_real_shop_s_names_against_the_table_a_person_made(shared: Path, shop: str, decided: float, right: float) -> None:
    """By raw category; right is the same path or one above it. In tiki's language no name is like any of the tree, and nothing may be guessed."""
    with (shared / "data" / "platforms" / "category_mapping.csv").open(encoding="utf-8", newline="") as stream:
        rows = [(row, tuple(row[f"level{level}"] for level in (1, 2, 3) if row[f"level{level}"])) for row in csv.DictReader(stream)]
    labelled: Counter[tuple[str, ...]] = Counter()
    for row, path in rows:
        if row["platform"] != shop and path:
            labelled[path] += int(row["rows"])
    rules = NameRules(Taxonomy(labelled), RuleConfig(), labelled)
    tree = Taxonomy(labelled)
    mine = [(rules(row["raw_category"]), path) for row, path in rows if row["platform"] == shop]
    answered = [(tree.categories[match.node].path, path) for match, path in mine if match.node is not None]
    judged = [(found, path) for found, path in answered if path]
    assert len(answered) >= decided * len(mine)
    assert sum(path[: len(found)] == found for found, path in judged) >= right * len(judged)


NAMES = st.text("abcdefg ABC&-'", min_size=1, max_size=8).filter(lambda name: any(letter.isalpha() for letter in name))


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map(lambda names: tuple(name.strip() for name in names)), min_size=1, max_size=12))
def test_a_whole_path_of_the_tree_is_never_mapped_elsewhere(paths: list[tuple[str, ...]]) -> None:
    """To itself, to what it has in common with others of the same spelling, or left open."""
    tree = Taxonomy(paths)
    rules = NameRules(tree, RuleConfig())
    for category in tree.categories:
        match = rules(format_path(category.path))
        if match.node is not None and len(category.path) > 1:
            path = tree.categories[match.node].path
            alike = {other.path for other in tree.categories if _spelled(other.path) == _spelled(category.path)}
            assert path in alike or len(alike) > 1


def _spelled(path: tuple[str, ...]) -> tuple[str, ...]:
    from prodcat.crosswalk.names import spelling

    return tuple(spelling(name) for name in path)


@given(st.text(max_size=40))
def test_no_raw_category_breaks_a_rule(raw: str) -> None:
    match = NameRules(TREE, RuleConfig())(raw)
    assert 0 <= match.score <= 1
    assert match.node is None or 0 <= match.node < len(TREE)
