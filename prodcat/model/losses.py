"""The hierarchical loss: cross-entropy at every labelled level, each under the true category above (teacher forcing).

The choice is ours (the paper's abstract names none): it is the negative log likelihood of the labelled path under the tree's factorisation, so a
product labelled down to level 2 trains levels 1 and 2 and says nothing about level 3. Where the label says that the product ends at level 2
(HierarchyConfig.stop), its target at level 3 is the stop, one more choice among those children.

Shapes: B products, N columns of logits (taxonomy.HeadLayout), D levels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from prodcat.config import Config
from prodcat.decoding import DecoderName
from prodcat.errors import ConfigError
from prodcat.model.hierarchy import TreeArrays
from prodcat.taxonomy import HasLayout, HeadLayout, Taxonomy


class LossConfig(Config):
    """What the levels and the rare categories weigh."""

    level_weights: tuple[float, ...] | None = Field(None, description="one a level of the tree; null: 1 each")
    balance: Literal["none", "effective", "logit_adjustment"] = Field(
        "none",
        description="the long tail, among siblings. effective: a category weighs the inverse of its effective number of products (Cui et al. 2019); "
        "logit_adjustment: the logits are shifted by the log of the share while training (Menon et al. 2021), which aims at the mean recall of "
        "the categories, not at that of the products",
    )
    effective_beta: float = Field(0.999, ge=0, lt=1, description="effective: Cui's beta; 0 weighs all alike, towards 1 by the inverse count")
    adjustment_tau: float = Field(1.0, ge=0, description="logit_adjustment: Menon's tau; 0 shifts nothing")


PLAIN_LOSS = LossConfig()


@dataclass(frozen=True)
class Objective:
    """What a stage is trained for, beside the tree itself. Picklable and light: it travels to the workers in a task.

    Args:
        stops: HeadLayout.stops.
        decoder: whose softmax is trained.
        counts: training products a column (HeadLayout), for `loss.balance`; may be empty without one.
    """

    stops: tuple[int, ...] = ()
    decoder: DecoderName = "greedy"
    loss: LossConfig = PLAIN_LOSS
    counts: tuple[int, ...] = ()

    def layout(self, tree: Taxonomy) -> HeadLayout:
        return HeadLayout(tree, self.stops)

    def build(self, tree: Taxonomy, label_smoothing: float) -> "HierarchicalLoss":
        return HierarchicalLoss(
            self.layout(tree), self.loss, decoder=self.decoder, counts=np.array(self.counts) if self.counts else None, label_smoothing=label_smoothing
        )


# Both levels and categories weigh alike, every path goes on to a leaf.
PLAIN = Objective()


def column_counts(layout: HeadLayout, targets: np.ndarray) -> tuple[int, ...]:
    """int [n, D] columns, -1 unlabelled -> N numbers: products labelled with each column."""
    return tuple(int(count) for count in np.bincount(targets[targets >= 0], minlength=len(layout)))


class HierarchicalLoss(nn.Module):
    """Mean over products of the weighted sum over labelled levels of -log p(category | parent).

    Args:
        tree: a Taxonomy or a HeadLayout of depth D.
        decoder: whose softmax is trained: flat has its own.
        counts: int [N]: training products a column; asked for by config.balance.
        label_smoothing: share of the target spread over the siblings, in [0, 1); evenly, with logit adjustment by their shares.

    Raises:
        ConfigError: level weights for another number of levels.
    """

    level_weights_D: Tensor
    weights_N: Tensor
    offsets_N: Tensor
    spread_N: Tensor

    def __init__(
        self,
        tree: HasLayout,
        config: LossConfig = PLAIN_LOSS,
        *,
        decoder: DecoderName = "greedy",
        counts: np.ndarray | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        layout = tree.layout
        depth = layout.tree.depth
        self.arrays = TreeArrays(layout)
        self.flat = decoder == "flat"
        self.label_smoothing = label_smoothing
        if config.level_weights is not None and len(config.level_weights) != depth:
            raise ConfigError(f"level_weights has {len(config.level_weights)} entries, the tree has {depth} levels; give one a level")
        weights, offsets = _balance(layout, config, counts)
        self.register_buffer("level_weights_D", torch.tensor(config.level_weights or (1.0,) * depth, dtype=torch.float32), persistent=False)
        self.register_buffer("weights_N", torch.as_tensor(weights, dtype=torch.float32), persistent=False)
        self.register_buffer("offsets_N", torch.as_tensor(offsets, dtype=torch.float32), persistent=False)
        # Even without offsets. With them by the share: an even spread would have every rare category, shifted back, beat a common right one.
        self.register_buffer("spread_N", self.arrays.sibling_log_softmax(self.offsets_N[None])[0].exp(), persistent=False)

    def log_conditionals(self, logits_BN: Tensor) -> Tensor:
        """[B, N] -> [B, N]: log p(category | parent), as the decoder will read the logits."""
        return self.arrays.flat_log_softmax(logits_BN) if self.flat else self.arrays.sibling_log_softmax(logits_BN)

    def per_product(self, logits_BN: Tensor, targets_BD: Tensor) -> Tensor:
        """logits [B, N], targets [B, D] (column, -1 unlabelled) -> loss [B]; 0 for a product without any label."""
        scores_BN = logits_BN + self.offsets_N
        if self.flat:
            scores_BN = self.arrays.path_scores(scores_BN)
        labelled_BD = targets_BD >= 0
        nodes_BD = targets_BD.clamp(min=0)
        # Of each product only the siblings along its path: a loss reads no others, and there are ten times as many.
        groups_BD = self.arrays.groups_N[nodes_BD]
        members_BDC = self.arrays.group_members_GC[groups_BD]
        outside_BDC = ~self.arrays.group_mask_GC[groups_BD]
        siblings_BDC = scores_BN.gather(1, members_BDC.flatten(1)).view(members_BDC.shape)
        sums_BD = siblings_BDC.masked_fill(outside_BDC, float("-inf")).logsumexp(dim=2)
        losses_BD = sums_BD - scores_BN.gather(1, nodes_BD)
        if self.label_smoothing:
            # Among siblings only: a product's other branches are not made likelier by smoothing.
            spread_BDC = self.spread_N[members_BDC].masked_fill(outside_BDC, 0.0)
            smooth_BD = sums_BD - (siblings_BDC * spread_BDC).sum(dim=2)
            losses_BD = (1 - self.label_smoothing) * losses_BD + self.label_smoothing * smooth_BD
        return (losses_BD * self.weights_N[nodes_BD] * labelled_BD * self.level_weights_D).sum(dim=1)

    def forward(self, logits_BN: Tensor, targets_BD: Tensor) -> Tensor:
        return self.per_product(logits_BN, targets_BD).mean()


def _balance(layout: HeadLayout, config: LossConfig, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Weight and logit offset of every column: float [N] each; 1 and 0 without balance."""
    ones, zeros = np.ones(len(layout)), np.zeros(len(layout))
    if config.balance == "none":
        return ones, zeros
    if counts is None or len(counts) != len(layout):
        raise ValueError(f"balance {config.balance} needs the training products of each of the {len(layout)} columns")
    # One product more than there are: a category without any must not weigh or shift without bound.
    counts = counts + 1.0
    totals = np.bincount(layout.groups, weights=counts)[layout.groups]
    if config.balance == "logit_adjustment":
        return ones, config.adjustment_tau * np.log(counts / totals)
    weights = (1 - config.effective_beta) / (1 - config.effective_beta**counts)
    # Cui et al. let the classes' weights sum to their number; ours average to 1 over the products of a group, so that the levels keep their weight.
    return weights * totals / np.bincount(layout.groups, weights=counts * weights)[layout.groups], zeros
