"""What a run takes over from another one, whose catalog had this or an earlier version of the tree: encoders and features as they are, and the
weights of both stages, carried over. Knows the folders of a run and the order of none of its steps.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file, save_file

from prodcat.config import read_yaml, validate
from prodcat.errors import TrainingError
from prodcat.model.fusion import FusionConfig, Modality
from prodcat.model.fusions.registry import pinned
from prodcat.prediction.bundle import STAGE_TWO, Bundle
from prodcat.prediction.multimodal_stage import STATISTICS, MultimodalStageSettings
from prodcat.prediction.preparing import SETTINGS
from prodcat.run_folder import BY_CATEGORIES, TRAINING, Steps
from prodcat.taxonomy import HeadLayout
from prodcat.training.carried import carry, column_map
from prodcat.training.fusion_stage import FusionStageTask
from prodcat.training.loop import LoopConfig
from prodcat.training.text_stage import TextStageTask


@dataclass(frozen=True)
class Start:
    """
    Args:
        run: folder of the run that is gone on from.
        bundle: its bundle.
        forward: id of a category of its tree -> id of the new one that its labels are read as; None: none.
        backward: id of a category of the new tree -> id of the old one that stands for it; None: none.
        epochs: factor on the epochs of both stages; 0: the weights are carried over and not trained.
        learning_rate: factor on theirs.
    """

    run: Path
    bundle: Bundle
    forward: Mapping[str, str | None]
    backward: Mapping[str, str | None]
    epochs: float
    learning_rate: float

    @property
    def inputs(self) -> Sequence[str]:
        """What decides a result beside the run's own catalog and profile."""
        return (f"gone on from {self.bundle.version}", f"epochs {self.epochs}", f"learning rate {self.learning_rate}")

    def encoder(self, name: str, out: Path, steps: Steps) -> tuple[Path, str]:
        """As readying.ready_encoder, of the encoder that the other run has.

        Raises:
            TrainingError: it has none of that name.
        """
        source, folder = self.run / "encoders" / name, out / "encoders" / name
        if not (source / "ready").is_dir():
            raise TrainingError(f"{source}: no encoder here; give the whole folder that `prodcat fit` wrote to")

        def make() -> None:
            folder.mkdir(parents=True)
            for entry in source.iterdir():
                if entry.is_file():
                    _link(entry, folder / entry.name)
            shutil.copytree(source / "ready", folder / "ready", copy_function=_link)
            # Not what training left, but that it was trained (stored.py).
            for trained in (Path(TRAINING), Path(TRAINING) / BY_CATEGORIES):
                if (source / trained).is_dir():
                    (folder / trained).mkdir()

        return folder / "ready", steps.run(f"encoder {name}", self.inputs[:1], folder, make)

    def features(self, out: Path) -> None:
        """All that the other run has embedded, where it is not there yet: what has the same content is not embedded again."""
        for source in sorted(self.run.glob("features*")):
            for file in source.rglob("*.parquet"):
                target = out / file.relative_to(self.run)
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(file, target)

    def loop(self, loop: LoopConfig) -> LoopConfig | None:
        """A stage's loop, shortened; None: no training at all."""
        if self.epochs == 0:
            return None
        bound = loop.most_samples and max(1, round(loop.most_samples * self.epochs))
        shorter = {"epochs": max(1, round(loop.epochs * self.epochs)), "most_samples": bound}
        return loop.model_copy(update={**shorter, "learning_rate": loop.learning_rate * self.learning_rate})

    def fusion(self, modalities: Sequence[Modality], layout: HeadLayout) -> tuple[tuple[Modality, ...], FusionConfig]:
        """Stage two's inputs with the statistics that its weights were learned with, and its settings, by which it is as wide as it was.

        Args:
            layout: of the new tree.
        """
        place = self.bundle.folder / STAGE_TWO
        known = load_file(place / STATISTICS)
        settings = validate(MultimodalStageSettings, read_yaml(place / SETTINGS), str(place / SETTINGS))
        if missing := [each.name for each in modalities if f"{each.name}.mean" not in known]:
            raise TrainingError(f"{place}: stage two does not read {missing[0]!r}; train anew with `prodcat fit`")
        found = tuple(replace(each, mean=known[f"{each.name}.mean"].numpy(), std=known[f"{each.name}.std"].numpy()) for each in modalities)
        return found, pinned(found, self.bundle.layout, layout, settings.fusion)

    def weights(self, task: TextStageTask | FusionStageTask, place: str, out: Path) -> Path:
        """RUN/PLACE/model.safetensors, carried over to the new tree -> a file below OUT/PLACE.

        Raises:
            TrainingError: there are none, or they are of another kind of model.
        """
        source, target = self.run / place / "model.safetensors", out / place / "carried.safetensors"
        if not source.is_file():
            raise TrainingError(f"{source}: missing; give the whole folder that `prodcat fit` wrote to")
        columns = column_map(self.bundle.layout, task.objective.layout(task.tree), self.forward, self.backward)
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(carry(load_file(source), task.build(), columns), target)
        return target

    @cached_property
    def told(self) -> str:
        """For a person."""
        return f"goes on from bundle {self.bundle.version} of {self.run}"


def _link(source: Path | str, target: Path | str) -> None:
    """The same file under a second name, or a copy where the file system has none: nothing in a run is written into once it is there."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
