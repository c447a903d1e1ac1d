"""PRODUCTS to FEATURES on Ray Data: read, decode and prepare on CPU tasks, encode on a pool of actors, write Parquet. Only what is not there yet.

Between the stages travels one row a batch: its keys and digests, and the prepared array as bytes. So Ray never re-batches pixels or pads token ids,
and an actor encodes what a task prepared, as it stood.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from pydantic import Field, model_validator

from prodcat.config import Config
from prodcat.encoders import features
from prodcat.encoders.encoder import TowerFacts, describe, load
from prodcat.encoders.features import FeatureSet
from prodcat.encoders.inputs import ImageInput, Manifest, Tokens, product_text
from prodcat.errors import EncoderError, ImageError
from prodcat.images import ImageLimits, decode

Progress = Callable[[str, int, int], None]
_TEXTS = ("title", "description", "brand")
_TEXT_BATCHES = 16
_BLOCK_BYTES = 16 * 2**20
# One row a batch. The array goes as bytes: texts pad to another length in every batch.
_PREPARED = pa.schema(
    [
        pa.field("keys", pa.list_(pa.string())),
        pa.field("digests", pa.list_(pa.string())),
        pa.field("readable", pa.list_(pa.bool_())),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("prepared", pa.large_binary()),
    ]
)


class EmbedConfig(Config):
    """What embedding may take of the cluster. The fractions let reading, preparing and encoding share two CPUs; none waits for another's share."""

    batch_size: int = Field(32, ge=1, le=4096, description="products encoded at once")
    rows_per_part: int = Field(1024, ge=1, description="rows of one Parquet part; also how often progress is told")
    actors: int = Field(1, ge=1, description="encoding actors, each with the weights in memory")
    actor_cpus: float = Field(0.5, gt=0, description="logical CPUs of an actor")
    actor_gpus: float = Field(0.0, ge=0, description="GPUs of an actor; with any, it encodes there")
    prepare_cpus: float = Field(0.4, gt=0, description="logical CPUs of a reading and preparing task")
    write_cpus: float = Field(0.1, gt=0, description="logical CPUs of a writing task")
    threads: int | None = Field(None, ge=1, description="torch threads of an actor; null for all CPUs of its machine, shared among the actors")

    @model_validator(mode="after")
    def _stays_apart(self) -> Self:
        # Ray Data fuses neighbours that ask for the same: decoding would then wait for encoding.
        if self.actor_gpus == 0 and self.actor_cpus == self.prepare_cpus:
            raise ValueError(f"actor_cpus and prepare_cpus are both {self.actor_cpus}: make them differ a little, so that Ray keeps the stages apart")
        return self


def embed(
    product_files: Sequence[str],
    encoders: Mapping[str, Path],
    out: Path,
    config: EmbedConfig,
    *,
    limits: ImageLimits,
    on_progress: Progress | None = None,
) -> dict[str, FeatureSet]:
    """Encode products with every tower of every encoder.

    Args:
        product_files: Parquet files of PRODUCTS, readable from all nodes.
        encoders: name -> encoder folder, readable from all nodes.
        out: folder for the sets, on a file system that all nodes write.
        on_progress: called with set name, products done, products to do.

    Returns:
        Set name -> set. An encoder with one tower gives "name", with two "name_image" and "name_text". A product without the input (no text, no
        image, or an image that does not decode) is not in the set.

    Raises:
        EncoderError: an encoder folder that does not load.
    """
    # Keys and digests only: titles and images stay in the files until a worker reads them.
    per_file = {file: pq.read_table(file, columns=["key", "digest"]) for file in product_files}
    products = pa.concat_tables(list(per_file.values())) if per_file else None
    sets: dict[str, FeatureSet] = {}
    for name, place in encoders.items():
        towers = describe(place)
        for reads, tower in sorted(towers.items()):
            set_name = name if len(towers) == 1 else f"{name}_{reads}"
            folder = features.set_folder(Path(out), set_name, tower.fingerprint)
            folder.mkdir(parents=True, exist_ok=True)
            written = unreadable = 0
            if products is not None:
                features.drop_superseded(folder, products)
                report = functools.partial(on_progress, set_name) if on_progress else _silent
                written, unreadable = _encode_new(per_file, Path(place), tower, folder, config, limits, report)
            rows = features.identities(folder).num_rows
            sets[set_name] = FeatureSet(set_name, folder, tower.fingerprint, tower.dim, tower.reads, rows, written, unreadable)
    return sets


def _encode_new(
    per_file: Mapping[str, pa.Table],
    encoder: Path,
    tower: TowerFacts,
    folder: Path,
    config: EmbedConfig,
    limits: ImageLimits,
    report: Callable[[int, int], None],
) -> tuple[int, int]:
    """Returns rows written, images that did not decode."""
    done = _identity(features.identities(folder))
    there = {file: pc.is_in(_identity(table), value_set=done) for file, table in per_file.items()}
    waiting = {file: mask for file, mask in there.items() if mask.false_count}
    total = sum(mask.false_count for mask in waiting.values())
    if not total:
        return 0, 0
    # The readers need to know only the rows of the files that they open.
    known = ray.put(pa.concat_arrays([_identity(per_file[file]).filter(mask) for file, mask in waiting.items()]))
    columns = ["key", "digest", *(("image",) if tower.reads == "image" else _TEXTS)]
    source: dict[str, str] = {"encoder": str(encoder), "reads": tower.reads}
    data = ray.data.read_parquet(list(waiting), num_cpus=config.prepare_cpus).select_columns(columns)
    # Small blocks keep pixels flowing: by default one task piles up 128 MB before anything is encoded.
    data.context.target_max_block_size = _BLOCK_BYTES
    data.context.print_on_execution_start = False
    prepare = functools.partial(_prepare, **source, fingerprint=tower.fingerprint, known=known, limits=limits, size=config.batch_size)
    # Texts of like length go into one batch, so that padding costs little: that takes some to choose from.
    rows = config.batch_size * (1 if tower.reads == "image" else _TEXT_BATCHES)
    data = data.map_batches(prepare, batch_size=rows, batch_format="pyarrow", num_cpus=config.prepare_cpus)
    data = data.map_batches(
        _Encode,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=config.actor_cpus,
        num_gpus=config.actor_gpus,
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        fn_constructor_kwargs={**source, "config": config},
    )
    write = functools.partial(_write, folder=str(folder))
    data = data.map_batches(write, batch_size=config.rows_per_part, batch_format="pyarrow", num_cpus=config.write_cpus)
    written = unreadable = 0
    report(0, total)
    for counts in data.iter_batches(batch_size=None, batch_format="pyarrow"):
        written += pc.sum(counts["written"]).as_py() or 0
        unreadable += pc.sum(counts["unreadable"]).as_py() or 0
        report(written + unreadable, total)
    # Products without the input leave no trace on the way.
    report(total, total)
    return written, unreadable


def _silent(done: int, total: int) -> None:
    """For a caller who does not ask for progress."""


def _identity(table: pa.Table) -> pa.Array:
    """Key and digest as one value a row."""
    key, digest = (table[name].cast(pa.large_string()) for name in ("key", "digest"))
    joined = pc.binary_join_element_wise(key, digest, pa.scalar("\n", pa.large_string()))
    return joined.combine_chunks()


@functools.lru_cache(maxsize=8)
def _input(encoder: str, reads: str, fingerprint: str) -> ImageInput | Tokens:
    """The CPU half of a tower, without its weights and without torch. Kept by fingerprint: a folder may be written anew while this worker lives."""
    manifest = Manifest.load(Path(encoder))
    if reads == "image" and manifest.image is not None:
        return manifest.image
    if reads == "text" and manifest.text is not None:
        return Tokens(manifest.text, Path(encoder))
    raise EncoderError(f"{encoder}: has no {reads} tower; write the folder again")


def _prepare(
    rows: pa.Table, *, encoder: str, reads: str, fingerprint: str, known: "ray.ObjectRef[pa.Array]", limits: ImageLimits, size: int
) -> Iterator[pa.Table]:
    """PRODUCTS -> one row a batch, of at most `size` products that have the input."""
    rows = rows.filter(pc.invert(pc.is_in(_identity(rows), value_set=ray.get(known))))
    side = _input(encoder, reads, fingerprint)
    if isinstance(side, ImageInput):
        rows = rows.filter(pc.is_valid(rows["image"]))
    else:
        fields = side.settings.fields
        texts = [product_text(row["title"], row["description"], row["brand"], fields) for row in rows.select(list(_TEXTS)).to_pylist()]
        rows = rows.select(["key", "digest"]).append_column("text", pa.array(texts, type=pa.string())).filter([text is not None for text in texts])
        rows = rows.take(pc.sort_indices(pc.utf8_length(rows["text"])))
    for start in range(0, rows.num_rows, size):
        batch = rows.slice(start, size)
        if isinstance(side, ImageInput):
            pixels = [_pixels(value.as_buffer(), side, limits) for value in batch["image"]]
            readable = [each is not None for each in pixels]
            shape = (sum(readable), side.size, side.size, 3)
            prepared = np.stack([each for each in pixels if each is not None]) if any(readable) else np.zeros(shape, dtype=np.uint8)
        else:
            readable = [True] * batch.num_rows
            prepared = side.prepare(batch["text"].to_pylist())
        cells = {
            "keys": batch["key"].to_pylist(),
            "digests": batch["digest"].to_pylist(),
            "readable": readable,
            "shape": list(prepared.shape),
            "prepared": prepared.tobytes(),
        }
        yield pa.Table.from_arrays([pa.array([cells[field.name]], type=field.type) for field in _PREPARED], schema=_PREPARED)


def _pixels(data: pa.Buffer, image: ImageInput, limits: ImageLimits) -> np.ndarray | None:
    """None for an image that passed ingestion and does not decode now: the caller counts it."""
    try:
        return image.prepare(decode(data.to_pybytes(), limits, at_least=image.at_least))
    except ImageError:
        return None


class _Encode:
    """An actor with one tower's weights."""

    def __init__(self, encoder: str, reads: str, config: EmbedConfig) -> None:
        # Here and not above: the tasks that prepare share this module and go without torch's 0.75 GB.
        import torch

        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // config.actors))
        # A logical GPU may stand for none: torch knows what is there.
        device = "cuda" if config.actor_gpus > 0 and torch.cuda.is_available() else "cpu"
        self._tower = load(encoder, device).towers[reads]

    def __call__(self, batches: pa.Table) -> Iterator[pa.Table]:
        for row in range(batches.num_rows):
            readable = np.array(batches["readable"][row].as_py(), dtype=bool)
            kind = np.uint8 if self._tower.reads == "image" else np.int32
            prepared = np.frombuffer(batches["prepared"][row].as_buffer(), dtype=kind).reshape(batches["shape"][row].as_py())
            vectors = np.zeros((len(readable), self._tower.dim), dtype=np.float32)
            vectors[readable] = self._tower.encode(prepared)
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self._tower.dim)
            yield pa.table({"key": batches["keys"][row].values, "digest": batches["digests"][row].values, "vector": column, "readable": readable})


def _write(rows: pa.Table, *, folder: str) -> pa.Table:
    """Rows with vectors -> a part of the set, and how many they were."""
    good = rows.filter(rows["readable"])
    if good.num_rows:
        features.write_part(Path(folder), good.select(["key", "digest", "vector"]))
    return pa.table({"written": [good.num_rows], "unreadable": [rows.num_rows - good.num_rows]})
