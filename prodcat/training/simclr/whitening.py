"""SimCLR in one step and without a gradient: what an encoder's vectors vary in between views of one photo is noise, and is divided out.

The vectors of an encoder are whitened by their covariance within the views of a photo: Fisher's linear discriminant with each photo as a class of its
own (the within-class normalisation of Hatch et al. 2006, with views in place of sessions). It asks what SimCLR asks, of a linear head on a
frozen encoder, and needs forward passes only. Knows no Ray.

Shapes: n products, v views of each, d dimensions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from prodcat.config import Config
from prodcat.encoders.encoder import Encoder
from prodcat.training.simclr.views import ViewConfig, view


class WhiteningConfig(Config):
    """How the noise of an image tower is measured."""

    views: ViewConfig = ViewConfig()
    count: int = Field(6, ge=2, description="views of each photo")
    most: int = Field(1000, ge=1, description="photos that are looked at, at most")
    shrinkage: float = Field(
        0.1, gt=0, description="of the mean variance within, added to all: what never varies between views shall not count without end"
    )


@dataclass(frozen=True)
class Scatter:
    """Sum over photos of (x - mean of the photo's views) (x - mean of the photo's views)' and its degrees of freedom; scatters add up.

    Args:
        within: float64 [d, d].
    """

    within: np.ndarray
    freedom: int

    def __add__(self, other: "Scatter") -> "Scatter":
        return Scatter(self.within + other.within, self.freedom + other.freedom)


def scatter(encoder: Encoder, pixels: np.ndarray, config: WhiteningConfig, seed: int) -> Scatter:
    """Args: pixels: uint8 [n, S, S, 3], as the encoder's image tower reads them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    seen = np.stack([encoder.towers["image"].encode(view(images, config.views, generator).numpy()) for _ in range(config.count)], axis=1)
    return of_views(seen)


def of_views(vectors: np.ndarray) -> Scatter:
    """Args: vectors: float [n, v, d] of views; of each, the direction counts."""
    n, v, d = vectors.shape
    unit = _unit(vectors)
    apart = (unit - unit.mean(axis=1, keepdims=True)).reshape(-1, d)
    return Scatter(apart.T @ apart, n * (v - 1))


def whitening(noise: Scatter, shrinkage: float) -> np.ndarray:
    """float32 [d, d]: x -> x W, after which views of one photo differ equally in all directions; the unit matrix where no views were seen."""
    if noise.freedom == 0:
        return np.eye(len(noise.within), dtype=np.float32)
    values, directions = np.linalg.eigh(noise.within / noise.freedom)
    values = np.maximum(values, 0) + shrinkage * max(float(values.mean()), 1e-12)
    # No larger than 1, which is an encoder's own scale: what counts is the direction of what comes out.
    turned = directions / np.sqrt(values)
    return np.asarray(turned / np.abs(turned).max(), dtype=np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12))
