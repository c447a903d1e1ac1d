"""The cascade's queues under a day of traffic: what is answered, refused, degraded, how long it takes, how many replicas and nodes, what they cost.

Time goes by seconds, and requests are a fluid: a billion of them cost as much as a thousand. Many runs go side by side, as columns of arrays. In a
second a replica is as crowded as its load says (see Station); what is more than its rate piles up, and what the queue does not hold is refused, 503
(stage one), or answered by stage one alone, `degraded` (stage two, and what would wait beyond the deadline there). Who is refused does not ask again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prodcat.planning.arrivals import Arrivals
from prodcat.planning.fleet import Fleet
from prodcat.planning.stations import Cascade, Station

# Load beyond which a second counts as overloaded: the formula for crowding has no end at 1.
FULL = 0.995
# Times are counted in classes: 20 a tenfold, from 0.1 ms to 1,000 s.
CLASSES, CLASSES_A_TENFOLD, SHORTEST = 141, 20, 1e-4


@dataclass(frozen=True, slots=True)
class Series:
    """One run, second by second; every array float32 [seconds]. `queued_two` etc.: of stage two. Nodes are those paid for."""

    queued: np.ndarray
    replicas: np.ndarray
    nodes: np.ndarray
    queued_two: np.ndarray
    replicas_two: np.ndarray
    nodes_two: np.ndarray


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. arrived = answered + degraded + refused + queued.

    Args:
        queued: in a queue or in work when the time was over.
        p50_s, p99_s: over answers, each with the mean time of all that left in the same second: what differs within a second is not in them.
        replica_hours, node_hours: of both stages, those that start included for nodes.
        money: of the nodes.
    """

    arrived: float
    answered: float
    degraded: float
    refused: float
    queued: float
    p50_s: float
    p99_s: float
    most_replicas: dict[str, float]
    replica_hours: dict[str, float]
    node_hours: dict[str, float]
    money: float
    series: Series | None = None

    @property
    def lost_share(self) -> float:
        """Refused or degraded, of all that arrived."""
        return (self.refused + self.degraded) / self.arrived if self.arrived else 0.0


class _Stage:
    """One stage in all runs: its fleet, its queue, and what they add up to."""

    def __init__(self, stations: Sequence[Station], first_rate: np.ndarray) -> None:
        def each(name: str) -> np.ndarray:
            return np.array([getattr(station, name) for station in stations], dtype=np.float64)

        self.rate, self._base, self._crowding, self._loss = each("rate"), each("base_seconds"), each("crowding"), each("overload_loss")
        self.max_ongoing, self.max_queued = each("max_ongoing"), each("max_queued")
        self._queued_count = each("queued_count").astype(bool)
        # As if the same traffic had gone on before: replicas at a load of 60 %.
        self.fleet = Fleet(stations, np.ceil(first_rate / (0.6 * self.rate)))
        self.queued = np.zeros(len(stations))
        self.replica_seconds, self.node_seconds, self.most = (np.zeros(len(stations)) for _ in range(3))

    def work(self, arrived: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One second -> served, turned away, and seconds that each served one was here.

        Args:
            room: how many may be left unserved at its end.
        """
        ready = self.fleet.ready
        capacity = ready * self.rate
        offered = self.queued + arrived
        excess = np.clip(offered / np.maximum(capacity, 1e-9) - 1, 0.0, 1.0)
        capacity = capacity * (1 - self._loss * excess)
        served = np.minimum(offered, capacity)
        rest = offered - served
        turned_away = np.maximum(rest - room, 0.0)
        self.queued = rest - turned_away
        load = np.minimum(served / np.maximum(capacity, 1e-9), FULL)
        crowd = np.minimum(ready * self._crowding * load**2 / (1 - load), ready * (self.max_ongoing + self.max_queued))
        inside = served * self._base + crowd + self.queued
        seconds = inside / np.maximum(served, 1e-9)
        self.ongoing = np.where(self._queued_count, inside, np.minimum(inside, ready * self.max_ongoing))
        return served, turned_away, seconds

    def count(self) -> None:
        self.replica_seconds += self.fleet.ready
        self.node_seconds += self.fleet.nodes
        np.maximum(self.most, self.fleet.ready, out=self.most)


def simulate(runs: Sequence[tuple[Arrivals, Cascade]], *, keep_series: bool = False) -> list[Outcome]:
    """Every run from its first second to its last; a run does not depend on those beside it.

    Args:
        runs: all of equal length, a second at least; they begin with as many replicas as the traffic of the first minute keeps at 60 % load.
        keep_series: also each run second by second (24 bytes a second).
    """
    if not runs:
        return []
    # A day that many runs share is kept once: [seconds, days], so that a second lies together in memory.
    days = list({id(arrivals): arrivals for arrivals, _ in runs}.values())
    products = np.stack([day.products for day in days], axis=1).astype(np.float64)
    shares = np.stack([day.unsure for day in days], axis=1) / np.maximum(products, 1)
    numbers = {id(day): number for number, day in enumerate(days)}
    day = np.array([numbers[id(arrivals)] for arrivals, _ in runs])
    seconds, count = len(products), len(runs)
    first = products[:60].mean(0)[day]
    one = _Stage([cascade.text for _, cascade in runs], first)
    two = _Stage([cascade.multimodal for _, cascade in runs], first * shares[:60].mean(0)[day])
    deadline = np.array([cascade.stage_two_seconds for _, cascade in runs])
    totals = {name: np.zeros(count) for name in ("answered", "degraded", "refused")}
    times = np.zeros((count, CLASSES))
    kept = np.zeros((6, seconds, count), dtype=np.float32) if keep_series else None
    for second in range(seconds):
        one.fleet.begin(second)
        two.fleet.begin(second)
        replicas = one.fleet.ready
        served, refused, took = one.work(products[second, day], replicas * (one.max_ongoing + one.max_queued))
        asked = served * shares[second, day]
        waiting = replicas * two.max_queued
        room = np.minimum(two.fleet.ready * two.max_ongoing + waiting, two.fleet.ready * two.rate * deadline)
        # As Outcome counts: what stage two still holds is neither answered nor degraded yet.
        served_two, degraded, took_two = two.work(asked, room)
        # With no replica they wait in vain until the deadline, and that is what wakes the first one.
        ongoing_two = np.where(two.fleet.ready == 0, np.minimum(asked * deadline, waiting), two.ongoing)
        totals["answered"] += served - asked + served_two
        totals["degraded"] += degraded
        totals["refused"] += refused
        _add(times, took, served - asked)
        _add(times, took + took_two, served_two)
        one.count()
        two.count()
        if kept is not None:
            kept[:, second] = one.queued, replicas, one.fleet.nodes, two.queued, two.fleet.ready, two.fleet.nodes
        one.fleet.end(second, one.ongoing)
        two.fleet.end(second, ongoing_two)
    arrived, queued = products.sum(0)[day], one.queued + two.queued
    p50, p99 = _quantile(times, 0.5), _quantile(times, 0.99)

    def outcome(run: int, cascade: Cascade) -> Outcome:
        def both(values: tuple[np.ndarray, np.ndarray], per: float = 1.0) -> dict[str, float]:
            return {"text": float(values[0][run]) / per, "multimodal": float(values[1][run]) / per}

        nodes = both((one.node_seconds, two.node_seconds), 3600)
        return Outcome(
            float(arrived[run]),
            float(totals["answered"][run]),
            float(totals["degraded"][run]),
            float(totals["refused"][run]),
            float(queued[run]),
            float(p50[run]),
            float(p99[run]),
            both((one.most, two.most)),
            both((one.replica_seconds, two.replica_seconds), 3600),
            nodes,
            nodes["text"] * cascade.text.node_price + nodes["multimodal"] * cascade.multimodal.node_price,
            None if kept is None else Series(*kept[:, :, run]),
        )

    return [outcome(run, cascade) for run, (_, cascade) in enumerate(runs)]


def _add(times: np.ndarray, seconds: np.ndarray, count: np.ndarray) -> None:
    """Count so many answers of such a time; `times` float64 [runs, CLASSES] is changed."""
    place = np.clip(np.log10(np.maximum(seconds, SHORTEST) / SHORTEST) * CLASSES_A_TENFOLD, 0, CLASSES - 1).astype(int)
    times[np.arange(len(times)), place] += count


def _quantile(times: np.ndarray, share: float) -> np.ndarray:
    """Seconds within which `share` of the answers came, to a class: float64 [runs]; 0 where there are none."""
    below = np.cumsum(times, axis=1)
    place = (below < share * below[:, -1:]).sum(axis=1)
    return np.where(below[:, -1] > 0, SHORTEST * 10 ** ((place + 0.5) / CLASSES_A_TENFOLD), 0.0)
