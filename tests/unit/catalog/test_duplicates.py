"""Near-duplicates: what joins, what does not, and that the fast search finds what the slow one finds."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prodcat.catalog.demo_photos import PhotoStyle, photograph
from prodcat.catalog.duplicates import DuplicateConfig, image_hash, near_duplicates, small_copy, thumbnail, title_key

STYLE = PhotoStyle((160, 160), (230, 230, 225), 0.2, (1, 1, 1), 2, 12)


def groups(components: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(components == value).tolist()) for value in set(components.tolist())}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("T-Shirt,  BLUE", "t shirt blue"),
        ("Ｆｕｌｌ width", "full width"),
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301"),
        ("Bag® (new!)", "bag new"),
        ("ELBİSE", "elbise"),
    ],
)
def test_titles_that_are_one(a: str, b: str) -> None:
    assert title_key(a) == title_key(b) is not None


def test_titles_that_stay_apart() -> None:
    # Vowel signs are marks, not punctuation: without them two Hindi words would become one.
    assert title_key("किताब") != title_key("कताब")
    assert title_key("size 5+") != title_key("size 5")
    assert title_key("- !") is None


@given(st.text(max_size=40))
def test_a_title_key_is_its_own_key(title: str) -> None:
    key = title_key(title)
    if key is not None:
        assert key == key.strip()
        assert "  " not in key
        assert title_key(key) == key


def test_equal_titles_join_and_null_titles_do_not() -> None:
    none = [None] * 5
    assert groups(near_duplicates(["a", None, "a", None, "b"], none, none, DuplicateConfig())) == {
        frozenset({0, 2}),
        frozenset({1}),
        frozenset({3}),
        frozenset({4}),
    }


def test_a_title_of_too_many_products_joins_none_when_capped() -> None:
    titles, none = ["t shirt"] * 4 + ["dress"] * 2, [None] * 6
    assert len(groups(near_duplicates(titles, none, none, DuplicateConfig()))) == 2
    assert len(groups(near_duplicates(titles, none, none, DuplicateConfig(max_same_title=3)))) == 5


def _seen(image: Image.Image) -> tuple[int | None, bytes]:
    small = small_copy(image)
    return image_hash(small), thumbnail(small)


def _again(image: Image.Image, quality: int, side: int) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((side, side)).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def test_a_reencoded_photo_joins_and_another_photo_does_not() -> None:
    rng = np.random.default_rng(0)
    photos = [photograph(leaf, (40, 90, 160), STYLE, rng) for leaf in ("Mugs", "Boots", "Watches")]
    copies = [_again(photos[0], 60, 120), _again(photos[1], 75, 110)]
    hashes, thumbnails = zip(*(_seen(image) for image in photos + copies), strict=True)
    assert groups(near_duplicates([None] * 5, hashes, thumbnails, DuplicateConfig())) == {frozenset({0, 3}), frozenset({1, 4}), frozenset({2})}


def test_one_shape_in_two_colours_is_two_articles() -> None:
    """The hash is blind to colour: without the thumbnail the two would join."""
    photos = [photograph("Boots", colour, STYLE, np.random.default_rng(5)) for colour in ((150, 40, 40), (40, 110, 60))]
    (hash_a, small_a), (hash_b, small_b) = (_seen(image) for image in photos)
    assert hash_a is not None
    assert hash_b is not None
    assert (hash_a ^ hash_b).bit_count() <= 8
    config = DuplicateConfig(max_distance=8)
    assert len(groups(near_duplicates([None] * 2, [hash_a, hash_b], [small_a, small_b], config))) == 2


def test_a_flat_image_has_no_hash() -> None:
    assert image_hash(small_copy(Image.new("RGB", (64, 64), "grey"))) is None


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 63), max_size=7)), max_size=20),
    st.integers(0, 6),
)
def test_banding_finds_every_pair_that_comparing_all_finds(seeds: list[int], flips: list[tuple[int, set[int]]], distance: int) -> None:
    hashes = list(seeds)
    for base, bits in flips:
        value = seeds[base % len(seeds)]
        for bit in bits:
            value ^= 1 << bit
        hashes.append(value)
    # Thumbnails that differ a little, so that equal hashes are not one by being equal, and no pair is parted by the thumbnail.
    pixels = np.tile(np.arange(256, dtype=np.uint8).repeat(3), (len(hashes), 1))
    pixels[:, 0] = np.arange(len(hashes))
    found = near_duplicates([None] * len(hashes), hashes, [row.tobytes() for row in pixels], DuplicateConfig(max_distance=distance))
    slow = list(range(len(hashes)))
    for i in range(len(hashes)):
        for j in range(i):
            if (hashes[i] ^ hashes[j]).bit_count() <= distance:
                slow = [slow[j] if value == slow[i] else value for value in slow]
    assert groups(found) == groups(np.array(slow))


def test_many_copies_of_one_placeholder_are_joined_at_once() -> None:
    n = 20_000  # 200 million pairs, if each were compared
    found = near_duplicates([None] * n, [7] * n, [bytes(range(256)) * 3] * n, DuplicateConfig())
    assert len(set(found.tolist())) == 1
