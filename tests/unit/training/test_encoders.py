"""What each family of encoder learns from: the loss falls on a handful of products, and what is saved is what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, TextScratch, load, obtain
from prodcat.taxonomy import Taxonomy
from prodcat.training.encoders import EncoderTask, EncoderTraining, save_trained, token_rows

TITLES = ["red shirt", "blue shirt", "green running shoes", "black boots", "gold watch", "silver watch", "leather bag", "canvas bag"]
TREE = Taxonomy([("a", "b"), ("a", "c"), ("d",)])
SCRATCH = ScratchConfig(
    text=TextScratch(layers=1, width=32, heads=2, vocabulary=400), image=ImageScratch(size=16, patch=8, layers=1, width=32, heads=2), embed_dim=16
)


@pytest.mark.parametrize("family", ["roberta", "vit", "clip"])
def test_the_loss_falls_and_the_trained_weights_are_saved(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    obtained = obtain(EncoderConfig(family=family, scratch=SCRATCH, max_tokens=12), tmp_path / "untrained", TITLES)
    assert obtained.needs_training
    task = EncoderTask(tmp_path / "untrained", TREE, EncoderTraining(), "encoder")
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
