"""Which kinds of fusion there are, how wide each is within one budget of parameters, and how one is built.

To add a kind: a class in a file here, with forward(features, present) -> FusionOutput and `config.width` as what makes it larger, its name in
fusion.Kind and its line in KINDS; tests/unit/model/test_fusions.py then holds it to the contract of all.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from prodcat.errors import ConfigError
from prodcat.model.fusion import FusionConfig, Kind, Modality
from prodcat.model.fusions.attention import AttentionFusion
from prodcat.model.fusions.early import EarlyFusion
from prodcat.model.fusions.ensemble import Ensemble
from prodcat.model.fusions.late import LateFusion
from prodcat.taxonomy import HasLayout

KINDS: dict[Kind, Callable[[Sequence[Modality], HasLayout, FusionConfig], nn.Module]] = {
    "late": LateFusion,
    "early": EarlyFusion,
    "attention": AttentionFusion,
}
# How far from the budget a fusion may be. Counts step by about a part in `width`, so real sizes come within one or two percent.
TOLERANCE = 0.05


def build(modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig, members: int = 1) -> nn.Module:
    """A fusion with random weights, or several that answer together.

    Raises:
        ConfigError: no fusion of this kind over these modalities is as small as config.parameters.
    """
    sized = config.model_copy(update={"width": width(modalities, tree, config)})
    if members == 1:
        return KINDS[config.kind](modalities, tree, sized)
    return Ensemble([KINDS[config.kind](modalities, tree, sized) for _ in range(members)])


def width(modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig) -> int:
    """The hidden width at which a fusion of this kind has the parameters of the budget. Raises ConfigError as `build` does."""
    if config.kind == "late" and config.parameters is None:
        return config.width
    late = config.model_copy(update={"kind": "late"})
    budget = config.parameters or _count(modalities, tree, late, config.width)
    # But for the steps of attention's heads a count is a square polynomial of the width: three counts give it.
    points = [4 * config.heads * factor for factor in (1, 2, 4)]
    square, linear, constant = np.polyfit(points, [_count(modalities, tree, config, point) for point in points], 2)
    root = (-linear + np.sqrt(max(0.0, linear**2 - 4 * square * (constant - budget)))) / (2 * square)
    near = {max(1, int(root) + offset) for offset in (-1, 0, 1, 2)}
    nearest = min(sorted(near), key=lambda each: abs(_count(modalities, tree, config, each) - budget))
    if (found := _count(modalities, tree, config, nearest)) > (1 + TOLERANCE) * budget:
        raise ConfigError(
            f"parameters: {budget:,} is no size for {config.kind} fusion of {[m.name for m in modalities]} over {len(tree.layout)} categories: "
            f"the nearest has {found:,}; give more parameters"
        )
    return nearest


def pinned(modalities: Sequence[Modality], old: HasLayout, new: HasLayout, config: FusionConfig) -> FusionConfig:
    """The config with which a fusion over the tree `new` is as wide as this one is over `old`, so that its weights can be taken over."""
    if config.kind == "late" and config.parameters is None:
        return config
    return config.model_copy(update={"parameters": _count(modalities, new, config, width(modalities, old, config))})


def parameters(fusion: nn.Module) -> int:
    """Trainable ones."""
    return sum(parameter.numel() for parameter in fusion.parameters() if parameter.requires_grad)


def _count(modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig, of_width: int) -> int:
    # On the meta device nothing is allocated and no random number is drawn.
    with torch.device("meta"):
        return parameters(KINDS[config.kind](modalities, tree, config.model_copy(update={"width": of_width})))
