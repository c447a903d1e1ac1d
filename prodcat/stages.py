"""Both stages of a run trained, from what was prepared for them. Knows the two and no other step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from prodcat.catalog.store import Catalog
from prodcat.labelled import Labelled, Vectors
from prodcat.overlay import Overlay
from prodcat.prediction.bundle import STAGE_ONE, STAGE_TWO
from prodcat.profile import FitConfig
from prodcat.run_folder import Progress, Steps
from prodcat.start import Start
from prodcat.taxonomy import HeadLayout, Taxonomy
from prodcat.training.distributed import fit as fit_on_ray
from prodcat.training.fusion_stage import FusionStageTask, fusion_rows, join_members, modalities_of
from prodcat.training.in_memory import FusionData
from prodcat.training.loop import LoopConfig
from prodcat.training.text_stage import EXPORT_FORMAT, TextStageTask, export, text_rows, text_task


@dataclass(frozen=True)
class Prepared:
    """All that comes before stage two.

    Args:
        parts: labelled products by split.
        encoders: name -> folder, of the encoders that stage two reads.
        vectors: of the modalities that stage two fuses.
        masked: train and validation products without category words (masked.py), and their vectors: stage two learns from them a second time, and
            the gate is chosen on them as well; or None.
        augmented: training products as another shop might show them (augmenting.py), and their vectors; or None.
        described: validation products by their descriptions (described.py), and their vectors; None if stage two does not read those.
        keys: of the steps that made the above.
    """

    catalog: Catalog
    layout: HeadLayout
    overlay: Overlay
    parts: Mapping[str, Labelled]
    encoders: Mapping[str, Path]
    vectors: Vectors
    masked: tuple[Mapping[str, Labelled], Vectors] | None
    augmented: tuple[Labelled, Vectors] | None
    described: tuple[Labelled, Vectors] | None
    keys: tuple[str, ...]

    @property
    def tree(self) -> Taxonomy:
        return self.layout.tree

    def data(self, split: str) -> FusionData:
        """Labelled products of a split as stage two reads them; those of `train` that are masked or augmented once more."""
        own = FusionData(*self.vectors.of(self.parts[split]), self.layout.end_targets(self.parts[split].targets))
        if split != "train":
            return own
        more = [(self.masked[0][split], self.masked[1])] if self.masked is not None else []
        for part, vectors in [*more, *([self.augmented] if self.augmented is not None else [])]:
            if len(part):
                own = own.and_then(FusionData(*vectors.of(part), self.layout.end_targets(part.targets)))
        return own


def fit_stage_one(
    encoder: Path,
    parts: Mapping[str, Labelled],
    layout: HeadLayout,
    out: Path,
    config: FitConfig,
    steps: Steps,
    inputs: list[Any],
    start: Start | None,
    on_progress: Progress,
) -> str:
    """OUT/stage_one: the weights, and what is exported of them -> the key of the step."""
    folder = out / STAGE_ONE
    task = text_task(encoder, layout.tree, config.stage_one, config.objective(config.stage_one.loss, layout, parts["train"].targets))

    def make() -> None:
        tables = {}
        for split in ("train", "validation"):
            rows = [row for row, text in enumerate(parts[split].texts) if text]
            texts = [parts[split].texts[row] or "" for row in rows]
            tables[split] = text_rows(task, texts, layout.end_targets(parts[split].targets[rows]))
        _trained(task, tables, config.stage_one.loop.model_copy(update={"seed": config.seed}), STAGE_ONE, out, config, start, on_progress)

    inputs = [*inputs, config.hierarchy, config.stage_one, config.stage_one_encoder.reading, config.scaling, config.seed, *_of(start)]
    key = steps.run("stage one", inputs, folder, make)
    exported = folder / "exported"
    return steps.run("stage one exported", [key, EXPORT_FORMAT], exported, lambda: export(task, folder / "model.safetensors", exported))


def fit_stage_two(
    prepared: Prepared, out: Path, config: FitConfig, steps: Steps, start: Start | None, on_progress: Progress
) -> tuple[FusionStageTask, str]:
    """OUT/stage_two -> what was trained, and the key of the step."""
    folder = out / STAGE_TWO
    data = {split: prepared.data(split) for split in ("train", "validation")}
    train, layout, sources = data["train"], prepared.layout, prepared.vectors
    objective = config.objective(config.stage_two.loss, layout, prepared.parts["train"].targets)
    modalities, fusion = modalities_of(train.vectors, train.present, sources.reads), config.stage_two.fusion
    if start is not None:
        modalities, fusion = start.fusion(modalities, layout)
    task = FusionStageTask(modalities, layout.tree, fusion, objective=objective)

    def make() -> None:
        readable = {split: part.readable() for split, part in data.items()}
        tables = {split: fusion_rows(part.vectors, part.present, part.targets) for split, part in readable.items()}
        members = config.stage_two.members
        places = [STAGE_TWO] if members == 1 else [f"{STAGE_TWO}/member_{member}" for member in range(members)]
        weights = []
        for member, place in enumerate(places):
            if members > 1:
                on_progress(f"  member {member + 1} of {members}")
            loop = config.stage_two.loop.model_copy(update={"seed": config.seed + member})
            weights.append(_trained(task, tables, loop, place, out, config, start, on_progress))
        if members > 1:
            join_members(weights, folder / "model.safetensors")

    fingerprints = [f"{name} {fingerprint}" for name, fingerprint in sources.fingerprints.items()]
    shown = [config.masked_titles, config.augmentation or ""]
    inputs = [*prepared.keys, *fingerprints, *shown, config.hierarchy, config.stage_two.without_experts, config.scaling, config.seed, *_of(start)]
    return task, steps.run("stage two", inputs, folder, make)


def _of(start: Start | None) -> Sequence[str]:
    return () if start is None else start.inputs


def _trained(
    task: TextStageTask | FusionStageTask,
    tables: dict[str, pa.Table],
    loop: LoopConfig,
    place: str,
    out: Path,
    config: FitConfig,
    start: Start | None,
    on_progress: Progress,
) -> Path:
    """OUT/PLACE/model.safetensors."""
    begun = task
    if start is not None:
        weights, shorter = start.weights(task, place, out), start.loop(loop)
        if shorter is None:
            return weights.replace(out / place / "model.safetensors")
        begun, loop = replace(task, start=weights), shorter
    return fit_on_ray(begun, tables, loop=loop, scaling=config.scaling, out=out / place, on_progress=on_progress)
