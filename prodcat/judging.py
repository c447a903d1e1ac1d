"""A run's bundle on the run's own test split, in OUT/report: what `fit`, `tune` and `taxonomy migrate` end with. Assumes a cluster is joined."""

import json
from pathlib import Path
from typing import Any

from prodcat.catalog.store import Catalog
from prodcat.evaluating import EvaluateConfig, evaluate, summary_lines
from prodcat.evaluation.report import METRICS, PAGE, REPORT_FORMAT
from prodcat.overlay import Overlay
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.run_folder import Progress, Steps, open_run


def judged(bundle: Bundle, out: Path, settings: FitConfig, say: Progress, overlay: Overlay) -> dict[str, Any]:
    """Not again where nothing changed. The summary of a command."""
    place, report = open_run(out, FitConfig)[0], out.absolute() / "report"
    how = EvaluateConfig(seed=settings.seed, classify=settings.classify, ingest=settings.ingest, **settings.evaluate.model_dump())

    def make() -> None:
        evaluate(bundle.folder, [place], report, how, overlay=overlay, on_progress=say)

    inputs = [f"format {REPORT_FORMAT}", bundle.version, overlay.digest(Catalog.open(place).digest), how]
    Steps(out, say).run("report", inputs, report / PAGE, make, keep=True)
    metrics = json.loads((report / METRICS).read_text(encoding="utf-8"))
    for line in summary_lines(metrics):
        say(line)
    return {"bundle": str(bundle.folder), "version": bundle.version, "report": str(report / PAGE), "hierarchical": metrics["hierarchical"]}
