"""Ray Data's datasets as what the training loop reads: batches of tensors, epoch by epoch.

A shard is read once and kept in memory as long as it fits: a pipeline started at every epoch costs a small model more than its arithmetic. Larger
ones are streamed each epoch through a local shuffle buffer.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prodcat.training.loop import Batch


class Shard:
    """Part of a dataset as batches of tensors.

    Args:
        data: Ray Data's dataset, or a worker's part of it; None: there are no products.
        batch_size: products of a batch.
        cache_gb: largest size that is kept in memory.
        shuffle: the order of products changes with the seed and the epoch.

    Attributes:
        rows: products.
        steps: batches an epoch.
    """

    def __init__(self, data: Any, batch_size: int, cache_gb: float, seed: int, *, shuffle: bool) -> None:
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self._shard = data
        self._columns: dict[str, Tensor] | None = {}
        self.rows = 0
        if self._shard is not None:
            self._read(cache_gb * 1e9)
        # One lonely product at the end of an epoch would be a batch of one; it is dropped unless it is all there is.
        self.steps = max(1, self.rows // batch_size) if shuffle else -(-self.rows // batch_size)

    def _read(self, limit: float) -> None:
        blocks: list[dict[str, np.ndarray]] = []
        size = 0
        for block in self._shard.iter_batches(batch_size=4096, batch_format="numpy"):
            self.rows += len(next(iter(block.values())))
            size += sum(column.nbytes for column in block.values())
            if size <= limit:
                blocks.append({name: np.ascontiguousarray(column) for name, column in block.items()})
        if size > limit:
            self._columns = None
            return
        names = blocks[0].keys() if blocks else ()
        self._columns = {name: torch.from_numpy(np.concatenate([block[name] for block in blocks])) for name in names}

    def batches(self, epoch: int) -> Iterator[Batch]:
        if self.rows == 0:
            return
        if self._columns is None:
            yield from self._streamed(epoch)
            return
        if self.shuffle:
            order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed + epoch))
        else:
            order = torch.arange(self.rows)
        for step in range(self.steps):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield {name: column[rows] for name, column in self._columns.items()}

    def _streamed(self, epoch: int) -> Iterator[Batch]:
        shuffle = {"local_shuffle_buffer_size": 20 * self.batch_size, "local_shuffle_seed": self.seed + epoch} if self.shuffle else {}
        batches: Iterable[Batch] = self._shard.iter_torch_batches(batch_size=self.batch_size, drop_last=self.shuffle, **shuffle)
        yield from batches
