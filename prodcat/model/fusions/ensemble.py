"""Several fusions of one shape, trained apart from different seeds, that answer together. Knows neither their kind nor the tree."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from prodcat.model.fusion import FusionOutput


class Ensemble(nn.Module):
    """Averages its members' logits.

    After the softmax among siblings that is the normalised geometric mean of the members' probabilities, the same as averaging log-probabilities:
    what a member adds to the logits of a whole group of siblings, the softmax takes out again. So the result is logits as any fusion gives them, and
    decoding and temperatures stay what they are.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def each(self, features: Mapping[str, Tensor], present_BM: Tensor) -> list[FusionOutput]:
        """What every member answers for itself."""
        return [member(features, present_BM) for member in self.members]

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        outputs = self.each(features, present_BM)
        by_modality = {name: _mean([output.by_modality[name] for output in outputs]) for name in outputs[0].by_modality}
        return FusionOutput(_mean([output.logits for output in outputs]), by_modality)


def members_of(fusion: nn.Module) -> list[nn.Module]:
    """The members of an ensemble; a fusion that is none is its only member."""
    return list(fusion.members) if isinstance(fusion, Ensemble) else [fusion]


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(logits)).mean(dim=0)
