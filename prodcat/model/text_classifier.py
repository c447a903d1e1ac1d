"""A text encoder with hierarchical heads: what stage one is, before it becomes ONNX. Knows nothing of tokenizers.

Shapes: B titles, T tokens, W width of the encoder, N columns of logits (taxonomy.HeadLayout).
"""

import torch
from torch import Tensor, nn

from prodcat.model.hierarchy import HierarchicalHead
from prodcat.taxonomy import HasLayout


class TextClassifier(nn.Module):
    """Mean-pooled encoder output -> dropout -> heads per level.

    Args:
        encoder: a transformers text model: (input_ids, attention_mask) -> object with last_hidden_state [B, T, W].
        width: W.
        dropout: before the heads.
    """

    def __init__(self, encoder: nn.Module, width: int, tree: HasLayout, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = HierarchicalHead(width, tree)

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """-> logits [B, N] and the pooled vector [B, W], which later stages may use without reading the text again."""
        hidden_BTW = self.encoder(input_ids=input_ids_BT, attention_mask=attention_mask_BT).last_hidden_state
        weights_BT1 = attention_mask_BT[:, :, None].to(hidden_BTW.dtype)
        pooled_BW = (hidden_BTW * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1).clamp(min=1)
        return self.head(self.dropout(pooled_BW)), pooled_BW


def pad_mask(input_ids_BT: Tensor, pad_id: int) -> Tensor:
    """int64 [B, T]: 1 where there is a token."""
    return (input_ids_BT != pad_id).to(torch.int64)
