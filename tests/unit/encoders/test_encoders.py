"""The contract of every encoder, over all families and sources: a vector depends on its product alone, and a folder is all it takes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from prodcat.encoders.encoder import Encoder, describe, fingerprint, load
from prodcat.encoders.inputs import Manifest

from .conftest import CASES, IMAGES, TITLES

pytestmark = pytest.mark.parametrize("case", CASES)


def _items(reads: str) -> list:
    return TITLES if reads == "text" else IMAGES


def _vectors(encoder: Encoder) -> dict[str, np.ndarray]:
    return {name: tower.encode(tower.prepare(_items(tower.reads))) for name, tower in encoder.towers.items()}


def test_shapes_and_kinds(case: str, encoders: dict[str, Encoder]) -> None:
    expected = {"roberta": {"text"}, "vit": {"image"}, "clip": {"image", "text"}}[encoders[case].family]
    assert set(encoders[case].towers) == expected
    for name, tower in encoders[case].towers.items():
        prepared = tower.prepare(_items(name))
        assert prepared.dtype == (np.int32 if name == "text" else np.uint8)
        vectors = tower.encode(prepared)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(prepared), tower.dim)
        assert tower.encode(tower.prepare([])).shape == (0, tower.dim)
        # Different inputs, different vectors.
        assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_a_vector_is_the_same_alone_and_in_any_batch(case: str, encoders: dict[str, Encoder]) -> None:
    for name, tower in encoders[case].towers.items():
        items = _items(name)
        together = tower.encode(tower.prepare(items))
        alone = np.concatenate([tower.encode(tower.prepare([item])) for item in items])
        backwards = tower.encode(tower.prepare(items[::-1]))[::-1]
        np.testing.assert_allclose(alone, together, atol=1e-5)
        np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_encoding_leaves_training_as_it_was(case: str, encoders: dict[str, Encoder]) -> None:
    encoder = encoders[case]
    quiet = _vectors(encoder)
    encoder.module.train()
    try:
        for name, vectors in _vectors(encoder).items():
            np.testing.assert_array_equal(vectors, quiet[name])
        assert encoder.module.training
    finally:
        encoder.module.eval()


def test_saved_and_loaded_it_is_identical(case: str, encoders: dict[str, Encoder], tmp_path: Path) -> None:
    original = load(encoders[case].folder)
    original.save(tmp_path / "again")
    again = load(tmp_path / "again")
    assert again.fingerprint == original.fingerprint == encoders[case].fingerprint
    assert {name: tower.fingerprint for name, tower in again.towers.items()} == {n: t.fingerprint for n, t in encoders[case].towers.items()}
    expected = _vectors(encoders[case])
    for name, vectors in _vectors(again).items():
        np.testing.assert_array_equal(vectors, expected[name])


def test_the_fingerprint_follows_the_content_not_the_place(case: str, encoders: dict[str, Encoder], tmp_path: Path) -> None:
    source = encoders[case].folder
    shutil.copytree(source, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(source)
    manifest = Manifest.load(source)
    if manifest.image is not None:
        changed = manifest.model_copy(update={"image": manifest.image.model_copy(update={"mean": (0.41, 0.5, 0.6)})})
    else:
        changed = manifest.model_copy(update={"pooling": "cls"})
    changed.save(tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") != fingerprint(source)
    (tmp_path / "copy" / "README").write_text("not part of an encoder")
    assert len(list((tmp_path / "copy").iterdir())) == len(list(source.iterdir())) + 1


def test_a_changed_weight_changes_the_fingerprint_and_the_vectors(case: str, encoders: dict[str, Encoder], tmp_path: Path) -> None:
    encoder = load(encoders[case].folder)
    with torch.no_grad():
        for weight in encoder.module.parameters():
            weight.add_(0.01 * torch.rand_like(weight))
    encoder.save(tmp_path / "trained")
    assert encoder.fingerprint != encoders[case].fingerprint
    assert encoder.folder == tmp_path / "trained"
    for name, tower in load(tmp_path / "trained").towers.items():
        assert tower.fingerprint == encoder.towers[name].fingerprint != encoders[case].towers[name].fingerprint
        vectors = tower.encode(tower.prepare(_items(name)))
        np.testing.assert_array_equal(vectors, encoder.towers[name].encode(encoder.towers[name].prepare(_items(name))))
        assert np.abs(vectors - _vectors(encoders[case])[name]).max() > 1e-4


def test_saving_over_its_own_folder_keeps_it_whole(case: str, encoders: dict[str, Encoder], tmp_path: Path) -> None:
    shutil.copytree(encoders[case].folder, tmp_path / "own")
    encoder = load(tmp_path / "own")
    encoder.save(tmp_path / "own")
    assert load(tmp_path / "own").fingerprint == encoders[case].fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_described_without_its_weights(case: str, encoders: dict[str, Encoder]) -> None:
    facts = describe(encoders[case].folder)
    assert {n: (f.reads, f.dim, f.fingerprint) for n, f in facts.items()} == {
        n: (t.reads, t.dim, t.fingerprint) for n, t in encoders[case].towers.items()
    }
