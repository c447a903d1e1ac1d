"""Where training runs: how many workers, and what each may take of the cluster."""

from typing import Self

from pydantic import Field, model_validator

from prodcat.config import Config


class ScalingConfig(Config):
    """Where training runs."""

    workers: int = Field(
        1,
        ge=0,
        description="Ray Train workers; gradients are averaged over them (DDP: gloo on CPU, NCCL on GPU). 0: the driver's own process trains, which "
        "starts sooner, and ends with it",
    )
    min_workers: int | None = Field(
        None, ge=1, description="with so few training goes on where nodes are lost, or are not there yet; null: `workers` or none at all"
    )
    cpus_per_worker: float = Field(1.0, gt=0, description="logical CPUs of a worker; fractions leave room for Ray Data on small machines")
    threads: int = Field(2, ge=1, description="torch threads of a worker")
    use_gpu: bool = Field(False, description="one GPU a worker")
    max_failures: int = Field(3, ge=0, description="worker failures survived; training goes on from the last whole epoch")
    checkpoint_seconds: float = Field(30.0, ge=0, description="a checkpoint is written at the end of an epoch if the last one is at least this old")
    cache_gb: float = Field(4.0, ge=0, description="a worker keeps its shard in memory up to this size, else streams it every epoch")

    @model_validator(mode="after")
    def _few_or_many(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers}, more than workers, {self.workers}")
        return self
