"""A fusion with another expert beside it, whose log probabilities come ready made as one more input. Knows neither."""

from collections.abc import Mapping

from torch import Tensor, nn

from prodcat.model.fusion import FusionOutput

# The input that holds logits and no features.
EXPERT = "words"


class WithExpert(nn.Module):
    """Adds the expert's log probabilities to the fusion's logits where a product has them: a product of experts (Hinton 2002), each weighed alike.

    Features and presence have one more modality than the fusion, the last: EXPERT, float [B, C].
    """

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        added = features[EXPERT] * present_BM[:, -1:]
        own: FusionOutput = self.fusion({name: values for name, values in features.items() if name != EXPERT}, present_BM[:, :-1])
        return FusionOutput(own.logits + added, {**own.by_modality, EXPERT: features[EXPERT]})
