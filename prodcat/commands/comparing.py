"""What trains many models to judge them: `compare`, `cross_platform`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.catalog.store import Catalog
from prodcat.commands.arguments import Say, default_profile
from prodcat.comparing import CompareConfig, compare
from prodcat.config import load
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.run import cross_platform
from prodcat.distributed import cluster
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run


def run_compare(run: Path, out: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    settings = load(CompareConfig, config, sets)
    open_run(run, FitConfig)
    with cluster(settings.cluster):
        compared = compare(run, out, settings, on_progress=say)
    for line in compared.table.read_text(encoding="utf-8").splitlines():
        say(line)
    return {
        "table": str(compared.table),
        "figures": str(compared.figures),
        "models": len(compared.found["rows"]),
        "products": compared.found["products"],
    }


def run_cross_platform(catalog: Path, out: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    started = time.perf_counter()
    profile = config or default_profile()
    settings, opened = load(CrossProfile, profile, sets), Catalog.open(catalog)
    say(f"profile: {profile}")
    with cluster(settings.cluster):
        crossed = cross_platform(opened, out, settings, on_progress=say)
    for line in crossed.table.read_text(encoding="utf-8").splitlines():
        say(line)
    return {
        "table": str(crossed.table),
        "figures": str(crossed.figures),
        "folds": len(crossed.found["folds"]),
        "seconds": round(time.perf_counter() - started, 1),
    }
