"""Probes: the same products with part of the input hidden, to see what each part is worth. Knows no model and no metric.

To add a probe (for example "masked-title", the title without the category's own words), add one entry to PROBES.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from prodcat.contracts import Product
from prodcat.errors import ContractError

FULL = "title+image"


@dataclass(frozen=True, slots=True)
class Probe:
    """What is shown to the classifier.

    Args:
        needs_title: products without a title have no place in the comparison.
        needs_image: likewise without an image.
        show: what is left of a product.
    """

    needs_title: bool
    needs_image: bool
    show: Callable[[Product], Product]


PROBES: dict[str, Probe] = {
    FULL: Probe(True, True, lambda product: product),
    "title": Probe(True, False, lambda product: replace(product, image=None)),
    # Description and brand are text about the product as the title is: image alone means no text at all.
    "image": Probe(False, True, lambda product: replace(product, title=None, description=None, brand=None)),
}


def probe_named(name: str) -> Probe:
    """Raises ContractError for an unknown name."""
    if name not in PROBES:
        raise ContractError(f"probe {name!r} is not known; known are {sorted(PROBES)}")
    return PROBES[name]


def hide(product: Product, probe: str) -> Product | None:
    """The product as the probe shows it; None if nothing is left to read (no text and no image). Raises ContractError for an unknown probe."""
    shown = probe_named(probe).show(product)
    texts = (shown.title, shown.description, shown.brand)
    return shown if shown.image or any(text and text.strip() for text in texts) else None
