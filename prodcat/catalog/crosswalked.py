"""Labels from a crosswalk: what a shop's own category says where a row has no label of its own. Knows no file."""

from collections.abc import Mapping

from prodcat.taxonomy import CategoryPath

# (platform, raw category) -> category: what the shop's own category is in the tree.
Crosswalk = Mapping[tuple[str, str], CategoryPath]
BY_CROSSWALK = "crosswalk"


def labelled_by(
    crosswalk: Crosswalk, platform: str, raw_category: str | None, path: CategoryPath | None, label_source: str | None
) -> tuple[CategoryPath | None, str | None]:
    """A product's label and where it comes from: its own where it has one, else the crosswalk's for its raw category."""
    mapped = crosswalk.get((platform, raw_category)) if path is None and raw_category is not None else None
    return (path, label_source) if mapped is None else (mapped, BY_CROSSWALK)
