"""A fusion with other experts beside it, whose log probabilities come ready made as further inputs. Knows none of them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from prodcat.model.fusion import FusionOutput


class WithExperts(nn.Module):
    """The mean of the fusion's logits and the log probabilities of those experts that know something of a product: a logarithmic pool (Genest &
    Zidek 1986), each weighed alike.

    Their sum would answer alike, and far too surely: what they know is much the same. Whatever weighs answers by how sure they are, such as the
    reading of descriptions beside titles or a correction, would then hear the loudest.

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
        return FusionOutput(logits / (1 + present_BM[:, own:].to(logits.dtype).sum(dim=1, keepdim=True)), by_modality)
