"""Random views of product photos: a whole batch at once, each image with its own draw. Knows no encoder.

torchvision's transforms draw once a call, so a batch would be a loop over images, several times slower on a CPU than the training step needs; here
crop, mirror and rotation are one sampling grid, and brightness, saturation, hue and greyscale one 3 x 3 matrix an image.

Shapes: B images, S pixels a side.
"""

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from prodcat.config import Config

# RGB -> luma and two axes of colour (NTSC); hue is an angle between the latter.
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
# Widest blur, in standard deviations that the kernel reaches.
_REACH = 2.5


class ViewConfig(Config):
    """What two views of one photo may differ in.

    A shop's product stands in the middle of white: small crops show nothing of it. Its colour, by which subtypes are not told apart, is what an
    encoder sees first: colours are loose.
    """

    smallest_crop: float = Field(0.5, gt=0, le=1, description="smallest share of the image's area that a crop keeps")
    stretch: float = Field(1.2, ge=1, description="a crop's sides differ at most by this factor")
    mirror: float = Field(0.5, ge=0, le=1, description="share of the views that are mirrored")
    rotation: float = Field(10.0, ge=0, le=180, description="largest angle of a rotation, degrees")
    brightness: float = Field(0.4, ge=0, lt=1, description="largest change of the brightness, as a factor 1 +- this")
    contrast: float = Field(0.4, ge=0, lt=1, description="the same of the contrast")
    saturation: float = Field(0.8, ge=0, le=1, description="the same of the saturation")
    hue: float = Field(0.5, ge=0, le=0.5, description="largest turn of the hue, in whole turns; 0.5: any hue")
    coloured: float = Field(0.8, ge=0, le=1, description="share of the views whose colours are changed so")
    grey: float = Field(0.3, ge=0, le=1, description="share of the views without colour")
    blur: float = Field(0.2, ge=0, le=1, description="share of the views that are blurred")
    blur_sigma: float = Field(0.008, gt=0, description="largest standard deviation of a blur, in sides of the image")


def view(pixels: Tensor, config: ViewConfig, generator: torch.Generator | None = None) -> Tensor:
    """uint8 [B, S, S, 3] -> one random view of each, uint8 [B, S, S, 3].

    Args:
        generator: on the device of `pixels`; None: torch's own.
    """
    images = pixels.permute(0, 3, 1, 2).float() / 255
    images = _placed(images, config, generator)
    images = _coloured(images, config, generator)
    images = _blurred(images, config, generator)
    return (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _drawn(images: Tensor, least: float, most: float, generator: torch.Generator | None) -> Tensor:
    return torch.rand(len(images), device=images.device, generator=generator) * (most - least) + least


def _happens(images: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    return _drawn(images, 0, 1, generator) < share


def _placed(images: Tensor, config: ViewConfig, generator: torch.Generator | None) -> Tensor:
    """Crop, mirror, rotate. float [B, 3, S, S]; what lies outside of a photo is as its border, which in shops is the background."""
    area = _drawn(images, config.smallest_crop, 1, generator)
    ratio = torch.exp(_drawn(images, -math.log(config.stretch), math.log(config.stretch), generator) / 2)
    side = area.sqrt()
    width, height = (side * ratio).clamp(max=1), (side / ratio).clamp(max=1)
    right, down = (_drawn(images, -1, 1, generator) * (1 - width), _drawn(images, -1, 1, generator) * (1 - height))
    turn = torch.where(_happens(images, config.mirror, generator), -1.0, 1.0)
    angle = _drawn(images, -config.rotation, config.rotation, generator) * math.pi / 180
    cosine, sine = angle.cos(), angle.sin()
    # Rows of the map from places in the view to places in the photo, both from -1 to 1.
    grid = torch.stack([turn * width * cosine, -height * sine, right, turn * width * sine, height * cosine, down], dim=1).view(-1, 2, 3)
    places = functional.affine_grid(grid, list(images.shape), align_corners=False)
    return functional.grid_sample(images, places, mode="bilinear", padding_mode="border", align_corners=False)


def _coloured(images: Tensor, config: ViewConfig, generator: torch.Generator | None) -> Tensor:
    changed = _happens(images, config.coloured, generator)

    def factor(most: float) -> Tensor:
        return torch.where(changed, _drawn(images, 1 - most, 1 + most, generator), 1.0)

    brightness, contrast, saturation = factor(config.brightness), factor(config.contrast), factor(config.saturation)
    angle = torch.where(changed, _drawn(images, -config.hue, config.hue, generator), 0.0) * 2 * math.pi
    saturation = torch.where(_happens(images, config.grey, generator), 0.0, saturation)
    to_yiq = torch.tensor(_YIQ, device=images.device)
    cosine, sine, zero = saturation * angle.cos(), saturation * angle.sin(), torch.zeros_like(angle)
    turned = torch.stack([torch.ones_like(angle), zero, zero, zero, cosine, -sine, zero, sine, cosine], dim=1).view(-1, 3, 3)
    matrix = (torch.linalg.inv(to_yiq) @ turned @ to_yiq) * (brightness * contrast)[:, None, None]
    # Contrast is around the mean of what brightness has made of the image.
    mean = (images.mean(dim=(2, 3)) @ to_yiq[0]) * brightness * (1 - contrast)
    mixed = torch.baddbmm(mean[:, None, None], matrix, images.flatten(2))
    return mixed.view_as(images).clamp(0, 1)


def _blurred(images: Tensor, config: ViewConfig, generator: torch.Generator | None) -> Tensor:
    """Gaussian, each image with a width of its own."""
    sigma = _drawn(images, 0.1, 1, generator) * config.blur_sigma * images.shape[-1]
    rows = torch.nonzero(_happens(images, config.blur, generator))[:, 0]
    reach = math.ceil(_REACH * config.blur_sigma * images.shape[-1])
    if not len(rows):
        return images
    steps = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-(steps**2) / (2 * sigma[rows, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    chosen = functional.pad(images[rows].flatten(0, 1)[None], (reach,) * 4, mode="replicate")
    chosen = functional.conv2d(chosen, kernel[:, None, :, None], groups=len(kernel))
    chosen = functional.conv2d(chosen, kernel[:, None, None, :], groups=len(kernel))
    return images.index_copy(0, rows, chosen.view(len(rows), *images.shape[1:]))
