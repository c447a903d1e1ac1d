"""Fusion of modalities into node logits. Every kind has one interface: features and presence in, logits of the whole and of each modality out.

A modality is one tower's vector ("text", "image", "clip_image", "clip_text") and what it reads ("text" or "image"). What a product lacks is a learned
vector and a bit in the presence mask, never zeros that look like data.

To add a kind: a class here with `forward(features, present) -> FusionOutput`, and its name in KINDS.
Shapes: B products, M modalities, d_m dimensions of modality m, W hidden width, N categories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from prodcat.config import Config
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.taxonomy import HasLayout


class FusionConfig(Config):
    """How modalities are fused. Ours: the paper's abstract says late fusion with an MLP and no more."""

    kind: Literal["late"] = "late"
    width: int = Field(384, ge=8, description="hidden width of each modality's MLP and of the fusing one")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout inside the MLPs")
    input_dropout: float = Field(
        0.5, ge=0, lt=1, description="probability that a product's title, or its image, is hidden while training (modality dropout)"
    )
    modality_dropout: float = Field(0.2, ge=0, lt=1, description="probability that a modality is hidden by itself while training, beside the former")
    modality_loss: float = Field(0.5, ge=0, description="weight of the loss of each modality's own logits")
    label_smoothing: float = Field(0.02, ge=0, lt=1, description="share of the target spread over the siblings")


@dataclass(frozen=True)
class Modality:
    """One input of a fusion.

    Args:
        name: feature set it reads.
        reads: what must be there for it; modality dropout hides all modalities that read the same.
        dim: d_m.
        mean, std: float32 [d_m] over the training set; features are standardised with them inside the model.
    """

    name: str
    reads: Literal["text", "image"]
    dim: int
    mean: np.ndarray
    std: np.ndarray


class FusionOutput(NamedTuple):
    logits: Tensor  # [B, N]
    by_modality: dict[str, Tensor]  # name -> [B, N], also where the modality is absent: read it under the presence mask


class LateFusion(nn.Module):
    """An MLP a modality with its own logits, then an MLP on their outputs; its logits correct the mean of the present modalities' logits."""

    def __init__(self, modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig) -> None:
        super().__init__()
        self.names = tuple(modality.name for modality in modalities)
        self.standardise = nn.ModuleDict({m.name: _Standardise(m) for m in modalities})
        self.towers = nn.ModuleDict(
            {
                m.name: nn.Sequential(nn.Dropout(config.dropout / 2), nn.Linear(m.dim, config.width), nn.GELU(), nn.Dropout(config.dropout))
                for m in modalities
            }
        )
        self.heads = nn.ModuleDict({m.name: HierarchicalHead(config.width, tree) for m in modalities})
        self.absent = nn.ParameterDict({m.name: nn.Parameter(torch.zeros(config.width)) for m in modalities})
        width_in = len(modalities) * (config.width + 1)
        self.fuse = nn.Sequential(nn.Linear(width_in, config.width), nn.GELU(), nn.Dropout(config.dropout))
        self.head = HierarchicalHead(config.width, tree)

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        """
        Args:
            features: name -> [B, d_m]; any finite values where absent.
            present_BM: bool [B, M], columns in the order of the modalities; at least one True a row.
        """
        outputs, by_modality = [], {}
        total, count = 0.0, present_BM.sum(dim=1, keepdim=True).clamp(min=1)
        for column, name in enumerate(self.names):
            here_B1 = present_BM[:, column : column + 1]
            hidden_BW = self.towers[name](self.standardise[name](features[name]))
            by_modality[name] = self.heads[name](hidden_BW)
            total = total + by_modality[name] * here_B1
            outputs.append(torch.where(here_B1, hidden_BW, self.absent[name]))
        hidden_BW = self.fuse(torch.cat([*outputs, present_BM.to(outputs[0].dtype)], dim=1))
        return FusionOutput(total / count + self.head(hidden_BW), by_modality)


class _Standardise(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(modality.mean, dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(modality.std, dtype=torch.float32).clamp(min=1e-4))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


KINDS = {"late": LateFusion}


def build(modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig) -> nn.Module:
    return KINDS[config.kind](modalities, tree, config)


def hide_inputs(present_BM: Tensor, reads: Sequence[str], probability: float, generator: torch.Generator | None = None, alone: float = 0.0) -> Tensor:
    """Modality dropout by input: with `probability` a product that has both loses its title or its image, and with it every modality that reads it.
    What is left loses each modality with the probability `alone`, so that none is leant on.

    Args:
        present_BM: bool [B, M].
        reads: M names, "text" or "image".

    Returns:
        bool [B, M]; never a row without any modality that had one before.
    """
    is_text_M = torch.tensor([kind == "text" for kind in reads], device=present_BM.device)
    both_B = (present_BM & is_text_M).any(dim=1) & (present_BM & ~is_text_M).any(dim=1)
    draws_B = torch.rand(len(present_BM), generator=generator, device=present_BM.device)
    hide_text_B1 = (both_B & (draws_B < probability / 2))[:, None]
    hide_image_B1 = (both_B & (draws_B >= probability / 2) & (draws_B < probability))[:, None]
    seen_BM = present_BM & ~(hide_text_B1 & is_text_M) & ~(hide_image_B1 & ~is_text_M)
    alone_BM = torch.rand(seen_BM.shape, generator=generator, device=present_BM.device) < alone
    left_BM = seen_BM & ~alone_BM
    return torch.where(left_BM.any(dim=1, keepdim=True), left_BM, seen_BM)
