"""The precision of an encoder: part of its identity, and asked only of devices that have it. What comes out on a GPU, tests/gpu says."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, obtain
from prodcat.encoders.inputs import Manifest


def test_a_precision_is_part_of_the_encoder_and_a_cpu_computes_in_full(tmp_path: Path) -> None:
    shape = ScratchConfig(image=ImageScratch(size=16, patch=8, layers=1, width=16, heads=2))
    full, half = (
        obtain(EncoderConfig(family="vit", scratch=shape, precision=precision), tmp_path / precision, []).encoder for precision in ("fp32", "bf16")
    )
    assert full.fingerprint != half.fingerprint
    assert Manifest.load(half.folder).precision == "bf16"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(full.towers["image"].encode(pixels), half.towers["image"].encode(pixels))


def test_a_precision_is_asked_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ScratchConfig(image=ImageScratch(size=16, patch=8, layers=1, width=16, heads=2))
    asked = []

    def autocast(device: str, *, dtype: torch.dtype, enabled: bool) -> contextlib.AbstractContextManager[None]:
        asked.append((device, dtype, enabled))
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    for precision in ("fp32", "bf16"):
        tower = obtain(EncoderConfig(family="vit", scratch=shape, precision=precision), tmp_path / precision, []).encoder.towers["image"]
        # A device that computes nothing stands for a GPU.
        tower.module.to("meta")
        with contextlib.suppress(NotImplementedError):
            tower.encode(np.zeros((1, 16, 16, 3), dtype=np.uint8))
    assert asked == [("meta", torch.bfloat16, False), ("meta", torch.bfloat16, True)]
