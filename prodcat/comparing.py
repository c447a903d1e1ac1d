"""`compare`: every kind of fusion over every set of modalities, trained from a run's stored features and scored on its test split. Knows no figure.

It reports and does not choose: nothing is written into the run, and every model's epoch is chosen on the validation split.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from pydantic import Field
from safetensors.numpy import load_file, save_file

from prodcat.config import Config
from prodcat.distributed import ClusterConfig
from prodcat.errors import ConfigError, FeedError
from prodcat.evaluation.comparison import Compared, comparison, markdown
from prodcat.fitting import prepare
from prodcat.model.fusion import Kind
from prodcat.model.fusions.registry import build, parameters
from prodcat.profile import FitConfig
from prodcat.run_folder import Progress, open_run
from prodcat.stages import Prepared
from prodcat.training.search import FusionInputs, Job, train_each


class CompareConfig(Config):
    """What is compared, and what training a model may take of the cluster. All else is the run's own profile."""

    cluster: ClusterConfig = ClusterConfig()
    kinds: tuple[Kind, ...] = Field(("early", "late", "attention"), min_length=1)
    subsets: dict[str, tuple[str, ...]] | None = Field(
        None, min_length=1, description="name -> feature sets; null: text, image, both, CLIP, and all, as far as the run has them"
    )
    seeds: int = Field(3, ge=1, description="trainings of each model, from the run's seed upwards")
    cpus_per_model: float = Field(0.5, gt=0, description="logical CPUs of a training")
    gpus_per_model: float = Field(0.0, ge=0, description="GPUs of a training; fractions share one")
    threads: int = Field(1, ge=1, description="torch threads of a training")


@dataclass(frozen=True)
class Comparison:
    """What was found, and where it lies."""

    found: dict[str, Any]
    table: Path
    figures: Path


def compare(run: Path, out: Path, config: CompareConfig, on_progress: Progress = print) -> Comparison:
    """Write OUT/comparison.md and OUT/comparison.json. Assumes a cluster is joined. Models that are trained already are not trained again.

    Raises:
        FeedError: there is no run in the folder, or no test product that all sets of modalities can read.
        ConfigError: a subset names a feature set that the run has not.
    """
    run, out = run.absolute(), out.absolute()
    catalog, profile = open_run(run, FitConfig)
    prepared = prepare([catalog], run, profile, on_progress=on_progress)
    subsets = _subsets(prepared, profile, config)
    objective = profile.objective(profile.stage_two.loss, prepared.layout, prepared.parts["train"].targets)
    inputs = FusionInputs(prepared.data("train"), prepared.data("validation"), prepared.vectors.reads, prepared.tree, objective)
    test = prepared.data("test")
    # The same products for all rows, or the rows say nothing of each other.
    chosen = np.ones(len(test.present), dtype=bool)
    for features in subsets.values():
        chosen &= test.of(features).present.any(axis=1)
    if not chosen.any():
        raise FeedError(f"{catalog}: none of {len(chosen)} test products has what each of {', '.join(subsets)} reads; compare fewer --set subsets")
    asked = test.rows(chosen)
    on_progress(f"comparing on {int(chosen.sum()):,} of {len(chosen):,} labelled test products: those that every set of modalities can read")

    jobs = {}
    for subset, features in subsets.items():
        for kind in config.kinds:
            fusion = profile.stage_two.fusion.model_copy(update={"kind": kind})
            for seed in range(config.seeds):
                loop = profile.stage_two.loop.model_copy(update={"seed": profile.seed + seed})
                settings = profile.stage_two.model_copy(update={"fusion": fusion, "loop": loop, "members": 1, "modalities": features})
                jobs[subset, kind, seed] = Job(f"{kind}, {subset}, seed {profile.seed + seed}", features, settings)
    files = {place: out / "models" / f"{_key(prepared, job)}.safetensors" for place, job in jobs.items()}
    missing = {job.name: files[place] for place, job in jobs.items() if not files[place].is_file()}
    (out / "models").mkdir(parents=True, exist_ok=True)
    to_do = [job for job in jobs.values() if job.name in missing]
    trained = train_each(to_do, inputs, asked, cpus=config.cpus_per_model, threads=config.threads, gpus=config.gpus_per_model)
    for number, (job, logits) in enumerate(trained, start=len(jobs) - len(to_do) + 1):
        part = missing[job.name].with_suffix(".part")
        save_file({"logits": logits}, part)
        part.rename(missing[job.name])
        on_progress(f"model {number}/{len(jobs)}: {job.name}")

    models = []
    for subset, features in subsets.items():
        for kind in config.kinds:
            job = jobs[subset, kind, 0]
            size = parameters(build(inputs.of(features).task(job.config).modalities, prepared.layout, job.config.fusion))
            answers = [load_file(files[subset, kind, seed])["logits"] for seed in range(config.seeds)]
            models.append(Compared(kind, subset, features, size, answers))
    nodes, groups = prepared.parts["test"].nodes[chosen], _groups(prepared)[chosen]
    found = comparison(models, nodes, groups, prepared.layout, profile.seed)
    found["catalog"] = {"digest": prepared.catalog.digest, "path": str(prepared.catalog.path), "test_products_left_out": int((~chosen).sum())}
    table, figures = out / "comparison.md", out / "comparison.json"
    table.write_text(markdown(found), encoding="utf-8")
    figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return Comparison(found, table, figures)


def _subsets(prepared: Prepared, profile: FitConfig, config: CompareConfig) -> dict[str, tuple[str, ...]]:
    reads: Mapping[str, str] = prepared.vectors.reads
    if config.subsets is not None:
        for name, features in config.subsets.items():
            if not features or set(features) - set(reads):
                raise ConfigError(f"subsets.{name}: {list(features)} must name some of the run's feature sets, which are {', '.join(reads)}")
        return {name: tuple(each for each in reads if each in features) for name, features in config.subsets.items()}
    families = {name: encoder.family for name, encoder in profile.encoders.items()}
    made_by = profile.stage_two.chosen(families)
    clip = {name for name, encoder in made_by.items() if families.get(encoder) == "clip"}
    text = {name for name, kind in reads.items() if kind == "text"} - clip
    image = set(reads) - text - clip
    wanted = {"text": text, "image": image, "text+image": text | image, "clip": clip, "text+image+clip": text | image | clip}
    found: dict[str, tuple[str, ...]] = {}
    for name, members in wanted.items():
        ordered = tuple(each for each in reads if each in members)
        # A run without images, or without a CLIP, has fewer sets, and some would be the same.
        if ordered and ordered not in found.values():
            found[name] = ordered
    return found


def _key(prepared: Prepared, job: Job) -> str:
    """Equal for models that would be trained equally and asked the same."""
    prints = [f"{name} {prepared.vectors.fingerprints[name]}" for name in job.modalities]
    text = "\n".join([*prepared.keys, *prints, job.config.model_dump_json()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _groups(prepared: Prepared) -> np.ndarray:
    """Near-duplicate groups of the labelled test products."""
    splits = prepared.catalog.splits()
    places = pc.index_in(prepared.parts["test"].keys, value_set=splits["key"].combine_chunks())
    return np.asarray(splits["group"].take(places).to_pylist())
