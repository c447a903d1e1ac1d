"""NT-Xent, the loss of SimCLR (Chen et al. 2020, arXiv 2002.05709, equation 1), with the negatives of all workers. Knows no Ray and no encoder.

Ours, though lightly has one (NTXentLoss): with it come PyTorch Lightning, Hydra, OmegaConf and torchmetrics, seven packages (one built from source,
one that hooks itself into every pytest run) for the thirty lines below.
"""

import torch
import torch.distributed.nn.functional as distributed
from torch import Tensor
from torch.nn import functional


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Mean over this worker's 2B views of -log softmax of the own partner among all other views of all workers.

    Averaged over workers by DDP, its gradient is that of one batch of all workers' products: what the others' losses ask of a vector comes back
    through the gathering.

    Args:
        one, other: float [B, d] of length 1: two views of B products; B is the same on every worker.
    """
    own = torch.cat([one, other]).float()
    workers = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    # Worker after worker, each with its own 2B views, so that own rows are a slice.
    every = torch.cat(distributed.all_gather(own)) if workers > 1 else own
    first = torch.distributed.get_rank() * len(own) if workers > 1 else 0
    place = torch.arange(len(own), device=own.device)
    logits = own @ every.T / temperature
    logits[place, first + place] = -torch.inf
    return functional.cross_entropy(logits, first + (place + len(one)) % len(own))
