"""`recategorize` and `assign` over the demo run: what they write, that a seed gives the same again, and what odd branches give."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prodcat.assigning import AssignConfig, assign
from prodcat.catalog.demo import write_demo
from prodcat.catalog.distributed import ingest
from prodcat.catalog.store import Catalog
from prodcat.config import load
from prodcat.encoders.encoder import describe
from prodcat.errors import ReviewError, TaxonomyError
from prodcat.learning import Learned
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.recategorization.changes import Add, Part
from prodcat.recategorization.decisions import read_decided
from prodcat.recategorization.online import PoolConfig
from prodcat.recategorization.projection import ProjectionConfig
from prodcat.recategorization.vectors import Joint
from prodcat.recategorizing import RecategorizeConfig, Recategorized, recategorize
from prodcat.versioning import apply_changes, tree_of

SHOES = ("Footwear", "Shoes")
QUICK = (
    "learning.whitening=null",
    "branch.selection.draws=2",
    "branch.selection.most=[4]",
    "branch.judged_seeds=[0]",
    "embed.actor_cpus=0.5",
    "task_cpus=0.5",
)


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def bundle(demo_run: Path) -> Bundle:
    return Bundle.open(demo_run / "bundle")


@pytest.fixture(scope="module")
def catalog(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The demo's, and two categories beside: one without a product, and one with a single one."""
    whole = Catalog.open(demo_run / "catalog")
    (key, *_) = [row["key"] for row in whole.products(["key", "path"]).to_pylist() if tuple(row["path"] or ())[:2] == SHOES]
    changes = [Add(parent=(), part=Part(name="Nothing")), Add(parent=(), part=Part(name="Single", products=(key,)))]
    out = tmp_path_factory.mktemp("grown") / "catalog"
    return apply_changes(whole, tree_of(whole).hash, changes, out, by="Ada", at="2026-11-26T10:00:00+00:00").catalog


@pytest.fixture(scope="module")
def features(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, which calls may add to."""
    out = tmp_path_factory.mktemp("features") / "features"
    shutil.copytree(demo_run / "features", out)
    return out


def ran(bundle: Bundle, catalog: Catalog, out: Path, node: tuple[str, ...] | None, features: Path, *sets: str) -> Recategorized:
    return recategorize(bundle, catalog, out, load(RecategorizeConfig, None, (*QUICK, *sets)), node=node, features=features, on_progress=quiet)


def grown(folder: Path) -> Catalog:
    """Products that nobody has seen."""
    write_demo(folder / "feeds", products=240, seed=7)
    ingest([str(folder / "feeds")], folder / "new", load(FitConfig, "offline", ()).ingest)
    return Catalog.open(folder / "new")


@pytest.fixture(scope="module")
def shoes(bundle: Bundle, catalog: Catalog, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Recategorized:
    return ran(bundle, catalog, tmp_path_factory.mktemp("shoes"), SHOES, features)


def test_a_branch_is_clustered_drawn_and_proposed_upon(shoes: Recategorized, catalog: Catalog) -> None:
    (branch,) = shoes.branches
    placed = pq.read_table(shoes.folder / "products.parquet").to_pylist()
    labelled = {row["key"]: row["path"] for row in catalog.products(["key", "path"]).to_pylist() if tuple(row["path"] or ())[:2] == SHOES}
    assert {row["key"] for row in placed} >= set(labelled)
    assert all(row["path"] == labelled.get(row["key"]) for row in placed)
    assert len(placed) == branch["products"]
    assert {row["cluster"] for row in placed} - {None} == set(range(branch["clusters"]))
    assert all(row["decisions"] and (row["decisions"] == "apart") == (row["cluster"] is None) for row in placed)
    folder = shoes.folder / branch["folder"]
    assert (folder / "map.png").read_bytes()[:4] == b"\x89PNG"
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert [each["smallest"] for each in figures["tried"]]
    assert sum(each["products"] for each in figures["clusters"]) + figures["apart"] == len(placed)
    assert all(0 <= each["stability"] <= 1 for each in figures["clusters"])
    # The labels below the branch were not asked for, and are compared with.
    assert 0 < figures["labels"]["cascade"]["purity"]["median"] <= 1
    decided = read_decided(shoes.folder)
    assert decided.tree == catalog.taxonomy
    assert decided.changes == ()
    assert [each.id for each in decided.proposals] == [each.id for each in shoes.proposals]


def test_the_same_seed_gives_the_same(shoes: Recategorized, bundle: Bundle, catalog: Catalog, features: Path, tmp_path: Path) -> None:
    again = ran(bundle, catalog, tmp_path, SHOES, features)
    for name in ("proposals.json", "products.parquet"):
        assert (again.folder / name).read_bytes() == (shoes.folder / name).read_bytes()


def test_branches_with_nothing_to_cluster_have_a_defined_answer(bundle: Bundle, catalog: Catalog, features: Path, tmp_path: Path) -> None:
    for name, products in (("Nothing", 0), ("Single", 1)):
        found = ran(bundle, catalog, tmp_path / name, (name,), features, "moving=null")
        assert found.proposals == []
        assert [(branch["products"], branch["clusters"], branch["apart"]) for branch in found.branches] == [(products, 0, products)]
    with pytest.raises(TaxonomyError, match="'Shoes > Boats' is not in the tree"):
        ran(bundle, catalog, tmp_path / "none", ("Shoes", "Boats"), features)


def test_what_is_learned_first_is_kept_and_used_again(shoes: Recategorized, bundle: Bundle, catalog: Catalog, features: Path, tmp_path: Path) -> None:
    """SimCLR of the image towers, the noise of their views, one vector of images and texts: each on what the one before it made."""
    sets = (
        "learning.simclr={pixels: 32, frozen_blocks: 0, loop: {epochs: 1, batch_size: 16}}",
        "learning.whitening={count: 2}",
        "learning.joint={loop: {epochs: 1, batch_size: 16}, dim: 16}",
        "learning.scaling.workers=0",
        "branch.selection=null",
        "moving=null",
    )
    found = ran(bundle, catalog, tmp_path / "out", SHOES, features, *sets)
    facts = json.loads((found.folder / "recategorization.json").read_text(encoding="utf-8"))
    learned = Learned.of(facts["learned"], found.folder)
    assert set(learned.encoders) == {"clip", "image"}
    assert set(learned.turns) == {"clip_image", "image"}
    assert learned.joint is not None
    keys = pq.read_table(found.folder / "products.parquet", columns=["key"])["key"].to_pylist()
    towers = {name: describe(place)["image"] for name, place in learned.encoders.items()}
    assert all(towers[name].fingerprint != describe(bundle.folder / "encoders" / name)["image"].fingerprint for name in towers)
    (joint,) = Joint.load(found.folder / facts["branches"][0]["folder"]).centres.values()
    assert joint.shape == (16,)
    assert len(keys) == facts["branches"][0]["products"] > 0
    # The baselines read what nothing was learned of: they say what they say of a run that learns nothing, and the cascade does not.
    judged, plain = (
        json.loads((run.folder / run.branches[0]["folder"] / "figures.json").read_text(encoding="utf-8"))["labels"] for run in (found, shoes)
    )
    same = [name for name in judged if name in plain and "k_means" in name]
    assert len(same) >= 2
    assert {name: judged[name] for name in same} == {name: plain[name] for name in same}
    assert judged["cascade"] != plain["cascade"]
    before = {file: file.stat().st_mtime_ns for file in (found.folder / "learned").rglob("*") if file.is_file()}
    again = ran(bundle, catalog, tmp_path / "out", SHOES, features, *sets)
    assert {file: file.stat().st_mtime_ns for file in (found.folder / "learned").rglob("*") if file.is_file()} == before
    assert [each.id for each in again.proposals] == [each.id for each in found.proposals]
    # New products are read as the old ones were.
    new = grown(tmp_path)
    told = assign(found.folder, bundle, new, AssignConfig(), on_progress=quiet).branches["Footwear > Shoes"]
    assert told["assigned"] + told["outliers"] > 0


def test_new_products_are_assigned_once_or_wait_in_the_pool(shoes: Recategorized, bundle: Bundle, demo_run: Path, tmp_path: Path) -> None:
    new, folder = grown(tmp_path), tmp_path / "shoes"
    shutil.copytree(shoes.folder, folder)
    config = AssignConfig(pool=PoolConfig(smallest=3, stays=-1, projection=ProjectionConfig(dimensions=2, neighbours=3)))
    found = assign(folder, bundle, new, config, on_progress=quiet)
    told = found.branches["Footwear > Shoes"]
    rows = pq.read_table(folder / "assigned" / "part-00000.parquet").to_pylist()
    assert len(rows) == told["assigned"] + told["outliers"] > 0
    assert sum(row["cluster"] is None for row in rows) == told["outliers"]
    proposed = [key for each in found.proposals for part in each.change.parts for key in part.products]  # type: ignore[union-attr]
    assert len(proposed) + told["pooled"] == told["outliers"]
    assert {each.id for each in read_decided(folder).proposals} == {each.id for each in [*shoes.proposals, *found.proposals]}
    again = assign(folder, bundle, new, config, on_progress=quiet)
    assert again.known == found.known + len(rows)
    assert again.branches["Footwear > Shoes"]["assigned"] == 0
    facts = json.loads((folder / "recategorization.json").read_text(encoding="utf-8"))
    (folder / "recategorization.json").write_text(json.dumps(facts | {"bundle": "another"}), encoding="utf-8")
    with pytest.raises(ReviewError, match="made with the bundle another"):
        assign(folder, bundle, new, config, on_progress=quiet)
