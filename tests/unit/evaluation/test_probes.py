"""What each probe hides."""

import pytest

from prodcat.contracts import Product
from prodcat.errors import ContractError
from prodcat.evaluation.probes import PROBES, hide

WHOLE = Product("shop", "1", title="Blue shirt", description="Cotton", brand="Acme", path=("Apparel",), image=b"jpeg")


def test_full_shows_the_product_as_it_is():
    assert hide(WHOLE, "title+image") == WHOLE


def test_title_hides_the_image_only():
    shown = hide(WHOLE, "title")
    assert (shown.title, shown.description, shown.brand, shown.image) == ("Blue shirt", "Cotton", "Acme", None)


def test_image_hides_all_text():
    shown = hide(WHOLE, "image")
    assert (shown.title, shown.description, shown.brand, shown.image) == (None, None, None, b"jpeg")


@pytest.mark.parametrize("probe", PROBES)
def test_identity_and_label_stay(probe):
    shown = hide(WHOLE, probe)
    assert (shown.key, shown.path) == (WHOLE.key, WHOLE.path)


@pytest.mark.parametrize(
    ("probe", "product"),
    [
        ("title", Product("shop", "1", image=b"jpeg")),
        ("title", Product("shop", "1", title="  ", image=b"jpeg")),
        ("image", Product("shop", "1", title="Blue shirt", brand="Acme")),
        ("title+image", Product("shop", "1")),
    ],
)
def test_nothing_left_to_read(probe, product):
    assert hide(product, probe) is None


def test_description_alone_is_still_text():
    assert hide(Product("shop", "1", description="Cotton shirt", image=b"jpeg"), "title").description == "Cotton shirt"


def test_unknown_probe_is_named():
    with pytest.raises(ContractError, match=r"'titel' is not known; known are \['image', 'title', 'title\+image'\]"):
        hide(WHOLE, "titel")
