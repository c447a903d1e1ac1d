"""`promote` and `rollback`: which bundle the running applications answer with. A bundle that does not answer here is never handed to them."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from prodcat.contracts import Product
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer
from prodcat.serving.store import ModelStore, Promoted, open_entry

Say = Callable[[str], None]


def promote(folder: Path, store: Path, *, canary: str | None, say: Say) -> dict[str, Any]:
    """Make a bundle the current one of a store, or with a share ("5%") its canary, after it has answered a warm-up in this process.

    Raises:
        BundleError: it is damaged, or does not answer.
        ConfigError: the share is none, or there is nothing to compare a canary with.
    """
    share = None if canary is None else _share(canary)
    bundle, models = Bundle.open(folder), ModelStore(store)
    before = models.read()
    say(f"bundle {bundle.version}: every file is as its manifest says; loaded and answering in {warm_up(bundle):.1f} s")
    if before is not None:
        # Nothing to refuse: a tree grows. But whoever stores the answers' ids wants to know.
        current = open_entry(before.current) if Path(before.current.folder).is_dir() else None
        if current is not None and current.tree.hash != bundle.tree.hash:
            gone = {category.id for category in current.tree.categories} - {category.id for category in bundle.tree.categories}
            say(f"its tree is not that of the current bundle {before.current.version}: {len(gone)} categories are gone")
    return _said(models.promote(bundle, share), models)


def rollback(store: Path) -> dict[str, Any]:
    """Take the canary away, or without one go back to the previous bundle. Raises as ModelStore.rollback."""
    models = ModelStore(store)
    return _said(models.rollback(), models)


def warm_up(bundle: Bundle) -> float:
    """Load both stages and have each kind of product answered -> seconds.

    Raises:
        BundleError: one is not answered, or with a path that is not in the bundle's tree.
    """
    start = time.monotonic()
    stream = io.BytesIO()
    Image.new("RGB", (224, 224), "white").save(stream, "PNG")
    image = stream.getvalue()
    products = [
        Product("prodcat", "title", title="warm-up"),
        Product("prodcat", "description", description="warm-up"),
        Product("prodcat", "title-and-image", title="warm-up", image=image),
    ]
    try:
        results = bundle.cascade().classify(products)
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(f"{bundle.folder}: does not answer a warm-up ({type(error).__name__}: {error}); it is not promoted, rebuild it") from error
    for product, result in zip(products, results, strict=True):
        if not isinstance(result, Answer) or bundle.tree.index_of_id(result.category_id) != bundle.tree.index(result.path):
            raise BundleError(
                f"{bundle.folder}: its answer to a product with {product.product_id.replace('-', ' ')} is none: {result}; it is not promoted"
            )
    return time.monotonic() - start


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise ConfigError(f"--canary {text}: give a share of the products above 0 and below 100 %, such as 5%")
    return share


def _said(promoted: Promoted, models: ModelStore) -> dict[str, Any]:
    return {
        "current": promoted.current.version,
        "canary": None if promoted.canary is None else promoted.canary.version,
        "canary_share": promoted.canary_share,
        "previous": None if promoted.previous is None else promoted.previous.version,
        "store": str(models.file),
    }
