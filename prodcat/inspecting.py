"""`feed-quality`: from a catalog to what is wrong with its feeds, platform by platform. Knows the order and no figure.

OUT/feed_quality.json   every figure
OUT/feed_quality.md     what stands out, and a table, to read
OUT/feed_quality.csv    one row a platform
OUT/examples.csv        the worst products of every problem, by key
"""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc

from prodcat.catalog.store import Catalog
from prodcat.errors import FeedError
from prodcat.evaluation.feeds.columns import COLUMNS, EXAMPLES, FeedQualityConfig
from prodcat.evaluation.feeds.compose import FeedQuality, feed_quality
from prodcat.evaluation.feeds.tables import csv_rows, markdown
from prodcat.prediction.bundle import Bundle
from prodcat.spreadsheet import harmless, write_csv

Progress = Callable[[str], None]


def inspect_feeds(
    catalog_folder: Path, out: Path, config: FeedQualityConfig, *, bundle: Path | None = None, on_progress: Progress = print
) -> FeedQuality:
    """Write OUT, made if need be; an earlier report there is replaced.

    Args:
        bundle: whose tree says which categories are known; None: to each platform, what the others have.

    Raises:
        FeedError: no catalog.
        BundleError: no bundle.
    """
    if out.is_file():
        raise FeedError(f"{out}: is a file; name a folder for the report")
    catalog = Catalog.open(catalog_folder)
    tree = Bundle.open(bundle.absolute()).tree if bundle is not None else None
    products = catalog.products(COLUMNS)
    on_progress(f"{products.num_rows:,} products of {pc.count_distinct(products['platform']).as_py():,} platforms")
    splits = catalog.splits()
    places = pc.index_in(products["key"], value_set=splits["key"].combine_chunks())
    products = products.append_column("has_image", catalog.has_image()).append_column("group", splits["group"].take(places))
    quality = feed_quality(products, catalog.rejected(), config, tree)
    quality.metrics.update(catalog={"path": str(catalog.path), "digest": catalog.digest}, config=config.model_dump(mode="json"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "feed_quality.json").write_text(json.dumps(quality.metrics, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / "feed_quality.md").write_text(markdown(quality), encoding="utf-8")
    rows = [{name: harmless(value) if isinstance(value, str) else value for name, value in row.items()} for row in csv_rows(quality.metrics)]
    write_csv(out / "feed_quality.csv", rows, ("platform",))
    shown = [{name: harmless(value) if isinstance(value, str) else value for name, value in row.items()} for row in quality.examples]
    write_csv(out / "examples.csv", shown, EXAMPLES)
    return quality
