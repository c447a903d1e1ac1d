"""All figures of the feeds of a catalog, and the rows that were rejected. Knows tables, no file and no model."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from prodcat.evaluation.feeds.columns import EXAMPLES, FeedColumns, FeedQualityConfig
from prodcat.evaluation.feeds.content import copies, near_duplicates, presence, titles
from prodcat.evaluation.feeds.labels import contradictions, labels, raw_categories, unseen
from prodcat.taxonomy import Taxonomy


@dataclass(frozen=True)
class FeedQuality:
    """What was found.

    Args:
        metrics: only what JSON can hold: {products, reference, rejected, sources, platforms: {name: figures}}.
        examples: rows of EXAMPLES, problem by problem, the worst first.
    """

    metrics: dict[str, Any]
    examples: list[dict[str, Any]] = field(default_factory=list)


def feed_quality(products: pa.Table, rejected: pa.Table, config: FeedQualityConfig, tree: Taxonomy | None = None) -> FeedQuality:
    """Figures and examples of every platform.

    Args:
        products: COLUMNS, has_image, group; one row a product.
        rejected: REJECTED of the same catalog.
        tree: what is known already; None: for each platform, the labels and raw categories of all others.
    """
    feeds = FeedColumns(products, config)
    platforms: dict[str, dict[str, Any]] = {name: {"products": int(count)} for name, count in zip(feeds.names, feeds.counts, strict=True)}
    for part in (presence, titles, copies, near_duplicates, labels, contradictions, raw_categories):
        for name, figures in zip(feeds.names, part(feeds), strict=True):
            platforms[name].update(figures)
    for name, figures in zip(feeds.names, unseen(feeds, tree), strict=True):
        platforms[name].update(figures)
    sources = _sources(feeds, rejected)
    for name in feeds.names:
        own = [entry for entry in sources.values() if list(entry["platforms"]) == [name]]
        platforms[name]["rejected"] = dict(sum((Counter(entry["rejected"]) for entry in own), Counter[str]()).most_common())
    order = sorted(feeds.names, key=lambda name: (-platforms[name]["products"], name))
    metrics = {
        "products": products.num_rows,
        "reference": "the bundle's tree" if tree is not None else "the other platforms",
        "template_products": config.template_products,
        "rejected": dict(Counter(rejected["reason"].to_pylist()).most_common()),
        "sources": sources,
        "platforms": {name: platforms[name] for name in order},
    }
    return FeedQuality(metrics, [*feeds.examples, *_rejected_examples(rejected, sources, config)])


def _sources(feeds: FeedColumns, rejected: pa.Table) -> dict[str, dict[str, Any]]:
    """Feed file -> {products, platforms: {name: products}, rejected: {reason: rows}}. A rejected row has no platform; its file may have one alone."""
    found: dict[str, dict[str, Any]] = {}
    pairs = Counter(zip(feeds.table["source"].to_pylist(), feeds.platform.tolist(), strict=True))
    for (source, platform), products in sorted(pairs.items()):
        entry = found.setdefault(source, {"products": 0, "platforms": {}, "rejected": {}})
        entry["products"] += products
        entry["platforms"][feeds.names[platform]] = products
    reasons = Counter(zip(rejected["source"].to_pylist(), rejected["reason"].to_pylist(), strict=True))
    for (source, reason), rows in sorted(reasons.items()):
        found.setdefault(source, {"products": 0, "platforms": {}, "rejected": {}})["rejected"][reason] = rows
    return found


def _rejected_examples(rejected: pa.Table, sources: dict[str, dict[str, Any]], config: FeedQualityConfig) -> list[dict[str, Any]]:
    shown: Counter[tuple[str, str]] = Counter()
    examples = []
    for row in rejected.select(["source", "row", "reason", "detail"]).to_pylist():
        place = (row["source"], row["reason"])
        shown[place] += 1
        if shown[place] <= config.examples:
            own = list(sources[row["source"]]["platforms"])
            platform = own[0] if len(own) == 1 else ""
            values = ("rejected", platform, f"{row['source']}, row {row['row']}", sources[row["source"]]["rejected"][row["reason"]], "", "")
            examples.append(dict(zip(EXAMPLES, (*values, f"{row['reason']}: {row['detail']}"), strict=True)))
    return examples
