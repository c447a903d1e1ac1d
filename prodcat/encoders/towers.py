"""The two kinds of Tower: a text one and an image one around a forward function. Knows no family.

Shapes: n items, T tokens, S pixels a side, dim features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from prodcat.encoders.inputs import ImageInput, Precision, TextFields, Tokens

Forward = Callable[[torch.Tensor], torch.Tensor]


def _run(module: nn.Module, forward: Forward, prepared: np.ndarray, dim: int, precision: Precision) -> np.ndarray:
    if not len(prepared):
        return np.zeros((0, dim), dtype=np.float32)
    training = module.training
    # A training loop that encodes in between gets its dropout back afterwards.
    module.eval()
    try:
        device = next(module.parameters()).device
        # Not on CPUs: many have no arithmetic for it, and are then a hundred times slower.
        halved = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16" and device.type != "cpu")
        with torch.inference_mode(), halved:
            # np.require: rows that came out of Arrow are read-only, which torch does not take.
            batch = torch.from_numpy(np.require(prepared, requirements=["C", "W"])).to(device)
            return np.asarray(forward(batch).float().cpu().numpy())
    finally:
        module.train(training)


@dataclass
class TextTower:
    """Titles -> vectors.

    Args:
        forward: int64 ids [n, T] -> [n, dim].
    """

    module: nn.Module
    forward: Forward
    tokens: Tokens
    dim: int
    fingerprint: str = ""
    at_least: int | None = None
    reads: Literal["text", "image"] = "text"
    precision: Precision = "fp32"

    @property
    def fields(self) -> tuple[TextFields, ...]:
        return self.tokens.settings.fields

    def prepare(self, items: Sequence[str]) -> np.ndarray:
        return self.tokens.prepare(items)

    def encode(self, prepared: np.ndarray) -> np.ndarray:
        return _run(self.module, lambda ids: self.forward(ids.long()), prepared, self.dim, self.precision)


@dataclass
class ImageTower:
    """RGB images -> vectors.

    Args:
        forward: float32 [n, 3, S, S], normalised -> [n, dim].
    """

    module: nn.Module
    forward: Forward
    image: ImageInput
    dim: int
    fingerprint: str = ""
    fields: tuple[TextFields, ...] = ()
    reads: Literal["text", "image"] = "image"
    precision: Precision = "fp32"

    @property
    def at_least(self) -> int | None:
        return self.image.at_least

    def prepare(self, items: Sequence[Image.Image]) -> np.ndarray:
        batch = np.empty((len(items), self.image.size, self.image.size, 3), dtype=np.uint8)
        for row, item in zip(batch, items, strict=True):
            row[...] = self.image.prepare(item)
        return batch

    def encode(self, prepared: np.ndarray) -> np.ndarray:
        return _run(self.module, lambda pixels: self.forward(self.image.normalise(pixels)), prepared, self.dim, self.precision)
