"""What a run of `fit` or an ingestion left on disk, found again: the catalog, and the stored features of its products. Computes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prodcat.catalog.store import Catalog
from prodcat.encoders.features import StoredSet, stored_sets
from prodcat.encoders.inputs import MANIFEST, Manifest
from prodcat.errors import FeedError
from prodcat.run_folder import BY_CATEGORIES, TRAINING


@dataclass(frozen=True)
class Stored:
    """A catalog, and what is stored of its products.

    Args:
        features: by name of the set; empty where there are none.
        label_trained: those whose encoder was trained on the labels of this very run: they know the labels of the train split.
    """

    catalog: Catalog
    features: Mapping[str, StoredSet]
    label_trained: frozenset[str]


def find_stored(place: Path, features: Path | None = None) -> Stored:
    """Args: place: a run folder of `fit`, or a catalog folder. features: where the feature sets lie; None: in the run.

    Raises:
        FeedError: neither a run with a catalog nor a catalog, or no folder of features where one was named.
    """
    place = place.absolute()
    folder = next((folder for folder in (place, place / "catalog") if (folder / "catalog.json").is_file()), None)
    if folder is None:
        raise FeedError(
            f"{place}: neither a catalog nor a run that holds one; a run that was fitted on a catalog folder holds none: name that folder, "
            f"and the run's features with --features {place / 'features'}"
        )
    catalog = Catalog.open(folder)
    if features is not None and not features.is_dir():
        raise FeedError(f"{features}: no such folder of features; `fit` writes them to RUN/features")
    sets = features if features is not None else place / "features"
    found = stored_sets(sets, catalog.products(["key", "digest"])) if sets.is_dir() else {}
    return Stored(catalog, found, frozenset(name for name in found if _learned_from_labels(sets.parent / "encoders" / name)))


def _learned_from_labels(encoder: Path) -> bool:
    """A vit that was trained here has learned from categories (training/encoders.py), a text encoder only where its training says so. One that was
    not trained in this run knows none of its labels."""
    work, ready = encoder / TRAINING, encoder / "ready"
    if not work.is_dir() or not (ready / MANIFEST).is_file():
        return False
    return (work / BY_CATEGORIES).is_dir() or Manifest.load(ready).family == "vit"
