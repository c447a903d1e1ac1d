"""Attention fusion: a token a modality, and a small transformer in which a learned query asks those that are present.

Shapes as in model/fusion.py; T = 1 + M tokens, the query first; H heads of K dimensions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from prodcat.model.fusion import FusionConfig, FusionOutput, Modality, Standardise
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.taxonomy import HasLayout


class AttentionFusion(nn.Module):
    """What a product lacks is masked away as a key, so that nobody sees it.

    A modality's own logits are read off its token before the tokens meet, by one head for all modalities: it brings their tokens into one space, in
    which attention can weigh them against each other.
    """

    def __init__(self, modalities: Sequence[Modality], tree: HasLayout, config: FusionConfig) -> None:
        super().__init__()
        self.names = tuple(modality.name for modality in modalities)
        self.standardise = nn.ModuleDict({m.name: Standardise(m) for m in modalities})
        self.project = nn.ModuleDict({m.name: nn.Sequential(nn.Dropout(config.dropout / 2), nn.Linear(m.dim, config.width)) for m in modalities})
        # Uniform and not normal: normal_ on the meta device, where fusions are counted, has torch import its compiler, which takes seconds.
        self.embedding_MW = nn.Parameter(nn.init.uniform_(torch.empty(len(modalities), config.width), -0.03, 0.03))
        self.query_W = nn.Parameter(nn.init.uniform_(torch.empty(config.width), -0.03, 0.03))
        self.blocks = nn.ModuleList(_Block(config.width, config.heads, config.dropout) for _ in range(config.blocks))
        self.own = nn.Sequential(nn.LayerNorm(config.width), nn.GELU(), nn.Dropout(config.dropout), HierarchicalHead(config.width, tree))
        self.norm = nn.LayerNorm(config.width)
        self.head = HierarchicalHead(config.width, tree)

    def forward(self, features: Mapping[str, Tensor], present_BM: Tensor) -> FusionOutput:
        """
        Args:
            features: name -> [B, d_m]; any finite values where absent.
            present_BM: bool [B, M], columns in the order of the modalities.
        """
        tokens_BMW = torch.stack([self.project[name](self.standardise[name](features[name])) for name in self.names], dim=1) + self.embedding_MW
        own_BMN = self.own(tokens_BMW)
        query_B1W = self.query_W.expand(len(tokens_BMW), 1, -1)
        # The query sees itself, so a row always has a key.
        seen_BT = functional.pad(present_BM, (1, 0), value=True)
        tokens_BTW = torch.cat([query_B1W, tokens_BMW], dim=1)
        for block in self.blocks[:-1]:
            tokens_BTW = block(tokens_BTW, seen_BT, asked=tokens_BTW.shape[1])
        answer_BW = self.blocks[-1](tokens_BTW, seen_BT, asked=1)[:, 0]
        return FusionOutput(self.head(self.norm(answer_BW)), {name: own_BMN[:, column] for column, name in enumerate(self.names)})


class _Block(nn.Module):
    """A transformer block, normalised before each part. The heads need not divide the width: it is what the parameter budget leaves."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, inner = heads, heads * max(1, width // heads)
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = nn.Linear(width, inner), nn.Linear(width, 2 * inner)
        self.out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width), nn.Dropout(dropout))

    def forward(self, tokens_BTW: Tensor, seen_BT: Tensor, *, asked: int) -> Tensor:
        """The first `asked` tokens after looking at all that are seen: [B, asked, W]."""
        normed_BTW = self.norm_attention(tokens_BTW)
        queries_BHTK = self._split(self.ask(normed_BTW[:, :asked]))
        keys_BHTK, values_BHTK = (self._split(part) for part in self.answer(normed_BTW).chunk(2, dim=2))
        found_BHTK = functional.scaled_dot_product_attention(queries_BHTK, keys_BHTK, values_BHTK, attn_mask=seen_BT[:, None, None, :])
        tokens_BTW = tokens_BTW[:, :asked] + self.out(found_BHTK.transpose(1, 2).flatten(2))
        return tokens_BTW + self.feed(self.norm_feed(tokens_BTW))

    def _split(self, x_BTI: Tensor) -> Tensor:
        return x_BTI.unflatten(2, (self.heads, -1)).transpose(1, 2)
