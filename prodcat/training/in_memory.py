"""Stage two trained in this process, from features that lie in memory: what a search and a comparison run many of. Knows no Ray.

The loop, the order of products and the random numbers are those of one worker of training/distributed.py, so a bundle fitted with the settings of a
trial is that trial's fusion.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prodcat.training.fusion_stage import FusionStageTask
from prodcat.training.loop import Batch, Epoch, LoopConfig, LoopState, train


@dataclass(frozen=True)
class FusionData:
    """Stored features of n labelled products.

    Args:
        vectors: modality -> float32 [n, d_m]; any finite values where absent.
        present: bool [n, M], columns in the order of `vectors`.
        targets: int32 [n, D].
    """

    vectors: Mapping[str, np.ndarray]
    present: np.ndarray
    targets: np.ndarray

    def of(self, names: Sequence[str]) -> "FusionData":
        """These modalities only, in the order they have here; products that have none of them stay."""
        columns = [column for column, name in enumerate(self.vectors) if name in names]
        return FusionData({name: values for name, values in self.vectors.items() if name in names}, self.present[:, columns], self.targets)

    def rows(self, chosen: np.ndarray) -> "FusionData":
        """Args: chosen: bool [n], or row numbers."""
        return FusionData({name: values[chosen] for name, values in self.vectors.items()}, self.present[chosen], self.targets[chosen])

    def and_then(self, more: "FusionData") -> "FusionData":
        """These products, and those; both have the same modalities."""
        vectors = {name: np.concatenate([values, more.vectors[name]]) for name, values in self.vectors.items()}
        return FusionData(vectors, np.concatenate([self.present, more.present]), np.concatenate([self.targets, more.targets]))

    def readable(self) -> "FusionData":
        """Products that have a modality."""
        return self.rows(np.asarray(self.present.any(axis=1)))


def train_in_memory(
    task: FusionStageTask,
    train_data: FusionData,
    validation_data: FusionData,
    loop: LoopConfig,
    *,
    device: str = "cpu",
    on_epoch: Callable[[Epoch, LoopState], None] = lambda epoch, state: None,
) -> dict[str, Tensor]:
    """State of the best epoch's FusionStageModule. Raises as loop.train does."""
    own, other = _columns(train_data.readable()), _columns(validation_data.readable())
    size = len(own["targets"])

    def batches(epoch: int) -> Iterator[Batch]:
        order = torch.randperm(size, generator=torch.Generator().manual_seed(loop.seed + epoch))
        yield from _batches(own, order[: steps * loop.batch_size], loop.batch_size)

    # As on Ray: what is left over at the end of an epoch is dropped unless it is all there is.
    steps = max(1, size // loop.batch_size)
    everything = torch.arange(len(other["targets"]))
    return train(
        task,
        batches,
        lambda: _batches(other, everything, loop.batch_size),
        steps_per_epoch=steps,
        config=loop,
        device=device,
        on_epoch=on_epoch,
    )


def _columns(data: FusionData) -> Batch:
    # Arrays out of Ray's object store are read-only, which torch warns of; nothing here writes.
    arrays = {**data.vectors, "present": data.present.astype(np.uint8), "targets": data.targets.astype(np.int32)}
    return {name: torch.from_numpy(np.require(values, requirements=["C", "W"])) for name, values in arrays.items()}


def _batches(columns: Batch, order: Tensor, batch_size: int) -> Iterator[Batch]:
    for rows in order.split(batch_size):
        if len(rows):
            yield {name: column[rows] for name, column in columns.items()}
