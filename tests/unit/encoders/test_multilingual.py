"""Multilingual encoders in the hub's format: XLM-R's kind of vocabulary and open_clip's transformers text tower, as encoders and as stage one."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModel

from prodcat.config import load as load_config
from prodcat.decoding import decode
from prodcat.encoders.encoder import Encoder, EncoderConfig, load, obtain
from prodcat.errors import EncoderError
from prodcat.prediction.text_stage import TextStage
from prodcat.profile import FitConfig
from prodcat.taxonomy import Taxonomy
from prodcat.training.encoders import EncoderTask, EncoderTraining, save_trained, token_rows
from prodcat.training.text_stage import TextStageConfig, export, text_rows, text_task

from .conftest import IMAGES, WORLD

XLM_R, CLIP = "hf_xlm_roberta", "open_clip_xlm_roberta"
TREE = Taxonomy.from_lines(["Apparel > Dresses", "Apparel > Shirts", "Footwear > Boots", "Gifts"])


@pytest.mark.parametrize("case", [XLM_R, CLIP])
def test_titles_become_the_ids_of_the_vocabulary_as_it_stands(case: str, hub_folders: dict[str, Path], encoders: dict[str, Encoder]) -> None:
    """What the file does before it looks words up counts: transformers makes this vocabulary anew and forgets it."""
    theirs = Tokenizer.from_file(str(hub_folders[case] / "tokenizer.json"))
    theirs.enable_truncation(20)
    tower = encoders[case].towers["text"]
    for title in WORLD:
        ids = tower.prepare([title])[0].tolist()
        assert ids == theirs.encode(title).ids
        assert (ids[0], ids[-1]) == (0, 2)
    full, plain = tower.prepare(["ＦＵＬＬ"])[0], tower.prepare(["FULL"])[0]
    assert full.tolist() == plain.tolist()


@pytest.mark.parametrize("case", [XLM_R, CLIP])
def test_titles_of_every_script_are_told_apart_and_an_unknown_sign_costs_only_itself(case: str, encoders: dict[str, Encoder]) -> None:
    tower = encoders[case].towers["text"]
    vectors = tower.encode(tower.prepare(WORLD))
    distances = np.abs(vectors[:, None] - vectors[None]).max(axis=2) + np.eye(len(WORLD))
    assert distances.min() > 1e-4
    known, strange = tower.prepare(["dress red"])[0], tower.prepare(["dress 🪡 red"])[0]
    assert 3 not in known
    assert [value for value in strange.tolist() if value != 3][:2] == known.tolist()[:2]


@pytest.mark.parametrize("case", [XLM_R, CLIP])
@pytest.mark.parametrize("typed", ["<s>", "</s>", "<pad>", "<mask>", "＜pad＞"])
def test_a_special_token_typed_into_a_title_is_none(case: str, typed: str, encoders: dict[str, Encoder]) -> None:
    ids = encoders[case].towers["text"].prepare([f"red {typed} dress"])[0].tolist()
    assert (ids[0], ids[-1]) == (0, 2)
    mask = Tokenizer.from_file(str(encoders[case].folder / "tokenizer.json")).token_to_id("<mask>")
    assert not {0, 1, 2, mask} & set(ids[1:-1])


def test_xlm_r_vectors_are_those_of_transformers(hub_folders: dict[str, Path], encoders: dict[str, Encoder]) -> None:
    model, tower = AutoModel.from_pretrained(hub_folders[XLM_R]).eval(), encoders[XLM_R].towers["text"]
    for title in WORLD:
        with torch.no_grad():
            states = model(torch.from_numpy(tower.prepare([title])).long()).last_hidden_state
        np.testing.assert_allclose(tower.encode(tower.prepare([title])), states.mean(1).numpy(), atol=1e-5)


def test_multilingual_clip_vectors_are_those_of_open_clip(hub_folders: dict[str, Path], encoders: dict[str, Encoder], tmp_path: Path) -> None:
    shutil.copytree(hub_folders[CLIP], tmp_path / "theirs")
    file = tmp_path / "theirs" / "open_clip_config.json"
    document = json.loads(file.read_text())
    document["model_cfg"]["text_cfg"]["hf_model_name"] = str(tmp_path / "theirs" / "text_config.json")
    file.write_text(json.dumps(document))
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'theirs'}")
    vocabulary, towers = Tokenizer.from_file(str(tmp_path / "theirs" / "tokenizer.json")), encoders[CLIP].towers
    ids = np.ones((len(WORLD), 20), dtype=np.int64)
    for row, title in zip(ids, WORLD, strict=True):
        found = vocabulary.encode(title).ids[:20]
        row[: len(found)] = found
        row[len(found) - 1] = 2
    with torch.no_grad():
        texts = model.eval().encode_text(torch.from_numpy(ids), normalize=True).numpy()
        images = model.encode_image(torch.stack([transform(image) for image in IMAGES]), normalize=True).numpy()
    np.testing.assert_allclose(towers["text"].encode(towers["text"].prepare(WORLD)), texts, atol=1e-5)
    np.testing.assert_allclose(towers["image"].encode(towers["image"].prepare(IMAGES)), images, atol=1e-5)


def _changed(source: Path, target: Path, file: str, **changes: object) -> Path:
    shutil.copytree(source, target)
    document = json.loads((target / file).read_text())
    inner = document["model_cfg"]["text_cfg"] if "model_cfg" in document else document
    inner.update(changes)
    (target / file).write_text(json.dumps(document))
    return target


def _obtain(source: Path, tmp_path: Path) -> None:
    obtain(EncoderConfig(family="clip", source=str(source)), tmp_path / "e", [])


def test_a_text_tower_that_is_only_named_asks_for_its_configuration(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(hub_folders[CLIP], tmp_path / "source")
    (tmp_path / "source" / "text_config.json").unlink()
    with pytest.raises(
        EncoderError, match=r"text tower is xlm-roberta-base .* put the config\.json of xlm-roberta-base into the folder as text_config\.json"
    ):
        _obtain(tmp_path / "source", tmp_path)


def test_a_text_tower_that_does_not_fit_is_named(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="reads at most 20 tokens, context_length is 77"):
        _obtain(_changed(hub_folders[CLIP], tmp_path / "long", "open_clip_config.json", context_length=77), tmp_path)
    with pytest.raises(EncoderError, match="its text tower fills with 0, its tokenizer with 1"):
        _obtain(_changed(hub_folders[CLIP], tmp_path / "pad", "text_config.json", pad_token_id=0), tmp_path)
    with pytest.raises(EncoderError, match="has tokenizer_kwargs, which prodcat does not carry"):
        _obtain(_changed(hub_folders[CLIP], tmp_path / "kwargs", "open_clip_config.json", tokenizer_kwargs={"strip_sep_token": True}), tmp_path)


def test_an_encoder_folder_without_its_text_configuration_is_named(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    shutil.copytree(encoders[CLIP].folder, tmp_path / "e")
    (tmp_path / "e" / "text_config.json").unlink()
    with pytest.raises(EncoderError, match=r"text_config\.json: is missing; write the folder again"):
        load(tmp_path / "e")


def test_xlm_r_as_stage_one_learns_and_answers_the_same_exported(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    labels = ["Apparel > Dresses", "Apparel > Dresses", "Footwear > Boots", "Gifts", "Apparel > Shirts", "Gifts", "Footwear > Boots"]
    paths = [tuple(label.split(" > ")) for label in labels]
    task = text_task(encoders[XLM_R].folder, TREE, TextStageConfig(dropout=0, token_dropout=0, label_smoothing=0))
    rows = text_rows(task, WORLD, TREE.targets(paths))
    batch = {name: torch.from_numpy(np.stack(rows[name].combine_chunks().to_numpy_ndarray())) for name in ("input_ids", "targets")}
    torch.manual_seed(0)
    module = task.build().train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = task.loss(module, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(task, tmp_path / "weights.safetensors", tmp_path / "stage")
    stage = TextStage(tmp_path / "stage")
    logits, vectors = stage.read(WORLD)
    with torch.no_grad():
        expected, pooled = module.eval().classifier(*module.inputs(batch["input_ids"]))
    answers = decode(logits, TREE).nodes
    np.testing.assert_array_equal(answers, decode(expected.numpy(), TREE).nodes)
    assert [TREE.categories[node].path for node in answers] == paths
    # Weights are int8 in the exported model, and of vectors this short one number rounded otherwise shows.
    theirs = pooled.numpy()
    cosines = (vectors * theirs).sum(axis=1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.95
    for number, title in enumerate(WORLD):
        np.testing.assert_array_equal(stage.read([title])[0][0], logits[number])


@pytest.mark.parametrize("case", [XLM_R, CLIP])
def test_they_are_adapted_to_a_catalog_as_the_others_are(case: str, encoders: dict[str, Encoder], tmp_path: Path) -> None:
    encoder = encoders[case]
    task = EncoderTask(encoder.folder, TREE, EncoderTraining(), "adaptation")
    batch = {"input_ids": torch.from_numpy(token_rows(encoder, WORLD[: len(IMAGES)]))}
    if case == CLIP:
        batch["image"] = torch.from_numpy(encoder.towers["image"].prepare(IMAGES))
    torch.manual_seed(1)
    module = task.build().train()
    task.loss(module, batch).backward()
    names = [name for name, value in module.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0]
    assert any("encoder.layer.0.attention" in name for name in names)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.01)
    save_file({name: value.clone() for name, value in module.state_dict().items()}, tmp_path / "weights.safetensors")
    save_trained(task, tmp_path / "weights.safetensors", tmp_path / "ready")
    before, after = encoder.towers["text"], load(tmp_path / "ready").towers["text"]
    np.testing.assert_array_equal(after.prepare(WORLD), before.prepare(WORLD))
    assert np.abs(after.encode(after.prepare(WORLD)) - before.encode(before.prepare(WORLD))).max() > 1e-4


def test_the_shipped_profile_names_multilingual_encoders() -> None:
    profile, hub = load_config(FitConfig, "multilingual"), load_config(FitConfig, "hub")
    assert profile.stage_one_encoder.source == profile.encoders["text"].source == "hub:xlm-roberta-base"
    assert profile.encoders["clip"].source == "hub:xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k"
    assert set(profile.encoders) == set(hub.encoders)
    name, tag = str(profile.encoders["clip"].source).removeprefix("hub:").split("/")
    assert open_clip.get_pretrained_cfg(name, tag)
    assert open_clip.get_model_config(name)["text_cfg"]["hf_model_name"] == "xlm-roberta-base"
