"""`explain`: one product, a bundle, and the stored features of a run to find its neighbours in. Knows the order and no arithmetic."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prodcat.contracts import Product
from prodcat.encoders.features import read
from prodcat.errors import FeedError
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.explain import Explanation, Reference, explain
from prodcat.stored import find_stored

Progress = Callable[[str], None]


def explain_product(
    bundle: Bundle, product: Product, *, catalog: Path | None = None, features: Path | None = None, neighbours: int = 5, on_progress: Progress = print
) -> Explanation:
    """Args:
        catalog: a run folder of `fit`, or a catalog folder; None for no neighbours.
        features: where the catalog's feature sets lie; None: in the run.

    Raises:
        FeedError: the product has nothing to read, or no catalog lies there.
    """
    reference = _reference(bundle, catalog, features, on_progress) if catalog is not None else None
    cascade = bundle.cascade()
    stage_two = bundle.multimodal_stage()
    found = explain(cascade, stage_two, stage_two.inputs, product, reference=reference, neighbours=neighbours)
    if not isinstance(found, Explanation):
        raise FeedError(f"nothing to explain: {found.reason}: {found.detail}")
    return found


def image_bytes(file: Path) -> bytes:
    """Raises FeedError for a file that cannot be read; what is in it, the stage judges."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise FeedError(f"{file}: cannot be read: {error.strerror}; name an image file") from error


def _reference(bundle: Bundle, place: Path, features: Path | None, on_progress: Progress) -> Reference | None:
    """Labelled training products with vectors of the very encoders that are in the bundle."""
    stored = find_stored(place, features)
    fitting = {
        name: found
        for name, found in stored.features.items()
        if name in bundle.manifest.encoders and bundle.manifest.encoders[name].startswith(found.fingerprint)
    }
    if not fitting:
        on_progress(f"{place}: holds no features of this bundle's encoders, so no neighbours are shown; name them with --features RUN/features")
        return None
    products = stored.catalog.products(["key", "title", "path"])
    splits = stored.catalog.splits()
    train = splits["key"].filter(pc.equal(splits["split"], "train"))
    products = products.filter(pc.and_(pc.is_valid(products["path"]), pc.is_in(products["key"], value_set=pa.array(train.to_pylist(), pa.string()))))
    keys = products["key"].to_pylist()
    return Reference(
        keys,
        products["title"].to_pylist(),
        [tuple(path) for path in products["path"].to_pylist()],
        {name: read(found, keys) for name, found in fitting.items()},
    )
