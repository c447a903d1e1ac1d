"""`evaluate`: a bundle on products it has never seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prodcat.commands.arguments import Say, mapping_of
from prodcat.config import load, validate
from prodcat.distributed import cluster
from prodcat.evaluating import EvaluateConfig, evaluate, summary_lines
from prodcat.evaluation.report import METRICS
from prodcat.prediction.bundle import Bundle


def run_evaluate(
    bundle: Path,
    sources: Sequence[str],
    out: Path,
    *,
    config: str | None,
    sets: Sequence[str],
    mapping: str | None,
    say: Say,
    probes: Sequence[str] = (),
    seed_bundles: Sequence[Path] = (),
) -> dict[str, Any]:
    """probes: in place of the configuration's, if any are named. seed_bundles: of the same settings, trained with other seeds."""
    settings = load(EvaluateConfig, config, sets)
    if probes:
        settings = validate(EvaluateConfig, {**settings.model_dump(), "probes": list(probes)}, "--probe")
    # Before Ray is started: a damaged bundle is said at once.
    for folder in (bundle, *seed_bundles):
        Bundle.open(folder)
    columns = mapping_of(mapping)
    with cluster(settings.cluster):
        judged = evaluate(bundle, sources, out, settings, mapping=columns, seed_bundles=seed_bundles, on_progress=say)
    for line in summary_lines(judged.metrics):
        say(line)
    return {"report": str(judged.report), "metrics": str(out / METRICS), "hierarchical": judged.metrics["hierarchical"]}
