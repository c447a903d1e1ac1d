"""Classifies catalogs on Ray Data: the same cascade as everywhere, each stage in its own actors. Every product leaves once: answered or rejected.

    read (tasks) -> stage one (CPU actors): answers what it is sure of, writes a shard, prepares the rest
                 -> stage two (actors, with GPUs where there are): only what stage one left, a shard a batch

What is written, and how a run goes on that was cut off, is ledger.py's.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data
from pydantic import Field

from prodcat.config import Config
from prodcat.contracts import PREDICTIONS, PRODUCT_COLUMNS, Product, products_of
from prodcat.distributed import each, own_errors, shortage
from prodcat.errors import BundleError, FeedError, ProdcatError
from prodcat.ledger import Ledger, among, identities, nothing
from prodcat.location import Location, is_uri
from prodcat.poison import PoisonConfig, Tally
from prodcat.prediction.batch import FirstStage, SecondStage, Told, rejected_place
from prodcat.prediction.bundle import Bundle, for_text_stage
from prodcat.remote import fetch, local_path, private_folder

View = Callable[[Product], Product | None]
WHOLE = "predictions"
_LEFT = "left"
_COLUMNS = [*PRODUCT_COLUMNS, "key", "digest", "source", "row"]
# Rows travel in blocks of this size. Larger ones make stage two wait until stage one is through with its block; and what is under way is what a
# run that is killed has done in vain.
_BLOCK_BYTES = 2**20
# A file a task would be too little for millions of products; more tasks than this gain nothing.
_READ_TASKS = 1024


class StageOneActors(Config):
    """Stage one: reads titles on CPUs, and decodes the images of what it leaves to stage two."""

    actors: int = Field(1, ge=1, description="copies of the text stage")
    max_actors: int | None = Field(None, ge=1, description="so many where there is room and work for them; null: as many as `actors`")
    cpus: float = Field(0.8, gt=0, description="logical CPUs of an actor")
    threads: int = Field(1, ge=1, description="titles read at once in an actor")


class StageTwoActors(Config):
    """Stage two: reads what stage one is not sure of."""

    actors: int = Field(1, ge=1, description="copies of the multimodal stage")
    max_actors: int | None = Field(None, ge=1, description="so many where there is room and work for them; null: as many as `actors`")
    cpus: float = Field(0.7, gt=0, description="logical CPUs of an actor")
    gpus: float = Field(0.0, ge=0, description="GPUs of an actor; with any, it computes there")
    threads: int = Field(2, ge=1, description="torch threads of an actor")
    batch_size: int = Field(128, ge=1, description="products read at once, and in one shard")


class ClassifyConfig(Config):
    """How much of the cluster batch classification takes. The fractions let both stages and a reader share two CPUs."""

    shard_rows: int = Field(1024, ge=1, description="products that stage one reads at once; what it answers of them is one shard")
    read_cpus: float = Field(0.3, gt=0, description="logical CPUs of a reading task")
    stage_one: StageOneActors = StageOneActors()
    stage_two: StageTwoActors = StageTwoActors()
    retries: int = Field(
        5, ge=0, description="times that a batch is tried again whose actor or node is lost; a row that kills its actor ends the run"
    )
    cache: str | None = Field(
        None, description="folder of each node where bundles from a store are kept; null: in its temporary folder. May be removed between runs"
    )
    poison: PoisonConfig = PoisonConfig()


@dataclass(frozen=True)
class BundlePlace:
    """A bundle as the nodes of a cluster find it.

    Args:
        source: whole path that every node reads, or a URI: then each node fetches it for itself.
        cache: as ClassifyConfig.cache.
        version: that the run began with; None: it begins now.
    """

    source: str
    cache: str | None = None
    version: str | None = None

    def open(self, only: Callable[[str], bool] | None = None) -> Bundle:
        """Args: only: as of Bundle.open.

        Raises:
            StoreError: it cannot be fetched.
            BundleError: it is damaged, or another one than the run began with.
        """
        folder = local_path(self.source)
        if folder is None:
            folder = fetch(self.source, Path(self.cache) if self.cache else private_folder("prodcat-bundles"))
        opened = Bundle.open(folder, only=only)
        if self.version not in (None, opened.version):
            raise BundleError(
                f"{self.source}: here it is version {opened.version}, and the run began with {self.version}; it was replaced meanwhile: start again"
            )
        return opened


@dataclass(frozen=True)
class Classified:
    """Where the answers lie, per view: `answers(view)`; and how many there are.

    Args:
        earlier: answered or rejected by an earlier run, of all views together.
    """

    out: Location
    classified: dict[str, int]
    rejected: dict[str, int]
    earlier: int = 0

    def answers(self, view: str = WHOLE) -> pa.Table:
        """Table PREDICTIONS."""
        return Ledger(self.out, ()).read(view, PREDICTIONS)


def classify(
    product_files: Sequence[str],
    bundle: str | Path,
    out: str | Path,
    config: ClassifyConfig,
    *,
    keys: Sequence[str] | None = None,
    views: Mapping[str, View] | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Classified:
    """Answer every product of these PRODUCTS files that OUT does not hold an answer to. Assumes a cluster is joined.

    Args:
        product_files: local paths that every node reads, or URIs.
        bundle: folder that every node reads, or URI.
        out: folder or URI; gets one folder of PREDICTIONS shards a view, rejected/VIEW with REJECTED shards, and what ledger.py keeps. Where it holds
            the answers of an earlier run of the same bundle, those of products that are still as they were stay, the others go.
        keys: classify these products only.
        views: name -> what a probe lets the classifier see of a product (None: nothing is left); by default one view, the whole product.

    Raises:
        FeedError: a file is damaged, OUT holds the answers of another bundle, or a store refuses.
        BundleError: the bundle is replaced while the run goes on.
        TooManyRejected: see PoisonConfig.
    """
    seen = dict(views or {WHOLE: _whole})
    place = BundlePlace(str(bundle if is_uri(str(bundle)) else Path(bundle).resolve()), config.cache)
    opened = place.open(lambda name: False)
    ledger = Ledger(Location(str(out)), [place for view in seen for place in (view, rejected_place(view))])
    ledger.begin({"bundle": opened.version, "views": list(seen)})
    files = [Location(file) for file in product_files]
    wanted = None if keys is None else ray.put(pa.array(sorted(set(keys)), pa.string()))
    present = _present(files, list(seen), wanted, config)
    done = ledger.settle(present)
    if len(done) < len(present):
        one, two = config.stage_one, config.stage_two
        short = shortage(cpus=config.read_cpus + one.actors * one.cpus + two.actors * two.cpus, gpus=two.actors * two.gpus)
        if short:
            on_progress(f"classify takes {short}: it waits for nodes; where none will come, lower classify.stage_one, .stage_two and .read_cpus")
        _run(files, wanted, replace(place, version=opened.version), ledger, seen, config, done, len(present), on_progress)
        settled = ledger.settle(present)
        if len(settled) < len(present):
            raise FeedError(
                f"{ledger.out.source}: {len(present) - len(settled):,} of {len(present):,} products have no answer and no rejection; start again"
            )
    rows = ledger.close({"bundle": opened.version})["rows"]
    return Classified(ledger.out, {view: rows[view] for view in seen}, {view: rows[rejected_place(view)] for view in seen}, len(done))


def _run(
    files: Sequence[Location],
    wanted: "ray.ObjectRef[pa.Array] | None",
    bundle: BundlePlace,
    ledger: Ledger,
    views: Mapping[str, View],
    config: ClassifyConfig,
    done: np.ndarray,
    total: int,
    on_progress: Callable[[str], None],
) -> None:
    rest = _Rest(ray.put(done), tuple(views), wanted)
    data: ray.data.Dataset = ray.data.from_items(
        [{"file": file.source, "start": file.start} for file in files], override_num_blocks=min(len(files), _READ_TASKS)
    )
    data.context.target_max_block_size = _BLOCK_BYTES
    data.context.print_on_execution_start = False
    data = data.map_batches(partial(_read, rest=rest, rows=config.shard_rows), batch_size=None, batch_format="pyarrow", num_cpus=config.read_cpus)
    retried: Callable[[], dict[str, Any]] = partial(dict, max_task_retries=config.retries)
    one, two = config.stage_one, config.stage_two
    data = data.map_batches(
        _StageOne,
        fn_constructor_args=(bundle, ledger, dict(views), config),
        batch_size=config.shard_rows,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=one.actors, max_size=max(one.actors, one.max_actors or 0)),
        num_cpus=one.cpus,
        ray_remote_args_fn=retried,
    )
    data = data.map_batches(
        _StageTwo,
        fn_constructor_args=(bundle, ledger, config),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=two.actors, max_size=max(two.actors, two.max_actors or 0)),
        num_cpus=two.cpus,
        num_gpus=two.gpus,
        ray_remote_args_fn=retried,
    )
    tally = Tally(config.poison, "classify")
    row: Any
    for row in own_errors(iter(data.iter_rows())):
        told: Told = row["told"]
        tally.add(told.rows, told.reasons, told.examples)
        on_progress(f"classified {len(done) + tally.rows - tally.rejected:,} of {total:,}, rejected {tally.rejected:,}")


def _whole(product: Product) -> Product:
    return product


@dataclass(frozen=True)
class _Rest:
    """What is to be done of the rows that are read.

    Args:
        done: S16, sorted.
        wanted: the only keys that are.
    """

    done: "ray.ObjectRef[np.ndarray]"
    views: tuple[str, ...]
    wanted: "ray.ObjectRef[pa.Array] | None"

    def of(self, rows: pa.Table) -> np.ndarray:
        """bool [views, n]. Args: rows: columns key and digest."""
        done: np.ndarray = ray.get(self.done)
        keys = rows["key"].to_pylist()
        digests = rows["digest"].to_pylist()
        left = np.stack([~among(identities(keys, digests, view), done) for view in self.views])
        return left & _among_wanted(rows, self.wanted)


def _among_wanted(rows: pa.Table, wanted: "ray.ObjectRef[pa.Array] | None") -> np.ndarray:
    if wanted is None:
        return np.ones(rows.num_rows, dtype=bool)
    found: np.ndarray = pc.is_in(rows["key"], value_set=ray.get(wanted)).to_numpy(zero_copy_only=False)
    return found


def _present(files: Sequence[Location], views: Sequence[str], wanted: "ray.ObjectRef[pa.Array] | None", config: ClassifyConfig) -> np.ndarray:
    """S16, sorted: all rows that are to have a result, of all views."""
    size = max(1, len(files) // _READ_TASKS)
    jobs = [files[start : start + size] for start in range(0, len(files), size)]
    # In a list, or Ray would hand over what it refers to.
    found = [rows for _, rows in each(_identities_in, jobs, tuple(views), [wanted], cpus=config.read_cpus, name=lambda job: job[0].source)]
    return np.sort(np.concatenate([nothing(), *found]))


def _identities_in(files: Sequence[Location], views: Sequence[str], wanted: list[Any]) -> np.ndarray:
    found = [nothing()]
    for file in files:
        with _reading(file):
            rows = file.read_table(["key", "digest"])
        rows = rows.filter(pa.array(_among_wanted(rows, wanted[0])))
        found += [identities(rows["key"].to_pylist(), rows["digest"].to_pylist(), view) for view in views]
    return np.concatenate(found)


def _read(files: pa.Table, *, rest: _Rest, rows: int) -> Iterator[pa.Table]:
    """The products of these files that have something left to be done, at most so many at once; _LEFT says for which views.

    Here and not in the actors: what an actor is made with may be lost with the node that made it, and then it could not be made again.
    """
    for name, start in zip(files["file"].to_pylist(), files["start"].to_pylist(), strict=True):
        file = Location(name, start)
        with _reading(file):
            index = file.read_table(["key", "digest"])
        # Titles and images are read only where something is left.
        if not rest.of(index).any():
            continue
        with _reading(file), file.open_file() as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=rows, columns=_COLUMNS):
                table = pa.Table.from_batches([batch])
                left = rest.of(table)
                if left.any():
                    yield table.append_column(_LEFT, pa.array(left.T.tolist(), pa.list_(pa.bool_()))).filter(pa.array(left.any(axis=0)))


@contextlib.contextmanager
def _reading(file: Location) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise FeedError(f"{file.source}: this file of the catalog is damaged ({error}); ingest the feeds again") from error


class _StageOne:
    """An actor that holds the text stage."""

    def __init__(self, bundle: BundlePlace, ledger: Ledger, views: Mapping[str, View], config: ClassifyConfig) -> None:
        self._views = views
        self._failed: ProdcatError | None = None
        try:
            opened = bundle.open(for_text_stage)
            cascade = opened.text_cascade(threads=config.stage_one.threads)
            self._work = FirstStage(cascade, opened.preparation(), ledger, config.stage_two.batch_size)
        except ProdcatError as error:
            self._failed = error

    def __call__(self, table: pa.Table) -> Iterator[dict[str, np.ndarray]]:
        if self._failed is not None:
            # Here and not in the constructor: from there it reaches the driver as the text of a dead actor, and not as what it is.
            raise self._failed
        keys, digests = table["key"].to_pylist(), table["digest"].to_pylist()
        places = list(zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True))
        products = list(products_of(table))
        left = np.array(table[_LEFT].to_pylist(), dtype=bool).reshape(table.num_rows, len(self._views))
        for number, (view, see) in enumerate(self._views.items()):
            mine = np.flatnonzero(left[:, number]).tolist()
            rows = identities([keys[row] for row in mine], [digests[row] for row in mine], view)
            told, for_stage_two = self._work(view, rows, [see(products[row]) for row in mine], [places[row] for row in mine])
            yield _one("work", told)
            for item in for_stage_two:
                yield _one("work", item)


class _StageTwo:
    """An actor that holds the multimodal stage. What stage one tells passes through."""

    def __init__(self, bundle: BundlePlace, ledger: Ledger, config: ClassifyConfig) -> None:
        # Here and not above: reading tasks and stage one share this module and go without torch's 0.75 GB.
        import torch

        torch.set_num_threads(config.stage_two.threads)
        # A logical GPU may stand for none: torch knows what is there.
        device = "cuda" if config.stage_two.gpus and torch.cuda.is_available() else "cpu"
        self._failed: ProdcatError | None = None
        try:
            opened = bundle.open()
            self._work = SecondStage(opened.multimodal_stage(device=device).infer, opened.finishing_cascade(), ledger)
        except ProdcatError as error:
            self._failed = error

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        if self._failed is not None:
            # As in _StageOne.
            raise self._failed
        for item in batch["work"]:
            yield _one("told", item if isinstance(item, Told) else self._work(item))


def _one(column: str, item: Any) -> dict[str, np.ndarray]:
    """A block of one row that holds an object."""
    cell = np.empty(1, dtype=object)
    cell[0] = item
    return {column: cell}
