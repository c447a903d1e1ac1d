"""Several fusions of one shape, trained apart from different seeds, that answer together. Knows nothing of their kind."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from prodcat.model.fusion import FusionOutput
from prodcat.model.hierarchy import TreeArrays
from prodcat.taxonomy import HasLayout


class Ensemble(nn.Module):
    """Averages its members' log-probabilities among siblings; the softmax among siblings of that average is their normalised geometric mean.

    Log-probabilities and not logits: a member may add any number to the logits of a group of siblings, so only what the softmax has made comparable
    is averaged. The result is logits as any fusion gives them: decoding and temperatures stay what they are.
    """

    def __init__(self, members: Sequence[nn.Module], tree: HasLayout) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.arrays = TreeArrays(tree)

    def each(self, features: Mapping[str, Tensor], present_BM: Tensor) -> list[FusionOutput]:
        """What every member answers for itself."""
        return [member(features, present_BM) for member in self.members]

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        outputs = self.each(features, present_BM)
        by_modality = {name: self._mean([output.by_modality[name] for output in outputs]) for name in outputs[0].by_modality}
        return FusionOutput(self._mean([output.logits for output in outputs]), by_modality)

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        return torch.stack([self.arrays.sibling_log_softmax(each_BN) for each_BN in logits]).mean(dim=0)


def members_of(fusion: nn.Module) -> list[nn.Module]:
    """The members of an ensemble; a fusion that is none is its only member."""
    return list(fusion.members) if isinstance(fusion, Ensemble) else [fusion]
