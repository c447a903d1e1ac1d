"""Late fusion: an MLP a modality with its own logits, then an MLP on their outputs. Shapes as in model/fusion.py."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from prodcat.model.fusion import FusionConfig, FusionOutput, Modality, Standardise
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.taxonomy import HasLayout


class LateFusion(nn.Module):
    """Its logits correct the mean of the present modalities' logits. What a product lacks is a learned vector in place of the MLP's output."""

    def __init__(self, modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig) -> None:
        super().__init__()
        self.names = tuple(modality.name for modality in modalities)
        self.standardise = nn.ModuleDict({m.name: Standardise(m) for m in modalities})
        self.towers = nn.ModuleDict(
            {
                m.name: nn.Sequential(nn.Dropout(config.dropout / 2), nn.Linear(m.dim, config.width), nn.GELU(), nn.Dropout(config.dropout))
                for m in modalities
            }
        )
        self.heads = nn.ModuleDict({m.name: HierarchicalHead(config.width, tree) for m in modalities})
        self.absent = nn.ParameterDict({m.name: nn.Parameter(torch.zeros(config.width)) for m in modalities})
        width_in = len(modalities) * (config.width + 1)
        self.fuse = nn.Sequential(nn.Linear(width_in, config.width), nn.GELU(), nn.Dropout(config.dropout))
        self.head = HierarchicalHead(config.width, tree)

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        """
        Args:
            features: name -> [B, d_m]; any finite values where absent.
            present_BM: bool [B, M], columns in the order of the modalities; at least one True a row.
        """
        outputs, by_modality = [], {}
        total, count = 0.0, present_BM.sum(dim=1, keepdim=True).clamp(min=1)
        for column, name in enumerate(self.names):
            here_B1 = present_BM[:, column : column + 1]
            hidden_BW = self.towers[name](self.standardise[name](features[name]))
            by_modality[name] = self.heads[name](hidden_BW)
            total = total + by_modality[name] * here_B1
            outputs.append(torch.where(here_B1, hidden_BW, self.absent[name]))
        hidden_BW = self.fuse(torch.cat([*outputs, present_BM.to(outputs[0].dtype)], dim=1))
        return FusionOutput(total / count + self.head(hidden_BW), by_modality)
