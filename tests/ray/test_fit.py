"""From demo feeds to a bundle, an evaluation and answers, on Ray: the contracts that need a whole bundle."""

import inspect
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from prodcat.catalog.store import Catalog
from prodcat.commands.evaluate import run_evaluate
from prodcat.config import load
from prodcat.contracts import Product, products_of
from prodcat.errors import BundleError, FeedError, TrainingError
from prodcat.evaluating import EvaluateConfig, _seed_answers, evaluate
from prodcat.evaluation.probes import FULL, hide
from prodcat.fitting import fit
from prodcat.masking import CategoryMask
from prodcat.prediction.batch import prediction_row
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer, Cascade, Unreadable
from prodcat.prediction.distributed import ClassifyConfig, classify
from prodcat.prediction.gate import Gate
from prodcat.profile import FitConfig
from prodcat.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def products(demo_run: Path) -> list[Product]:
    return list(products_of(Catalog.open(demo_run / "catalog").products()))


def close(first: Answer | Unreadable, second: Answer | Unreadable) -> bool:
    """The same answer: path, stage and reason to the letter, confidence to five digits (stage two's arithmetic depends on the shape of a batch)."""
    if isinstance(first, Unreadable) or isinstance(second, Unreadable):
        return first == second
    same = (first.key, first.path, first.stage, first.image_problem) == (second.key, second.path, second.stage, second.image_problem)
    return same and first.confidences == pytest.approx(second.confidences, abs=1e-5)


def gated(cascade: Cascade, threshold: float) -> Cascade:
    """The cascade with another gate."""
    settings = cascade.settings.model_copy(update={"gate": Gate(threshold=threshold)})
    return Cascade(cascade.tree, settings, cascade.stage_one, cascade.stage_two, cascade.version)


def test_contract_1_the_same_alone_in_any_batch_in_any_order(demo_run: Path, products: list[Product]) -> None:
    cascade = Bundle.open(demo_run / "bundle").cascade()
    sample = random.Random(0).sample(products, 60)
    cascade = gated(cascade, median_gate(cascade, sample))
    alone = {product.key: cascade.classify([product])[0] for product in sample}
    assert {result.stage for result in alone.values() if isinstance(result, Answer)} == {1, 2}
    for seed in range(3):
        shuffled = random.Random(seed).sample(sample, len(sample))
        for result in cascade.classify(shuffled):
            assert close(result, alone[result.key])


def half_by_image(products):
    """Thirty products, fifteen of them by their image alone: wherever the gate stands, both stages answer. Also runs in another process."""
    from dataclasses import replace

    chosen = [product for product in products if product.image][:30]
    return chosen[:15] + [replace(product, title=None, description=None, brand=None) for product in chosen[15:]]


def median_gate(cascade: Cascade, sample: list[Product]) -> float:
    """A gate that half of the titles pass. How good the two stages are on a handful of products decides where the bundle's own stands."""
    return float(np.median([answer.confidences[-1] for answer in gated(cascade, 0.0).first(sample).results if isinstance(answer, Answer)]))


def test_contract_2_a_fresh_process_answers_the_same(demo_run: Path, products: list[Product]) -> None:
    cascade = Bundle.open(demo_run / "bundle").cascade()
    sample = half_by_image(products)
    threshold = median_gate(cascade, sample[:15])
    here = gated(cascade, threshold).classify(sample)
    assert [answer.stage for answer in here[:15] if isinstance(answer, Answer)].count(2) in (7, 8)
    code = (
        "import json, sys\n"
        "from prodcat.catalog.store import Catalog\n"
        "from prodcat.contracts import products_of\n"
        "from prodcat.prediction.bundle import Bundle\n"
        "from prodcat.prediction.cascade import Cascade\n"
        "from prodcat.prediction.gate import Gate\n"
        f"{inspect.getsource(gated)}{inspect.getsource(half_by_image)}"
        "products = list(products_of(Catalog.open(sys.argv[1] + '/catalog').products()))\n"
        "results = gated(Bundle.open(sys.argv[1] + '/bundle').cascade(), float(sys.argv[2])).classify(half_by_image(products))\n"
        "print(json.dumps([[r.key, list(r.path), list(r.confidences), r.stage] for r in results]))\n"
    )
    command = [sys.executable, "-c", code, str(demo_run), repr(threshold)]
    there = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    for mine, (key, path, confidences, stage) in zip(here, there, strict=True):
        assert isinstance(mine, Answer)
        assert (mine.key, list(mine.path), mine.stage) == (key, path, stage)
        assert list(mine.confidences) == pytest.approx(confidences, abs=1e-6)


def test_contracts_3_and_5_batch_classification_equals_the_cascade_and_loses_no_row(demo_run: Path, products: list[Product], tmp_path: Path) -> None:
    catalog = Catalog.open(demo_run / "catalog")
    # By their images alone, too: where the gate of so small a run stands, stage one may answer all that have a title.
    views = {name: partial(hide, probe=name, mask=CategoryMask(catalog.taxonomy)) for name in (FULL, "image")}
    config = ClassifyConfig(shard_rows=37)
    done = classify(catalog.product_files(), demo_run / "bundle", tmp_path / "answers", config, views=views)
    cascade = Bundle.open(demo_run / "bundle").cascade()
    stages = set()
    for name, see in views.items():
        seen = [shown for product in products if (shown := see(product)) is not None]
        assert done.classified[name] + done.rejected[name] == len(seen) > 100
        rows = {row["key"]: row for row in done.answers(name).to_pylist()}
        for product, result in zip(seen, cascade.classify(seen), strict=True):
            assert isinstance(result, Answer)
            expected = prediction_row(result, product)
            assert {n: rows[product.key][n] for n in ("path", "stage", "bundle")} == {n: expected[n] for n in ("path", "stage", "bundle")}
            assert rows[product.key]["confidences"] == pytest.approx(expected["confidences"], abs=1e-5)
            stages.add(result.stage)
    assert stages == {1, 2}


def test_contract_4_every_answer_is_a_path_of_the_tree(demo_run: Path, products: list[Product]) -> None:
    bundle = Bundle.open(demo_run / "bundle")
    for result in bundle.cascade().classify(products):
        assert isinstance(result, Answer)
        assert bundle.tree.is_leaf[bundle.tree.index(result.path)]


def test_the_bundle_has_learned_and_the_report_says_it(demo_run: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(classify=ClassifyConfig())
    # The bundle itself in place of one of another seed: its figures must be found again.
    judged = evaluate(demo_run / "bundle", [str(demo_run / "catalog")], tmp_path, config, seed_bundles=[demo_run / "bundle"], on_progress=print)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert judged.report.read_text().startswith("<!doctype html>")
    assert written["valid_paths"] == 1.0
    assert written["products"] > 20
    assert set(written["hierarchical"]) == {"precision", "recall", "f1", "f1_ci"}
    assert set(written["levels"]["1"]) >= {"accuracy", "macro_f1"}
    assert 0 <= written["cascade"]["stage_two_share"] <= 1
    assert set(written["by_platform"]) == set(Catalog.open(demo_run / "catalog").summary()["platforms"])
    assert set(written["probes"]) == {"title+image", "title", "image", "masked-title", "masked-title+image"}
    for probe in written["probes"].values():
        assert probe["seeds"]["f1"] == [probe["hierarchical"]["f1"]]
    assert written["masked_baseline"]["products"] == written["probes"]["masked-title"]["products"]
    assert written["baseline"]["hierarchical"]["f1"] > 0.1
    # 165 products of 22 leaves, a minute: better than any one answer could be. How good a real bundle is, benchmarks say.
    labels = [tuple(path) for path in Catalog.open(demo_run / "catalog").products(["path"])["path"].to_pylist()]
    assert written["levels"]["1"]["accuracy"] > max(Counter(path[0] for path in labels).values()) / len(labels)
    seen = Bundle.open(demo_run / "bundle").has_seen(Catalog.open(demo_run / "catalog").products(["key"])["key"].to_pylist())
    assert written["left_out"]["seen"] == int(seen.sum())


def test_a_bundle_of_another_seed_must_have_the_tree_and_not_have_seen_what_is_scored(demo_run: Path, tmp_path: Path) -> None:
    bundle, catalog = Bundle.open(demo_run / "bundle"), Catalog.open(demo_run / "catalog")
    keys = catalog.products(["key"])["key"].to_pylist()
    seen = int(bundle.has_seen(keys).sum())
    with pytest.raises(BundleError, match=f"has seen {seen} of the {len(keys)} products to score"):
        _seed_answers(bundle, bundle, catalog, tmp_path, keys, {}, EvaluateConfig(), print)
    other = SimpleNamespace(tree=Taxonomy([("a",)]), folder="elsewhere")
    with pytest.raises(BundleError, match="elsewhere: its tree is another"):
        _seed_answers(other, bundle, catalog, tmp_path, keys, {}, EvaluateConfig(), print)


def test_a_second_run_makes_nothing_again(demo_run: Path, demo_feeds: Path, tiny_settings: tuple[str, ...]) -> None:
    lines: list[str] = []
    before = Bundle.open(demo_run / "bundle").version
    again = fit([str(demo_feeds)], demo_run, load(FitConfig, "offline", tiny_settings), on_progress=lines.append)
    assert again.version == before
    assert {line for line in lines if line.endswith("done before")} >= {"catalog: done before", "stage one: done before", "bundle: done before"}
    assert not [line for line in lines if "epoch" in line]


def test_a_changed_setting_makes_only_what_depends_on_it(demo_run: Path, demo_feeds: Path, tiny_settings: tuple[str, ...], tmp_path: Path) -> None:
    lines: list[str] = []
    # In a copy: other tests use the run as it is.
    shutil.copytree(demo_run, tmp_path / "run")
    changed = (*tiny_settings, "gate.tolerance=0.2", "gate.per_platform=true", "gate.min_platform_products=1")
    bundle = fit([str(demo_feeds)], tmp_path / "run", load(FitConfig, "offline", changed), on_progress=lines.append)
    assert "stage two: done before" in lines
    assert "bundle ..." in lines
    products = Catalog.open(demo_run / "catalog").products(["platform"])["platform"].to_pylist()
    gate = bundle.settings.gate
    assert set(products) >= set(gate.platforms) != set()
    assert sum(own.validation_products for own in gate.platforms.values()) == gate.validation_products


def test_a_catalog_without_labels_is_refused(ray_cluster: None, tmp_path: Path, tiny_settings: tuple[str, ...]) -> None:
    feed = tmp_path / "shop.csv"
    feed.write_text("product_id,title\n1,red shirt\n2,blue shirt\n")
    with pytest.raises(TrainingError, match="no product has a label"):
        fit([str(feed)], tmp_path / "run", load(FitConfig, "offline", tiny_settings), on_progress=print)


def test_nothing_left_to_score_is_said(demo_run: Path, tmp_path: Path) -> None:
    feed = tmp_path / "shop.csv"
    feed.write_text("product_id,title\n1,red shirt\n2,blue shirt\n")
    with pytest.raises(FeedError, match="nothing to score"):
        run_evaluate(demo_run / "bundle", [str(feed)], tmp_path / "report", config=None, sets=[], mapping=None, say=print)
