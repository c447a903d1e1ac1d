"""From a run to one for the next version of its tree: encoders and features are kept, what stays answers as before, what is new is learned."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from prodcat.catalog.store import Catalog
from prodcat.contracts import Product, products_of
from prodcat.errors import FeedError, TaxonomyError, TrainingError
from prodcat.migrating import MigrateConfig, migrate
from prodcat.model.hierarchy import TreeArrays
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer
from prodcat.prediction.preparing import STAGE_ONE_VECTOR
from prodcat.recategorization.changes import Merge, Part, Split
from prodcat.taxonomy import CategoryPath, format_path
from prodcat.versioning import apply_changes, history_of, tree_of

# What a leaf is split into, as products come, so that there is nothing to tell them apart by.
NEW = ("Quick", "Slow")


@dataclass(frozen=True)
class Next:
    """The next version of the demo run's catalog: two leaves are one, and one is two."""

    catalog: Catalog
    split: CategoryPath
    parts: tuple[CategoryPath, ...]


@pytest.fixture(scope="module")
def following(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Next:
    catalog = Catalog.open(demo_run / "catalog")
    tree = tree_of(catalog)
    rows = [row for row in catalog.products(["key", "path"]).to_pylist() if row["path"]]
    of = {category.path: [row["key"] for row in rows if tuple(row["path"]) == category.path] for category in tree.categories}
    leaves = [category.path for category, leaf in zip(tree.categories, tree.is_leaf, strict=True) if leaf]
    split = max(leaves, key=lambda path: len(of[path]))
    siblings = [path for path in leaves if path[:-1] != split[:-1]]
    pair = next((one, other) for one in siblings for other in siblings if one < other and one[:-1] == other[:-1])
    keys = of[split]
    changes = [
        Split(path=split, parts=(Part(name=NEW[0], products=tuple(keys[::2])), Part(name=NEW[1], products=tuple(keys[1::2]))), beside=True),
        Merge(paths=pair, into=(*pair[0][:-1], "Both")),
    ]
    out = tmp_path_factory.mktemp("next") / "catalog"
    done = apply_changes(catalog, tree.hash, changes, out, by="Ada", at="2026-11-26T10:00:00+00:00")
    return Next(done.catalog, split, tuple((*split[:-1], name) for name in NEW))


def stage_two_logits(run: Path, products: list[Product]) -> np.ndarray:
    """Of the fusion alone: words are learned anew, and say otherwise."""
    stage = Bundle.open(run / "bundle").multimodal_stage()
    features, present = stage.encode(stage.prepare(products))
    present[:, len(stage.settings.modalities) :] = False
    return stage.fuse(features, present)


@pytest.fixture(scope="module")
def carried(demo_run: Path, following: Next, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on the next version, not trained."""
    out = tmp_path_factory.mktemp("carried") / "run"
    lines: list[str] = []
    migrate(demo_run, following.catalog, out, MigrateConfig(epochs=0), on_progress=lines.append)
    # Nothing is trained, and nothing embedded but what a mask or an augmentation by the new names shows otherwise.
    assert not [line for line in lines if "epoch" in line]
    assert not [line for line in lines if line.startswith("features ") and line != "features ..."]
    return out


def test_without_training_what_did_not_change_answers_as_before(demo_run: Path, carried: Path, following: Next) -> None:
    old, new = Bundle.open(demo_run / "bundle"), Bundle.open(carried / "bundle")
    products = [product for product in products_of(following.catalog.products()) if product.title][:80]
    given = {}
    for found, run in ((old, demo_run), (new, carried)):
        texts = [found.settings.text.of(p.title, p.description, p.brand, p.language) for p in products]
        for name, logits in (("one", found.text_stage().read([text or "" for text in texts])[0]), ("two", stage_two_logits(run, products))):
            given[name, found.version] = TreeArrays(found.layout).sibling_log_softmax(torch.from_numpy(logits)).exp().numpy()
    # Every level that holds no category that was changed; and beside one that gave its place to two, who share it.
    unchanged = [category for category in new.tree.categories if category.id in {each.id for each in old.tree.categories}]
    beside = [category for category in unchanged if category.path[:-1] == following.split[:-1]]
    rest = [category for category in unchanged if len(new.tree.children(category.path[:-1])) == len(old.tree.children(category.path[:-1]))]
    assert beside
    assert len(rest) > 10
    for name in ("one", "two"):
        was, now = given[name, old.version], given[name, new.version]
        for category in [*beside, *rest]:
            columns = old.tree.index_of_id(category.id), new.tree.index_of_id(category.id)
            assert now[:, columns[1]] == pytest.approx(was[:, columns[0]], abs=2e-3 if name == "one" else 1e-4)
        together = sum(now[:, new.tree.index(path)] for path in following.parts)
        assert together == pytest.approx(was[:, old.tree.index(following.split)], abs=5e-3 if name == "one" else 1e-4)


def test_a_migrated_bundle_has_learned_the_next_tree_and_answers_old_clients(demo_run: Path, carried: Path, following: Next, tmp_path: Path) -> None:
    lines: list[str] = []
    out = tmp_path / "run"
    # From a run that was migrated itself: it is one like any other.
    labels = tmp_path / "labels.csv"
    splits = following.catalog.splits().to_pylist()
    reviewed = next(row["key"] for row in splits if row["split"] == "train")
    labels.write_text(f"key,path,decision\n{reviewed},{format_path(following.parts[0])},accept\n", encoding="utf-8")
    bundle = migrate(carried, following.catalog, out, MigrateConfig(epochs=0.25), labels=labels, on_progress=lines.append)
    assert [line for line in lines if line.startswith("reviewed labels: ")]
    assert bundle.tree == following.catalog.taxonomy
    assert bundle.manifest.training["gone_on_from"] == Bundle.open(carried / "bundle").version
    assert {line.split(":")[0] for line in lines if "epoch" in line} == {"stage one", "stage two"}
    old, new = (Bundle.open(run / "bundle").manifest.encoders for run in (demo_run, out))
    assert {name for name in old if old[name] != new[name]} == {STAGE_ONE_VECTOR}
    assert max(int(line.split("/")[1].split(",")[0]) for line in lines if line.startswith("stage two: epoch")) == 4
    products = list(products_of(following.catalog.products()))
    answers = bundle.cascade().classify(products)
    assert bundle.versions.present == history_of(following.catalog).version == 2
    first = tree_of(Catalog.open(demo_run / "catalog"))
    for answer in answers:
        assert isinstance(answer, Answer)
        assert answer.taxonomy_version == 2
        assert answer.path in bundle.tree
        then = bundle.versions.told(answer, 1, bundle.tree)
        assert isinstance(then, Answer)
        assert then.category_id == first.categories[first.index(then.path)].id
        if answer.path in following.parts:
            assert then.path == following.split
    right = np.mean([answer.path[:1] == product.path[:1] for answer, product in zip(answers, products, strict=True) if product.path])
    before = Bundle.open(demo_run / "bundle").cascade().classify(products)
    was = np.mean([answer.path[:1] == tuple(path)[:1] for answer, path in zip(before, _labels(demo_run / "catalog"), strict=True)])
    assert right > was - 0.05
    # Begun again, nothing is made again.
    lines.clear()
    again = migrate(carried, following.catalog, out, MigrateConfig(epochs=0.25), labels=labels, on_progress=lines.append)
    assert again.version == bundle.version
    assert "bundle: done before" in lines


def _labels(catalog: Path) -> list[CategoryPath]:
    return [tuple(path or ()) for path in Catalog.open(catalog).products(["path"])["path"].to_pylist()]


def test_what_cannot_be_gone_on_from_is_refused_by_name(demo_run: Path, carried: Path, following: Next, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is the run that is gone on from"):
        migrate(demo_run, following.catalog, demo_run, MigrateConfig(), on_progress=print)
    with pytest.raises(FeedError, match="no run here"):
        migrate(tmp_path, following.catalog, tmp_path / "out", MigrateConfig(), on_progress=print)
    # Back to the version before.
    with pytest.raises(TaxonomyError, match=r"its tree .* is no version of the tree of .* \(1 to 1\)"):
        migrate(carried, Catalog.open(demo_run / "catalog"), tmp_path / "out", MigrateConfig(), on_progress=print)
    assert not (tmp_path / "out").exists()
