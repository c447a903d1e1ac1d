"""The hierarchical loss: cross-entropy at every labelled level, each under the true category above (teacher forcing).

The choice is ours (the paper's abstract names none): it is the negative log likelihood of the labelled path under the tree's factorisation, so a
product labelled down to level 2 trains levels 1 and 2 and says nothing about level 3.
"""

import torch
from torch import Tensor, nn

from prodcat.model.hierarchy import TreeArrays
from prodcat.taxonomy import Taxonomy


class HierarchicalLoss(nn.Module):
    """Mean over products of the (weighted) sum over labelled levels of -log p(category | parent).

    Args:
        tree: the taxonomy, depth D.
        level_weights: one a level, or None for 1 everywhere.
        label_smoothing: share of the target spread evenly over the siblings, in [0, 1).
    """

    level_weights_D: Tensor

    def __init__(self, tree: Taxonomy, level_weights: tuple[float, ...] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.arrays = TreeArrays(tree)
        self.label_smoothing = label_smoothing
        weights = torch.ones(tree.depth) if level_weights is None else torch.tensor(level_weights, dtype=torch.float32)
        if len(weights) != tree.depth:
            raise ValueError(f"level_weights has {len(weights)} entries, the tree has {tree.depth} levels")
        self.register_buffer("level_weights_D", weights, persistent=False)

    def per_product(self, logits_BN: Tensor, targets_BD: Tensor) -> Tensor:
        """logits [B, N], targets [B, D] (node index, -1 unlabelled) -> loss [B]; 0 for a product without any label."""
        conditional_BN = self.arrays.sibling_log_softmax(logits_BN)
        labelled_BD = targets_BD >= 0
        nodes_BD = targets_BD.clamp(min=0)
        losses_BD = -conditional_BN.gather(1, nodes_BD)
        if self.label_smoothing:
            # Among siblings only: a product's other branches are not made likelier by smoothing.
            groups_BD = self.arrays.groups_N[nodes_BD]
            mask_GC = self.arrays.group_mask_GC
            mean_BG = conditional_BN[:, self.arrays.group_members_GC].masked_fill(~mask_GC, 0.0).sum(2) / mask_GC.sum(1)
            losses_BD = (1 - self.label_smoothing) * losses_BD - self.label_smoothing * mean_BG.gather(1, groups_BD)
        return (losses_BD * labelled_BD * self.level_weights_D).sum(dim=1)

    def forward(self, logits_BN: Tensor, targets_BD: Tensor) -> Tensor:
        return self.per_product(logits_BN, targets_BD).mean()
