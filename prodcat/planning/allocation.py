"""How many nodes of each kind a chain of steps needs to end in time. Knows no stage, no rate and no money.

Steps follow one another; within a step the kinds of nodes work beside each other, as a streaming pipeline does, so a step takes as long as its slower
kind. The steps share the hours there are: with so many nodes of each kind every step takes what it takes, and the least number of nodes for which the
sum fits is what is asked for. A step with more work gets more of the time, not more nodes: nodes that are there are used by every step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prodcat.planning.throughputs import Unit

# Beyond this many of a kind something else than nodes is the bound: shards, object store, quota.
MOST_NODES = 5000


@dataclass(frozen=True, slots=True)
class Load:
    """Work of one kind of node within a step.

    Args:
        node_hours: of one node alone.
        most_nodes: more make it no faster; None: it spreads without end.
    """

    unit: Unit
    node_hours: float
    most_nodes: int | None = None

    def hours(self, nodes: int) -> float:
        used = nodes if self.most_nodes is None else min(nodes, self.most_nodes)
        return self.node_hours / used if used else float("inf")


@dataclass(frozen=True, slots=True)
class Step:
    """Loads that run beside each other where their kinds differ, and one after the other where they are of one kind.

    Args:
        fixed_hours: what it takes whatever the nodes: starting the job, and nodes that are not there yet.
    """

    name: str
    loads: tuple[Load, ...]
    fixed_hours: float = 0.0

    def uses(self, unit: Unit) -> bool:
        return any(load.unit == unit for load in self.loads)

    def busy_hours(self, unit: Unit, nodes: int) -> float:
        return sum(load.hours(nodes) for load in self.loads if load.unit == unit)

    def hours(self, cpu: int, gpu: int) -> float:
        return self.fixed_hours + max(self.busy_hours("cpu", cpu), self.busy_hours("gpu", gpu))


@dataclass(frozen=True, slots=True)
class Allocation:
    """Nodes of each kind, the same in every step that uses the kind."""

    cpu: int
    gpu: int

    def of(self, unit: Unit) -> int:
        return self.cpu if unit == "cpu" else self.gpu


def total_hours(steps: Sequence[Step], cpu: int, gpu: int) -> float:
    return sum(step.hours(cpu, gpu) for step in steps)


def least_nodes(steps: Sequence[Step], deadline_hours: float) -> Allocation | None:
    """The allocation with the fewest nodes of both kinds together that ends by the deadline; of equals, the one with fewer GPU nodes.

    Returns:
        None if no number of nodes up to MOST_NODES of a kind does.
    """
    if total_hours(steps, MOST_NODES, MOST_NODES) > deadline_hours:
        return None
    gpu_used = any(step.uses("gpu") for step in steps)
    if not any(step.uses("cpu") for step in steps):
        return Allocation(0, _least(lambda gpu: total_hours(steps, 0, gpu) <= deadline_hours) if gpu_used else 0)
    if not gpu_used:
        return Allocation(_least(lambda cpu: total_hours(steps, cpu, 0) <= deadline_hours), 0)

    def gpus(cpu: int) -> int:
        return _least(lambda gpu: total_hours(steps, cpu, gpu) <= deadline_hours)

    cpu = _least(lambda cpu: total_hours(steps, cpu, MOST_NODES) <= deadline_hours)
    best = Allocation(cpu, gpus(cpu))
    while cpu < MOST_NODES and cpu + 2 <= best.cpu + best.gpu:
        # One more of these must save at least one of those.
        cpu += 1
        gpu = gpus(cpu)
        if (cpu + gpu, gpu) < (best.cpu + best.gpu, best.gpu):
            best = Allocation(cpu, gpu)
    return best


def _least(fits: Callable[[int], bool]) -> int:
    """The least number from 1 to MOST_NODES for which `fits`, which holds for MOST_NODES and for every number above one for which it holds."""
    low, high = 1, MOST_NODES
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return low
