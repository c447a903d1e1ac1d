"""Fusion: what is absent has no influence, what is hidden is hidden whole, and a product's logits do not depend on its neighbours."""

import numpy as np
import pytest
import torch

from prodcat.model.fusion import FusionConfig, Modality, build, hide_inputs
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d",)])
MODALITIES = [
    Modality("text", "text", 4, np.zeros(4), np.ones(4)),
    Modality("image", "image", 3, np.full(3, 5.0), np.full(3, 2.0)),
    Modality("clip_text", "text", 2, np.zeros(2), np.zeros(2)),
]


@pytest.fixture
def fusion() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(MODALITIES, TREE, FusionConfig(width=16)).eval()


def inputs(rows: int, seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = {m.name: torch.randn(rows, m.dim, generator=generator) for m in MODALITIES}
    present = torch.rand(rows, len(MODALITIES), generator=generator) < 0.6
    present[:, 0] |= ~present.any(dim=1)
    return features, present


def test_values_of_an_absent_modality_do_not_matter(fusion: torch.nn.Module) -> None:
    features, present = inputs(6)
    changed = {name: torch.where(present[:, i : i + 1], value, value * 1000 + 7) for i, (name, value) in enumerate(features.items())}
    torch.testing.assert_close(fusion(features, present).logits, fusion(changed, present).logits)


def test_absence_is_not_the_same_as_a_zero_vector(fusion: torch.nn.Module) -> None:
    features, _ = inputs(4)
    zero = {**features, "image": torch.zeros_like(features["image"])}
    everything, without = torch.ones(4, 3, dtype=torch.bool), torch.tensor([[True, False, True]] * 4)
    assert not torch.allclose(fusion(zero, everything).logits, fusion(zero, without).logits)


def test_logits_are_the_same_alone_and_in_a_batch(fusion: torch.nn.Module) -> None:
    features, present = inputs(9)
    together = fusion(features, present).logits
    for row in range(9):
        alone = fusion({name: value[row : row + 1] for name, value in features.items()}, present[row : row + 1]).logits
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_every_modality_has_logits_of_its_own(fusion: torch.nn.Module) -> None:
    features, present = inputs(3)
    output = fusion(features, present)
    assert {name: tuple(value.shape) for name, value in output.by_modality.items()} == {m.name: (3, len(TREE)) for m in MODALITIES}


def test_hiding_takes_all_modalities_of_an_input_and_never_the_last() -> None:
    present = torch.tensor([[True, True, True]] * 400 + [[True, False, True]] * 100 + [[False, True, False]] * 100)
    seen = hide_inputs(present, ["text", "image", "text"], 0.5, torch.Generator().manual_seed(0))
    assert bool(seen.any(dim=1).all())
    assert torch.equal(seen[400:], present[400:])
    text, image = seen[:400, 0], seen[:400, 1]
    assert torch.equal(seen[:400, 0], seen[:400, 2])
    hidden_text, hidden_image = int((~text).sum()), int((~image).sum())
    assert 60 < hidden_text < 140
    assert 60 < hidden_image < 140


def test_no_hiding_without_probability() -> None:
    present = torch.ones(20, 3, dtype=torch.bool)
    assert torch.equal(hide_inputs(present, ["text", "image", "text"], 0.0), present)
