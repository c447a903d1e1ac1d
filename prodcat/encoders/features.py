"""The folder in which a tower's vectors are kept, and how they are read back. Ray-free; knows no weights and no images.

A set lives in <set name>-<fingerprint[:16]>/part-*.parquet. A part appears whole or not at all, is named by its rows, so that a task that runs twice
writes it once, and a product has one row: that of its present content. manifest.json, written when a run ends, holds the sum of every part. Products
without the input, or with an image that does not decode, stand in without.parquet beside, so that nobody looks again.

Which rows there are is told by their identities (ledger.py): 16 bytes a product, however long its key.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prodcat import contracts
from prodcat.errors import ContractError
from prodcat.ledger import WIDTH, among, nothing
from prodcat.ledger import identities as identities_of


def set_name(encoder: str, reads: str, towers: int) -> str:
    """Of the vectors that one of an encoder's towers makes: the encoder's name if it has no other tower, else NAME_image or NAME_text."""
    return encoder if towers == 1 else f"{encoder}_{reads}"


@dataclass(frozen=True)
class StoredSet:
    """Vectors of one tower of one encoder, as they lie in a folder.

    Args:
        fingerprint: the tower's; of a set that was found by its folder's name, its first 16 digits.
    """

    name: str
    folder: Path
    fingerprint: str
    dim: int


@dataclass(frozen=True)
class FeatureSet(StoredSet):
    """A set as embedding leaves it.

    Args:
        rows: products in the set.
        new_rows: of these, encoded in this run.
        unreadable: products of this run whose image could not be decoded, and which are therefore not in the set.
    """

    reads: Literal["text", "image"]
    rows: int
    new_rows: int
    unreadable: int = 0


def set_folder(out: Path, name: str, fingerprint: str) -> Path:
    return out / f"{name}-{fingerprint[:16]}"


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def stored_sets(out: Path, products: pa.Table) -> dict[str, StoredSet]:
    """Name -> set, of what embedding wrote to `out`. Of a name with several fingerprints the set that holds most of the products as they are now.

    Args:
        products: columns key and digest.
    """
    found: dict[str, tuple[int, StoredSet]] = {}
    now = np.sort(identities_of(products["key"].to_pylist(), products["digest"].to_pylist()))
    for folder in sorted(out.iterdir()):
        name, dash, fingerprint = folder.name.rpartition("-")
        files = parts(folder)
        if not dash or not files:
            continue
        dim = pq.read_schema(files[0]).field("vector").type.list_size
        held = int(among(identities(folder), now).sum())
        if held and held > found.get(name, (0,))[0]:
            found[name] = (held, StoredSet(name, folder, fingerprint, dim))
    return {name: stored for name, (_, stored) in found.items()}


_WITHOUT, _MANIFEST = "without.parquet", "manifest.json"


def identities(folder: Path) -> np.ndarray:
    """S16 [n], sorted: of all rows that a set has."""
    return np.sort(np.concatenate([nothing(), *(_rows_of(part) for part in parts(folder))]))


def _rows_of(part: Path) -> np.ndarray:
    held = pq.read_table(part, columns=["key", "digest"])
    return identities_of(held["key"].to_pylist(), held["digest"].to_pylist())


def without(folder: Path, conditions: str) -> np.ndarray:
    """S16 [n], sorted: products that were looked at in vain under these conditions; none if it was under others."""
    file = folder / _WITHOUT
    if not file.exists():
        return nothing()
    found = pq.read_table(file)
    if (found.schema.metadata or {}).get(b"conditions") != conditions.encode():
        return nothing()
    return np.frombuffer(b"".join(found["identity"].to_pylist()), dtype=nothing().dtype)


def note_without(folder: Path, rows: np.ndarray, conditions: str) -> None:
    """Args: rows: S16, sorted. conditions: what decides whether an input is read, beside the product itself."""
    cells = pa.FixedSizeBinaryArray.from_buffers(pa.binary(WIDTH), len(rows), [None, pa.py_buffer(rows.tobytes())])
    _write(pa.table({"identity": cells}).replace_schema_metadata({"conditions": conditions}), folder / _WITHOUT)


def write_part(folder: Path, rows: pa.Table) -> None:
    """Add n rows, columns key, digest and vector (a fixed-size list of float32), to a set."""
    dim = rows.schema.field("vector").type.list_size
    name = hashlib.sha256(identities_of(rows["key"].to_pylist(), rows["digest"].to_pylist()).tobytes()).hexdigest()[:32]
    _write(contracts.enforce(rows, contracts.features(dim), "embed"), folder / f"part-{name}.parquet")


def drop_superseded(folder: Path, keys: np.ndarray, rows: np.ndarray) -> None:
    """Remove the vectors of products whose content has changed.

    Args:
        keys, rows: S16, sorted, of products as they are now: of their keys alone (identities with empty digests), and with their digests. Products
            that are not among them keep their vectors.
    """
    for part in parts(folder):
        held = pq.read_table(part, columns=["key"])["key"].to_pylist()
        _keep(part, ~among(identities_of(held, [""] * len(held)), keys) | among(_rows_of(part), rows))


def settle(folder: Path) -> int:
    """Make a set hold each row once: what a run left that was cut off is removed. Writes the manifest -> rows."""
    for leftover in folder.glob(".*"):
        leftover.unlink()
    files = parts(folder)
    held = [_rows_of(part) for part in files]
    _, first = np.unique(np.concatenate([nothing(), *held]), return_index=True)
    start = 0
    for part, rows in zip(files, held, strict=True):
        own = np.zeros(len(rows), dtype=bool)
        own[first[(first >= start) & (first < start + len(rows))] - start] = True
        start += len(rows)
        _keep(part, own)
    known = _sums(folder)
    said = {part.name: known.get(part.name) or _sum(part) for part in parts(folder)}
    temporary = folder / f".{_MANIFEST}.{uuid.uuid4().hex}"
    temporary.write_text(json.dumps({"parts": said}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / _MANIFEST)
    return len(first)


def _keep(part: Path, good: np.ndarray) -> None:
    """The part with only these of its rows."""
    if good.all():
        return
    rest = pq.read_table(part).filter(pa.array(good))
    if rest.num_rows:
        write_part(part.parent, rest)
    part.unlink()


def _sum(part: Path) -> str:
    return hashlib.sha256(part.read_bytes()).hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    """Part -> SHA-256, of the manifest; none where there is none yet."""
    file = folder / _MANIFEST
    return dict(json.loads(file.read_bytes())["parts"]) if file.exists() else {}


def read(feature_set: StoredSet, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in the order of `keys`.

    Returns:
        float32 [n, dim], zeros where the product has no vector, and bool [n]: whether it has one.

    Raises:
        ContractError: a part holds vectors of another size, or is not what the manifest says.
    """
    vectors = np.zeros((len(keys), feature_set.dim), dtype=np.float32)
    present = np.zeros(len(keys), dtype=bool)
    wanted = pa.array(keys, type=pa.string())
    files = parts(feature_set.folder)
    known = [pq.read_table(part, columns=["key"])["key"].combine_chunks() for part in files]
    if not known:
        return vectors, present
    place = pc.fill_null(pc.index_in(wanted, value_set=pa.chunked_array(known, type=pa.string()).combine_chunks()), -1).to_numpy(zero_copy_only=False)
    ends = np.cumsum([len(part) for part in known])
    sums = _sums(feature_set.folder)
    for part, start, end in zip(files, ends - [len(part) for part in known], ends, strict=True):
        rows = np.flatnonzero((place >= start) & (place < end))
        if not len(rows):
            continue
        if part.name in sums and sums[part.name] != _sum(part):
            raise ContractError(f"{part}: its SHA-256 is not the one in {_MANIFEST}; delete the file and embed again")
        column = pq.read_table(part, columns=["vector"])["vector"].combine_chunks()
        if column.type.list_size != feature_set.dim:
            raise ContractError(
                f"{part}: vectors of {column.type.list_size} numbers, expected are {feature_set.dim}; delete the folder and embed again"
            )
        vectors[rows] = column.flatten().to_numpy().reshape(-1, feature_set.dim)[place[rows] - start]
        present[rows] = True
    return vectors, present


def _write(table: pa.Table, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(file)
