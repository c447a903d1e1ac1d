"""What all fusions of modalities into node logits have in common: inputs, output, settings, modality dropout. Knows no kind of fusion.

A modality is one tower's vector ("text", "image", "clip_image", "clip_text") and what it reads ("text" or "image"). What a product lacks is told by
the presence mask, never by zeros that look like data. The kinds stand one a file in fusions/, and fusions/registry.py builds them.

Shapes: B products, M modalities, d_m dimensions of modality m, W hidden width, N categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from prodcat.config import Config

Kind = Literal["late", "early", "attention"]


class FusionConfig(Config):
    """How modalities are fused. Ours: the paper's abstract names early, late and attention fusion with an MLP and no more."""

    kind: Kind = Field("late", description="late: an MLP a modality, then one on their outputs; early: one MLP on all; attention: a token a modality")
    width: int = Field(384, ge=8, description="hidden width of late fusion; the other kinds take the width at which they have as many parameters")
    parameters: int | None = Field(None, ge=1, description="trainable parameters, whatever the kind; null: as many as late fusion has with `width`")
    blocks: int = Field(2, ge=1, description="attention: transformer blocks")
    heads: int = Field(4, ge=1, description="attention: heads of a block")
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
    by_modality: dict[str, Tensor]  # name -> [B, N] from that modality only, also where it is absent: read it under the presence mask


class Standardise(nn.Module):
    """Features of one modality to mean 0 and standard deviation 1 over the training set."""

    mean: Tensor
    std: Tensor

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(modality.mean, dtype=torch.float32))
        # Limited by NumPy, for the reason in fusions/attention.py.
        self.register_buffer("std", torch.as_tensor(np.maximum(modality.std, 1e-4), dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


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
