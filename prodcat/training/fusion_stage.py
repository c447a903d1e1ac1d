"""Stage two: the fusion of stored features, trained with modality dropout and a loss of its own for every modality. Knows no Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prodcat.config import Config
from prodcat.model.fusion import FusionConfig, FusionOutput, Modality, build, hide_inputs
from prodcat.model.losses import PLAIN, LossConfig, Objective
from prodcat.prediction.bundle import write_settings
from prodcat.prediction.multimodal_stage import SETTINGS, STATISTICS, WEIGHTS, MultimodalStageSettings, save_statistics
from prodcat.taxonomy import Taxonomy
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.tables import fixed_rows
from prodcat.training.text_stage import badness


class FusionStageConfig(Config):
    """Fusion and its training."""

    fusion: FusionConfig = FusionConfig()
    stage_one_vector: bool = Field(True, description="stage two also reads the vector of stage one, fine-tuned on the catalog's titles")
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig(epochs=40, batch_size=128, learning_rate=1e-3, weight_decay=0.05)


@dataclass(frozen=True)
class FusionStageTask:
    """Classify products from their stored features."""

    modalities: tuple[Modality, ...]
    tree: Taxonomy
    config: FusionConfig
    name: str = "stage two"
    objective: Objective = PLAIN

    def build(self) -> nn.Module:
        return FusionStageModule(self)

    def rates(self, module: nn.Module) -> dict[str, float]:
        return {}

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        loss: Tensor = module(batch)
        return loss

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        assert isinstance(module, FusionStageModule)
        return badness(module.fuse(batch, batch["present"].bool()).logits, batch["targets"], module.hierarchical_loss)


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


def trained_fusion(task: FusionStageTask, weights: Path) -> nn.Module:
    module = FusionStageModule(task)
    module.load_state_dict(load_file(weights))
    return module.fusion.eval()


def write_stage_two(folder: Path, task: FusionStageTask, weights: Path, settings: MultimodalStageSettings) -> None:
    """The trained fusion -> folder/{model.safetensors, modalities.safetensors, multimodal_stage.yaml}, as prediction reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "fusion."
    state = {name.removeprefix(prefix): value for name, value in load_file(weights).items() if name.startswith(prefix)}
    save_file(state, folder / WEIGHTS)
    save_statistics(folder / STATISTICS, task.modalities)
    write_settings(folder / SETTINGS, settings)
