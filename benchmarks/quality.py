"""How good a bundle is on a real feed, beside TF-IDF + linear SVM on the title, trained on the same products and scored on the same test split.

    python benchmarks/quality.py FEED --out runs/quality [--config offline] [--set KEY=VALUE ...]

Fits (or goes on with OUT), evaluates, prints a table and writes benchmarks/results/NAME.json: counts, classes, seed, 95 % intervals over groups of
near-duplicates, errors as a ratio to the baseline's. `--seeds 3` fits the bundle twice more with seeds 1 and 2, on the same catalog, split and
encoders, and puts their F1 beside. To score leaves of at least ten products only:
`--set evaluate.min_leaf_products=10 --name quality_leaves_of_10`.
"""

import argparse
import json
import platform
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prodcat.commands.evaluate import run_evaluate
from prodcat.commands.training import run_fit

RESULTS = Path(__file__).parent / "results"


def row(name: str, part: dict[str, Any]) -> dict[str, Any]:
    deepest = max(part["levels"], key=int)
    return {
        "input": name,
        "products": part["products"],
        "hierarchical_f1": round(part["hierarchical"]["f1"], 4),
        "f1_ci": [round(value, 4) for value in part["hierarchical"]["f1_ci"]],
        "leaf_accuracy": round(part["levels"][deepest]["accuracy"], 4),
        "leaf_macro_f1": round(part["levels"][deepest]["macro_f1"], 4),
        "f1_of_other_seeds": [round(f1, 4) for f1 in part["seeds"]["f1"]] if part.get("seeds") else [],
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def fit_seed(a: argparse.Namespace, seed: int) -> Path:
    """A bundle of another seed, in a run that starts with the first one's catalog, encoders and features."""
    out = a.out / f"seed_{seed}"
    if not out.exists():
        # Under another name until it is whole: half of a copy would be gone on from.
        part = out.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        for name in ("catalog", "encoders", "features", "features_masked", "masked"):
            if (a.out / name).is_dir():
                shutil.copytree(a.out / name, part / name)
        shutil.copy(a.out / "steps.json", part)
        part.rename(out)
    # Judged with the first one, not by itself.
    sets = [*a.sets, f"seed={seed}", "evaluate.probes=[]", "evaluate.baseline=null"]
    run_fit([a.feed], out, config=a.config, sets=sets, mapping=None, taxonomy=None, say=say)
    return out / "bundle"


def beside_seeds(a: argparse.Namespace, evaluated: list[str]) -> dict[str, Any]:
    bundles = [fit_seed(a, seed) for seed in range(1, a.seeds)]
    out = a.out / "report_seeds"
    sets = [entry.removeprefix("evaluate.") for entry in evaluated]
    run_evaluate(a.out / "bundle", [str(a.out / "catalog")], out, config=None, sets=sets, mapping=None, say=say, seed_bundles=bundles)
    return dict(json.loads((out / "metrics.json").read_text()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("feed")
    arguments.add_argument("--out", type=Path, default=Path("runs/quality"))
    arguments.add_argument("--name", default="quality", help="of the file of results")
    arguments.add_argument("--config", default="offline")
    arguments.add_argument("--seeds", type=int, default=1, help="bundles fitted")
    arguments.add_argument("--set", dest="sets", action="append", default=[])
    a = arguments.parse_args()
    summary = run_fit([a.feed], a.out, config=a.config, sets=a.sets, mapping=None, taxonomy=None, say=say)
    metrics = json.loads((a.out / "report" / "metrics.json").read_text())
    if a.seeds > 1:
        metrics = beside_seeds(a, [entry for entry in a.sets if entry.startswith("evaluate.")])
    rows = [row(name, part) for name, part in metrics["probes"].items()]
    rows += [row("baseline: " + part["name"], part) for part in (metrics["masked_baseline"], metrics["baseline"])]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, python {platform.python_version()}",
        "feed": Path(a.feed).name,
        "profile": a.config,
        # Names of settings and not their folders: those are this machine's.
        "overrides": [entry.partition("=")[0] for entry in a.sets],
        "seed": metrics["seed"],
        "bundle": summary["version"],
        "trained_on": metrics["trained_on"],
        "smallest_leaf": metrics["small_leaves"]["min_products"],
        "test_products": metrics["products"],
        "test_classes": metrics["classes"],
        "valid_paths": metrics["valid_paths"],
        "stage_two_share": round(metrics["cascade"]["stage_two_share"], 4),
        "calibration_error": {
            "before, validation": metrics["reliability"]["on_validation"],
            "test": {**metrics["reliability"]["ece"], "whole answers": metrics["reliability"]["answers"]["ece"]},
        },
        "backoff": metrics["reliability"]["backoff"],
        "errors_against_baseline": round(metrics["baseline"]["error_ratio"], 3),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{a.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for entry in rows:
        low, high = entry["f1_ci"]
        figures = f"F1 {entry['hierarchical_f1']:.4f} [{low:.4f}, {high:.4f}]  leaf accuracy {entry['leaf_accuracy']:.4f}"
        if entry["f1_of_other_seeds"]:
            figures += f"  other seeds {', '.join(f'{f1:.4f}' for f1 in entry['f1_of_other_seeds'])}"
        print(f"{entry['input']:<45} {entry['products']:>6}  {figures}")
    print(f"errors against the baseline: {result['errors_against_baseline']:.2f}")


if __name__ == "__main__":
    main()
