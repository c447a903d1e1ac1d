"""On a GPU: the vectors of a CPU, and with half of the digits nearly the same."""

from pathlib import Path

import numpy as np
import pytest

from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, load, obtain

pytestmark = pytest.mark.gpu
SHAPE = ScratchConfig(image=ImageScratch(size=112, patch=16, layers=4, width=192, heads=3))


def test_a_tower_says_on_a_gpu_what_it_says_on_a_cpu(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    said = {}
    for precision in ("fp32", "bf16"):
        obtain(EncoderConfig(family="vit", scratch=SHAPE, precision=precision), tmp_path / precision, [])
        said[precision] = load(tmp_path / precision, "cuda").towers["image"].encode(pixels)
    cpu = load(tmp_path / "bf16").towers["image"].encode(pixels)
    size = np.linalg.norm(cpu, axis=1).mean()
    apart = {precision: np.linalg.norm(vectors - cpu, axis=1).max() / size for precision, vectors in said.items()}
    assert apart["fp32"] < 1e-3
    # bf16 keeps 8 bits: more than fp32's rounding, or it was not computed in it, and still close.
    assert max(1e-3, 3 * apart["fp32"]) < apart["bf16"] < 5e-2
    assert {vectors.dtype for vectors in said.values()} == {np.dtype(np.float32)}
