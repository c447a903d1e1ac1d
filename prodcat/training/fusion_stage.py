"""Stage two: the fusion of stored features, trained with modality dropout and a loss of its own for every modality. Knows no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prodcat.config import Config
from prodcat.errors import ConfigError
from prodcat.model.fusion import FusionConfig, FusionOutput, Modality, hide_inputs
from prodcat.model.fusions.registry import build
from prodcat.model.losses import PLAIN, LossConfig, Objective
from prodcat.model.names import NamesConfig
from prodcat.prediction.bundle import write_settings
from prodcat.prediction.multimodal_stage import STATISTICS, WEIGHTS, MultimodalStageSettings, save_statistics
from prodcat.prediction.preparing import SETTINGS, STAGE_ONE_VECTOR
from prodcat.taxonomy import Taxonomy
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.tables import fixed_rows
from prodcat.training.text_stage import badness
from prodcat.training.words import WordsConfig

# Where a FusionStageModule keeps its fusion.
_FUSION = "fusion."


class FusionStageConfig(Config):
    """Fusion and its training."""

    fusion: FusionConfig = FusionConfig()
    stage_one_vector: bool = Field(True, description="stage two also reads the vector of stage one, fine-tuned on the catalog's titles")
    loss: LossConfig = LossConfig()
    modalities: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description=f"feature sets that are fused: an encoder's name, NAME_image and NAME_text where it is a CLIP, {STAGE_ONE_VECTOR}; null: all",
    )
    words: WordsConfig | None = Field(
        None, description="a linear model of the title's n-grams beside the fusion, whose log probabilities are added to its logits; null: none"
    )
    names: NamesConfig | None = Field(
        None,
        description="how near a title lies to the categories' names, by an encoder that comes with trained weights, added in the same way; null: not",
    )
    descriptions: bool = Field(
        False,
        description="a product with a description is read a second time by it, in the place of the title, and the answers' probabilities are "
        "averaged: whichever of the two the model is surer of says more. For shops whose titles are only names",
    )
    unknown_platforms: Literal["pretrained", "all"] = Field(
        "pretrained",
        description="what is read of products that name a platform none was trained on. pretrained: nothing by encoders made on the catalog, where "
        "others read the same text or image: they have seen its own shops' words and photos alone; all: the same as of any product",
    )
    members: int = Field(1, ge=1, description="fusions trained one after another, from seeds that count up, which answer together")
    loop: LoopConfig = LoopConfig(epochs=40, batch_size=128, learning_rate=1e-3, weight_decay=0.05)

    @property
    def without_experts(self) -> "FusionStageConfig":
        """What decides the fusion's own training."""
        return self.model_copy(update={"words": None, "names": None, "descriptions": False, "unknown_platforms": "all"})

    def chosen(self, families: Mapping[str, str]) -> dict[str, str]:
        """The feature sets that are fused -> the encoder each comes from.

        Args:
            families: of the encoders, by name.

        Raises:
            ConfigError: `modalities` names a feature set that there is not.
        """
        there: dict[str, str] = {}
        for encoder, family in families.items():
            there |= {f"{encoder}_{side}": encoder for side in ("image", "text")} if family == "clip" else {encoder: encoder}
        if self.stage_one_vector:
            there[STAGE_ONE_VECTOR] = STAGE_ONE_VECTOR
        if unknown := sorted(set(self.modalities or ()) - set(there)):
            raise ConfigError(f"stage_two.modalities: there is no feature set {unknown[0]!r}; there are {', '.join(there)}")
        return {name: encoder for name, encoder in there.items() if self.modalities is None or name in self.modalities}


@dataclass(frozen=True)
class FusionStageTask:
    """Classify products from their stored features.

    Args:
        start: state of a FusionStageModule of this shape to start from; None: random weights.
    """

    modalities: tuple[Modality, ...]
    tree: Taxonomy
    config: FusionConfig
    name: str = "stage two"
    objective: Objective = PLAIN
    start: Path | None = None

    def build(self) -> nn.Module:
        module = FusionStageModule(self)
        if self.start is not None:
            module.load_state_dict(load_file(self.start))
        return module

    def rates(self, module: nn.Module) -> dict[str, float]:
        return {}

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        loss: Tensor = module(batch)
        return loss

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        """That of all that the products have, of their titles alone and of their images alone, in equal parts: served products lack either."""
        assert isinstance(module, FusionStageModule)
        total, count = torch.zeros(()), 0
        views = self._views(batch["present"].bool())
        for present in views:
            bad, count = badness(module.fuse(batch, present).logits, batch["targets"], module.hierarchical_loss)
            total = total + bad / len(views)
        return total, count

    def _views(self, present_BM: Tensor) -> list[Tensor]:
        """bool [B, M] -> the same, and with one kind of input only; a product that would be left with nothing keeps what it has."""
        reads = [modality.reads for modality in self.modalities]
        views = [present_BM]
        for kind in sorted(set(reads)) if len(set(reads)) > 1 else ():
            alone_BM = present_BM & torch.tensor([read == kind for read in reads], device=present_BM.device)
            views.append(torch.where(alone_BM.any(dim=1, keepdim=True), alone_BM, present_BM))
        return views


class FusionStageModule(nn.Module):
    """The fusion with its losses, so that DDP sees one forward."""

    def __init__(self, task: FusionStageTask) -> None:
        super().__init__()
        self.fusion = build(task.modalities, task.objective.layout(task.tree), task.config)
        self.hierarchical_loss = task.objective.build(task.tree, task.config.label_smoothing)
        self.task = task

    def fuse(self, batch: Batch, present: Tensor) -> FusionOutput:
        output: FusionOutput = self.fusion({modality.name: batch[modality.name] for modality in self.task.modalities}, present)
        return output

    def forward(self, batch: Batch) -> Tensor:
        config = self.task.config
        targets = batch["targets"].long()
        present = batch["present"].bool()
        reads = [modality.reads for modality in self.task.modalities]
        seen = hide_inputs(present, reads, config.input_dropout, alone=config.modality_dropout) if self.training else present
        output = self.fuse(batch, seen)
        loss: Tensor = self.hierarchical_loss(output.logits, targets)
        if config.modality_loss:
            # Each modality learns from every product that has it, also while dropout hides it from the fusion.
            for column, modality in enumerate(self.task.modalities):
                here = present[:, column]
                own = self.hierarchical_loss.per_product(output.by_modality[modality.name], targets)
                loss = loss + config.modality_loss * (own * here).sum() / here.sum().clamp(min=1) / len(self.task.modalities)
        return loss


def statistics(vectors: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [d] over the products that have the modality; 0 and 1 where none does."""
    if not present.any():
        return np.zeros(vectors.shape[1], np.float32), np.ones(vectors.shape[1], np.float32)
    seen = vectors[present]
    return seen.mean(axis=0), seen.std(axis=0)


def fusion_rows(vectors: Mapping[str, np.ndarray], present: np.ndarray, targets: np.ndarray) -> pa.Table:
    """float32 [n, d_m] a modality, bool [n, M], int [n, D] -> the columns the task's batches have."""
    return fixed_rows({**vectors, "present": present.astype(np.uint8), "targets": targets.astype(np.int32)})


def modalities_of(vectors: Mapping[str, np.ndarray], present: np.ndarray, reads: Mapping[str, Literal["text", "image"]]) -> tuple[Modality, ...]:
    """The fusion's inputs with the statistics of these training products: float32 [n, d_m] a modality, bool [n, M] in the order of `reads`."""
    return tuple(
        Modality(name, kind, vectors[name].shape[1], *statistics(vectors[name], present[:, column]))
        for column, (name, kind) in enumerate(reads.items())
    )


def trained_fusion(task: FusionStageTask, weights: Path, members: int = 1) -> nn.Module:
    fusion = build(task.modalities, task.objective.layout(task.tree), task.config, members)
    fusion.load_state_dict(fusion_state(load_file(weights)))
    return fusion.eval()


def fusion_state(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of a FusionStageModule -> that of its fusion alone."""
    return {name.removeprefix(_FUSION): value for name, value in trained.items() if name.startswith(_FUSION)}


def join_members(weights: Sequence[Path], target: Path) -> None:
    """Fusions that were trained one by one -> one file, as `trained_fusion` and `write_stage_two` read those of an ensemble."""
    states = [fusion_state(load_file(path)) for path in weights]
    save_file({f"{_FUSION}members.{member}.{name}": value for member, state in enumerate(states) for name, value in state.items()}, target)


def write_stage_two(folder: Path, task: FusionStageTask, weights: Path, settings: MultimodalStageSettings) -> None:
    """The trained fusion -> folder/{model.safetensors, modalities.safetensors, multimodal_stage.yaml}, as prediction reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(fusion_state(load_file(weights)), folder / WEIGHTS)
    save_statistics(folder / STATISTICS, task.modalities)
    write_settings(folder / SETTINGS, settings)
