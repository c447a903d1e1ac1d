"""A fusion with other experts beside it, whose log probabilities come ready made as further inputs. Knows none of them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from prodcat.model.fusion import FusionOutput


class WithExperts(nn.Module):
    """Adds the experts' log probabilities to the fusion's logits where a product has them: a product of experts (Hinton 2002), each weighed alike.

    Features and presence have the experts behind the fusion's modalities, float [B, C] each.
    """

    def __init__(self, fusion: nn.Module, experts: Sequence[str]) -> None:
        super().__init__()
        self.fusion, self._experts = fusion, tuple(experts)

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        own = present_BM.shape[1] - len(self._experts)
        output: FusionOutput = self.fusion({name: values for name, values in features.items() if name not in self._experts}, present_BM[:, :own])
        logits, by_modality = output.logits, dict(output.by_modality)
        for column, name in enumerate(self._experts, own):
            logits = logits + features[name] * present_BM[:, column : column + 1]
            by_modality[name] = features[name]
        return FusionOutput(logits, by_modality)
