"""One spelling for names that differ only in what does not count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.crosswalk.names import parts, readings, singular, spelling


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("T-Shirts", "tshirt"),
        ("t shirts", "T-SHIRT"),
        ("Necklaces & Chains", "Necklace and Chains"),
        ("Women's Watches", "womens watch"),
        ("Kids' Scarves", "Kids Scarf"),
        ("Ties", "Tie"),
        ("Dresses", "Dress"),
        ("Accessories", "accessory"),
        ("Çizme", "cizme"),
        ("Body  Wash", "Bodywash"),
    ],
)
def test_the_same_name(one: str, other: str) -> None:
    assert spelling(one) == spelling(other) != ""


@pytest.mark.parametrize(("one", "other"), [("Kurtas", "Kurtis"), ("Shirts", "Skirts"), ("Glasses", "Glass Jars"), ("Men", "Women"), ("Gas", "Ga")])
def test_other_names(one: str, other: str) -> None:
    assert spelling(one) != spelling(other)


def test_words_without_an_english_plural_stay() -> None:
    assert [singular(word) for word in ("dress", "bus", "bra", "gas", "jeans", "müs", "túis")] == [
        "dress",
        "bus",
        "bra",
        "gas",
        "jean",
        "müs",
        "túis",
    ]


def test_what_a_name_lists() -> None:
    assert parts("Tops, T-Shirts & Shirts") == ("Tops", "T-Shirts", "Shirts")
    assert parts("Leggings/Tights") == ("Leggings", "Tights")
    assert parts("Brandy and Candy") == ("Brandy", "Candy")
    assert parts("Schuhe und Stiefel") == ("Schuhe", "Stiefel")
    assert parts("Balo và Vali") == ("Balo", "Vali")
    assert parts("Sandals") == ("Sandals",)
    assert parts("&") == ()


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ("Women > Shoes > Heels", [("Women", "Shoes", "Heels")]),
        ("Women>Shoes/Boots", [("Women", "Shoes/Boots")]),
        ("Home » Women » Heels", [("Women", "Heels")]),
        ("/men/clothing/shirts/", [("men", "clothing", "shirts")]),
        ("Leggings/Tights", [("Leggings/Tights",), ("Leggings", "Tights")]),
        ("Bags|Totes", [("Bags", "Totes")]),
        ("Root > Root", [("Root",)]),
        (" > ", [()]),
        ("!", [()]),
    ],
)
def test_readings(raw: str, names: list[tuple[str, ...]]) -> None:
    assert readings(raw) == names


@given(st.text())
def test_any_text_has_a_spelling_and_the_spelling_of_it_is_stable(text: str) -> None:
    assert spelling(text.upper().lower()) == spelling(text.lower())
    assert all(isinstance(name, str) and spelling(name) for names in readings(text) for name in names)
