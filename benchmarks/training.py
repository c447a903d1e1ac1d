"""What Ray Data and Ray Train cost the training of stage two, and whether two workers learn what one learns.

    python benchmarks/training.py RUN [--seeds 3] [--epochs N]

RUN is the folder of a finished `prodcat fit`: its stored features are what is trained on. Two sides in one run, in turns, on the same machine:

    bare     a plain torch loop over the same features in memory: same model, loss, optimiser, batch and threads; nothing of prodcat's loop, no Ray
    ray      `training.distributed.fit`, as `prodcat fit` calls it, with one worker

Prints samples a second of both and their ratio, and the wall time that starting and ending the workers takes beside; then the hierarchical F1 of one
and of two workers on the validation split, over the seeds. Writes benchmarks/results/training.json.
"""

import argparse
import json
import platform
import re
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prodcat.decoding import decode
from prodcat.distributed import cluster
from prodcat.evaluation.metrics import ancestor_sums, hierarchical
from prodcat.fitting import prepare
from prodcat.prediction.multimodal_stage import fused_logits
from prodcat.profile import FitConfig
from prodcat.run_folder import open_run
from prodcat.training.distributed import fit
from prodcat.training.fusion_stage import FusionStageModule, FusionStageTask, fusion_rows, modalities_of, trained_fusion
from prodcat.training.in_memory import FusionData
from prodcat.training.loop import LoopConfig
from prodcat.training.scaling import ScalingConfig

RESULTS = Path(__file__).parent / "results" / "training.json"


def bare(task: FusionStageTask, data: FusionData, loop: LoopConfig, threads: int) -> list[float]:
    """Samples a second of each epoch."""
    torch.set_num_threads(threads)
    torch.manual_seed(loop.seed)
    columns = {name: torch.from_numpy(values) for name, values in data.vectors.items()}
    columns |= {"present": torch.from_numpy(data.present), "targets": torch.from_numpy(data.targets)}
    module = FusionStageModule(task)
    optimizer = torch.optim.AdamW(module.parameters(), lr=loop.learning_rate, weight_decay=loop.weight_decay, fused=True)
    rates = []
    for _ in range(loop.epochs):
        started, seen = time.perf_counter(), 0
        for rows in torch.randperm(len(data.targets)).split(loop.batch_size):
            loss = module({name: values[rows] for name, values in columns.items()})
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), loop.clip_norm)
            optimizer.step()
            seen += len(rows)
        rates.append(seen / (time.perf_counter() - started))
    return rates


def on_ray(task: FusionStageTask, tables: dict[str, Any], loop: LoopConfig, scaling: ScalingConfig, out: Path) -> tuple[list[float], float, Path]:
    """Samples a second of each epoch, as the worker measured them; wall time, s; weights."""
    lines: list[str] = []
    started = time.perf_counter()
    weights = fit(task, tables, loop=loop, scaling=scaling, out=out, on_progress=lines.append)
    seconds = time.perf_counter() - started
    found = [re.search(r"([\d,]+) samples/s", line) for line in lines]
    return [float(match[1].replace(",", "")) for match in found if match], seconds, weights


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, help="default: as the run's profile says")
    a = arguments.parse_args()
    catalog, profile = open_run(a.run.absolute(), FitConfig)
    with cluster(profile.cluster):
        prepared = prepare([catalog], a.run, profile, on_progress=lambda line: print(line, file=sys.stderr))
        data = {split: prepared.data(split).readable() for split in ("train", "validation")}
        train, reads = data["train"], prepared.vectors.reads
        objective = profile.objective(profile.stage_two.loss, prepared.layout, prepared.parts["train"].targets)
        task = FusionStageTask(modalities_of(train.vectors, train.present, reads), prepared.tree, profile.stage_two.fusion, "stage two", objective)
        tables = {split: fusion_rows(part.vectors, part.present, part.targets) for split, part in data.items()}
        loop = profile.stage_two.loop.model_copy(update={"epochs": a.epochs or profile.stage_two.loop.epochs})
        scaling = profile.scaling
        f1: dict[int, list[float]] = {1: [], 2: []}
        rates: dict[str, list[float]] = {"bare": [], "ray": []}
        beside = []
        for seed in range(a.seeds):
            own = loop.model_copy(update={"seed": profile.seed + seed})
            rates["bare"] += bare(task, train, own.model_copy(update={"epochs": 5}), scaling.threads)[1:]
            for workers, scores in f1.items():
                # As many threads on both: two workers share what one has.
                share = scaling.model_copy(update={"workers": workers, "threads": max(1, scaling.threads // workers)})
                with tempfile.TemporaryDirectory() as folder:
                    found, seconds, weights = on_ray(task, tables, own, share, Path(folder) / "train")
                    logits = fused_logits(trained_fusion(task, weights), data["validation"].vectors, data["validation"].present)
                nodes = decode(logits, prepared.layout, profile.hierarchy.decoder).nodes
                targets = prepared.parts["validation"].nodes[prepared.data("validation").present.any(axis=1)]
                scores.append(hierarchical(ancestor_sums(nodes, targets, prepared.tree))["f1"])
                if workers == 1:
                    rates["ray"] += found[1:]
                    beside.append(seconds - own.epochs * len(train.targets) / statistics.median(found))
                print(f"seed {own.seed}, {workers} worker(s): {seconds:.0f} s, validation hierarchical F1 {scores[-1]:.4f}", file=sys.stderr)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, python {platform.python_version()}, {torch.get_num_threads()} threads",
        "products": len(train.targets),
        "batch": loop.batch_size,
        "epochs": loop.epochs,
        "samples_per_second": {name: round(value) for name, value in middle.items()},
        "quartiles": {name: [round(value) for value in np.quantile(values, [0.25, 0.75])] for name, values in rates.items()},
        "ray_to_bare": round(middle["ray"] / middle["bare"], 3),
        "seconds_beside_training": round(statistics.median(beside), 1),
        "validation_products": len(data["validation"].targets),
        "f1": {f"{workers} workers": [round(value, 4) for value in values] for workers, values in f1.items()},
        "difference_of_means": round(statistics.mean(f1[2]) - statistics.mean(f1[1]), 4),
        "seed_deviation": round(max(statistics.pstdev(values) for values in f1.values()), 4),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
