"""Heads per level with dynamic masking, in torch. The same arithmetic as prodcat/decoding.py, differentiable; a test holds the two together.

Shapes: B products in a batch, N categories, D levels, W width of the hidden vector, G groups of siblings, C the largest group.
"""

import torch
from torch import Tensor, nn

from prodcat.taxonomy import Taxonomy


class TreeArrays(nn.Module):
    """The tree as buffers, so that it moves to the device with the module. Not saved: the taxonomy travels beside the weights."""

    group_members_GC: Tensor
    group_mask_GC: Tensor
    groups_N: Tensor

    def __init__(self, tree: Taxonomy) -> None:
        super().__init__()
        groups = torch.from_numpy(tree.sibling_groups).long()
        counts = torch.bincount(groups)
        slots = torch.arange(int(counts.max()))
        starts = torch.from_numpy(tree.sibling_starts).long()
        mask = slots[None, :] < counts[:, None]
        members = torch.where(mask, starts[:, None] + slots[None, :], 0)
        self.register_buffer("group_members_GC", members, persistent=False)
        self.register_buffer("group_mask_GC", mask, persistent=False)
        self.register_buffer("groups_N", groups, persistent=False)

    def sibling_log_softmax(self, logits_BN: Tensor) -> Tensor:
        """[B, N] -> [B, N]: log p(category | parent)."""
        padded_BGC = logits_BN[:, self.group_members_GC].masked_fill(~self.group_mask_GC, float("-inf"))
        return logits_BN - padded_BGC.logsumexp(dim=2)[:, self.groups_N]


class HierarchicalHead(nn.Module):
    """One linear head a level, side by side: columns tree.level_slices[l - 1] are the head of level l.

    Masking is not here but in the softmax among siblings: a level's head is only ever read among the children of the category above.
    """

    def __init__(self, width: int, tree: Taxonomy) -> None:
        super().__init__()
        self.linear = nn.Linear(width, len(tree))

    def forward(self, hidden_BW: Tensor) -> Tensor:
        """[B, W] -> logits [B, N]."""
        logits: Tensor = self.linear(hidden_BW)
        return logits
