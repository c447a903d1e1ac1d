"""What each family of encoder learns from: the loss falls on a handful of products, and what is saved is what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, TextScratch, load, obtain
from prodcat.errors import EncoderError
from prodcat.taxonomy import Taxonomy
from prodcat.training.encoders import EncoderTask, EncoderTraining, layer_rates, save_trained, token_rows

TITLES = ["red shirt", "blue shirt", "green running shoes", "black boots", "gold watch", "silver watch", "leather bag", "canvas bag"]
TREE = Taxonomy([("a", "b"), ("a", "c"), ("d",)])
SCRATCH = ScratchConfig(
    text=TextScratch(layers=1, width=32, heads=2, vocabulary=400), image=ImageScratch(size=16, patch=8, layers=1, width=32, heads=2), embed_dim=16
)


@pytest.mark.parametrize(("family", "by_categories"), [("roberta", False), ("roberta", True), ("vit", False), ("clip", False)])
def test_the_loss_falls_and_the_trained_weights_are_saved(family: str, by_categories: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    obtained = obtain(EncoderConfig(family=family, scratch=SCRATCH, max_tokens=12), tmp_path / "untrained", TITLES)
    assert obtained.needs_training
    task = EncoderTask(tmp_path / "untrained", TREE, EncoderTraining(), "encoder", by_categories)
    module = task.build().train()
    generator = np.random.default_rng(0)
    batch = {
        "image": torch.from_numpy(generator.integers(0, 255, (8, 16, 16, 3), dtype=np.uint8)),
        "targets": torch.from_numpy(TREE.targets([("a", "b"), ("a", "c"), ("d",), ("a",)] * 2)),
    }
    if family != "vit":
        batch["input_ids"] = torch.from_numpy(token_rows(load(tmp_path / "untrained"), TITLES))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = task.loss(module, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])

    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, tmp_path / "model.safetensors")
    save_trained(task, tmp_path / "model.safetensors", tmp_path / "ready")
    before, after = load(tmp_path / "untrained"), load(tmp_path / "ready")
    assert before.fingerprint != after.fingerprint
    trained = dict(module.encoder.named_parameters())
    for name, value in after.module.named_parameters():
        torch.testing.assert_close(value, trained[name])


@pytest.mark.parametrize("family", ["roberta", "vit", "clip"])
def test_rates_fall_from_the_head_to_the_embeddings(family: str, tmp_path: Path) -> None:
    shape = SCRATCH.model_copy(
        update={"text": SCRATCH.text.model_copy(update={"layers": 2}), "image": SCRATCH.image.model_copy(update={"layers": 2})}
    )
    obtain(EncoderConfig(family=family, scratch=shape, max_tokens=12), tmp_path / "encoder", TITLES)
    task = EncoderTask(tmp_path / "encoder", TREE, EncoderTraining(encoder_rate=0.1, layer_decay=0.5), "encoder")
    rates = task.rates(task.build())
    assert {round(rate, 4) for rate in rates.values()} == {0.1, 0.05, 0.025}
    embeddings = {name: rate for name, rate in rates.items() if "position" in name or "pos_embed" in name}
    assert embeddings
    assert {round(rate, 4) for rate in embeddings.values()} == {0.025}
    assert not [name for name in rates if name.startswith(("head", "transform"))]


def test_two_towers_of_different_depth_decay_each_from_its_own_top() -> None:
    names = ["encoder.transformer.resblocks.0.x", "encoder.visual.transformer.resblocks.0.x", "encoder.visual.transformer.resblocks.1.x"]
    rates = layer_rates(names, EncoderTraining(encoder_rate=1.0, layer_decay=0.5))
    assert list(rates.values()) == [1.0, 0.5, 1.0]


def test_a_vit_trains_on_smaller_images_and_sees_its_own_size_afterwards(tmp_path: Path) -> None:
    obtain(EncoderConfig(family="vit", scratch=SCRATCH), tmp_path / "untrained", TITLES)
    task = EncoderTask(tmp_path / "untrained", TREE, EncoderTraining(pixels=24), "encoder")
    module = task.build().train()
    size = task.image(load(tmp_path / "untrained"))
    assert size is not None
    assert size.size == 24
    loss = task.loss(
        module, {"image": torch.randint(0, 255, (2, 24, 24, 3), dtype=torch.uint8), "targets": torch.from_numpy(TREE.targets([("d",)] * 2))}
    )
    loss.backward()
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, tmp_path / "model.safetensors")
    save_trained(task, tmp_path / "model.safetensors", tmp_path / "ready")
    ready = load(tmp_path / "ready")
    own = load(tmp_path / "untrained").towers["image"].image
    assert ready.towers["image"].image == own
    assert ready.towers["image"].encode(np.zeros((1, own.size, own.size, 3), np.uint8)).shape == (1, 64)


def test_a_tower_of_one_size_says_so(tmp_path: Path) -> None:
    obtain(EncoderConfig(family="clip", scratch=SCRATCH, max_tokens=12), tmp_path / "encoder", TITLES)
    with pytest.raises(EncoderError, match="sees 16 pixels and no other size; leave `pixels` null"):
        EncoderTask(tmp_path / "encoder", TREE, EncoderTraining(pixels=24), "encoder").build()
