"""What of a table is done, so that a run that was cut off goes on, and a table that has grown costs its new rows only. Knows no Ray and no model.

    OUT/run.json              what the answers depend on beside the rows; another run with another one is refused
    OUT/PLACE/part-*.parquet  what was written of rows, a shard at a time, in one or several places
    OUT/commits/part-*.parquet    of a shard: the identity of each of its rows and what became of it, and its files with their sums
    OUT/manifest.json         written last: the shards that count

A row is its key and the digest of its content, so a product that changed is a new row. A shard counts from the moment its commit is there, which is
written after its files; files without a commit are nobody's and are removed. Written again by a task that ran twice, a shard has the same name.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prodcat.errors import FeedError
from prodcat.location import Location

COMMITS, MANIFEST, RUN = "commits", "manifest.json", "run.json"
# Bytes of an identity, 128 bits: among a billion rows two are alike with a chance of one in 10^20.
WIDTH = 16
_COMMIT = pa.schema([pa.field("identity", pa.binary(WIDTH)), pa.field("outcome", pa.int8())])
_FILES = b"files"
NOWHERE = "nowhere"
# Commits are small: their number, and the store's answering time, decide how long reading them takes.
_READERS = 16


def identities(keys: Iterable[str], digests: Iterable[str], view: str = "") -> np.ndarray:
    """n rows -> S16 [n], 128 bits of BLAKE2b over key, digest and view.

    Args:
        view: what is looked at of the rows, where several things are.
    """
    end = f"\n{view}".encode()
    joined = b"".join(
        hashlib.blake2b(f"{key}\n{digest}".encode() + end, digest_size=WIDTH).digest() for key, digest in zip(keys, digests, strict=True)
    )
    return np.frombuffer(joined, dtype=f"S{WIDTH}")


def nothing() -> np.ndarray:
    """S16 [0]."""
    return np.empty(0, dtype=f"S{WIDTH}")


def among(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [n]: which are in `known`, S16, sorted."""
    if not len(known):
        return np.zeros(len(rows), dtype=bool)
    place = np.minimum(np.searchsorted(known, rows), len(known) - 1)
    found: np.ndarray = known[place] == rows
    return found


@dataclass(frozen=True)
class Shard:
    """A commit as it was read.

    Args:
        identities: S16 [n], in the order of the rows.
        outcomes: int8 [n]: what became of each; the number of the place, or -1: it is in none.
        files: place -> rows, bytes, sha256 of its file.
    """

    name: str
    identities: np.ndarray
    outcomes: np.ndarray
    files: dict[str, dict[str, Any]]


class Ledger:
    """The folder of a run's output.

    Args:
        out: local or in an object store; every node writes it.
        places: folders below `out` that hold rows; a row's outcome is the number of one of them.
    """

    def __init__(self, out: Location, places: Sequence[str]) -> None:
        self.out, self.places = out, tuple(places)

    def write(self, rows: np.ndarray, outcomes: np.ndarray, tables: Mapping[str, pa.Table]) -> Shard:
        """A shard: its files, then its commit.

        Args:
            rows: S16 [n].
            outcomes: int8 [n], as in Shard.
            tables: place -> its rows, in the order of those of `rows` whose outcome it is.
        """
        for number, place in enumerate(self.places):
            held = tables[place].num_rows if place in tables else 0
            if held != int((outcomes == number).sum()):
                raise ValueError(f"{place}: {held} rows for {int((outcomes == number).sum())} outcomes")
        name = f"part-{hashlib.sha256(rows.tobytes()).hexdigest()[:24]}"
        files = {}
        for place, table in tables.items():
            if table.num_rows:
                data = _encoded(table)
                self.out.child(f"{place}/{name}.parquet").write_bytes(data)
                files[place] = {"rows": table.num_rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        commit = pa.table([_cells(rows), pa.array(outcomes, pa.int8())], schema=_COMMIT)
        self._commit(name).write_bytes(_encoded(commit.replace_schema_metadata({_FILES: json.dumps(files)})))
        return Shard(name, rows, outcomes, files)

    def begin(self, depends_on: Mapping[str, Any]) -> None:
        """Note what the rows' results depend on.

        Raises:
            FeedError: `out` holds those of another run, or something else.
        """
        told = json.dumps(dict(depends_on), sort_keys=True, indent=1)
        there = {child.name for child in self.out.children()}
        if RUN in there:
            before = self.out.child(RUN).read_bytes().decode()
            if json.loads(before) != json.loads(told):
                raise FeedError(f"{self.out.source}: holds the output of another run, {_differences(before, told)}; name a new folder, or remove it")
        elif there:
            raise FeedError(f"{self.out.source}: not empty, and no run's output ({sorted(there)[:3]}); name a new folder")
        else:
            self.out.child(RUN).write_bytes(told.encode())
        # From now on until it is closed again what it says would not be true.
        self.out.child(MANIFEST).delete()

    def settle(self, present: np.ndarray | None = None) -> np.ndarray:
        """Make the folder hold each row once: commits that name files which are not there are removed, and files that no commit names; rows that two
        shards hold, or that are no longer present, are taken out of theirs.

        Args:
            present: S16, sorted: rows that there are; None for all that were ever done.

        Returns:
            S16, sorted: the rows that are done.
        """
        held = self._files()
        shards = []
        for shard in self._shards():
            if all(held.get((place, shard.name)) == file["bytes"] for place, file in shard.files.items()):
                shards.append(shard)
            else:
                self._commit(shard.name).delete()
        rows = np.concatenate([nothing(), *(shard.identities for shard in shards)])
        # Of rows that stand in two shards the first one counts.
        done, first = np.unique(rows, return_index=True)
        if present is not None:
            first = first[among(done, present)]
        good = np.zeros(len(rows), dtype=bool)
        good[first] = True
        named: set[tuple[str, str]] = set()
        start = 0
        for shard in shards:
            own = good[start : start + len(shard.identities)]
            start += len(own)
            written = shard if own.all() else self._without(shard, own)
            named.update((place, written.name) for place in written.files)
        for place, name in held.keys() - named:
            self.out.child(f"{place}/{name}.parquet").delete()
        return np.sort(rows[good])

    def close(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest -> what it says: the facts, how many rows became what, and the shards."""
        shards = []
        counts = dict.fromkeys((*self.places, NOWHERE), 0)
        for shard in self._shards():
            for outcome, number in zip(*np.unique(shard.outcomes, return_counts=True), strict=True):
                counts[self.places[outcome] if outcome >= 0 else NOWHERE] += int(number)
            shards.append({"name": shard.name, "rows": len(shard.identities), "files": shard.files})
        said = {**facts, "rows": counts, "shards": shards}
        self.out.child(MANIFEST).write_bytes(json.dumps(said, indent=1).encode() + b"\n")
        return said

    def read(self, place: str, schema: pa.Schema) -> pa.Table:
        """The rows of a place, of the shards that the manifest names.

        Raises:
            FeedError: there is no manifest, or a file is not what it says.
        """
        tables = [schema.empty_table()]
        for shard in self.manifest()["shards"]:
            if place in shard["files"]:
                file = self.out.child(f"{place}/{shard['name']}.parquet")
                data = file.read_bytes()
                if hashlib.sha256(data).hexdigest() != shard["files"][place]["sha256"]:
                    raise FeedError(f"{file.source}: its SHA-256 is not the one in {MANIFEST}; remove its commit and run again")
                tables.append(pq.read_table(pa.BufferReader(data), schema=schema))
        return pa.concat_tables(tables)

    def manifest(self) -> dict[str, Any]:
        """Raises FeedError where there is none."""
        try:
            said: dict[str, Any] = json.loads(self.out.child(MANIFEST).read_bytes())
        except (OSError, ValueError) as error:
            raise FeedError(f"{self.out.source}: no readable {MANIFEST} ({error}); the run has not finished: start it again") from error
        return said

    def _without(self, shard: Shard, good: np.ndarray) -> Shard:
        """The shard less the rows that are not good, in its place. Its old commit goes after the new one is there: cut off in between, the rows stand
        in both, and the next run takes them out of one."""
        tables = {}
        for number, place in enumerate(self.places):
            if place in shard.files:
                own = good[shard.outcomes == number]
                tables[place] = self.out.child(f"{place}/{shard.name}.parquet").read_table().filter(pa.array(own))
        written = self.write(shard.identities[good], shard.outcomes[good], tables) if good.any() else Shard("", nothing(), nothing(), {})
        self._commit(shard.name).delete()
        return written

    def _files(self) -> dict[tuple[str, str], int]:
        """(place, shard name) -> bytes."""
        found = {}
        for place in self.places:
            for info in self.out.child(place).infos():
                if info.base_name.endswith(".parquet"):
                    found[place, info.base_name.removesuffix(".parquet")] = int(info.size)
        return found

    def _shards(self) -> Iterator[Shard]:
        """Every commit, in the order of their names."""
        names = [child.stem for child in self.out.child(COMMITS).children() if child.suffix == ".parquet"]
        with ThreadPoolExecutor(_READERS) as pool:
            yield from pool.map(self._shard, names)

    def _shard(self, name: str) -> Shard:
        table = self._commit(name).read_table()
        files = json.loads(table.schema.metadata[_FILES])
        cells = table["identity"].combine_chunks()
        rows = np.frombuffer(b"".join(cells.to_pylist()), dtype=f"S{WIDTH}")
        return Shard(name, rows, table["outcome"].to_numpy().astype(np.int8), files)

    def _commit(self, name: str) -> Location:
        return self.out.child(f"{COMMITS}/{name}.parquet")


def _cells(rows: np.ndarray) -> pa.Array:
    """S16 -> fixed-size binary, zeros at the end included."""
    return pa.FixedSizeBinaryArray.from_buffers(_COMMIT.field("identity").type, len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows).tobytes())])


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _differences(before: str, now: str) -> str:
    one, other = json.loads(before), json.loads(now)
    return ", ".join(f"{name} {one.get(name)!r} and now {other.get(name)!r}" for name in sorted({*one, *other}) if one.get(name) != other.get(name))
