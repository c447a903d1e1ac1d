"""What looks at data and answers without a cluster: `audit`, `feed-quality`, `explain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.auditing import AuditConfig, audit
from prodcat.auditing import summary_lines as audit_lines
from prodcat.commands.arguments import Say
from prodcat.config import load
from prodcat.contracts import Product
from prodcat.evaluation.feeds.columns import FeedQualityConfig
from prodcat.evaluation.feeds.tables import summary_lines as feed_lines
from prodcat.explaining import explain_product, image_bytes
from prodcat.inspecting import inspect_feeds
from prodcat.prediction.bundle import Bundle


def run_audit(place: Path, out: Path, *, features: Path | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """place: a run folder of `fit`, or a catalog folder. Needs no cluster."""
    done = audit(place, out, load(AuditConfig, config, sets), features=features, on_progress=say)
    for line in audit_lines(done.summary):
        say(line)
    files = {"issues": out / "issues.csv", "overlay": out / "overlay.csv"}
    return {name: str(file) for name, file in files.items()} | {f"{name}_found": done.summary[name] for name in ("issues", "kinds", "splits")}


def run_feed_quality(catalog: Path, out: Path, *, bundle: Path | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """Needs no cluster."""
    quality = inspect_feeds(catalog, out, load(FeedQualityConfig, config, sets), bundle=bundle, on_progress=say)
    for line in feed_lines(quality.metrics):
        say(line)
    files = {"report": "feed_quality.md", "figures": "feed_quality.json", "table": "feed_quality.csv", "examples": "examples.csv"}
    return {name: str(out / file) for name, file in files.items()} | {"platforms": len(quality.metrics["platforms"])}


def run_explain(
    bundle: Path,
    *,
    title: str | None,
    description: str | None,
    brand: str | None,
    platform: str | None,
    image: Path | None,
    catalog: Path | None,
    features: Path | None,
    neighbours: int,
    say: Say,
) -> dict[str, Any]:
    """Why one product is answered as it is. Needs no cluster."""
    data = image_bytes(image) if image is not None else None
    product = Product(platform or "explain", "product", title=title, description=description, brand=brand, image=data)
    found = explain_product(Bundle.open(bundle), product, catalog=catalog, features=features, neighbours=neighbours, on_progress=say)
    return found.as_json()
