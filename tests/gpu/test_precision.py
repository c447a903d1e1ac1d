"""On a GPU: the vectors of a CPU, and with half of the digits nearly the same."""

from pathlib import Path

import numpy as np
import pytest

from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, load, obtain

pytestmark = pytest.mark.gpu
SHAPE = ScratchConfig(image=ImageScratch(size=112, patch=16, layers=4, width=192, heads=3))


@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-3), ("bf16", 5e-2)])
def test_a_tower_says_on_a_gpu_what_it_says_on_a_cpu(precision: str, apart: float, tmp_path: Path) -> None:
    obtain(EncoderConfig(family="vit", scratch=SHAPE, precision=precision), tmp_path / "vit", [])
    pixels = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    here, there = (load(tmp_path / "vit", device).towers["image"].encode(pixels) for device in ("cpu", "cuda"))
    assert there.dtype == np.float32
    assert np.linalg.norm(there - here, axis=1).max() < apart * np.linalg.norm(here, axis=1).min()
    # Not the same to the bit, or it was not computed there in this precision.
    assert precision == "fp32" or np.abs(there - here).max() > 0
