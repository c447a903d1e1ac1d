"""Bundles: what is written is what is read; a changed byte, a missing file, a stranger's file and edited sums are refused by name."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from prodcat.encoders.inputs import TextReading
from prodcat.errors import BundleError
from prodcat.prediction.backoff import Backoff, Depth
from prodcat.prediction.bundle import Bundle, for_text_stage, key_hash, write_bundle
from prodcat.prediction.calibration import Calibration, Curve
from prodcat.prediction.cascade import CascadeSettings
from prodcat.prediction.conformal import Conformal
from prodcat.prediction.gate import Gate, GateOutcome, GatePoint, GatePrices, PlatformGate
from prodcat.prediction.versions import VERSIONS, Earlier, Versions
from prodcat.serving.conversion import model_info
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("a", "b"), ("c",)])
POINT = GatePoint(threshold=1 / 3, hierarchical_f1=0.9, stage_two_share=0.1, cost=0.1 + 0.2)
SETTINGS = CascadeSettings(
    text=TextReading(),
    decoder="joint",
    stops=(TREE.categories[TREE.index(("a",))].id,),
    calibration_one=Calibration(temperatures=(1.25, 0.1 + 0.2), curves=(None, Curve(given=(0.1, 1 / 3), found=(0.0, 2 / 3)))),
    calibration_two=Calibration(temperatures=(1.0, 1.0)),
    gate=Gate(
        threshold=1 / 3,
        curve=(POINT,),
        validation_products=7,
        platforms={"yes": PlatformGate(threshold=2 / 3, curve=(POINT,), validation_products=3)},
        outcome=GateOutcome(hierarchical_f1=0.9, stage_two_share=0.1, cost=0.1 + 0.2),
        prices=GatePrices(stage_one=0.1, stage_two=2.0),
    ),
    backoff=Backoff(precision=0.995, confidence=0.9, thresholds=(1 / 3, None), products=9, held=8, depths=(Depth(level=1, products=8, right=8),)),
    conformal=Conformal(coverage=0.99, threshold=1 / 7, products=9),
)


def fill(folder: Path) -> None:
    (folder / "stage_one").mkdir()
    (folder / "stage_one" / "model.onnx").write_bytes(b"weights")
    (folder / "encoders" / "text").mkdir(parents=True)
    (folder / "encoders" / "text" / "model.safetensors").write_bytes(b"more weights")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(
        tmp_path / "bundle", tree=TREE, settings=SETTINGS, encoders={"text": "f" * 64}, seen=["shop/1", "shop/2"], training={"seed": 0}, fill=fill
    )


def test_a_bundle_of_a_later_version_carries_how_the_earlier_ones_read(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.versions == Versions()
    assert VERSIONS not in bundle.manifest.files
    versions = Versions(earlier=(Earlier(told={TREE.categories[TREE.index(("a", "b"))].id: ("0", ("a", "z"))}),))
    made = write_bundle(tmp_path / "later", tree=TREE, settings=SETTINGS, encoders={}, seen=[], training={}, fill=fill, versions=versions)
    assert made.versions == versions
    assert made.versions.present == 2
    # A text replica checks it, too: it is what it answers by.
    (made.folder / VERSIONS).write_text("{}")
    with pytest.raises(BundleError, match=r"versions\.json: its SHA-256"):
        Bundle.open(made.folder, only=for_text_stage)


def test_opens_as_it_was_written(bundle: Bundle) -> None:
    again = Bundle.open(bundle.folder)
    assert again.settings == SETTINGS
    assert again.tree == TREE
    assert again.version == bundle.version
    assert again.has_seen(["shop/2", "shop/3"]).tolist() == [True, False]


def test_version_follows_content(bundle: Bundle, tmp_path: Path) -> None:
    same = write_bundle(
        tmp_path / "same", tree=TREE, settings=SETTINGS, encoders={"text": "f" * 64}, seen=["shop/2", "shop/1"], training={}, fill=fill
    )
    other = write_bundle(tmp_path / "other", tree=TREE, settings=SETTINGS, encoders={}, seen=["shop/9"], training={}, fill=fill)
    assert same.version == bundle.version
    assert other.version != bundle.version


@pytest.mark.parametrize("name", ["stage_one/model.onnx", "encoders/text/model.safetensors", "taxonomy.json", "cascade.yaml", "seen.safetensors"])
def test_a_changed_byte_is_refused_by_name(bundle: Bundle, name: str) -> None:
    path = bundle.folder / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=re.escape(name)):
        Bundle.open(bundle.folder)


def test_a_missing_and_an_unknown_file_are_refused_by_name(bundle: Bundle) -> None:
    (bundle.folder / "stage_one" / "evil.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"evil\.pkl"):
        Bundle.open(bundle.folder)
    (bundle.folder / "stage_one" / "evil.pkl").unlink()
    (bundle.folder / "stage_one" / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: missing"):
        Bundle.open(bundle.folder)


def test_edited_sums_are_refused(bundle: Bundle) -> None:
    path = bundle.folder / "manifest.json"
    document = json.loads(path.read_text())
    document["files"]["stage_one/model.onnx"] = "0" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="sums were edited"):
        Bundle.open(bundle.folder)


def test_another_format_is_refused(bundle: Bundle) -> None:
    path = bundle.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(BundleError, match="format 99"):
        Bundle.open(bundle.folder)


def test_a_replica_checks_only_what_it_reads(bundle: Bundle) -> None:
    (bundle.folder / "encoders" / "text" / "model.safetensors").write_bytes(b"something else")
    assert Bundle.open(bundle.folder, only=for_text_stage).version == bundle.version
    (bundle.folder / "stage_one" / "model.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Bundle.open(bundle.folder, only=for_text_stage)


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        Bundle.open(tmp_path)


def test_a_bundle_is_never_written_over(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="not empty"):
        write_bundle(bundle.folder, tree=TREE, settings=SETTINGS, encoders={}, seen=[], training={}, fill=fill)


def test_key_hash_is_the_same_everywhere() -> None:
    assert key_hash(["shop/1"]).dtype == np.uint64
    assert int(key_hash(["shop/1"])[0]) == 15078106186839010800


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"stops": ("nowhere",)}, "stops: category id 'nowhere'"),
        ({"calibration_two": Calibration(temperatures=(1.0,))}, "calibration_two.temperatures has 1 levels, the tree 2"),
        ({"conformal": None, "backoff": Backoff(precision=0.9, confidence=0.9, thresholds=(0.5,), products=0, held=0)}, "backoff.thresholds has 1"),
    ],
)
def test_settings_fitted_to_another_tree_are_refused(tmp_path: Path, broken: dict, said: str) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        write_bundle(tmp_path / "bundle", tree=TREE, settings=SETTINGS.model_copy(update=broken), encoders={}, seen=[], training={}, fill=fill)


def test_the_model_names_each_platforms_gate(bundle: Bundle) -> None:
    info = model_info(bundle, {})
    assert (info.gate, info.gate_by_platform) == (1 / 3, {"yes": 2 / 3})
