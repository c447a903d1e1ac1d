"""Image encoders of the timm library: vision transformers that give one vector a patch. Knows nothing of text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_model
from timm.models import save_for_hf
from torch import nn

from prodcat.encoders.encoder import EncoderConfig, Tower, needed
from prodcat.encoders.inputs import ImageInput, Manifest
from prodcat.encoders.towers import ImageTower
from prodcat.errors import EncoderError

# Any registered ViT serves as the mould: its shape is overridden in full.
_MOULD = "vit_tiny_patch16_224"


def scratch(config: EncoderConfig, part: Path, titles: Sequence[str]) -> Manifest:
    """Write a small ViT with random weights. Images are squashed: nothing of a product is cut off."""
    shape = config.scratch.image
    module = timm.create_model(
        _MOULD, num_classes=0, img_size=shape.size, patch_size=shape.patch, embed_dim=shape.width, depth=shape.layers, num_heads=shape.heads
    )
    image = ImageInput(size=shape.size, resize="squash")
    chosen = {"input_size": (3, shape.size, shape.size), "crop_pct": 1.0, "crop_mode": "squash", "mean": image.mean, "std": image.std}
    return _save(module, part, config, image, chosen)


def fetch(config: EncoderConfig, name: str, part: Path, *, hub: bool) -> Manifest:
    """Write the encoder of a hub name (timm's, or "hf-hub:OWNER/NAME") or of a folder in the hub's format."""
    if not hub:
        needed(Path(name), "config.json", "model.safetensors")
    try:
        module = timm.create_model(name if hub else f"local-dir:{name}", pretrained=True, num_classes=0)
    except (RuntimeError, ValueError, KeyError) as error:
        if hub:
            raise
        raise EncoderError(f"{name}: not a timm model's folder ({error})") from error
    return _save(module, part, config, ImageInput.from_timm(module.pretrained_cfg), {})


def _save(module: Any, part: Path, config: EncoderConfig, image: ImageInput, data: dict[str, Any]) -> Manifest:
    pooling = config.chosen_pooling
    _check(module, pooling, str(part))
    save_for_hf(module, str(part), safe_serialization=True, data_config=data)
    # Over timm's own file, so that the same weights are the same bytes however they came here.
    write(module, part)
    dim = int(module.num_features) * (1 if pooling == "token" else 2) * len(_tapped(module, config.taps))
    return Manifest(family="vit", pooling=pooling, taps=config.taps, dim=dim, image=image)


def write(module: nn.Module, part: Path) -> None:
    """Write the weights; the configuration beside them does not change in training."""
    save_model(module, str(part / "model.safetensors"), metadata={"format": "pt"})


def open_folder(folder: Path, manifest: Manifest) -> tuple[nn.Module, dict[str, Tower]]:
    needed(folder, "config.json", "model.safetensors")
    if manifest.image is None:
        raise EncoderError(f"{folder / 'encoder.json'}: an image encoder needs 'image'; write the folder again")
    module: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    _check(module, manifest.pooling, str(folder))
    tapped = _tapped(module, manifest.taps)

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        levels = module.forward_intermediates(pixels, indices=tapped, return_prefix_tokens=True, norm=True, output_fmt="NLC", intermediates_only=True)
        if manifest.pooling == "token":
            return torch.cat([prefix[:, 0] for _, prefix in levels], dim=1)
        return torch.cat([part for patches, prefix in levels for part in (prefix[:, 0], patches.mean(1))], dim=1)

    return module, {"image": ImageTower(module, forward, manifest.image, manifest.dim)}


def _tapped(module: Any, taps: int) -> list[int]:
    """Numbers of the blocks whose vectors are read, the last one among them; fewer than `taps` where there are fewer blocks."""
    depth = len(module.blocks)
    return sorted({round(depth - 1 - k * (depth / 2) / max(1, taps - 1)) for k in range(taps)} & set(range(depth)))


def _check(module: Any, pooling: str | None, name: str) -> None:
    if not getattr(module, "num_prefix_tokens", 0) or not getattr(module, "has_class_token", False):
        raise EncoderError(
            f"{name}: pooling {pooling!r} needs a vision transformer with a class token, this is a {type(module).__name__}; choose another"
        )
