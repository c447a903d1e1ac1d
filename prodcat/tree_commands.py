"""As commands.py, of the verbs that look for categories: read the configuration, join the cluster, call the stage, return a summary."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prodcat.config import load
from prodcat.distributed import cluster
from prodcat.prediction.bundle import Bundle
from prodcat.recategorization.changes import say as describe
from prodcat.recategorization.proposal_file import TABLE
from prodcat.recategorizing import RecategorizeConfig, recategorize
from prodcat.stored import find_stored
from prodcat.taxonomy import parse_path

Say = Callable[[str], None]


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
