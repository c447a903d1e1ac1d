"""`recategorize`: a bundle's encoders over the products of a branch, or of all branches of the tree -> clusters, names, pictures, proposals. Knows
the order and no arithmetic.

OUT/recategorization.json   what was looked at, written last
OUT/taxonomy.json           the tree that is proposed on
OUT/proposals.json, .csv
OUT/products.parquet        where each product lies, and why
OUT/branches/NAME           one a branch (recategorization/branch.py)
OUT/features                vectors; those that are there are not made again
OUT/learned                 what was learned from these products first (learning.py)
"""

import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.branching import answer, below, divide, product_files, sample
from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.distributed import ClusterConfig
from prodcat.encoders.distributed import EmbedConfig, embed
from prodcat.errors import TaxonomyError
from prodcat.images import ImageLimits
from prodcat.learning import Learned, Learning, LearningConfig, Reader
from prodcat.masking import CategoryMask
from prodcat.prediction.bundle import ENCODERS, Bundle
from prodcat.prediction.distributed import ClassifyConfig
from prodcat.recategorization.branch import BranchConfig, BranchProducts
from prodcat.recategorization.distributed import examine_branches
from prodcat.recategorization.moving import MovingConfig, propose_moves
from prodcat.recategorization.naming import general_words
from prodcat.recategorization.proposal_file import save_proposals
from prodcat.recategorization.proposals import Proposal
from prodcat.recategorization.vectors import Joint
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

Progress = Callable[[str], None]
FACTS, PLACED, BRANCHES, FEATURES, LEARNED, TREE = "recategorization.json", "products.parquet", "branches", "features", "learned", "taxonomy.json"
FORMAT = 1
_COLUMNS = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("platform", pa.string()),
        pa.field("title", pa.string()),
        pa.field("path", pa.list_(pa.string())),
        pa.field("branch", pa.string()),
        pa.field("cluster", pa.int32()),
        pa.field("x", pa.float32()),
        pa.field("y", pa.float32()),
        pa.field("decisions", pa.string()),
    ]
)


class RecategorizeConfig(Config):
    """What is looked at, and how."""

    cluster: ClusterConfig = ClusterConfig()
    embed: EmbedConfig = EmbedConfig()
    classify: ClassifyConfig = ClassifyConfig()
    image_limits: ImageLimits = ImageLimits()
    branch: BranchConfig = BranchConfig()
    moving: MovingConfig | None = Field(MovingConfig(), description="look for categories under the wrong parent; null: do not")
    reads: tuple[Literal["image", "text"], ...] = Field(("image", "text"), min_length=1, description="what products are compared by")
    text_weight: float = Field(0.7, gt=0, description="weight of texts beside images, whose weight is 1")
    masked_titles: bool = Field(False, description="texts are read without the words of the tree's categories")
    unlabelled: Literal["answered", "left out"] = Field("answered", description="products without a label: where the bundle puts them, or not at all")
    least: int = Field(30, ge=1, description="whole tree: products that a branch has, at least")
    learning: LearningConfig = Field(LearningConfig(), description="what is learned from the products first")
    task_cpus: float = Field(1.0, gt=0, description="logical CPUs of a branch's task")


@dataclass(frozen=True)
class Recategorized:
    """What was found, and where it lies."""

    folder: Path
    proposals: list[Proposal]
    branches: list[dict[str, Any]]


def recategorize(
    bundle: Bundle,
    catalog: Catalog,
    out: Path,
    config: RecategorizeConfig,
    *,
    node: CategoryPath | None = None,
    features: Path | None = None,
    on_progress: Progress = print,
) -> Recategorized:
    """Write OUT. Assumes a cluster is joined. Changes neither the catalog nor the bundle.

    Args:
        node: the branch; None for every category that has leaves right below it.
        features: folder of feature sets of this bundle's encoders, added to where products are missing; None: OUT/features.

    Raises:
        TaxonomyError: the catalog has no tree, or the node is not in it.
    """
    out = out.absolute()
    tree = catalog.taxonomy
    if tree is None:
        raise TaxonomyError(f"{catalog.path}: has no category tree; ingest labelled products, or name a tree with --taxonomy")
    if node is not None:
        # By name, before anything is computed.
        tree.index(node)
    for name in (FACTS, BRANCHES, "products", "answers"):
        _remove(out / name)
    out.mkdir(parents=True, exist_ok=True)
    table = catalog.products(["key", "platform", "title", "brand", "path"])
    keys = np.array(table["key"].to_pylist(), dtype=object)
    labels: list[CategoryPath | None] = [tuple(path) if path else None for path in table["path"].to_pylist()]
    answered = np.zeros(len(labels), dtype=bool)
    if config.unlabelled == "answered" and None in labels:
        on_progress(f"{labels.count(None):,} products have no label: asking the bundle")
        answered = answer(keys, labels, bundle, catalog, tree, out, config.classify)
    divided = divide(tree, labels, config.least) if node is None else {node: below(labels, node)}
    paths, rows = list(divided), list(divided.values())
    on_progress(f"{len(paths)} branches, {sum(map(len, rows)):,} products" if node is None else f"{format_path(paths[0])}: {len(rows[0]):,} products")

    moving = config.moving if len(tree.level_slices) > 1 else None
    sampled = sample(labels, answered, moving.sample, config.branch.seed) if moving is not None else np.zeros(0, dtype=np.int64)
    wanted = np.unique(np.concatenate([*rows, sampled])) if rows or len(sampled) else np.zeros(0, dtype=np.int64)
    mask = CategoryMask(tree) if config.masked_titles else None
    files = product_files(catalog, keys[wanted], mask, out / "products")
    encoders = encoders_of(bundle)
    learning = Learning(out / LEARNED, config.learning, files, keys[wanted].tolist(), config.image_limits, config.branch.seed, on_progress)
    learned = learning.from_images(encoders if "image" in config.reads else {})

    def reader_of(folders: Mapping[str, Path], learned: Learned) -> Reader:
        sets = embed(
            files,
            folders,
            (features or out / FEATURES).absolute(),
            config.embed,
            limits=config.image_limits,
            reads=config.reads,
            on_progress=lambda name, done, total: on_progress(f"features {name}: {done:,} of {total:,}"),
        )
        return Reader(sets, learned)

    reader = reader_of({**encoders, **learned.encoders}, learned)
    learned = learning.from_vectors(reader)
    reader = Reader(reader.sets, learned)
    raw = None
    if learned != Learned() and config.branch.judged_seeds:
        # What the baselines read.
        raw = reader_of(encoders, Learned()) if learned.encoders else Reader(reader.sets)
    shutil.rmtree(out / "products", ignore_errors=True)
    folders = [out / BRANCHES / _folder(path) for path in paths]
    said: dict[CategoryPath, list[str]] = {}
    for title, label in zip(table["title"].to_pylist(), labels, strict=True):
        if title and label:
            said.setdefault(label[:2], []).append(title)
    ignored = general_words(said, config.branch.naming)
    load = functools.partial(
        _load,
        table=table,
        paths=paths,
        rows=rows,
        labels=labels,
        answered=answered,
        reader=reader,
        raw=raw,
        text_weight=config.text_weight,
        folders=folders,
        ignored=ignored,
    )
    proposals: list[Proposal] = []
    told: dict[int, dict[str, Any]] = {}
    placed: dict[int, pa.Table] = {}
    for number, found in examine_branches(load, folders, tree, config.branch, config.task_cpus):
        path = paths[number]
        on_progress(f"  {format_path(path)}: {len(found.clusters.members)} clusters, {len(found.proposals)} proposals")
        proposals += found.proposals
        facts = {"path": list(path), "folder": folders[number].relative_to(out).as_posix(), "products": found.figures["products"]}
        told[number] = {**facts, "clusters": len(found.clusters.members), "apart": len(found.clusters.apart), "labels": found.figures["labels"]}
        have = np.flatnonzero(reader.present(keys[rows[number]].tolist()))
        placed[number] = _placed(table.take(rows[number][have]), path, found.clusters, found.places)
    if moving is not None and len(sampled):
        proposals += _moves(table, sampled, labels, reader, config.text_weight, tree, moving, node)
    # Branches become ready in any order; what is written has one.
    order = {path: place for place, path in enumerate(paths)}
    proposals = _ordered(proposals, order)
    pq.write_table(pa.concat_tables([_COLUMNS.empty_table(), *(placed[number] for number in sorted(placed))]), out / PLACED)
    tree.save(out / TREE)
    save_proposals(out, proposals, tree.hash)
    listed = [told[number] for number in sorted(told)]
    facts = {
        "format": FORMAT,
        "base": tree.hash,
        "catalog": str(catalog.path),
        "catalog_digest": catalog.digest,
        "bundle": bundle.version,
        "bundle_folder": str(Path(bundle.folder).absolute()),
        "learned": learned.facts(out),
        "seed": config.branch.seed,
        "config": config.model_dump(mode="json"),
        "branches": listed,
    }
    (out / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return Recategorized(out, proposals, listed)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def encoders_of(bundle: Bundle) -> dict[str, Path]:
    """Those of the bundle; one that was made on its catalog only where no trained one reads the same."""
    settings = bundle.preparation().settings
    used = {modality.encoder for modality in settings.modalities if modality.name not in settings.made_here}
    return {folder.name: folder for folder in sorted((bundle.folder / ENCODERS).iterdir()) if folder.name in used}


def _load(
    number: int,
    *,
    table: pa.Table,
    paths: Sequence[CategoryPath],
    rows: Sequence[np.ndarray],
    labels: Sequence[CategoryPath | None],
    answered: np.ndarray,
    reader: Reader,
    raw: Reader | None,
    text_weight: float,
    folders: Sequence[Path],
    ignored: Sequence[str],
) -> BranchProducts:
    """A branch's products that some encoder has read; writes how their vectors were joined."""
    mine = rows[number]
    part = table.take(mine)
    joint, joined, have = _joined(reader, part["key"].to_pylist(), text_weight)
    folders[number].mkdir(parents=True, exist_ok=True)
    joint.save(folders[number])
    unlearned = None if raw is None else _joined(raw, part["key"].to_pylist(), text_weight)[1][have]
    part, mine = part.filter(pa.array(have)), mine[have]
    return BranchProducts(
        path=paths[number],
        keys=part["key"].to_pylist(),
        platforms=part["platform"].to_pylist(),
        titles=part["title"].to_pylist(),
        ignored=sorted({*ignored, *(brand for brand in part["brand"].to_pylist() if brand)}),
        labels=[labels[row] for row in mine.tolist()],
        answered=answered[mine],
        vectors=joined[have],
        raw=unlearned,
    )


def _joined(reader: Reader, keys: Sequence[str], text_weight: float) -> tuple[Joint, np.ndarray, np.ndarray]:
    """As Joint.of, around the mean of these products, and the Joint."""
    vectors, present = reader.vectors(keys)
    joint = Joint.fit(vectors, present, reader.weights(text_weight))
    return (joint, *joint.of(vectors, present))


def _moves(
    table: pa.Table,
    sample: np.ndarray,
    labels: Sequence[CategoryPath | None],
    reader: Reader,
    text_weight: float,
    tree: Taxonomy,
    config: MovingConfig,
    node: CategoryPath | None,
) -> list[Proposal]:
    """Of categories at the node or below it; None: of all."""
    part = table.take(sample)
    _, joined, have = _joined(reader, part["key"].to_pylist(), text_weight)
    part, rows = part.filter(pa.array(have)), sample[have]
    named = [labels[row] for row in rows.tolist()]
    paths = [label for label in named if label is not None]
    found = propose_moves(part["key"].to_pylist(), part["platform"].to_pylist(), paths, joined[have], tree, config)
    return [proposal for proposal in found if node is None or _about(proposal)[: len(node)] == node]


def _about(proposal: Proposal) -> CategoryPath:
    change = proposal.change
    return change.parent if change.kind == "add" else change.paths[0] if change.kind == "merge" else change.path


def _ordered(proposals: Sequence[Proposal], order: Mapping[CategoryPath, int]) -> list[Proposal]:
    """Branch by branch in the tree's order, as they were proposed within one; one that is proposed twice stands once."""
    unique = {proposal.id: proposal for proposal in proposals}

    def place(proposal: Proposal) -> int:
        about = _about(proposal)
        return min((order[about[:depth]] for depth in range(len(about) + 1) if about[:depth] in order), default=len(order))

    return sorted(unique.values(), key=place)


def _placed(part: pa.Table, path: CategoryPath, clusters: Any, places: np.ndarray) -> pa.Table:
    told = [" > ".join(step if number is None else f"{step} {number}" for step, number in each) for each in clusters.decisions]
    columns = {
        "key": part["key"],
        "platform": part["platform"],
        "title": part["title"],
        "path": part["path"],
        "branch": pa.array([format_path(path)] * part.num_rows, pa.string()),
        "cluster": pa.array(clusters.of(part.num_rows), pa.int32()),
        "x": pa.array(places[:, 0].astype(np.float32)),
        "y": pa.array(places[:, 1].astype(np.float32)),
        "decisions": pa.array(told, pa.string()),
    }
    return pa.table(columns).cast(_COLUMNS)


def _folder(path: CategoryPath) -> str:
    """A folder's name that says the category, and is no other's."""
    plain = re.sub(r"[^a-z0-9]+", "-", format_path(path).lower()).strip("-")[:60] or "branch"
    return f"{plain}-{hashlib.sha256(chr(0).join(path).encode()).hexdigest()[:6]}"
