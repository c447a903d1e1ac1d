"""What a masked title has lost, and what it has kept."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.masking import CategoryMask, forms, normalise
from prodcat.taxonomy import Taxonomy

MASK = CategoryMask(
    Taxonomy.from_lines(
        [
            "Apparel > Topwear > Tshirts",
            "Apparel > Dress > Dresses",
            "Accessories > Scarves",
            "Accessories > Watch",
            "Footwear > Flip Flops",
            "Footwear > Men's Shoes",
            "Loungewear & Nightwear",
            "Ayakkabı",
            "Кроссовки",
            "运动鞋",
            "कप",
            "حقيبة",
        ]
    )
)


@pytest.mark.parametrize(
    ("title", "left"),
    [
        ("Spykar Black Polo Tshirt", "Spykar Black Polo"),
        ("Spykar Black Polo T-Shirt", "Spykar Black Polo"),
        ("Spykar T shirts, black", "Spykar, black"),
        ("Spykar T\u2011SHIRT'S black", "Spykar black"),  # a non-breaking hyphen, upper case, possessive
        ("Spykar tshirt2pack", "Spykar 2pack"),
        ("Spykar t\u00adshirt", "Spykar"),  # a soft hyphen
        ("blue dress", "blue"),
        ("blue DRESSES", "blue"),
        ("blue dréss", "blue"),
        ("blue dre\u0301ss", "blue"),  # the accent as a mark of its own
        ("ＤＲＥＳＳ blue", "blue"),  # full width
        ("silk scarf", "silk"),
        ("silk scarfs", "silk"),
        ("Casio watches", "Casio"),
        ("Puma flip-flop", "Puma"),
        ("Puma flipflops", "Puma"),
        ("Puma man shoe", "Puma"),
        ("Puma mens' shoe's", "Puma"),
        ("accessory for nightwear", "for"),
        ("Nike AYAKKABI", "Nike"),  # Turkish capitals have no dotless i
        ("Nike ayakkabı", "Nike"),
        ("КРОССОВКИ мужские", "мужские"),
        ("Nike 女士运动鞋 新款", "Nike 女士 新款"),
        ("लाल कप", "लाल"),
        ("حَقِيبَة جلد", "جلد"),  # vowel points
        ("Blue - Dress - XL", "Blue - XL"),
        ("Blue (dress) [Dresses]", "Blue"),
    ],
)
def test_every_spelling_of_a_category_goes(title, left):
    assert MASK(title) == left


@pytest.mark.parametrize(
    "title",
    [
        "Shirt dressing, undershirt",  # other words that hold the letters
        "Model T Ford",  # the T of T-Shirt is no word of its own
        "Watchful eyes",
        "कपड़ा",  # a longer word of a script in which vowels are marks
        "Nike  Air -- 90",  # nothing to take out: not a space is changed
    ],
)
def test_other_words_stay_as_they_stand(title):
    assert MASK(title) == title


@pytest.mark.parametrize("title", [None, "", "   ", "Dress", "T-Shirts (tshirt) -", "!?", "运动鞋"])
def test_nothing_left_is_no_title(title):
    assert MASK(title) is None


def test_a_word_that_parted_a_name_does_not_hide_it():
    assert MASK("Puma t dress shirt blue") == "Puma blue"


def test_single_letters_that_are_names_are_masked():
    assert CategoryMask(Taxonomy([("Size S",)]))("shirt s") == "shirt"


def test_one_in_a_compound_name_is_masked_also_joined_to_its_neighbours_only():
    mask = CategoryMask(Taxonomy([("Track Pants Set",)]))
    assert mask("trackpant blue track-pants-set, pantsset") == "blue"
    assert mask("trackset blue") == "trackset blue"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("scarves", {"scarf", "scarves", "scarfs"}),
        ("knife", {"knives", "knife"}),
        ("accessories", {"accessory", "accessories"}),
        ("hoodies", {"hoodie", "hoodies"}),
        ("dress", {"dress", "dresses"}),
        ("shoes", {"shoe", "shoes"}),
        ("woman", {"woman", "women", "womens"}),
        ("feet", {"foot", "feet"}),
        ("2", {"2"}),
    ],
)
def test_singular_and_plural_are_forms_of_each_other(word, expected):
    assert expected <= forms(word)


def test_a_mask_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(MASK))("Puma flip flops") == "Puma"  # noqa: S301 - as Ray does it


# Not only letters: gaps, marks, brackets, unspaced scripts.
words = st.sampled_from(["t", "shirt", "T-Shirts", "dress", "flip", "flops", "运动鞋", "blue", "2", "-", "(", ")", "'s", "Men", "कप", "\u0301", "ı"])
titles = st.lists(words, max_size=8).flatmap(lambda parts: st.sampled_from(["", " ", "-"]).map(lambda gap: gap.join(parts)))


@given(titles)
def test_masking_twice_changes_nothing_and_leaves_no_category(title):
    left = MASK(title)
    assert MASK(left) == left
    if left is not None:
        assert not {"dress", "shirts", "运动鞋"} & set(normalise(left).replace("-", " ").split())


# Of every kind of character; hypothesis takes long to sort all of Unicode.
characters = st.sampled_from("aTsz é\u0301İıß2½-‑–'’.,()[]运動の가คपि\u200bΣш😀\ufe0f\n_")


@given(st.text(characters, max_size=30))
def test_any_text_is_a_title(text):
    left = MASK(text)
    assert left is None or left.strip()
