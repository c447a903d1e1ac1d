"""What each probe hides."""

import pytest

from prodcat.contracts import Product
from prodcat.errors import ContractError
from prodcat.evaluation.probes import FULL, HIDING, NAMES, PROBES, hide
from prodcat.masking import CategoryMask
from prodcat.taxonomy import Taxonomy

WHOLE = Product("shop", "1", title="Blue shirt", description="Cotton shirts", brand="Acme Apparel", path=("Apparel",), image=b"jpeg")
MASK = CategoryMask(Taxonomy([("Apparel", "Shirts")]))


def test_full_shows_the_product_as_it_is():
    assert hide(WHOLE, "title+image", MASK) == WHOLE


def test_title_hides_the_image_only():
    shown = hide(WHOLE, "title", MASK)
    assert (shown.title, shown.description, shown.brand, shown.image) == ("Blue shirt", "Cotton shirts", "Acme Apparel", None)


def test_image_hides_all_text():
    shown = hide(WHOLE, "image", MASK)
    assert (shown.title, shown.description, shown.brand, shown.image) == (None, None, None, b"jpeg")


def test_a_masked_title_masks_all_text_and_hides_the_image():
    shown = hide(WHOLE, "masked-title", MASK)
    assert (shown.title, shown.description, shown.brand, shown.image) == ("Blue", "Cotton", "Acme", None)


def test_a_masked_title_with_image_keeps_the_image():
    shown = hide(WHOLE, "masked-title+image", MASK)
    assert (shown.title, shown.description, shown.brand, shown.image) == ("Blue", "Cotton", "Acme", b"jpeg")


def test_a_title_of_category_words_alone_counts_as_absent():
    bare = Product("shop", "1", title="Shirt", image=b"jpeg")
    assert hide(bare, "masked-title", MASK) is None
    shown = hide(bare, "masked-title+image", MASK)
    assert (shown.title, shown.image) == (None, b"jpeg")


@pytest.mark.parametrize("probe", PROBES)
def test_identity_and_label_stay(probe):
    shown = hide(WHOLE, probe, MASK)
    assert (shown.key, shown.path) == (WHOLE.key, WHOLE.path)


@pytest.mark.parametrize(
    ("probe", "product"),
    [
        ("title", Product("shop", "1", image=b"jpeg")),
        ("title", Product("shop", "1", title="  ", image=b"jpeg")),
        ("image", Product("shop", "1", title="Blue shirt", brand="Acme")),
        ("title+image", Product("shop", "1")),
        ("masked-title", Product("shop", "1", title="Shirts", brand="Apparel", image=b"jpeg")),
    ],
)
def test_nothing_left_to_read(probe, product):
    assert hide(product, probe, MASK) is None


def test_description_alone_is_still_text():
    assert hide(Product("shop", "1", description="Cotton", image=b"jpeg"), "title", MASK).description == "Cotton"


def test_every_probe_has_a_name_and_all_but_the_full_one_hide():
    assert set(NAMES) == set(PROBES)
    assert set(HIDING) == {"title", "image", "masked-title", "masked-title+image"} == set(PROBES) - {FULL}


def test_unknown_probe_is_named():
    with pytest.raises(ContractError, match=r"'titel' is not known; known are \['image', 'masked-title', 'masked-title\+image', 'title'"):
        hide(WHOLE, "titel", MASK)
