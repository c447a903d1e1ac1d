"""PRODUCTS to FEATURES on Ray Data: read, decode and prepare on CPU tasks, encode on a pool of actors, write Parquet. Only what is not there yet, in
one pass for all towers.

Between the stages travels one row a batch: its keys and digests, and the prepared array as bytes. So Ray never re-batches pixels or pads token ids,
and an actor encodes what a task prepared, as it stood.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from pydantic import Field, model_validator

from prodcat.config import Config
from prodcat.distributed import each, own_errors
from prodcat.encoders import features
from prodcat.encoders.encoder import TowerFacts, describe, load
from prodcat.encoders.features import FeatureSet
from prodcat.encoders.inputs import ImageInput, Manifest, Tokens
from prodcat.errors import EncoderError, ImageError
from prodcat.images import ImageLimits, decode
from prodcat.ledger import among, identities, nothing

Progress = Callable[[str, int, int], None]
_TEXTS = ("title", "description", "brand", "language")
# So many batches are prepared at once: texts of like length can then share a batch, and padding costs little. Of images, which need no padding, fewer
# are held in memory.
_BATCHES_AT_ONCE = {"text": 16, "image": 4}
# A block of pixels holds one batch, whatever this says; one of token ids holds some thousand products. With larger ones small catalogs are one block,
# and all actors but one have nothing to do.
_BLOCK_BYTES = 2**17
# A file a task, up to so many tasks.
_READ_TASKS = 1024
# One row a batch. The array goes as bytes: texts pad to another length in every batch.
_PREPARED = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("keys", pa.list_(pa.string())),
        pa.field("digests", pa.list_(pa.string())),
        pa.field("readable", pa.list_(pa.bool_())),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("prepared", pa.large_binary()),
    ]
)
# Batches that an actor is given at once, for each that it encodes at once: its threads are to end together.
_BATCHES_A_THREAD = 2
_TOLD = pa.schema([pa.field("set", pa.string()), pa.field("written", pa.int64()), pa.field("unreadable", pa.int64())])


class EmbedConfig(Config):
    """What embedding may take of the cluster. The fractions let reading, preparing and encoding share two CPUs; none waits for another's share."""

    batch_size: int = Field(32, ge=1, le=4096, description="products encoded at once")
    rows_per_part: int = Field(1024, ge=1, description="vectors written at once, of all sets together; also how often progress is told")
    actors: int = Field(1, ge=1, description="encoding actors, each with the weights of all encoders in memory")
    actor_cpus: float = Field(0.5, gt=0, description="logical CPUs of an actor")
    actor_gpus: float = Field(0.0, ge=0, description="GPUs of an actor; with any, it encodes there")
    prepare_cpus: float = Field(0.4, gt=0, description="logical CPUs of a reading and preparing task")
    write_cpus: float = Field(0.1, gt=0, description="logical CPUs of a writing task")
    threads: int | None = Field(
        None,
        ge=1,
        description="batches that an actor without a GPU encodes at once, each on one torch thread; null: one for every CPU of its machine, shared "
        "among the actors",
    )

    @model_validator(mode="after")
    def _stays_apart(self) -> Self:
        # Ray Data fuses neighbours that ask for the same: decoding would then wait for encoding.
        if self.actor_gpus == 0 and self.actor_cpus == self.prepare_cpus:
            raise ValueError(f"actor_cpus and prepare_cpus are both {self.actor_cpus}: make them differ a little, so that Ray keeps the stages apart")
        return self


@dataclass(frozen=True)
class Source:
    """Products to be encoded.

    Args:
        files: Parquet files of PRODUCTS, readable from all nodes; in no other source.
        out: folder for the sets, on a file system that all nodes write.
        reads: only towers that read these.
    """

    files: Sequence[str]
    out: Path
    reads: Sequence[str] = ("image", "text")


@dataclass(frozen=True)
class _Job:
    """One tower, the set that it fills from a source, and the products that need no look, as sorted identities."""

    source: str
    name: str
    encoder: Path
    tower: TowerFacts
    folder: Path
    known: "ray.ObjectRef[np.ndarray]"

    @property
    def id(self) -> str:
        return f"{self.source} {self.name}".lstrip()


def embed(
    product_files: Sequence[str],
    encoders: Mapping[str, Path],
    out: Path,
    config: EmbedConfig,
    *,
    limits: ImageLimits,
    reads: Sequence[str] = ("image", "text"),
    on_progress: Progress | None = None,
) -> dict[str, FeatureSet]:
    """Encode products with every tower of every encoder. Arguments, result and errors as in `embed_sources`, of one source."""
    return embed_sources({"": Source(product_files, out, reads)}, encoders, config, limits=limits, on_progress=on_progress)[""]


def embed_sources(
    sources: Mapping[str, Source],
    encoders: Mapping[str, Path],
    config: EmbedConfig,
    *,
    limits: ImageLimits,
    on_progress: Progress | None = None,
) -> dict[str, dict[str, FeatureSet]]:
    """Encode products of several sources with every tower of every encoder, in one pass: the weights are loaded once.

    Args:
        sources: name -> source.
        encoders: name -> encoder folder, readable from all nodes.
        on_progress: called with "source set", products done, products to do.

    Returns:
        Source -> set name -> set. An encoder with one tower gives "name", with two "name_image" and "name_text". A product without the input (no
        text, no image, or an image that does not decode) is not in the set.

    Raises:
        EncoderError: a folder that is no encoder folder.
    """
    conditions = limits.model_dump_json()
    sets: dict[str, dict[str, FeatureSet]] = {}
    present: dict[str, np.ndarray] = {}
    jobs: list[_Job] = []
    totals: dict[str, int] = {}
    waiting: dict[str, str] = {}
    described = {name: describe(place) for name, place in encoders.items()}
    for origin, source in sources.items():
        keys, rows = _present(source.files, config)
        present[origin] = np.sort(np.concatenate([nothing(), *rows]))
        sets[origin] = {}
        for name, towers in described.items():
            for kind, tower in sorted(towers.items()):
                if kind not in source.reads:
                    continue
                set_name = features.set_name(name, kind, len(towers))
                folder = features.set_folder(Path(source.out), set_name, tower.fingerprint)
                folder.mkdir(parents=True, exist_ok=True)
                features.drop_superseded(folder, keys, present[origin])
                features.settle(folder)
                done = np.sort(np.concatenate([features.identities(folder), features.without(folder, conditions)]))
                new = [len(own) - int(among(own, done).sum()) for own in rows]
                sets[origin][set_name] = FeatureSet(set_name, folder, tower.fingerprint, tower.dim, tower.reads, 0, 0)
                if any(new):
                    job = _Job(origin, set_name, Path(encoders[name]), tower, folder, ray.put(done))
                    totals[job.id] = sum(new)
                    waiting |= {file: origin for file, left in zip(source.files, new, strict=True) if left}
                    jobs.append(job)
    counts = _run(jobs, waiting, totals, config, limits, on_progress or _silent) if jobs else {}
    filled = {(job.source, job.name): counts[job.id] for job in jobs}
    for origin, made in sets.items():
        for name, found in made.items():
            written, unreadable = filled.get((origin, name), (0, 0))
            held = features.settle(found.folder)
            if (origin, name) in filled:
                lacking = present[origin][~among(present[origin], features.identities(found.folder))]
                features.note_without(found.folder, lacking, conditions)
            made[name] = replace(found, rows=held, new_rows=written, unreadable=unreadable)
    return sets


def _run(
    jobs: Sequence[_Job], files: Mapping[str, str], totals: Mapping[str, int], config: EmbedConfig, limits: ImageLimits, on_progress: Progress
) -> dict[str, tuple[int, int]]:
    """Args: files: with the source of each.

    Returns:
        Job's id -> rows written, images that did not decode.
    """
    reads = {job.tower.reads for job in jobs}
    columns = ["key", "digest", *(_TEXTS if "text" in reads else ()), *(("image",) if "image" in reads else ())]
    at_once = min(_BATCHES_AT_ONCE[kind] for kind in reads) * config.batch_size
    data: ray.data.Dataset = ray.data.from_items(
        [{"file": file, "source": source} for file, source in sorted(files.items())], override_num_blocks=min(len(files), _READ_TASKS)
    )
    data = data.map_batches(
        functools.partial(_read, columns=columns, rows=at_once), batch_size=None, batch_format="pyarrow", num_cpus=config.prepare_cpus
    )
    # By default one task piles up 128 MB before anything is encoded.
    data.context.target_max_block_size = _BLOCK_BYTES
    data.context.print_on_execution_start = False
    prepare = functools.partial(_prepare, jobs=jobs, limits=limits, size=config.batch_size)
    data = data.map_batches(prepare, batch_size=at_once, batch_format="pyarrow", num_cpus=config.prepare_cpus)
    data = data.map_batches(
        _Encode,
        batch_size=1 if config.actor_gpus else _BATCHES_A_THREAD * _threads(config),
        batch_format="pyarrow",
        num_cpus=config.actor_cpus,
        num_gpus=config.actor_gpus,
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        fn_constructor_args=({job.id: (str(job.encoder), job.tower.reads) for job in jobs}, config),
    )
    write = functools.partial(_write, folders={job.id: str(job.folder) for job in jobs})
    data = data.map_batches(write, batch_size=config.rows_per_part, batch_format="pyarrow", num_cpus=config.write_cpus)
    counts = {job.id: (0, 0) for job in jobs}
    for name in counts:
        on_progress(name, 0, totals[name])
    told: Any
    for told in own_errors(iter(data.iter_batches(batch_size=None, batch_format="pyarrow"))):
        for row in told.to_pylist():
            written, unreadable = counts[row["set"]]
            counts[row["set"]] = (written + row["written"], unreadable + row["unreadable"])
            on_progress(row["set"], sum(counts[row["set"]]), totals[row["set"]])
    for name in counts:
        # Products without the input leave no trace on the way.
        on_progress(name, totals[name], totals[name])
    return counts


def _silent(name: str, done: int, total: int) -> None:
    """For a caller who does not ask for progress."""


def _present(product_files: Sequence[str], config: EmbedConfig) -> tuple[np.ndarray, list[np.ndarray]]:
    """S16: identities of all keys, sorted, and those of the rows of each file."""
    found = dict(each(_identities_in, list(product_files), cpus=config.prepare_cpus))
    keys = np.sort(np.concatenate([nothing(), *(keys for keys, _ in found.values())]))
    return keys, [found[file][1] for file in product_files]


def _identities_in(file: str) -> tuple[np.ndarray, np.ndarray]:
    """Keys and digests only: titles and images stay in the files until a worker reads them."""
    index = pq.read_table(file, columns=["key", "digest"])
    keys = index["key"].to_pylist()
    return identities(keys, [""] * len(keys)), identities(keys, index["digest"].to_pylist())


def _read(files: pa.Table, *, columns: list[str], rows: int) -> Iterator[pa.Table]:
    """The products of these files, at most so many at once, with the source that each file belongs to."""
    for file, source in zip(files["file"].to_pylist(), files["source"].to_pylist(), strict=True):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=rows, columns=columns):
            yield pa.Table.from_batches([batch]).append_column("from", pa.array([source] * batch.num_rows, pa.string()))


@functools.lru_cache(maxsize=8)
def _input(encoder: str, reads: str, fingerprint: str) -> ImageInput | Tokens:
    """The CPU half of a tower, without its weights and without torch. Kept by fingerprint: a folder may be written anew while this worker lives."""
    manifest = Manifest.load(Path(encoder))
    if reads == "image" and manifest.image is not None:
        return manifest.image
    if reads == "text" and manifest.text is not None:
        return Tokens(manifest.text, Path(encoder))
    raise EncoderError(f"{encoder}: has no {reads} tower; write the folder again")


def _prepare(rows: pa.Table, *, jobs: Sequence[_Job], limits: ImageLimits, size: int) -> Iterator[pa.Table]:
    """PRODUCTS -> for every job one row a batch, of at most `size` products that are new to its set and have its input."""
    own = identities(rows["key"].to_pylist(), rows["digest"].to_pylist())
    for job in jobs:
        new = rows.filter(pc.and_(pc.equal(rows["from"], job.source), pa.array(~among(own, ray.get(job.known)))))
        side = _input(str(job.encoder), job.tower.reads, job.tower.fingerprint)
        if isinstance(side, ImageInput):
            yield from _images(job.id, new, side, limits, size)
        else:
            yield from _titles(job.id, new, side, size)


def _images(name: str, rows: pa.Table, side: ImageInput, limits: ImageLimits, size: int) -> Iterator[pa.Table]:
    rows = rows.filter(pc.is_valid(rows["image"]))
    for start in range(0, rows.num_rows, size):
        batch = rows.slice(start, size)
        pixels = [_pixels(value.as_buffer(), side, limits) for value in batch["image"]]
        found = [each for each in pixels if each is not None]
        prepared = np.stack(found) if found else np.zeros((0, side.size, side.size, 3), dtype=np.uint8)
        yield _batch(name, batch, [each is not None for each in pixels], prepared)


def _titles(name: str, rows: pa.Table, side: Tokens, size: int) -> Iterator[pa.Table]:
    """Those of as many tokens in a batch."""
    texts = [side.settings.of(**row) for row in rows.select(list(_TEXTS)).to_pylist()]
    rows = rows.select(["key", "digest"]).filter(pa.array([text is not None for text in texts], pa.bool_()))
    ids = side.prepare([text for text in texts if text is not None])
    lengths = (ids != side.settings.pad_id).sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield _batch(name, rows.take(pa.array(chosen)), [True] * len(chosen), ids[chosen, : lengths[chosen[-1]]])


def _batch(name: str, rows: pa.Table, readable: list[bool], prepared: np.ndarray) -> pa.Table:
    """Products that have the input, and what was prepared of those that are readable -> one row of _PREPARED."""
    cells = [name, rows["key"].to_pylist(), rows["digest"].to_pylist(), readable, list(prepared.shape), prepared.tobytes()]
    return pa.Table.from_arrays([pa.array([cell], type=field.type) for cell, field in zip(cells, _PREPARED, strict=True)], schema=_PREPARED)


def _pixels(data: pa.Buffer, image: ImageInput, limits: ImageLimits) -> np.ndarray | None:
    """None for an image that passed ingestion and does not decode now: the caller counts it."""
    try:
        return image.prepare(decode(data.to_pybytes(), limits, at_least=image.at_least))
    except ImageError:
        return None


def _threads(config: EmbedConfig) -> int:
    return config.threads or max(1, (os.cpu_count() or 1) // config.actors)


class _Encode:
    """An actor with the weights of all towers that have something to do. `towers`: set name -> encoder folder, what it reads.

    On CPUs, batches side by side, a thread each: threads that share a batch wait for one another after every layer, and longest where another process
    has their CPU.
    """

    def __init__(self, towers: Mapping[str, tuple[str, str]], config: EmbedConfig) -> None:
        # Here and not above: the tasks that prepare share this module and go without torch's 0.75 GB.
        import torch

        # A logical GPU may stand for none: torch knows what is there.
        device = "cuda" if config.actor_gpus > 0 and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(_threads(config) if device == "cpu" else 1)
        opened = {folder: load(folder, device) for folder, _ in towers.values()}
        for encoder in opened.values():
            encoder.module.eval()
        self._towers = {name: opened[folder].towers[reads] for name, (folder, reads) in towers.items()}

    def __call__(self, batches: pa.Table) -> Iterator[pa.Table]:
        yield from self._pool.map(lambda row: self._encoded(batches, row), range(batches.num_rows))

    def _encoded(self, batches: pa.Table, row: int) -> pa.Table:
        name = batches["set"][row].as_py()
        tower = self._towers[name]
        readable = np.array(batches["readable"][row].as_py(), dtype=bool)
        kind = np.uint8 if tower.reads == "image" else np.int32
        prepared = np.frombuffer(batches["prepared"][row].as_buffer(), dtype=kind).reshape(batches["shape"][row].as_py())
        vectors = np.zeros((len(readable), tower.dim), dtype=np.float32)
        vectors[readable] = tower.encode(prepared)
        # Sets differ in size, so the lists are of no fixed size until they are written.
        column = pa.ListArray.from_arrays(np.arange(len(readable) + 1, dtype=np.int32) * tower.dim, pa.array(vectors.reshape(-1)))
        keys, digests = batches["keys"][row].values, batches["digests"][row].values
        return pa.table({"set": [name] * len(readable), "key": keys, "digest": digests, "vector": column, "readable": readable})


def _write(rows: pa.Table, *, folders: Mapping[str, str]) -> pa.Table:
    """Rows with vectors -> a part of each set they belong to, and how many they were."""
    told = []
    for name in pc.unique(rows["set"]).to_pylist():
        mine = rows.filter(pc.equal(rows["set"], name))
        good = mine.filter(mine["readable"])
        if good.num_rows:
            flat = good["vector"].combine_chunks()
            column = pa.FixedSizeListArray.from_arrays(flat.flatten(), len(flat[0]))
            features.write_part(Path(folders[name]), pa.table({"key": good["key"], "digest": good["digest"], "vector": column}))
        told.append({"set": name, "written": good.num_rows, "unreadable": mine.num_rows - good.num_rows})
    return pa.Table.from_pylist(told, schema=_TOLD)
