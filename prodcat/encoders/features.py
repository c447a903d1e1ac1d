"""The folder in which a tower's vectors are kept, and how they are read back. Ray-free; knows no weights and no images.

A set lives in <set name>-<fingerprint[:16]>/part-*.parquet. A part appears whole or not at all, and a product has one row: that of its
present content. Products without the input, or with an image that does not decode, stand in without.parquet beside, so that nobody looks again.
"""

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
    for folder in sorted(out.iterdir()):
        name, dash, fingerprint = folder.name.rpartition("-")
        files = parts(folder)
        if not dash or not files:
            continue
        dim = pq.read_schema(files[0]).field("vector").type.list_size
        held = identities(folder).join(products.select(["key", "digest"]), ["key", "digest"], join_type="inner").num_rows
        if held and held > found.get(name, (0,))[0]:
            found[name] = (held, StoredSet(name, folder, fingerprint, dim))
    return {name: stored for name, (_, stored) in found.items()}


_IDENTITY = pa.schema([contracts.PRODUCTS.field("key"), contracts.PRODUCTS.field("digest")])
_WITHOUT = "without.parquet"


def identities(folder: Path) -> pa.Table:
    """Columns key and digest of all rows that a set has."""
    return pa.concat_tables([_IDENTITY.empty_table(), *(pq.read_table(part, columns=_IDENTITY.names).cast(_IDENTITY) for part in parts(folder))])


def without(folder: Path, conditions: str) -> pa.Table:
    """Columns key and digest of products that were looked at in vain under these conditions; none if it was under others."""
    file = folder / _WITHOUT
    if not file.exists():
        return _IDENTITY.empty_table()
    found = pq.read_table(file)
    return found.cast(_IDENTITY) if (found.schema.metadata or {}).get(b"conditions") == conditions.encode() else _IDENTITY.empty_table()


def note_without(folder: Path, rows: pa.Table, conditions: str) -> None:
    """Args: conditions: what decides whether an input is read, beside the product itself."""
    _write(rows.cast(_IDENTITY).replace_schema_metadata({"conditions": conditions}), folder / _WITHOUT)


def write_part(folder: Path, rows: pa.Table) -> None:
    """Add n rows, columns key, digest and vector (a fixed-size list of float32), to a set."""
    dim = rows.schema.field("vector").type.list_size
    _write(contracts.enforce(rows, contracts.features(dim), "embed"), folder / f"part-{uuid.uuid4().hex}.parquet")


def drop_superseded(folder: Path, products: pa.Table) -> None:
    """Remove the vectors of products whose content has changed.

    Args:
        products: columns key and digest as they are now; products that are not in it keep their vectors.
    """
    for part in parts(folder):
        known = pq.read_table(part, columns=["key", "digest"])
        place = pc.index_in(known["key"], value_set=products["key"])
        now = pc.take(products["digest"], place)
        # Null where the product is not in `products`: nothing is known against that row.
        keep = pc.fill_null(pc.equal(now, known["digest"]), True)
        if pc.all(keep).as_py() is not False:
            continue
        rest = pq.read_table(part).filter(keep)
        if rest.num_rows:
            _write(rest, part)
        else:
            part.unlink()


def read(feature_set: StoredSet, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in the order of `keys`.

    Returns:
        float32 [n, dim], zeros where the product has no vector, and bool [n]: whether it has one.

    Raises:
        ContractError: a part holds vectors of another size.
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
    for part, start, end in zip(files, ends - [len(part) for part in known], ends, strict=True):
        rows = np.flatnonzero((place >= start) & (place < end))
        if not len(rows):
            continue
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
