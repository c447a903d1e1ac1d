"""What trains: `fit`, `tune`, `adapt`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prodcat.adapting import AdaptConfig, adapt
from prodcat.catalog.store import Catalog
from prodcat.commands.arguments import Say, default_profile, mapping_of, taxonomy_of
from prodcat.config import load
from prodcat.crosswalking import read_crosswalk
from prodcat.distributed import cluster
from prodcat.fitting import fit
from prodcat.judging import judged
from prodcat.overlay import Overlay, read_overlay
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run
from prodcat.stored import find_stored
from prodcat.tuning import TuneConfig, tune


def run_fit(
    sources: Sequence[str],
    out: Path,
    *,
    config: str | None,
    sets: Sequence[str],
    mapping: str | None,
    taxonomy: str | None,
    say: Say,
    crosswalk: Path | None = None,
    labels: Path | None = None,
    change_test_labels: bool = False,
) -> dict[str, Any]:
    """Fit a bundle and evaluate it on its own test split. crosswalk: as in `run_ingest`.

    labels: reviewed labels, as the audit writes them and a person decides (overlay.py).
    """
    started = time.perf_counter()
    profile = config or default_profile()
    # All that is read here is read before Ray is started: a typing error is said at once.
    settings, columns, tree = load(FitConfig, profile, sets), mapping_of(mapping), taxonomy_of(taxonomy)
    mapped = read_crosswalk(crosswalk, tree) if crosswalk else None
    say(f"profile: {profile}")
    with cluster(settings.cluster):
        bundle = fit(
            sources,
            out,
            settings,
            mapping=columns,
            taxonomy=tree,
            crosswalk=mapped,
            labels=labels,
            change_test_labels=change_test_labels,
            on_progress=say,
        )
        catalog = open_run(out, FitConfig)[0]
        overlay = read_overlay(labels, Catalog.open(catalog), bundle.tree, change_test=change_test_labels) if labels else Overlay()
        summary = judged(bundle, out, settings, say, overlay)
    return {**summary, "seconds": round(time.perf_counter() - started, 1)}


def run_tune(run: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """Search stage two's settings on a run's validation split, fit the best, evaluate it on the run's own test split."""
    started = time.perf_counter()
    settings = load(TuneConfig, config, sets)
    _, profile = open_run(run, FitConfig)
    with cluster(settings.cluster):
        tuned = tune(run, settings, on_progress=say)
        summary = judged(tuned.bundle, run, profile, say, Overlay())
    return {
        **summary,
        "best": asdict(tuned.best),
        "trials": len(tuned.trials),
        "profile": str(tuned.profile),
        "seconds": round(time.perf_counter() - started, 1),
    }


def run_adapt(bundle: Path, place: Path, out: Path, *, platform: str | None, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """OUT is a bundle. In this process: no cluster is started."""
    started = time.perf_counter()
    settings = load(AdaptConfig, config, sets)
    done = adapt(Bundle.open(bundle), find_stored(place, None).catalog, out, settings, platform=platform, on_progress=say)
    found = done.found
    if found["judged"]:
        told = [("before", found["before"]), *((f"{row['labelled']} products", row) for row in found["curve"]), ("after", found["after"])]
        for name, row in told:
            low, high = row["f1_ci"]
            say(f"  {name:<14}hierarchical F1 {row['f1']:.4f} [{low:.4f}, {high:.4f}]")
    return {"bundle": str(out), "version": done.bundle.version, **found, "seconds": round(time.perf_counter() - started, 1)}
