"""SimCLR on images: an encoder's image tower learns to tell each product's photo from all others, whatever crop, mirror and colour do to it. Knows no
Ray.

Shapes: B products, S pixels a side, d width of the tower's vectors.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from prodcat.encoders.encoder import Encoder, load
from prodcat.encoders.inputs import ImageInput
from prodcat.errors import EncoderError
from prodcat.training.encoders import Priced, TowerTraining, first_blocks, layer_rates, see, seen
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.simclr.nt_xent import nt_xent
from prodcat.training.simclr.views import ViewConfig, view


class SimclrConfig(TowerTraining):
    """How an image tower learns from the photos of a branch."""

    loop: LoopConfig = LoopConfig(epochs=5, batch_size=128, learning_rate=1e-3, weight_decay=0.05)
    encoder_rate: float = Field(
        0.1, gt=0, le=1, description="factor on the learning rate of the encoder's own weights; the fresh projection head learns at the full rate"
    )
    frozen_blocks: int = Field(
        6, ge=0, description="first blocks of the tower that stay as they are, with all below them: cheaper, and what is general stays"
    )
    temperature: float = Field(0.2, gt=0, description="NT-Xent's: the smaller, the more the nearest negatives count")
    hidden: int = Field(512, ge=1, description="width of the projection head's hidden layer")
    dim: int = Field(128, ge=2, description="size of the space in which views are compared; the head is thrown away afterwards")
    views: ViewConfig = ViewConfig()


@dataclass(frozen=True)
class SimclrTask(Priced):
    """Train the image tower of a vit or clip folder. Batches: image uint8 [B, S, S, 3]."""

    folder: Path
    training: SimclrConfig
    name: str

    def build(self) -> nn.Module:
        encoder = load(self.folder)
        image = self.image(encoder)
        if image is None:
            raise EncoderError(f"{self.folder}: SimCLR learns from images, and a {encoder.family} encoder reads none; give a vit or clip folder")
        see(encoder, image)
        return _Simclr(encoder, self.training)

    def image(self, encoder: Encoder) -> ImageInput | None:
        """How images are prepared while training; None for a family without."""
        return seen(encoder, self.training)

    def rates(self, module: nn.Module) -> dict[str, float]:
        return layer_rates([name for name, value in module.named_parameters() if value.requires_grad], self.training)


class _Simclr(nn.Module):
    def __init__(self, encoder: Encoder, config: SimclrConfig) -> None:
        super().__init__()
        self.encoder: Any = encoder.module
        tower: Any = encoder.towers["image"]
        self.tower, self.config = tower, config
        self.head = projection(tower.dim, config.hidden, config.dim)
        _freeze(self, encoder, config.frozen_blocks)

    def forward(self, batch: Batch) -> Tensor:
        one = batch["image"]
        # Where nothing is to be random, a photo and its mirror image are the two views.
        views = [view(one, self.config.views), view(one, self.config.views)] if self.training else [one, one.flip(2)]
        vectors = self.tower.forward(self.tower.image.normalise(torch.cat(views)))
        one, other = functional.normalize(self.head(vectors)).chunk(2)
        return nt_xent(one, other, self.config.temperature)


def projection(width: int, hidden: int, dim: int) -> nn.Sequential:
    """The head of Chen et al., but with layer norm in place of batch norm: that of one batch on two workers would be another."""
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _freeze(module: nn.Module, encoder: Encoder, count: int) -> None:
    """Only the image tower's blocks from `count` on, and what lies behind them, learn; torch then keeps no activations of what lies before.

    Raises:
        EncoderError: no block is left to learn.
    """
    tower = "encoder." if encoder.family == "vit" else "encoder.visual."
    names = [name for name, _ in module.named_parameters() if name.startswith(tower)]
    frozen = set(first_blocks(names, count))
    if count and not frozen:
        raise EncoderError(f"{encoder.folder}: frozen_blocks is {count}, and its image tower has no so many blocks and one that learns; lower it")
    for name, value in module.named_parameters():
        if name in frozen or (name.startswith("encoder.") and not name.startswith(tower)):
            value.requires_grad_(False)
