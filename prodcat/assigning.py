"""`assign`: new products into the clusters that `recategorize` left, and what fits none into a pool, until it makes a cluster, which becomes a
proposal. Knows the order and no arithmetic.

OUT/assigned/part-*.parquet        key, branch, cluster (null: an outlier): one file a call
OUT/branches/NAME/pool.safetensors outliers that no proposal has been made of
OUT/proposals.json                 gets the new ones; what has been decided of the others stays
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from prodcat.branching import answer, branch_of, product_files
from prodcat.catalog.store import Catalog
from prodcat.config import Config, validate
from prodcat.distributed import ClusterConfig
from prodcat.encoders.distributed import embed
from prodcat.errors import ReviewError
from prodcat.learning import Learned, Reader
from prodcat.masking import CategoryMask
from prodcat.prediction.bundle import Bundle
from prodcat.recategorization.naming import ClusterName, general_words, name_clusters
from prodcat.recategorization.online import Assigner, Pool, PoolConfig
from prodcat.recategorization.proposal_file import load_proposals, save_proposals
from prodcat.recategorization.proposals import Proposal, propose_new
from prodcat.recategorization.vectors import Joint
from prodcat.recategorizing import FACTS, FEATURES, PLACED, TREE, RecategorizeConfig, encoders_of
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

Progress = Callable[[str], None]
ASSIGNED = "assigned"


class AssignConfig(Config):
    """How new products are read. Encoders and clusters are as they were."""

    cluster: ClusterConfig = ClusterConfig()
    pool: PoolConfig = PoolConfig()
    seed: int = Field(0, description="of the pool's projection")


@dataclass(frozen=True)
class Assigned:
    """What became of the new products.

    Args:
        branches: path as text -> {assigned, outliers, pooled, proposals}.
        elsewhere: products in no branch that was looked at.
        known: products that were there before.
    """

    proposals: list[Proposal]
    branches: dict[str, dict[str, int]]
    elsewhere: int
    known: int


def assign(folder: Path, bundle: Bundle, catalog: Catalog, config: AssignConfig, *, on_progress: Progress = print) -> Assigned:
    """Assumes a cluster is joined. Products that `recategorize` or an earlier call has placed are left out.

    Args:
        folder: that `recategorize` wrote.
        catalog: with new products, labelled or not; the bundle says which branch one without a label is of.

    Raises:
        ReviewError: the folder is none, or another bundle made it.
    """
    facts = _facts(folder, bundle)
    tree, settings = Taxonomy.load(folder / TREE), validate(RecategorizeConfig, facts["config"], str(folder / FACTS))
    branches = {tuple(each["path"]): folder / each["folder"] for each in facts["branches"]}
    table = catalog.products(["key", "platform", "title", "brand", "path"])
    seen = {*pq.read_table(folder / PLACED, columns=["key"])["key"].to_pylist()}
    for file in sorted((folder / ASSIGNED).glob("part-*.parquet")):
        seen.update(pq.read_table(file, columns=["key"])["key"].to_pylist())
    new = np.array([key not in seen for key in table["key"].to_pylist()], dtype=bool)
    table = table.filter(pa.array(new))
    keys = np.array(table["key"].to_pylist(), dtype=object)
    on_progress(f"{len(keys):,} new products, {int((~new).sum()):,} known")
    # A label of another tree says nothing here.
    labels: list[CategoryPath | None] = [tuple(path) if path and tuple(path) in tree else None for path in table["path"].to_pylist()]
    if None in labels:
        answer(keys, labels, bundle, catalog, tree, folder, settings.classify)
    own = [branch_of(label, branches) for label in labels]
    inside = np.flatnonzero([branch is not None for branch in own])
    mask = CategoryMask(tree) if settings.masked_titles else None
    learned = Learned.of(facts["learned"], folder)
    sets = embed(
        product_files(catalog, keys[inside], mask, folder / "products"),
        {**encoders_of(bundle), **learned.encoders},
        folder / FEATURES,
        settings.embed,
        limits=settings.image_limits,
        reads=settings.reads,
    )
    shutil.rmtree(folder / "products", ignore_errors=True)
    reader = Reader(sets, learned)
    base, proposals = load_proposals(folder)
    said, ignored = _titles(folder, settings)
    others = {path: [each.path for each in tree.categories if each.path[: len(path)] != path] for path in branches}
    known = {proposal.id for proposal in proposals}
    told: dict[str, dict[str, int]] = {}
    rows: list[pa.Table] = []
    added: list[Proposal] = []
    for path, place in branches.items():
        mine = inside[[own[row] == path for row in inside.tolist()]]
        part = table.take(mine)
        joined, have = Joint.load(place).of(*reader.vectors(part["key"].to_pylist()))
        part, vectors = part.filter(pa.array(have)), joined[have]
        assigner = Assigner.load(place)
        cluster = assigner.assign(vectors)
        out = np.flatnonzero(cluster < 0)
        outliers = part.take(out)
        late = Pool(tuple(outliers["key"].to_pylist()), tuple(outliers["platform"].to_pylist()), tuple(outliers["title"].to_pylist()), vectors[out])
        pool = Pool.load(place, assigner.vectors.shape[1]).with_new(late)
        groups = pool.clusters(config.pool, config.seed)
        titles = [[title for row in group.tolist() if (title := pool.titles[row])] for group in groups]
        # Named among the clusters there are: what sets them apart from those.
        among = [each for _, each in sorted(said.get(format_path(path), {}).items())]
        names = name_clusters([*titles, *among], path, others[path], settings.branch.naming, ignored)[: len(groups)]
        made = []
        for group, name in _joined(groups, names):
            its = [[each[row] for row in group.tolist()] for each in (pool.keys, pool.platforms)]
            made.append(propose_new(path, its[0], its[1], pool.vectors[group], name, tree, settings.branch.proposals))
        added += [proposal for proposal in made if proposal.id not in known]
        pool = pool.without([key for group in groups for key in (pool.keys[row] for row in group.tolist())])
        pool.save(place)
        rows.append(_rows(part["key"].to_pylist(), path, cluster))
        told[format_path(path)] = {"assigned": int((cluster >= 0).sum()), "outliers": len(out), "pooled": len(pool.keys), "proposals": len(made)}
    (folder / ASSIGNED).mkdir(exist_ok=True)
    number = len(list((folder / ASSIGNED).glob("part-*.parquet")))
    pq.write_table(pa.concat_tables(rows), folder / ASSIGNED / f"part-{number:05}.parquet")
    # Whoever reviews the proposals wants to see these products too.
    facts["assigned"] = sorted({*facts.get("assigned", []), str(catalog.path.absolute())})
    (folder / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if added:
        save_proposals(folder, [*proposals, *added], base)
    return Assigned(added, told, len(keys) - len(inside), int((~new).sum()))


def _joined(groups: Sequence[np.ndarray], names: Sequence[ClusterName]) -> list[tuple[np.ndarray, ClusterName]]:
    """Groups of one name together: a parent has no two children that are called alike."""
    found: dict[str, tuple[np.ndarray, ClusterName]] = {}
    for number, (group, name) in enumerate(zip(groups, names, strict=True)):
        called = name.name or f"\n{number}"
        before = found.get(called)
        found[called] = (group, name) if before is None else (np.concatenate([before[0], group]), before[1])
    return list(found.values())


def _facts(folder: Path, bundle: Bundle) -> dict[str, Any]:
    """Raises ReviewError: as assign."""
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        made = facts["bundle"]
    except (OSError, ValueError, KeyError) as error:
        raise ReviewError(f"{folder}: no folder of `prodcat recategorize` ({error}); run it first, or name its --out") from error
    if made != bundle.version:
        raise ReviewError(
            f"{folder}: its clusters were made with the bundle {made}, this one is {bundle.version}: vectors may differ; run `recategorize` again"
        )
    return facts


def _titles(folder: Path, settings: RecategorizeConfig) -> tuple[dict[str, dict[int, list[str]]], list[str]]:
    """Branch as text -> cluster -> titles of the products that were clustered; and the words that most of their categories have."""
    table = pq.read_table(folder / PLACED, columns=["title", "path", "branch", "cluster"])
    said: dict[str, dict[int, list[str]]] = {}
    by_label: dict[CategoryPath, list[str]] = {}
    for row in table.to_pylist():
        if not row["title"]:
            continue
        if row["cluster"] is not None:
            said.setdefault(row["branch"], {}).setdefault(row["cluster"], []).append(row["title"])
        if row["path"]:
            by_label.setdefault(tuple(row["path"])[:2], []).append(row["title"])
    return said, general_words(by_label, settings.branch.naming)


def _rows(keys: Sequence[str], path: CategoryPath, cluster: np.ndarray) -> pa.Table:
    numbers = [number if number >= 0 else None for number in cluster.tolist()]
    branch = pa.array([format_path(path)] * len(keys), pa.string())
    return pa.table({"key": pa.array(keys, pa.string()), "branch": branch, "cluster": pa.array(numbers, pa.int32())})
