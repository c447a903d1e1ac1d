"""Early fusion: all vectors side by side, then one MLP. Shapes as in model/fusion.py."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from prodcat.model.fusion import FusionConfig, FusionOutput, Modality, Standardise
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.taxonomy import HasLayout


class EarlyFusion(nn.Module):
    """What a product lacks is a learned vector in the place of its features, and a bit.

    A modality has no part of the network to itself, so its own logits are what the whole network answers when it has nothing else: the loss on them
    teaches the shared layers to do without the others.
    """

    def __init__(self, modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig) -> None:
        super().__init__()
        self.names = tuple(modality.name for modality in modalities)
        self.dims = [modality.dim for modality in modalities]
        self.standardise = nn.ModuleDict({m.name: Standardise(m) for m in modalities})
        self.absent = nn.ParameterDict({m.name: nn.Parameter(torch.zeros(m.dim)) for m in modalities})
        self.drop = nn.Dropout(config.dropout / 2)
        self.enter = nn.Linear(sum(self.dims) + len(modalities), config.width)
        self.body = nn.Sequential(nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.width, config.width), nn.GELU(), nn.Dropout(config.dropout))
        self.head = HierarchicalHead(config.width, tree)

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        """
        Args:
            features: name -> [B, d_m]; any finite values where absent.
            present_BM: bool [B, M], columns in the order of the modalities; at least one True a row.
        """
        # A linear layer on vectors side by side is the sum of one on each: so a modality's share is computed once, for the whole and for it alone.
        *weights, bits_WM = self.enter.weight.split([*self.dims, len(self.names)], dim=1)
        shares, absent = {}, {}
        for name, weight_Wd in zip(self.names, weights, strict=True):
            shares[name] = functional.linear(self.drop(self.standardise[name](features[name])), weight_Wd)
            absent[name] = functional.linear(self.absent[name], weight_Wd)
        whole_BW = functional.linear(present_BM.to(bits_WM.dtype), bits_WM, self.enter.bias)
        for column, name in enumerate(self.names):
            whole_BW = whole_BW + torch.where(present_BM[:, column : column + 1], shares[name], absent[name])
        nothing_W = torch.stack(list(absent.values())).sum(dim=0) + self.enter.bias
        alone = [shares[name] - absent[name] + nothing_W + bits_WM[:, column] for column, name in enumerate(self.names)]
        whole_BN, *each_BN = self.head(self.body(torch.stack([whole_BW, *alone])))
        return FusionOutput(whole_BN, dict(zip(self.names, each_BN, strict=True)))
