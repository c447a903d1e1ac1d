"""Replicas and nodes of one stage, of many runs side by side: Ray Serve's autoscaling policy, and starts that take time. Knows no requests.

The policy is that of ray.serve.autoscaling_policy (2.60): the number wanted is ceil(requests / target), by the mean of requests under way over the
look-back time, and less of the way down with a downscaling_factor; it is taken once it has been above (below) the present number without a break for
upscale_delay_s (downscale_delay_s).
"""

from collections.abc import Sequence

import numpy as np

from prodcat.planning.stations import Station

LONGEST_LOOK_BACK = 60


class Fleet:
    """One stage's replicas and nodes. Every array has one entry a run.

    Args:
        stations: of each run.
        first: replicas at the beginning; kept within what the station allows.
    """

    def __init__(self, stations: Sequence[Station], first: np.ndarray) -> None:
        def each(name: str) -> np.ndarray:
            return np.array([getattr(station, name) for station in stations], dtype=np.float64)

        self._runs = np.arange(len(stations))
        self._target_ongoing = each("target_ongoing")
        self._least, self._most = each("min_replicas"), each("max_replicas")
        self._up_delay, self._down_delay, self._zero_delay = each("upscale_delay_s"), each("downscale_delay_s"), each("downscale_to_zero_delay_s")
        self._start, self._node_start = each("start_s").astype(int), each("node_start_s").astype(int)
        self._per_node, self._node_idle, self._least_nodes = each("per_node"), each("node_idle_s"), each("min_nodes")
        self._down_factor = each("downscaling_factor")
        self._look_back, self._push = each("look_back_s"), each("push_s").astype(int)
        self.target = np.clip(first, self._least, self._most)
        self.ready = self.target.copy()
        self.nodes = np.maximum(np.ceil(self.target / self._per_node), self._least_nodes)
        self._nodes_ready = self.nodes.copy()
        # A circle of coming seconds: what becomes ready in each.
        self._horizon = int((self._start + self._node_start).max()) + 2
        self._starting = np.zeros((self._horizon, len(stations)))
        self._nodes_starting = np.zeros((self._horizon, len(stations)))
        self._pending = np.zeros(len(stations))
        self._seen = np.zeros((LONGEST_LOOK_BACK, len(stations)))
        self._view = np.zeros(len(stations))
        # How long more (fewer) replicas, and fewer nodes, have been wanted without a break.
        self._above, self._below, self._idle = (np.zeros(len(stations)) for _ in range(3))

    def begin(self, second: int) -> None:
        """What was to be ready in this second is."""
        place = second % self._horizon
        come = self._starting[place]
        if come.any():
            self.ready += come
            self._pending -= come
            self._starting[place] = 0.0
        come = self._nodes_starting[place]
        if come.any():
            self._nodes_ready = np.minimum(self._nodes_ready + come, self.nodes)
            self._nodes_starting[place] = 0.0

    def end(self, second: int, ongoing: np.ndarray) -> None:
        """The autoscaler's decision after a second in which so many requests were under way on average."""
        self._seen[second % LONGEST_LOOK_BACK] = ongoing
        told = (second + 1) % self._push == 0
        if told.any():
            age = (second - np.arange(LONGEST_LOOK_BACK)) % LONGEST_LOOK_BACK
            # What lies before the first second is no observation.
            weights = (age[:, None] < np.minimum(self._look_back, second + 1)).astype(np.float64)
            self._view = np.where(told, (self._seen * weights).sum(0) / weights.sum(0), self._view)
        wanted = self._wanted()
        cold = self.ready == 0
        if cold.any():
            # From nothing there is one at once, without delay, and no more until it is there.
            wanted = np.where(cold, np.where(self._view > 0, np.maximum(1.0, self.target), self.target), wanted)
        wanted = np.clip(wanted, self._least, self._most)
        # Only the last one waits for the longer delay, and only the last one goes to nothing.
        wanted = np.where((self.target > 1) & (wanted < 1), 1.0, wanted)
        above, below = wanted > self.target, wanted < self.target
        delay = np.where(self.target > 1, self._down_delay, self._zero_delay)
        raised = above & (cold | (self._above >= self._up_delay))
        lowered = below & (self._below >= delay)
        self._above = np.where(above & ~raised, self._above + 1, 0.0)
        self._below = np.where(below & ~lowered, self._below + 1, 0.0)
        if raised.any():
            self._raise(second, np.where(raised, wanted, self.target))
        if lowered.any():
            self._lower(np.where(lowered, wanted, self.target))
        self._give_nodes_back()

    def _wanted(self) -> np.ndarray:
        """Replicas by the requests under way; as Ray does, from those that run, and at least one fewer where fewer would do."""
        exact = self._view / self._target_ongoing
        away = exact - self.ready
        scaled = np.ceil(self.ready + np.where(away < 0, self._down_factor, 1.0) * away - 1e-9)
        stuck = (np.ceil(exact - 1e-9) < self.ready) & (scaled == self.ready)
        return scaled - stuck

    def _raise(self, second: int, target: np.ndarray) -> None:
        more = target - self.target
        fast = np.clip(np.minimum(target, self._nodes_ready * self._per_node) - self.target, 0.0, more)
        self._put(self._starting, second + 1 + self._start, fast)
        self._put(self._starting, second + 1 + self._start + self._node_start, more - fast)
        self._pending += more
        needed = np.maximum(np.ceil(target / self._per_node), self.nodes)
        self._put(self._nodes_starting, second + 1 + self._node_start, needed - self.nodes)
        self.nodes, self.target = needed, target

    def _put(self, circle: np.ndarray, seconds: np.ndarray, count: np.ndarray) -> None:
        # A thing started in this second is ready at the beginning of the next at the earliest; the horizon holds the longest start.
        circle[seconds % self._horizon, self._runs] += count

    def _lower(self, target: np.ndarray) -> None:
        fewer = self.target - target
        for run in np.flatnonzero((fewer > 0) & (self._pending > 0)):
            # Those that are still starting go first.
            for place in np.flatnonzero(self._starting[:, run]):
                gone = min(self._starting[place, run], fewer[run])
                self._starting[place, run] -= gone
                self._pending[run] -= gone
                fewer[run] -= gone
        self.ready -= fewer
        self.target = target

    def _give_nodes_back(self) -> None:
        needed = np.maximum(np.ceil(self.target / self._per_node), self._least_nodes)
        spare = needed < self.nodes
        self._idle = np.where(spare, self._idle + 1, 0.0)
        gone = spare & (self._idle >= self._node_idle)
        if gone.any():
            self.nodes = np.where(gone, needed, self.nodes)
            self._nodes_ready = np.minimum(self._nodes_ready, self.nodes)
            self._idle[gone] = 0.0
