"""Arguments that several verbs take: whom to tell, the profile, a mapping, a tree."""

from collections.abc import Callable

from prodcat.catalog.mapping import FeedMapping, read_mapping
from prodcat.location import Location
from prodcat.taxonomy import Taxonomy
from prodcat.tree_files import read_tree

Say = Callable[[str], None]


def default_profile() -> str:
    """ "hub" where a model hub is reached, else "offline"."""
    from prodcat.encoders.hub import reachable

    return "hub" if reachable() else "offline"


def mapping_of(path: str | None) -> FeedMapping | None:
    return read_mapping(Location(path)) if path else None


def taxonomy_of(path: str | None) -> Taxonomy | None:
    return read_tree(path) if path is not None else None
