"""`adapt` over a whole bundle: what is kept, what is corrected, and that every way of asking agrees. Ray is there for the bundle alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from prodcat.adapting import AdaptConfig, adapt
from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog
from prodcat.commands.training import run_adapt
from prodcat.contracts import Product, products_of
from prodcat.errors import BundleError, FeedError
from prodcat.evaluation.metrics import ancestor_sums, hierarchical, truncate
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.calibration import Calibration
from prodcat.prediction.cascade import Answer
from prodcat.prediction.preparing import WORDS
from prodcat.readying import made_here


@pytest.fixture(scope="module")
def stranger(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A shop whose words for two of the tree's categories nobody has learned, one label below the tree, and one outside of it."""
    tree = Bundle.open(demo_run / "bundle").tree
    first, second = (tree.categories[node].path for node in np.flatnonzero(tree.is_leaf)[[0, -1]].tolist())
    place = tmp_path_factory.mktemp("stranger")
    rows = ["platform,product_id,title,description,path"]
    for number in range(120):
        path, noun = (first, "zorgle") if number % 2 else (second, "quibbit")
        rows.append(f"stranger,{number},{noun} model {number * 7919 % 1000},all about it,{' > '.join(path)}")
    rows.append(f"stranger,below,zorgle extra deep,all about it,{' > '.join(first)} > Deeper")
    rows.append("stranger,outside,gadget,all about it,Elsewhere > Things")
    feed = place / "stranger.csv"
    feed.write_text("\n".join(rows) + "\n", encoding="utf-8")
    feed.with_suffix(".mapping.yaml").write_text('label: {column: path, separator: ">"}\n', encoding="utf-8")
    ingest([str(feed)], place / "catalog", IngestConfig())
    return Catalog.open(place / "catalog")


@pytest.fixture(scope="module")
def adapted(demo_run: Path, stranger: Catalog, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, object], list[str]]:
    told: list[str] = []
    done = adapt(
        Bundle.open(demo_run / "bundle"), stranger, tmp_path_factory.mktemp("adapted") / "bundle", AdaptConfig(curve=(4,)), on_progress=told.append
    )
    return done.bundle, done.found, told


def paths(bundle: Bundle, products: list[Product]) -> list[tuple[str, ...]]:
    answers = bundle.cascade().classify(products)
    assert all(isinstance(answer, Answer) for answer in answers)
    return [answer.path for answer in answers if isinstance(answer, Answer)]


def test_new_words_are_learned_and_the_gain_is_told(demo_run: Path, stranger: Catalog, adapted: tuple[Bundle, dict[str, object], list[str]]) -> None:
    bundle, found, told = adapted
    assert found["after"]["f1"] > 0.95 > found["before"]["f1"]  # type: ignore[index]
    assert [row["labelled"] for row in found["curve"]] == [4]  # type: ignore[union-attr, index]
    assert found["judged"] > 0  # type: ignore[operator]
    assert found["labels_cut"] == len([line for line in told if "the bundle's tree has no" in line])
    new = [Product("stranger", f"new-{noun}", title=f"{noun} model 5") for noun in ("zorgle", "quibbit")]
    tree = bundle.tree
    leaves = np.flatnonzero(tree.is_leaf)
    assert paths(bundle, new) == [tree.categories[leaves[0]].path, tree.categories[leaves[-1]].path]
    confidences = [answer.confidences[-1] for answer in bundle.cascade().classify(new) if isinstance(answer, Answer)]
    assert min(confidences) > 0.5


@pytest.mark.parametrize("foreign", [True, False])
def test_the_figures_are_those_of_what_the_bundles_answer(demo_run: Path, stranger: Catalog, tmp_path: Path, foreign: bool) -> None:
    plain = Bundle.open(demo_run / "bundle")
    # Temperatures under which it matters whether a figure has been divided by them, once or twice.
    sharp: dict[str, object] = {"calibration_two": Calibration(temperatures=(0.3, 0.5, 0.9))}
    if not foreign:
        sharp["gate"] = plain.settings.gate.model_copy(update={"known": None, "threshold": 1.0})
    first = replace(plain, settings=plain.settings.model_copy(update=sharp))
    done = adapt(first, stranger, tmp_path / "bundle", AdaptConfig(curve=(), products=8), on_progress=print)
    tree, splits = first.tree, stranger.splits()
    tested = set(splits.filter(pc.equal(splits["split"], "test"))["key"].to_pylist())
    asked = [product for product in products_of(stranger.products()) if product.key in tested and product.path and product.path[0] != "Elsewhere"]
    truth = np.array([tree.index(product.path if product.path in tree else product.path[:-1]) for product in asked if product.path])
    assert len(asked) == done.found["judged"]
    for bundle, name in ((first, "before"), (done.bundle, "after")):
        pred = np.array([tree.index(path) for path in paths(bundle, asked)])
        f1 = hierarchical(ancestor_sums(truncate(pred, truth, tree), truth, tree))["f1"]
        assert done.found[name]["f1"] == pytest.approx(f1, abs=1e-9)


def test_answers_to_all_other_platforms_stay(demo_run: Path, adapted: tuple[Bundle, dict[str, object], list[str]]) -> None:
    products = list(products_of(Catalog.open(demo_run / "catalog").products()))[:60]
    first, second = Bundle.open(demo_run / "bundle").cascade().classify(products), adapted[0].cascade().classify(products)
    assert [replace(answer, bundle="") for answer in first] == [replace(answer, bundle="") for answer in second]  # type: ignore[type-var]


def test_alone_in_a_batch_and_prepared_elsewhere_it_is_the_same(stranger: Catalog, adapted: tuple[Bundle, dict[str, object], list[str]]) -> None:
    bundle = adapted[0]
    products = list(products_of(stranger.products()))[:8]
    mixed = [products[0], replace(products[1], platform="other"), *products[2:], Product("stranger", "image-less", title="zorgle")]
    cascade = bundle.cascade()
    together = cascade.classify(mixed)
    stage = bundle.multimodal_stage()
    preparation = bundle.preparation()
    for product, answer in zip(mixed, together, strict=True):
        (alone,) = cascade.classify([product])
        assert isinstance(alone, Answer)
        assert isinstance(answer, Answer)
        assert alone.path == answer.path
        assert alone.stage == answer.stage
        assert alone.confidences == pytest.approx(answer.confidences, abs=1e-5)
    joined = preparation.joined([preparation.prepare(mixed[:3]), preparation.prepare(mixed[3:])])
    np.testing.assert_allclose(stage.infer(joined), stage.read(mixed).logits, atol=1e-4)


def test_the_words_are_adjusted_to_the_platform_and_to_no_other(adapted: tuple[Bundle, dict[str, object], list[str]]) -> None:
    bundle = adapted[0]
    preparation = bundle.preparation()
    adjustment, words = preparation.corrections[0].adjustment, preparation.words
    assert adjustment is not None
    # With a description: both readings are the platform's.
    own, other = (Product(shop, "1", title="zorgle model 5", description="quibbit model 7") for shop in ("stranger", "other"))
    for product, change in ((own, adjustment), (other, None)):
        prepared = preparation.prepare([product])
        assert prepared.described is not None
        for read, text in ((prepared, product.title), (prepared.described[1], product.description)):
            expected = words.weigh(words.matrix([text or ""]), bundle.layout, change)
            np.testing.assert_array_equal(read.inputs[WORDS][1], expected)
    assert not np.array_equal(*(preparation.prepare([product]).inputs[WORDS][1] for product in (own, other)))


def test_of_an_unknown_platform_nothing_is_read_that_was_made_here(demo_run: Path) -> None:
    preparation = Bundle.open(demo_run / "bundle").preparation()
    settings, names = preparation.settings, [modality.name for modality in preparation.settings.modalities]
    # The demo's encoders are all made on its catalog: there is nothing better to read instead.
    assert settings.made_here == ()
    (known, *_) = products_of(Catalog.open(demo_run / "catalog").products())
    assert known.platform in settings.known
    products = [known, replace(known, platform="stranger"), replace(known, platform="http")]
    assert known.image is not None
    whole = preparation.prepare(products)
    for name in names:
        preparation.settings = settings.model_copy(update={"made_here": (name,)})
        found = preparation.prepare(products)
        assert found.inputs[name][0].tolist() == [0, 2]
        np.testing.assert_array_equal(found.inputs[name][1], whole.inputs[name][1][[0, 2]])
        for other in set(names) - {name}:
            np.testing.assert_array_equal(found.inputs[other][1], whole.inputs[other][1])
        alone = preparation.prepare([products[1]])
        assert name not in alone.inputs


def test_what_was_made_here_is_left_out_only_where_something_else_reads_the_same(tmp_path: Path) -> None:
    for name, source in (("text", "minilm"), ("clip", "scratch"), ("image", "scratch")):
        (tmp_path / name / "ready").mkdir(parents=True)
        (tmp_path / name / "source.txt").write_text(source + "\n", encoding="utf-8")
    ready = {name: tmp_path / name / "ready" for name in ("text", "clip", "image")}
    places = {"text": ("text", "text"), "clip_text": ("clip", "text"), "clip_image": ("clip", "image"), "image": ("image", "image")}
    assert made_here(ready, {**places, "stage_one": ("stage_one", "text")}) == ("clip_text", "stage_one")
    (tmp_path / "image" / "source.txt").write_text("vit\n", encoding="utf-8")
    assert made_here(ready, places) == ("clip_text", "clip_image")


def test_adapting_again_takes_the_place_of_the_first(stranger: Catalog, adapted: tuple[Bundle, dict[str, object], list[str]], tmp_path: Path) -> None:
    again = adapt(adapted[0], stranger, tmp_path / "again", AdaptConfig(judged=0), on_progress=print)
    assert "after" not in again.found
    assert again.bundle.preparation().settings.corrections == ("stranger",)
    # Fitted on what the models say, and not on top of the first correction.
    names = [name for name in again.bundle.manifest.files if "correction_" in name]
    assert names == ["stage_two/correction_0000.safetensors"]
    assert again.bundle.manifest.files[names[0]] == adapted[0].manifest.files[names[0]]


def test_what_cannot_be_adapted_is_said(demo_run: Path, stranger: Catalog, tmp_path: Path) -> None:
    bundle = Bundle.open(demo_run / "bundle")
    with pytest.raises(FeedError, match="which platform\\? name one with --platform; labelled are "):
        adapt(bundle, Catalog.open(demo_run / "catalog"), tmp_path / "a", AdaptConfig(), on_progress=print)
    with pytest.raises(FeedError, match=r"no labelled product is of the platform 'nobody'; labelled are stranger \(122\)"):
        adapt(bundle, stranger, tmp_path / "b", AdaptConfig(), platform="nobody", on_progress=print)
    (tmp_path / "c").mkdir()
    shutil.copy(demo_run / "run.json", tmp_path / "c")
    with pytest.raises(BundleError, match="not empty"):
        adapt(bundle, stranger, tmp_path / "c", AdaptConfig(judged=0, products=5), on_progress=print)


def test_the_command_says_what_labelled_products_bought(demo_run: Path, stranger: Catalog, tmp_path: Path) -> None:
    told: list[str] = []
    summary = run_adapt(demo_run / "bundle", stranger.path, tmp_path / "out", platform=None, config=None, sets=["products=30"], say=told.append)
    assert summary["learned_from"] == 30
    assert [line.split()[0] for line in told if "hierarchical F1" in line] == ["before", "20", "after"]
    assert Bundle.open(tmp_path / "out").version == summary["version"]
