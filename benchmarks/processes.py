"""What a process and all that it started take: CPU time, and memory beside Ray's object store."""

import os
import threading
import time
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """Samples this process and its descendants while a block runs.

    Attributes:
        cpu_s: user and system seconds since the start, of processes that ended too (to within a sample).
        series: seconds since the start and MB of all, a sample each.
        kinds: the same by kind of process (kind_of): MB and how many there were.
        peak_mb: most proportional memory of all at one moment, without shared memory (Ray's object store).
    """

    def __init__(self, every: float = 0.5) -> None:
        super().__init__(daemon=True)
        self._every, self._stop_asked = every, threading.Event()
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self.peak_mb = 0.0
        self.series: list[tuple[float, float]] = []
        self.kinds: list[dict[str, tuple[float, int]]] = []

    @property
    def cpu_s(self) -> float:
        return sum(seconds - self._first.get(pid, 0.0) for pid, seconds in self._last.items())

    def __enter__(self) -> Self:
        self._first = {pid: cpu(pid) for pid in family()}
        self._begun = time.perf_counter()
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_asked.set()
        self.join()
        self._sample()

    def run(self) -> None:
        while not self._stop_asked.wait(self._every):
            self._sample()

    def _sample(self) -> None:
        total = 0.0
        kinds: dict[str, tuple[float, int]] = {}
        for pid in family():
            self._last[pid] = max(self._last.get(pid, 0.0), cpu(pid))
            mb = memory(pid)
            total += mb
            kind = kind_of(pid)
            before, count = kinds.get(kind, (0.0, 0))
            kinds[kind] = before + mb, count + 1
        self.kinds.append(kinds)
        self.peak_mb = max(self.peak_mb, total)
        self.series.append((time.perf_counter() - self._begun, total))


def family() -> set[int]:
    """This process and all below it. What Ray started as daemons is below it too, for Ray keeps them as children."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu(pid: int) -> float:
    """Seconds; 0 for a process that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> float:
    """MB: its share of anonymous and file pages; pages that several processes map count once among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    found = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
    return (found.get("Pss_Anon", 0) + found.get("Pss_File", 0)) / 1024


def kind_of(pid: int) -> str:
    """What Ray calls it, else the name of its program."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    if words[0].startswith("ray::"):
        return ".".join(words[0].split(".")[:1])
    scripts = [word for word in words if word.endswith(".py")]
    return Path(scripts[0] if scripts else words[0]).name
