"""HTTP load from a process of its own, on one event loop and raw sockets, so that the load costs little beside what it measures.

    python benchmarks/load.py URL BODIES --connections 64 [--rate 500] --seconds 10

BODIES: a file with one JSON body a line. Without --rate each connection asks again as soon as it is answered; with it requests begin at that rate
whatever is still open (an open loop: a server that lags is not asked less), and time counts from when a request should have begun. Prints JSON.
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, body: bytes) -> tuple[int, bool]:
    """Status, and whether it carries Retry-After."""
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if "\r\ntransfer-encoding: chunked" in answer:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        length = next((int(line.split(":")[1]) for line in answer.split("\r\n") if line.startswith("content-length:")), 0)
        await reader.readexactly(length)
    return int(answer[9:12]), "\r\nretry-after:" in answer


async def run(url: str, bodies: Sequence[bytes], connections: int, rate: float | None, seconds: float) -> dict[str, float | dict[str, int]]:
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
    turns, times, statuses = itertools.count(), [], Counter[str]()
    began = time.perf_counter()

    async def connection() -> None:
        reader = writer = None
        while True:
            turn = next(turns)
            due = began + turn / rate if rate else time.perf_counter()
            if due - began > seconds:
                break
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(place.hostname, place.port)
                status, retry = await asyncio.wait_for(_ask(reader, writer, head, bodies[turn % len(bodies)]), 60)
                statuses[str(status) + (" with Retry-After" if retry else "")] += 1
                if status == 200:
                    times.append(time.perf_counter() - due)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                statuses[type(error).__name__] += 1
                if writer is not None:
                    writer.close()
                writer = None

    await asyncio.gather(*(connection() for _ in range(connections)))
    times.sort()
    spent = time.perf_counter() - began
    pick = lambda share: times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")  # noqa: E731
    return {"p50": pick(0.5), "p90": pick(0.9), "p99": pick(0.99), "per_second": len(times) / spent, "statuses": dict(statuses)}


def latencies(url: str, bodies: Sequence[str], *, connections: int, rate: float | None, seconds: float) -> dict[str, float]:
    """`run` in a process of its own: seconds at the 50th, 90th and 99th percentile, requests a second, statuses."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(bodies) + "\n")
        file.flush()
        command = [sys.executable, __file__, url, file.name, "--connections", str(connections), "--seconds", str(seconds)]
        out = subprocess.run([*command, *(["--rate", str(rate)] if rate else [])], capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(out)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("url")
    arguments.add_argument("bodies", type=Path)
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--rate", type=float)
    arguments.add_argument("--seconds", type=float, default=10)
    a = arguments.parse_args()
    print(json.dumps(asyncio.run(run(a.url, a.bodies.read_bytes().splitlines(), a.connections, a.rate, a.seconds))))


if __name__ == "__main__":
    main()
