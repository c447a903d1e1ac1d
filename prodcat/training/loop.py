"""The one training loop: epochs over batches, validation, the best state kept, a checkpoint every epoch. Knows no Ray, no text, no images.

What is trained is a Task: it builds the module, prices a batch, and says how bad the module is on a validation batch. Every model of prodcat
(encoders from scratch, stage one, the fusion of stage two) is trained by this loop, in one process or on Ray Train workers.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from prodcat.config import Config
from prodcat.errors import TrainingError

Batch = dict[str, Tensor]


class LoopConfig(Config):
    """How long and how fast."""

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(64, ge=1, description="products a step, over all workers")
    learning_rate: float = Field(1e-3, gt=0, description="peak of a cosine schedule")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's; not on biases and norms")
    warmup_share: float = Field(0.1, ge=0, le=1, description="share of all steps in which the learning rate rises")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")
    patience: int = Field(0, ge=0, description="stop after so many epochs without a better validation; 0: never")
    most_samples: int | None = Field(
        None,
        ge=1,
        description="products seen over all epochs: a large catalog is passed over less often than `epochs`, at least once; null: no bound",
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast, weights stay fp32")
    seed: int = 0

    def epochs_of(self, products: int) -> int:
        """Epochs over so many training products."""
        return self.epochs if self.most_samples is None else max(1, min(self.epochs, round(self.most_samples / max(1, products))))


class Task(Protocol):
    """What is trained. Picklable: it travels to the workers; what is heavy is made in build()."""

    @property
    def name(self) -> str: ...

    def build(self) -> nn.Module: ...

    def rates(self, module: nn.Module) -> Mapping[str, float]:
        """Factors on the learning rate by parameter name; those not named learn at the full rate."""
        ...

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of a training batch; a scalar that `backward` runs on."""
        ...

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        """Sum over a validation batch of what the best state should have least of, and the number of products in it."""
        ...


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    task: str
    epoch: int  # from 1
    epochs: int
    train_loss: float
    validation: float
    best_validation: float
    samples_per_second: float

    def __str__(self) -> str:
        return (
            f"{self.task}: epoch {self.epoch}/{self.epochs}, loss {self.train_loss:.4f}, validation {self.validation:.4f} "
            f"(best {self.best_validation:.4f}), {self.samples_per_second:,.0f} samples/s"
        )


@dataclass
class LoopState:
    """All that a killed run needs to go on from its last whole epoch; tensors and numbers only, so it loads with weights_only=True."""

    epoch: int = 0
    best_validation: float = math.inf
    stale: int = 0
    module: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def train(
    task: Task,
    train_batches: Callable[[int], Iterable[Batch]],
    validation_batches: Callable[[], Iterable[Batch]],
    *,
    steps_per_epoch: int,
    config: LoopConfig,
    device: torch.device | str = "cpu",
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
    resume: dict[str, Any] | None = None,
    on_epoch: Callable[[Epoch, LoopState], None] = lambda epoch, state: None,
    rank: int = 0,
) -> dict[str, Tensor]:
    """Train and return the state of the best epoch (by validation; of the last one where there is no validation product).

    Args:
        train_batches: epoch (from 0) -> batches of this worker; the same number on every worker.
        validation_batches: batches of this worker; may be empty.
        steps_per_epoch: number of train batches an epoch, for the schedule.
        wrap: module -> module that averages gradients over workers (DDP), or the module itself.
        total: sums over all workers (all-reduce), or identity.
        resume: LoopState.as_dict() of an earlier run with the same configuration.
        on_epoch: called after each epoch on every worker with the state to keep.
        rank: index of the worker; dropout differs between workers, weights do not.

    Raises:
        TrainingError: the loss is no number any more.
    """
    seed_everything(config.seed)
    module = task.build().to(device)
    state = LoopState()
    if resume is not None:
        state = LoopState(**resume)
        module.load_state_dict(state.module)
    wrapped = wrap(module)
    optimizer = torch.optim.AdamW(_parameter_groups(module, config.weight_decay, task.rates(module)), lr=config.learning_rate, fused=True)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
    epochs = config.epochs_of(steps_per_epoch * config.batch_size)
    total_steps = max(1, steps_per_epoch * epochs)
    autocast = torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=config.precision == "bf16")
    for epoch in range(state.epoch, epochs):
        if config.patience and state.stale >= config.patience:
            break
        # Reseeding by epoch makes a resumed run draw what an uninterrupted one would have drawn.
        seed_everything(config.seed + 1_000_003 * (epoch + 1) + rank)
        started, samples = time.perf_counter(), 0
        sums = torch.zeros(2, dtype=torch.float64)
        wrapped.train()
        for step, batch in enumerate(train_batches(epoch)):
            rate = config.learning_rate * schedule((epoch * steps_per_epoch + step) / total_steps, config.warmup_share)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            with autocast:
                loss = task.loss(wrapped, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
            optimizer.step()
            size = len(next(iter(batch.values())))
            samples += size
            sums += torch.tensor([float(loss.detach()) * size, size], dtype=torch.float64)
        # Every worker takes this exit together: the sums are the same on all.
        sums = total(sums)
        if not torch.isfinite(sums).all():
            raise TrainingError(
                f"{task.name}: the loss became {float(sums[0])} in epoch {epoch + 1}; "
                f"lower learning_rate ({config.learning_rate}) or raise warmup_share"
            )
        seconds = time.perf_counter() - started
        wrapped.eval()
        validation = _validate(task, module, validation_batches, device, total)
        if validation < state.best_validation or math.isnan(validation):
            state.best_validation = validation if not math.isnan(validation) else state.best_validation
            state.best = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
            state.stale = 0
        else:
            state.stale += 1
        state.epoch = epoch + 1
        state.module = {name: value.detach().cpu() for name, value in module.state_dict().items()}
        state.optimizer = optimizer.state_dict()
        rate = float(total(torch.tensor(samples / seconds, dtype=torch.float64)))
        on_epoch(Epoch(task.name, epoch + 1, epochs, float(sums[0] / sums[1]), validation, state.best_validation, rate), state)
    return state.best


def schedule(progress: float, warmup_share: float) -> float:
    """Factor on the learning rate at `progress` in [0, 1]: linear warm-up, then a half cosine to 0."""
    if progress < warmup_share:
        return (progress + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup_share) / max(1e-9, 1 - warmup_share)))


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@torch.inference_mode()
def _validate(
    task: Task, module: nn.Module, batches: Callable[[], Iterable[Batch]], device: torch.device | str, total: Callable[[Tensor], Tensor]
) -> float:
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in batches():
        bad, count = task.badness(module, {name: value.to(device) for name, value in batch.items()})
        sums += torch.tensor([float(bad), count], dtype=torch.float64)
    sums = total(sums)
    return float(sums[0] / sums[1]) if sums[1] else math.nan


def _parameter_groups(module: nn.Module, weight_decay: float, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """AdamW's groups, one for each factor on the learning rate and whether weights decay: matrices do, biases and norms do not."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((rates.get(name, 1.0), parameter.ndim >= 2), []).append(parameter)
    return [{"params": parameters, "weight_decay": weight_decay if decays else 0.0, "rate": rate} for (rate, decays), parameters in groups.items()]
