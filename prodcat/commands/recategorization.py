"""What looks for categories: `recategorize`, `assign`."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.assigning import AssignConfig, assign
from prodcat.catalog.store import Catalog
from prodcat.commands.arguments import Say
from prodcat.config import load
from prodcat.distributed import cluster
from prodcat.errors import ReviewError
from prodcat.prediction.bundle import Bundle
from prodcat.recategorization.changes import say as describe
from prodcat.recategorization.proposal_file import TABLE
from prodcat.recategorizing import FACTS, RecategorizeConfig, recategorize
from prodcat.stored import find_stored
from prodcat.taxonomy import parse_path


def run_recategorize(
    bundle: Path, place: Path, out: Path, *, node: str | None, features: Path | None, config: str | None, sets: Sequence[str], say: Say
) -> dict[str, Any]:
    started = time.perf_counter()
    settings, opened, catalog = load(RecategorizeConfig, config, sets), Bundle.open(bundle), find_stored(place, None).catalog
    path = parse_path(node) if node else None
    with cluster(settings.cluster):
        done = recategorize(opened, catalog, out, settings, node=path, features=features, on_progress=say)
    for proposal in done.proposals[:20]:
        say(f"  {proposal.id}  {describe(proposal.change)}: {proposal.reason}")
    return {
        "proposals": str(out / TABLE),
        "found": len(done.proposals),
        "branches": len(done.branches),
        "products": sum(branch["products"] for branch in done.branches),
        "clusters": sum(branch["clusters"] for branch in done.branches),
        "seconds": round(time.perf_counter() - started, 1),
    }


def run_assign(folder: Path, catalog: Path, *, bundle: Path | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """bundle: None for the one that `recategorize` used."""
    started = time.perf_counter()
    settings, opened, folder = load(AssignConfig, config, sets), Catalog.open(catalog), folder.absolute()
    if bundle is None:
        try:
            bundle = Path(json.loads((folder / FACTS).read_text(encoding="utf-8"))["bundle_folder"])
        except (OSError, ValueError, KeyError) as error:
            raise ReviewError(f"{folder}: no folder of `prodcat recategorize` ({error}); name the one it wrote to") from error
    with cluster(settings.cluster):
        done = assign(folder, Bundle.open(bundle), opened, settings, on_progress=say)
    for proposal in done.proposals:
        say(f"  {proposal.id}  {describe(proposal.change)}: {proposal.reason}")
    counts = {name: sum(each[name] for each in done.branches.values()) for name in ("assigned", "outliers", "pooled", "proposals")}
    seconds = round(time.perf_counter() - started, 1)
    return {**counts, "branches": done.branches, "elsewhere": done.elsewhere, "known": done.known, "seconds": seconds}
