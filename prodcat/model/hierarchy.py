"""Heads per level with dynamic masking, in torch. The same arithmetic as prodcat/decoding.py, differentiable; a test holds the two together.

Shapes: B products in a batch, N columns of logits (taxonomy.HeadLayout: the categories, then the stops), D levels, W width of the hidden vector,
G groups of siblings, C the largest group.
"""

import torch
from torch import Tensor, nn

from prodcat.taxonomy import HasLayout


class TreeArrays(nn.Module):
    """The tree as buffers, so that it moves to the device with the module. Not saved: the taxonomy travels beside the weights."""

    group_members_GC: Tensor
    group_mask_GC: Tensor
    groups_N: Tensor

    def __init__(self, tree: HasLayout) -> None:
        super().__init__()
        layout = tree.layout
        groups = torch.from_numpy(layout.groups).long()
        counts = torch.bincount(groups)
        slots = torch.arange(int(counts.max()))
        starts, order = torch.from_numpy(layout.starts), torch.from_numpy(layout.order)
        mask = slots[None, :] < counts[:, None]
        members = torch.where(mask, order[(starts[:, None] + slots[None, :]).clamp(max=len(order) - 1)], 0)
        self.register_buffer("group_members_GC", members, persistent=False)
        self.register_buffer("group_mask_GC", mask, persistent=False)
        self.register_buffer("groups_N", groups, persistent=False)
        self._levels = len(layout.inner_levels)
        for step, inner in enumerate(layout.inner_levels):
            self.register_buffer(f"inner_{step}", torch.from_numpy(inner), persistent=False)
            self.register_buffer(f"children_{step}", torch.from_numpy(layout.child_groups[inner]).long(), persistent=False)

    def sibling_log_softmax(self, logits_BN: Tensor) -> Tensor:
        """[B, N] -> [B, N]: log p(category | parent)."""
        return logits_BN - self._log_sums(logits_BN, self.group_members_GC, self.group_mask_GC)[:, self.groups_N]

    def flat_log_softmax(self, logits_BN: Tensor) -> Tensor:
        """[B, N] -> [B, N]: log p(category | parent) under one softmax over all ends, scored by the sum of the logits along their paths."""
        return self.sibling_log_softmax(self.path_scores(logits_BN))

    def path_scores(self, logits_BN: Tensor) -> Tensor:
        """[B, N] -> [B, N]: the logits whose softmax among siblings is flat_log_softmax."""
        scores_BN = logits_BN
        for step in range(self._levels):
            inner, children = self.get_buffer(f"inner_{step}"), self.get_buffer(f"children_{step}")
            below = self._log_sums(scores_BN, self.group_members_GC[children], self.group_mask_GC[children])
            scores_BN = scores_BN.index_add(1, inner, below)
        return scores_BN

    def best_siblings(self, conditional_BN: Tensor) -> Tensor:
        """[B, N] -> long [B, G]: the likeliest column of every group."""
        best_BG = conditional_BN[:, self.group_members_GC].masked_fill(~self.group_mask_GC, float("-inf")).argmax(dim=2)
        return self.group_members_GC.gather(1, best_BG.T).T

    @staticmethod
    def _log_sums(scores_BN: Tensor, members: Tensor, mask: Tensor) -> Tensor:
        return scores_BN[:, members].masked_fill(~mask, float("-inf")).logsumexp(dim=2)


class HierarchicalHead(nn.Module):
    """One linear head a level, side by side: HeadLayout.level_columns[l - 1] are the head of level l.

    Masking is not here but in the softmax among siblings: a level's head is only ever read among the children of the category above.
    """

    def __init__(self, width: int, tree: HasLayout) -> None:
        super().__init__()
        self.linear = nn.Linear(width, len(tree))

    def forward(self, hidden_BW: Tensor) -> Tensor:
        """[B, W] -> logits [B, N]."""
        logits: Tensor = self.linear(hidden_BW)
        return logits
