"""SimCLR on stored vectors: a product's image and its text, seen through noise and one of them at times missing, come to lie at one place. Knows no
Ray and no encoder.

Shapes: n products, B of them in a batch, M modalities, d_m numbers of modality m, d of the joint vector.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from prodcat.config import Config
from prodcat.training.encoders import Priced
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.simclr.images import projection
from prodcat.training.simclr.nt_xent import nt_xent

NAME, JOINT = "simclr of features", "joint.json"
# The column of a batch that says which modalities a product has.
_PRESENT = "present"
# Products embedded at once.
_AT_ONCE = 8192


class FeatureSimclrConfig(Config):
    """How a joint vector is learned from the stored vectors of a branch."""

    loop: LoopConfig = LoopConfig(epochs=30, batch_size=256, learning_rate=1e-3, weight_decay=0.05)
    temperature: float = Field(0.2, gt=0, description="NT-Xent's: the smaller, the more the nearest negatives count")
    hidden: int = Field(512, ge=1, description="width of the hidden layers")
    dim: int = Field(128, ge=2, description="size of the joint vector")
    projected: int = Field(64, ge=2, description="size of the space in which views are compared; its head is thrown away afterwards")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of a vector's numbers that a view lacks")
    noise: float = Field(0.3, ge=0, description="length of the Gaussian noise on a vector, whose own length is 1")
    alone: float = Field(0.5, ge=0, le=1, description="share of the views that show one modality of a product alone, where it has several")


def means_of(vectors: Mapping[str, np.ndarray], present: np.ndarray) -> dict[str, np.ndarray]:
    """Modality -> float64 [d_m]: what the products of a branch share, and which says nothing of one. Args: as `prepared`."""
    means = {}
    for (name, values), there in zip(vectors.items(), present.T, strict=True):
        means[name] = np.where(there[:, None], _unit(values), 0).sum(axis=0) / max(1, int(there.sum()))
    return means


def prepared(vectors: Mapping[str, np.ndarray], present: np.ndarray, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stored vectors as the task reads them: of length 1 around the mean of those that were learned from; zeros where absent.

    Args:
        vectors: modality -> float [n, d_m]; any finite values where absent.
        present: bool [n, M], columns in the order of `vectors`.
        means: as `means_of`.

    Returns:
        The same keys -> float32 [n, d_m], and "present" uint8 [n, M].
    """
    columns: dict[str, np.ndarray] = {}
    for (name, values), there in zip(vectors.items(), present.T, strict=True):
        columns[name] = np.where(there[:, None], _unit(_unit(values) - means[name]), 0).astype(np.float32)
    return columns | {_PRESENT: present.astype(np.uint8)}


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9))


@dataclass(frozen=True)
class FeatureSimclrTask(Priced):
    """Learn a joint vector. Batches: as `prepared` makes them, rows that have a modality.

    Args:
        dims: modality -> d_m, in the order of the columns of "present".
    """

    dims: Mapping[str, int]
    training: FeatureSimclrConfig
    name: str

    def build(self) -> nn.Module:
        return _Joint(self.dims, self.training)

    def rates(self, module: nn.Module) -> dict[str, float]:
        return {}


class _Joint(nn.Module):
    def __init__(self, dims: Mapping[str, int], config: FeatureSimclrConfig) -> None:
        super().__init__()
        self.names, self.config = list(dims), config
        self.towers = nn.ModuleList([projection(dim, config.hidden, config.dim) for dim in dims.values()])
        self.head = projection(config.dim, config.hidden, config.projected)

    def forward(self, batch: Batch) -> Tensor:
        one, other = (functional.normalize(self.head(self.joint(self._seen(batch)))) for _ in range(2))
        return nt_xent(one, other, self.config.temperature)

    def joint(self, batch: Batch) -> Tensor:
        """[B, d] of length 1: the middle of what the modalities that are there say; zeros where there is none."""
        there = batch[_PRESENT].to(torch.float32)
        # Every tower runs in every batch, so that all workers have the same gradients to average.
        said = [functional.normalize(tower(batch[name])) * there[:, [m]] for m, (name, tower) in enumerate(zip(self.names, self.towers, strict=True))]
        return functional.normalize(torch.stack(said).sum(dim=0))

    def _seen(self, batch: Batch) -> Batch:
        """A random view; the batch itself where nothing is to be random."""
        if not self.training:
            return batch
        there = batch[_PRESENT].bool()
        # Of the modalities that a product has, the one with the highest draw is the one that would stay.
        chosen = torch.where(there, torch.rand(there.shape, device=there.device), -1.0).argmax(dim=1)
        alone = torch.rand(len(there), device=there.device) < self.config.alone
        view: Batch = {_PRESENT: there & (~alone[:, None] | functional.one_hot(chosen, there.shape[1]).bool())}
        for name in self.names:
            values = functional.dropout(batch[name], self.config.dropout)
            view[name] = values + torch.randn_like(values) * (self.config.noise / values.shape[1] ** 0.5)
        return view


@dataclass(frozen=True)
class JointEncoder:
    """What was learned, to be asked for other products.

    Args:
        weights: file of the module's.
        means: modality -> [d_m], of the products that were learned from.
    """

    task: FeatureSimclrTask
    weights: Path
    means: Mapping[str, np.ndarray]

    def of(self, vectors: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [n, d] of length 1; zeros for a product that has no modality. Args: modality -> [n, d_m], modality -> bool [n]."""
        there = np.stack([present[name] for name in self.task.dims], axis=1)
        return embedded(self.task, self.weights, prepared({name: vectors[name] for name in self.task.dims}, there, self.means))

    def save(self, folder: Path) -> None:
        """Beside the weights, which stay where they are. Written last: a folder that has it is whole."""
        told = {"dims": dict(self.task.dims), "training": self.task.training.model_dump(mode="json"), "weights": self.weights.name}
        (folder / JOINT).write_text(json.dumps(told | {"means": {name: mean.tolist() for name, mean in self.means.items()}}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "JointEncoder":
        told = json.loads((folder / JOINT).read_text(encoding="utf-8"))
        task = FeatureSimclrTask(told["dims"], FeatureSimclrConfig.model_validate(told["training"]), NAME)
        return cls(task, folder / told["weights"], {name: np.array(mean) for name, mean in told["means"].items()})


@torch.inference_mode()
def embedded(task: FeatureSimclrTask, weights: Path, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """What `prepared` made -> float32 [n, d] of length 1, zeros for a product that has no modality."""
    module = _Joint(task.dims, task.training)
    module.load_state_dict(load_file(weights))
    module.eval()
    count = len(columns[_PRESENT])
    tensors = {name: torch.from_numpy(np.require(values, requirements=["C", "W"])) for name, values in columns.items()}
    parts = [module.joint({name: values[start : start + _AT_ONCE] for name, values in tensors.items()}) for start in range(0, count, _AT_ONCE)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, task.training.dim), np.float32)
