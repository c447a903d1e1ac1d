"""The contract of every kind of fusion, and of an ensemble of each: what is absent has no influence, a product's logits do not depend on its
neighbours, what was saved answers the same, every part learns, and all kinds have the same parameter budget.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prodcat.decoding import greedy_nodes, sibling_log_softmax
from prodcat.errors import ConfigError
from prodcat.model.fusion import FusionConfig, Modality
from prodcat.model.fusions.ensemble import Ensemble, members_of
from prodcat.model.fusions.registry import KINDS, build, parameters, width
from prodcat.model.hierarchy import TreeArrays
from prodcat.model.losses import HierarchicalLoss
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d",), ("e", "f", "g"), ("e", "f", "h")])
MODALITIES = [
    Modality("text", "text", 8, np.zeros(8), np.ones(8)),
    Modality("image", "image", 6, np.full(6, 5.0), np.full(6, 2.0)),
    # Constant over the training set: its deviation is no divisor.
    Modality("clip_text", "text", 4, np.zeros(4), np.zeros(4)),
]
NAMES = [modality.name for modality in MODALITIES]
Inputs = tuple[dict[str, torch.Tensor], torch.Tensor]


def config(kind: str, **more) -> FusionConfig:
    return FusionConfig(kind=kind, width=24, **more)


@pytest.fixture(params=[*product(KINDS, (1, 2))], ids=lambda p: f"{p[0]}-{p[1]}")
def shape(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Kind, members."""
    return request.param


@pytest.fixture
def fusion(shape: tuple[str, int]) -> nn.Module:
    torch.manual_seed(0)
    built = build(MODALITIES, TREE, config(shape[0]), shape[1])
    with torch.no_grad():
        for parameter in built.parameters():
            # Parts that start at zero would hide what they do.
            parameter += 0.1 * torch.randn_like(parameter)
    return built.eval()


def inputs(rows: int, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    features = {m.name: torch.randn(rows, m.dim, generator=generator) for m in MODALITIES}
    # A constant feature is standardised by 1e-4: kept small, as a constant is.
    features["clip_text"] *= 1e-4
    present = torch.rand(rows, len(MODALITIES), generator=generator) < 0.6
    present[:, 0] |= ~present.any(dim=1)
    return features, present


def rows_of(given: Inputs, rows: torch.Tensor | slice) -> Inputs:
    return {name: value[rows] for name, value in given[0].items()}, given[1][rows]


def test_the_same_alone_in_a_batch_and_in_any_order(fusion: nn.Module) -> None:
    given = inputs(9)
    together = fusion(*given)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    shuffled = fusion(*rows_of(given, order))
    torch.testing.assert_close(shuffled.logits, together.logits[order], atol=1e-5, rtol=1e-5)
    for row in range(9):
        alone = fusion(*rows_of(given, slice(row, row + 1)))
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-5, rtol=1e-5)
        for name in NAMES:
            torch.testing.assert_close(alone.by_modality[name][0], together.by_modality[name][row], atol=1e-5, rtol=1e-5)


def test_values_of_an_absent_modality_have_no_influence(fusion: nn.Module) -> None:
    features, present = inputs(12)
    changed = {name: torch.where(present[:, i : i + 1], value, value * 1000 + 7) for i, (name, value) in enumerate(features.items())}
    torch.testing.assert_close(fusion(features, present).logits, fusion(changed, present).logits)


def test_absence_is_not_the_same_as_an_average_vector(fusion: nn.Module) -> None:
    features, _ = inputs(4)
    average = {**features, "image": torch.full_like(features["image"], 5.0)}
    everything, without = torch.ones(4, 3, dtype=torch.bool), torch.tensor([[True, False, True]] * 4)
    assert not torch.allclose(fusion(average, everything).logits, fusion(average, without).logits, atol=1e-3)


def test_a_modality_answers_for_itself_alone(fusion: nn.Module) -> None:
    features, present = inputs(5)
    output = fusion(features, present)
    assert {name: tuple(value.shape) for name, value in output.by_modality.items()} == {name: (5, len(TREE)) for name in NAMES}
    for name in NAMES:
        others_changed = {other: value if other == name else value + 1 for other, value in features.items()}
        moved = fusion(others_changed, torch.ones_like(present)).by_modality
        torch.testing.assert_close(moved[name], output.by_modality[name])
        assert not torch.allclose(moved[next(other for other in NAMES if other != name)], output.by_modality[next(o for o in NAMES if o != name)])


def test_no_product_no_logits(fusion: nn.Module) -> None:
    assert tuple(fusion(*inputs(0)).logits.shape) == (0, len(TREE))


def test_saved_and_loaded_it_answers_the_same(fusion: nn.Module, shape: tuple[str, int], tmp_path: Path) -> None:
    given = inputs(7)
    save_file(fusion.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(99)
    again = build(MODALITIES, TREE, config(shape[0]), shape[1])
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(again.eval()(*given).logits, fusion(*given).logits)


def test_every_parameter_and_every_modality_gets_a_gradient(shape: tuple[str, int]) -> None:
    torch.manual_seed(0)
    fusion = build(MODALITIES, TREE, config(shape[0]), shape[1]).train()
    features, present = inputs(64)
    features = {name: value.requires_grad_() for name, value in features.items()}
    output = fusion(features, present)
    weights = torch.randn(64, len(TREE), generator=torch.Generator().manual_seed(1))
    (output.logits * weights).sum().backward(retain_graph=True)
    for column, (name, value) in enumerate(features.items()):
        arrived = value.grad.abs().sum(dim=1) > 0
        assert torch.equal(arrived, present[:, column]), name
    for own in output.by_modality.values():
        (own * weights).sum().backward(retain_graph=True)
    assert [name for name, parameter in fusion.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_takes_both_modalities(kind: str) -> None:
    """Level 1 stands in the text, the level below in the image: neither alone knows the leaf."""
    torch.manual_seed(0)
    tree = Taxonomy([(f"a{i}", f"b{i}{j}") for i in range(3) for j in range(3)])
    first, second = torch.randint(3, (512,)), torch.randint(3, (512,))
    codes = torch.randn(2, 3, 12)
    features = {"text": codes[0][first] + 0.3 * torch.randn(512, 12), "image": codes[1][second] + 0.3 * torch.randn(512, 12)}
    leaves = torch.tensor([[tree.index((f"a{i}", f"b{i}{j}")) for j in range(3)] for i in range(3)])[first, second]
    targets = torch.from_numpy(tree.path_indices)[leaves]
    fusion = build([Modality(name, name, 12, np.zeros(12), np.ones(12)) for name in features], tree, FusionConfig(kind=kind, width=48, dropout=0.1))
    loss, present = HierarchicalLoss(tree), torch.ones(512, 2, dtype=torch.bool)
    optimizer = torch.optim.AdamW(fusion.parameters(), lr=5e-3)
    for step in range(60):
        rows = torch.randperm(384, generator=torch.Generator().manual_seed(step))[:128]
        optimizer.zero_grad()
        loss(fusion({n: v[rows] for n, v in features.items()}, present[rows]).logits, targets[rows]).backward()
        optimizer.step()
    fusion.eval()
    logits = fusion({name: value[384:] for name, value in features.items()}, present[384:]).logits
    answers = greedy_nodes(sibling_log_softmax(logits.detach().numpy(), tree), tree)
    assert float((answers == leaves[384:].numpy()).mean()) > 0.9


SETS = [{"text": 384}, {"image": 192}, {"text": 384, "image": 192}, {"text": 96, "image": 192, "clip_text": 64, "clip_image": 64, "stage_one": 192}]


def set_of(dims: dict[str, int]) -> list[Modality]:
    return [Modality(name, "image" if "image" in name else "text", dim, np.zeros(dim), np.ones(dim)) for name, dim in dims.items()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", SETS, ids="+".join)
def test_all_kinds_have_the_parameters_of_the_budget(kind: str, dims: dict[str, int]) -> None:
    tree = Taxonomy([(f"a{i}", f"b{i}{j}") for i in range(6) for j in range(8)])
    for given in (FusionConfig(kind=kind, width=64), FusionConfig(kind=kind, width=384), FusionConfig(kind=kind, parameters=200_000)):
        late = parameters(KINDS["late"](set_of(dims), tree, given))
        assert parameters(build(set_of(dims), tree, given)) == pytest.approx(given.parameters or late, rel=0.05)


def test_late_fusion_has_the_width_it_is_given() -> None:
    assert width(MODALITIES, TREE, config("late")) == 24
    assert build(MODALITIES, TREE, config("late")).head.linear.in_features == 24


def test_a_budget_nothing_fits_into_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"parameters: 50 is no size for early fusion of \['text', 'image', 'clip_text'\] over 8 categories"):
        build(MODALITIES, TREE, config("early", parameters=50))


def test_an_ensemble_is_the_geometric_mean_of_its_members_whatever_they_add_to_a_group() -> None:
    torch.manual_seed(0)
    ensemble = build(MODALITIES, TREE, config("late"), 3).eval()
    given = inputs(6)
    softmax = TreeArrays(TREE).sibling_log_softmax
    each = [softmax(output.logits) for output in ensemble.each(*given)]
    assert len({conditional[0, 0].item() for conditional in each}) == 3
    expected = softmax(torch.stack(each).mean(dim=0))
    torch.testing.assert_close(softmax(ensemble(*given).logits), expected)
    with torch.no_grad():
        # The same number on a whole group of siblings changes no member's answer, so not the ensemble's.
        ensemble.members[0].head.linear.bias[TREE.level_slices[0]] += 100
    torch.testing.assert_close(softmax(ensemble(*given).logits), expected, atol=1e-4, rtol=1e-4)
    assert members_of(ensemble) == list(ensemble.members)


def test_one_member_is_no_ensemble() -> None:
    built = build(MODALITIES, TREE, config("late"), 1)
    assert not isinstance(built, Ensemble)
    assert members_of(built) == [built]
