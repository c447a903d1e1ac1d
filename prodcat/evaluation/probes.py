"""Probes: the same products with part of the input hidden, to see what each part is worth. Knows no model and no metric.

To add a probe, add one entry to PROBES, and what a reader calls it to NAMES.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from prodcat.contracts import Product
from prodcat.errors import ContractError
from prodcat.masking import CategoryMask

FULL, MASKED_TITLE = "title+image", "masked-title"
# Columns of answers.TRUTH.
Need = Literal["has_title", "has_image", "has_masked_title"]


@dataclass(frozen=True, slots=True)
class Probe:
    """What is shown to the classifier.

    Args:
        needs: products that lack one of these have no place in the comparison.
        show: what is left of a product; the mask takes out the words of the categories.
    """

    needs: tuple[Need, ...]
    show: Callable[[Product, CategoryMask], Product]


def _masked(product: Product, mask: CategoryMask) -> Product:
    return replace(product, **mask.fields(product.title, product.description, product.brand))


PROBES: dict[str, Probe] = {
    FULL: Probe(("has_title", "has_image"), lambda product, mask: product),
    "title": Probe(("has_title",), lambda product, mask: replace(product, image=None)),
    # Description and brand are text about the product as the title is: image alone means no text at all.
    "image": Probe(("has_image",), lambda product, mask: replace(product, title=None, description=None, brand=None)),
    # A title that was nothing but its category is gone, so there is nothing to read.
    MASKED_TITLE: Probe(("has_masked_title",), lambda product, mask: replace(_masked(product, mask), image=None)),
    # Here it is answered from its image: to leave out the titles that say least would flatter.
    "masked-title+image": Probe(("has_title", "has_image"), _masked),
}
# Beside the full input, unless others are asked for.
HIDING = tuple(name for name in PROBES if name != FULL)
NAMES = {
    FULL: "Title and image",
    "title": "Title alone",
    "image": "Image alone",
    MASKED_TITLE: "Masked title alone",
    "masked-title+image": "Masked title and image",
}


def probe_named(name: str) -> Probe:
    """Raises ContractError for an unknown name."""
    if name not in PROBES:
        raise ContractError(f"probe {name!r} is not known; known are {sorted(PROBES)}")
    return PROBES[name]


def hide(product: Product, probe: str, mask: CategoryMask) -> Product | None:
    """The product as the probe shows it; None if nothing is left to read (no text and no image).

    Args:
        mask: of the tree that the classifier answers in.

    Raises:
        ContractError: an unknown probe.
    """
    shown = probe_named(probe).show(product, mask)
    texts = (shown.title, shown.description, shown.brand)
    return shown if shown.image or any(text and text.strip() for text in texts) else None
