"""What the two forms of a Google Merchant feed share: which attribute is which field, and categories given by number. Reads no file."""

from collections.abc import Mapping
from typing import Any

# `product_type` is the shop's own category, `google_product_category` a path of Google's published tree.
GOOGLE_DEFAULTS: Mapping[str, Any] = {
    "product_id": "id",
    "title": "title",
    "description": ["description", "summary", "content"],
    "brand": "brand",
    "language": "content_language",
    "raw_category": ["product_type", "google_product_category", "google_product_category_number"],
    "label": {"column": "google_product_category", "separator": ">"},
    "image": "image_link",
}


def google_values(values: dict[str, Any]) -> dict[str, Any]:
    """An item's attributes, with a category that is a number ("1604") under a name of its own: it is no path of names, and no tree has it."""
    category = values.get("google_product_category")
    if isinstance(category, str) and category.strip().isdigit():
        values = {**values, "google_product_category": None, "google_product_category_number": category.strip()}
    return values
