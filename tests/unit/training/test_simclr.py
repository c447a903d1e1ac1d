"""SimCLR: its loss is the paper's, its views are photos again, what is frozen stays, and what is learned tells products apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, TextScratch, load, obtain
from prodcat.errors import EncoderError
from prodcat.training.encoders import save_trained
from prodcat.training.loop import Batch, Task
from prodcat.training.simclr.features import FeatureSimclrConfig, FeatureSimclrTask, embedded, means_of, prepared
from prodcat.training.simclr.images import SimclrConfig, SimclrTask
from prodcat.training.simclr.nt_xent import nt_xent
from prodcat.training.simclr.views import ViewConfig, view
from prodcat.training.simclr.whitening import WhiteningConfig, of_views, scatter, whitening

SCRATCH = ScratchConfig(
    text=TextScratch(layers=1, width=16, heads=2, vocabulary=300), image=ImageScratch(size=16, patch=8, layers=3, width=32, heads=2), embed_dim=16
)
# These products are told apart by their colour, which real ones are not.
COLOUR_KEPT = ViewConfig(hue=0, saturation=0.2, brightness=0.1, contrast=0.1, grey=0)
STILL = ViewConfig(smallest_crop=1, stretch=1, mirror=0, rotation=0, coloured=0, grey=0, blur=0)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def photos(count: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Blocks of colour on white."""
    generator = np.random.default_rng(seed)
    images = np.full((count, size, size, 3), 255, np.uint8)
    for image in images:
        top, left = generator.integers(size // 4, size // 2, 2)
        high, wide = generator.integers(size // 4, size // 2, 2)
        image[top : top + high, left : left + wide] = generator.integers(0, 200, 3)
    return torch.from_numpy(images)


def test_the_loss_is_the_papers_formula() -> None:
    generator = np.random.default_rng(0)
    one, other = unit(generator.normal(size=(2, 5, 8)))
    every = np.concatenate([one, other])
    similar = np.exp(every @ every.T / 0.3)
    terms = [-np.log(similar[i, (i + 5) % 10] / (similar[i].sum() - similar[i, i])) for i in range(10)]
    assert float(nt_xent(torch.tensor(one), torch.tensor(other), 0.3)) == pytest.approx(np.mean(terms), rel=1e-6)


def test_a_single_product_has_nothing_to_be_told_from() -> None:
    one = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = nt_xent(one, torch.tensor([[0.0, 1.0]]), 0.5)
    loss.backward()
    assert float(loss.detach()) == 0
    assert one.grad is not None
    assert not one.grad.any()


def test_views_are_photos_and_the_seed_draws_them() -> None:
    pixels = photos(6, 32)
    first, again, others = (view(pixels, ViewConfig(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == pixels.shape
    assert first.dtype == torch.uint8
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first != others).any(dim=(1, 2, 3)).all()
    # Each photo has its own draw.
    same = view(pixels[:1].expand(6, -1, -1, -1), ViewConfig(), torch.Generator().manual_seed(1))
    assert len({image.numpy().tobytes() for image in same}) == 6


def test_a_view_with_everything_switched_off_is_the_photo() -> None:
    torch.testing.assert_close(view(photos(4), STILL), photos(4), rtol=0, atol=1)


def test_mirror_grey_hue_and_crop_do_what_they_say() -> None:
    pixels = photos(8, 32)
    torch.testing.assert_close(view(pixels, STILL.model_copy(update={"mirror": 1})), pixels.flip(2), rtol=0, atol=1)
    grey = view(pixels, STILL.model_copy(update={"grey": 1})).int()
    assert int((grey.max(dim=3).values - grey.min(dim=3).values).max()) <= 1
    luma = pixels.float() @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(grey[..., 0].float(), luma, rtol=0, atol=2)
    hued = view(pixels, STILL.model_copy(update={"coloured": 1, "hue": 0.5, "brightness": 0, "contrast": 0, "saturation": 0}))
    white = (pixels == 255).all(dim=3)
    assert int((255 - hued[white].int()).max()) <= 1
    assert float((hued[~white].int() - pixels[~white].int()).abs().float().mean()) > 10
    cropped = view(pixels, STILL.model_copy(update={"smallest_crop": 0.3}))
    shares = [(images.int().min(dim=3).values < 250).float().mean() for images in (pixels, cropped)]
    assert shares[1] > 1.2 * shares[0]
    blurred = view(pixels, STILL.model_copy(update={"blur": 1, "blur_sigma": 0.05})).float()
    assert blurred.diff(dim=1).abs().max() < pixels.float().diff(dim=1).abs().max()
    torch.testing.assert_close(blurred.mean(), pixels.float().mean(), rtol=0, atol=2)


def learn(task: Task, module: nn.Module, batch: Batch, steps: int, rate: float = 3e-3) -> list[float]:
    optimizer = torch.optim.AdamW([value for value in module.parameters() if value.requires_grad], lr=rate)
    losses = []
    for _ in range(steps):
        loss = task.loss(module, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def folder(tmp_path: Path, family: str) -> Path:
    obtain(EncoderConfig(family=family, scratch=SCRATCH, max_tokens=8), tmp_path / family, ["red shirt", "blue shoe"])
    return tmp_path / family


@pytest.mark.parametrize("family", ["vit", "clip"])
def test_the_loss_falls_frozen_blocks_stay_and_the_folder_holds_what_was_trained(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = folder(tmp_path, family)
    task = SimclrTask(source, SimclrConfig(frozen_blocks=1, views=COLOUR_KEPT), "simclr")
    module = task.build().train()
    losses = learn(task, module, {"image": photos(16)}, 60, rate=1e-3)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])

    still = {name for name, value in module.named_parameters() if value.grad is None}
    tower = "encoder.visual" if family == "clip" else "encoder"
    assert {name for name in still if ".0." in name and name.startswith(tower)}
    assert {name for name in still if name.startswith(tower) and ("embed" in name or "conv1" in name)}
    assert not [name for name in still if name.startswith("head")]
    assert not [name for name in still if name.startswith(tower) and (".1." in name or ".2." in name)]
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, tmp_path / "model.safetensors")
    save_trained(task, tmp_path / "model.safetensors", tmp_path / "ready")
    before, after = load(source), load(tmp_path / "ready")
    moved = {name for (name, old), new in zip(before.module.named_parameters(), after.module.parameters(), strict=True) if not torch.equal(old, new)}
    assert moved == {name.removeprefix("encoder.") for name, value in module.named_parameters() if value.grad is not None and "encoder." in name}


def test_it_trains_on_smaller_images_and_the_folder_sees_its_own_size_again(tmp_path: Path) -> None:
    source = folder(tmp_path, "vit")
    task = SimclrTask(source, SimclrConfig(frozen_blocks=0, pixels=24), "simclr")
    module = task.build().train()
    assert np.isfinite(learn(task, module, {"image": photos(4, 24)}, 2)).all()
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, tmp_path / "model.safetensors")
    save_trained(task, tmp_path / "model.safetensors", tmp_path / "ready")
    assert load(tmp_path / "ready").towers["image"].encode(photos(2).numpy()).shape == (2, 64)


def test_what_cannot_learn_from_images_is_said(tmp_path: Path) -> None:
    source = folder(tmp_path, "vit")
    with pytest.raises(EncoderError, match="frozen_blocks is 3"):
        SimclrTask(source, SimclrConfig(frozen_blocks=3), "simclr").build()
    obtain(EncoderConfig(family="roberta", scratch=SCRATCH, max_tokens=8), tmp_path / "roberta", ["red shirt"])
    with pytest.raises(EncoderError, match="a roberta encoder reads none"):
        SimclrTask(tmp_path / "roberta", SimclrConfig(), "simclr").build()


def two_sided(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Products of which image and text say the same, each in numbers of its own; some lack one of them, the last has neither."""
    generator = np.random.default_rng(seed)
    meant = generator.normal(size=(count, 4))
    maps = {"image": np.random.default_rng(7).normal(size=(4, 12)), "text": np.random.default_rng(8).normal(size=(4, 10))}
    vectors = {name: (meant @ values + 0.1 * generator.normal(size=(count, values.shape[1]))).astype(np.float32) for name, values in maps.items()}
    present = np.ones((count, 2), bool)
    present[:3, 0], present[3:6, 1], present[-1] = False, False, False
    return vectors, present


def test_a_products_image_and_its_text_come_to_lie_together(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vectors, present = two_sided(96, 0)
    columns = prepared(vectors, present, means_of(vectors, present))
    task = FeatureSimclrTask({"image": 12, "text": 10}, FeatureSimclrConfig(hidden=32, dim=16, projected=8), "simclr")
    module = task.build().train()
    losses = learn(task, module, {name: torch.from_numpy(values[:-1]) for name, values in columns.items()}, 150)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, tmp_path / "model.safetensors")

    joint = embedded(task, tmp_path / "model.safetensors", columns)
    assert joint.shape == (96, 16)
    assert joint.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(joint[:-1], axis=1), 1, atol=1e-5)
    assert not joint[-1].any()
    whole = slice(6, -1)
    sides = [
        embedded(task, tmp_path / "model.safetensors", columns | {"present": np.tile(np.array(side, np.uint8), (96, 1))}) for side in ([1, 0], [0, 1])
    ]
    nearest = (sides[0][whole] @ sides[1][whole].T).argmax(axis=1)
    assert (nearest == np.arange(len(nearest))).mean() > 10 / len(nearest)


def test_an_absent_modality_is_never_read(tmp_path: Path) -> None:
    vectors, present = two_sided(12, 0)
    strange = {
        name: np.where(there[:, None], values, 99).astype(np.float32) for (name, values), there in zip(vectors.items(), present.T, strict=True)
    }
    for name, values in prepared(vectors, present, means_of(vectors, present)).items():
        np.testing.assert_array_equal(values, prepared(strange, present, means_of(strange, present))[name])


def test_whitening_finds_what_views_have_in_common() -> None:
    generator = np.random.default_rng(0)
    kinds = np.repeat(np.arange(3), 30)
    # Of 8 directions the first 3 hold the kind, and 4 others a nuisance that is larger and that views of one photo differ in.
    size = np.array([0.3, 0.3, 0.3, 2, 2, 2, 2, 0.3])
    turned = np.linalg.qr(generator.normal(size=(8, 8)))[0]
    signal = np.eye(8)[kinds]
    stored = (signal + size * generator.normal(size=(90, 8))) @ turned
    seen = (signal[:, None] + size * generator.normal(size=(90, 6, 8))) @ turned

    def found(vectors: np.ndarray) -> float:
        near = np.argsort(-(unit(vectors) @ unit(vectors).T), axis=1)[:, 1:6]
        return float((kinds[near] == kinds[:, None]).mean())

    matrix = whitening(of_views(seen), 0.01)
    assert matrix.dtype == np.float32
    assert found((unit(stored) - unit(stored).mean(axis=0)) @ matrix) > found(stored) + 0.1
    halves = of_views(seen[:40]) + of_views(seen[40:])
    np.testing.assert_allclose(halves.within, of_views(seen).within)
    assert halves.freedom == of_views(seen).freedom == 90 * 5


def test_after_whitening_views_differ_equally_in_all_directions() -> None:
    generator = np.random.default_rng(0)
    seen = unit(generator.normal(size=(400, 4)) * [3, 2, 1, 0.5]).reshape(100, 4, 4)
    noise = of_views(seen)
    matrix = whitening(noise, 1e-9).astype(np.float64)
    left = matrix.T @ (noise.within / noise.freedom) @ matrix
    np.testing.assert_allclose(left, np.eye(4) * left[0, 0], atol=1e-4 * left[0, 0])
    # A direction that never varies does not count without end, and without views nothing is changed.
    assert np.linalg.cond(whitening(of_views(seen * [1, 1, 1, 0]), 0.1)) < 10
    np.testing.assert_array_equal(whitening(of_views(np.zeros((0, 3, 4))), 0.1), np.eye(4, dtype=np.float32))


def test_the_noise_of_an_encoder_is_that_of_its_views_and_seeded(tmp_path: Path) -> None:
    encoder = load(folder(tmp_path, "vit"))
    pixels = photos(5).numpy()
    config = WhiteningConfig(count=3)
    noise = scatter(encoder, pixels, config, 0)
    assert noise.freedom == 5 * 2
    assert np.linalg.eigvalsh(noise.within).min() > -1e-9
    np.testing.assert_array_equal(noise.within, scatter(encoder, pixels, config, 0).within)
    still = scatter(encoder, pixels, WhiteningConfig(count=3, views=STILL), 0)
    assert np.abs(still.within).max() < 1e-9 < np.abs(noise.within).max()
