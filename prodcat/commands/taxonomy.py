"""The verbs of `prodcat taxonomy` that know versions."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.catalog.store import Catalog
from prodcat.config import load
from prodcat.distributed import cluster
from prodcat.judging import judged
from prodcat.migrating import MigrateConfig, migrate
from prodcat.overlay import Overlay, read_overlay
from prodcat.profile import FitConfig
from prodcat.recategorization.changes import say as said
from prodcat.recategorization.decisions import read_decided
from prodcat.recategorization.trail import now
from prodcat.recategorization.versions import told
from prodcat.run_folder import Progress, open_run
from prodcat.stored import find_stored
from prodcat.versioning import (
    Relabelled,
    apply_changes,
    bring_forward,
    difference_lines,
    differences,
    differences_of_versions,
    history_of,
    tree_of,
)


def run_apply(place: Path, proposals: Path, out: Path, *, by: str | None, say: Progress) -> dict[str, Any]:
    """OUT is a catalog. place: a catalog folder, or a run folder of `fit`; by: who stands for the new version, None: whoever accepted a proposal."""
    catalog, decided = find_stored(place).catalog, read_decided(proposals)
    accepting = sorted({entry.by for entry in decided.entries if entry.action == "accept"})
    done = apply_changes(catalog, decided.base, decided.changes, out, by=by or ", ".join(accepting), at=now())
    for change in decided.changes:
        say(f"  {said(change)}")
    return _summary(done, say)


def run_relabel(place: Path, versioned: Path, out: Path, *, version: int | None, say: Progress) -> dict[str, Any]:
    """OUT is a catalog. place: one with labels of an earlier version; versioned: one with the present tree and its history."""
    done = bring_forward(find_stored(place).catalog, find_stored(versioned).catalog, out, version=version)
    return _summary(done, say)


def run_diff(place: Path, other: Path | None, *, first: int | None, last: int | None) -> dict[str, Any]:
    """Between two catalogs, or two versions of one; the last step, if nothing is said."""
    catalog = find_stored(place).catalog
    if other is not None:
        rows = differences(catalog, find_stored(other).catalog)
    else:
        present = history_of(catalog).version
        last = last if last is not None else present
        rows = differences_of_versions(catalog, first if first is not None else max(1, last - 1), last)
    return {"differences": rows, "lines": difference_lines(rows)}


def run_history(place: Path) -> dict[str, Any]:
    catalog = find_stored(place).catalog
    history = history_of(catalog)
    return {"version": history.version, "lines": told(history, tree_of(catalog))}


def run_migrate(run: Path, place: Path, out: Path, *, labels: Path | None, config: str | None, sets: Sequence[str], say: Progress) -> dict[str, Any]:
    """OUT is a run: a bundle for the catalog's tree, evaluated on its own test split."""
    started = time.perf_counter()
    settings = load(MigrateConfig, config, sets)
    catalog: Catalog = find_stored(place).catalog
    _, profile = open_run(run, FitConfig)
    with cluster(settings.cluster):
        bundle = migrate(run, catalog, out, settings, labels=labels, on_progress=say)
        fitted = time.perf_counter()
        summary = judged(bundle, out, profile, say, read_overlay(labels, catalog, bundle.tree) if labels else Overlay())
    times = {"fitted_seconds": round(fitted - started, 1), "seconds": round(time.perf_counter() - started, 1)}
    return {**summary, "taxonomy_version": bundle.versions.present, **times}


def _summary(done: Relabelled, say: Progress) -> dict[str, Any]:
    for line in done.lines():
        say(line)
    return {
        "catalog": str(done.catalog.path),
        "version": done.history.version,
        "taxonomy": tree_of(done.catalog).hash,
        "relabelled": done.changed,
        "assigned": done.assigned,
        "lost": done.lost_products,
        "missing": done.missing,
        "new": done.products,
    }
