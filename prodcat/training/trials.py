"""What a search over stage two's settings may try, and the record of what it has tried. Knows no Ray and no way of searching.

The record is one line of JSON a finished trial, written when it ends: what was killed goes on from it, a person can read it, and more trials can be
asked for later.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from prodcat.config import Config
from prodcat.model.fusion import Kind
from prodcat.training.fusion_stage import FusionStageConfig

Range = tuple[float, float]
# On a logarithmic scale: what matters is the ratio.
LOGARITHMIC = ("learning_rate", "weight_decay")
CHOICES = ("kind", "width")
LOOP = ("learning_rate", "weight_decay")


class SearchSpace(Config):
    """What is tried: lists are chosen from, pairs are the ends of a range; a pair of equal ends, or a list of one, is fixed."""

    kind: tuple[Kind, ...] = Field(("late", "early", "attention"), min_length=1)
    width: tuple[int, ...] = Field((128, 192, 256, 384, 512), min_length=1, description="of late fusion; it sets the parameters of the other kinds")
    dropout: Range = (0.1, 0.5)
    input_dropout: Range = (0.0, 0.5)
    modality_dropout: Range = (0.0, 0.4)
    modality_loss: Range = (0.0, 1.0)
    learning_rate: Range = (3e-4, 3e-3)
    weight_decay: Range = (3e-3, 0.3)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if name not in CHOICES and not (values[0] <= values[1] and (values[0] > 0 or name not in LOGARITHMIC)):
                raise ValueError(f"{name}: {list(values)} is no range: give the lower end first, above 0 for {' and '.join(LOGARITHMIC)}")
        if not self.searched:
            raise ValueError("everything is fixed: give at least one key two values")
        return self

    @property
    def searched(self) -> dict[str, tuple[Any, ...]]:
        """The keys that are not fixed."""
        return {name: getattr(self, name) for name in type(self).model_fields if len(set(getattr(self, name))) > 1}

    @property
    def fixed(self) -> dict[str, Any]:
        return {name: getattr(self, name)[0] for name in type(self).model_fields if name not in self.searched}


def with_values(base: FusionStageConfig, values: dict[str, Any]) -> FusionStageConfig:
    """Stage two's config with a trial's values in their places."""
    fusion = {name: value for name, value in values.items() if name not in LOOP}
    loop = {name: value for name, value in values.items() if name in LOOP}
    document = base.model_dump()
    # Validated and not merely copied: a range may reach where a key may not.
    return FusionStageConfig.model_validate({**document, "fusion": {**document["fusion"], **fusion}, "loop": {**document["loop"], **loop}})


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Args:
        values: of the keys that are searched.
        validation: the loop's badness on the validation split in the best epoch so far (smaller is better); None where the trial failed.
        epochs: that it ran; fewer than asked for where it was stopped early.
        seconds: that the search had taken by then, over all its starts.
    """

    values: dict[str, Any]
    validation: float | None
    epochs: int
    seconds: float
    error: str | None = None


class Record:
    """The finished trials of one search, on disk.

    Args:
        folder: may hold the records of other searches too.
        inputs: texts and configs that decide what a trial comes to; another record for other ones.
    """

    def __init__(self, folder: Path, inputs: tuple[str | Config, ...]) -> None:
        text = "\n".join(each.model_dump_json() if isinstance(each, Config) else each for each in inputs)
        self.file = folder / f"trials-{hashlib.sha256(text.encode()).hexdigest()[:12]}.jsonl"

    def trials(self) -> list[Trial]:
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="utf-8").split("\n")
        # What stands after the last line end is a line that a kill has cut off.
        return [Trial(**json.loads(line)) for line in lines[:-1] if line]

    def add(self, trial: Trial) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.file.write_text(whole, encoding="utf-8")
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(trial)) + "\n")


def best(trials: list[Trial]) -> Trial | None:
    """The trial with the smallest badness, the earlier one of two equals; None where none has one."""
    return min((trial for trial in trials if trial.validation is not None), key=lambda trial: trial.validation or 0.0, default=None)
