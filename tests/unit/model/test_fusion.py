"""Modality dropout: what is hidden is hidden whole, and never the last that a product has."""

import torch

from prodcat.model.fusion import hide_inputs


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
