"""Stage two's training: which modalities, how many members, the loss of each modality, and the same from memory in any subset."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prodcat.errors import ConfigError
from prodcat.model.fusion import FusionConfig
from prodcat.prediction.multimodal_stage import fused_logits, member_logits
from prodcat.taxonomy import Taxonomy
from prodcat.training.fusion_stage import FusionStageConfig, FusionStageTask, join_members, modalities_of, trained_fusion
from prodcat.training.in_memory import FusionData, train_in_memory
from prodcat.training.loop import LoopConfig

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d",)])
FAMILIES = {"words": "roberta", "clip": "clip", "photo": "vit"}
READS = {"words": "text", "photo": "image"}
LOOP = LoopConfig(epochs=3, batch_size=16, learning_rate=1e-2)


def data(rows: int = 80, seed: int = 0) -> FusionData:
    generator = np.random.default_rng(seed)
    nodes = generator.choice(np.flatnonzero(TREE.is_leaf), rows)
    codes = np.random.default_rng(9).normal(size=(2, len(TREE), 5))
    vectors = {name: (codes[i][nodes] + 0.2 * generator.normal(size=(rows, 5))).astype(np.float32) for i, name in enumerate(READS)}
    present = generator.random((rows, 2)) < 0.8
    return FusionData(vectors, present, TREE.path_indices[nodes])


def task(given: FusionData, **more) -> FusionStageTask:
    return FusionStageTask(modalities_of(given.vectors, given.present, READS), TREE, FusionConfig(width=16, **more))


def test_all_feature_sets_by_default_and_those_of_a_clip_are_two() -> None:
    expected = {"words": "words", "clip_image": "clip", "clip_text": "clip", "photo": "photo"}
    assert FusionStageConfig().chosen(FAMILIES) == {**expected, "stage_one": "stage_one"}
    assert FusionStageConfig(stage_one_vector=False).chosen(FAMILIES) == expected


def test_named_ones_in_the_order_there_is() -> None:
    chosen = FusionStageConfig(modalities=("stage_one", "clip_text", "words")).chosen(FAMILIES)
    assert list(chosen.items()) == [("words", "words"), ("clip_text", "clip"), ("stage_one", "stage_one")]


@pytest.mark.parametrize("config", [FusionStageConfig(modalities=("clip",)), FusionStageConfig(modalities=("stage_one",), stage_one_vector=False)])
def test_an_unknown_one_is_said_with_those_there_are(config: FusionStageConfig) -> None:
    with pytest.raises(ConfigError, match=r"there is no feature set '(clip|stage_one)'; there are words, clip_image, clip_text, photo"):
        config.chosen(FAMILIES)


@pytest.mark.parametrize("kind", ["late", "early", "attention"])
def test_every_kind_is_trained_from_memory_and_saved_members_answer_as_they_did(kind: str, tmp_path: Path) -> None:
    train, validation = data(), data(40, 1)
    own = task(train, kind=kind)
    states = [train_in_memory(own, train, validation, LOOP.model_copy(update={"seed": seed})) for seed in (0, 1)]
    for seed, state in enumerate(states):
        save_file(state, tmp_path / f"{seed}.safetensors")
    join_members([tmp_path / "0.safetensors", tmp_path / "1.safetensors"], tmp_path / "both.safetensors")
    together = trained_fusion(own, tmp_path / "both.safetensors", 2)
    each = member_logits(together, validation.vectors, validation.present)
    for seed in (0, 1):
        alone = trained_fusion(own, tmp_path / f"{seed}.safetensors")
        np.testing.assert_array_equal(each[seed], fused_logits(alone, validation.vectors, validation.present))
        np.testing.assert_array_equal(member_logits(alone, validation.vectors, validation.present)[0], each[seed])
    assert not np.allclose(each[0], each[1])
    assert fused_logits(together, validation.vectors, validation.present).shape == (40, len(TREE))


def test_training_from_memory_leaves_out_what_has_no_modality_and_draws_by_the_seed() -> None:
    train, validation = data(), data(40, 1)
    assert (~train.present.any(axis=1)).any()
    own = task(train)
    first, again = train_in_memory(own, train, validation, LOOP), train_in_memory(own, train.readable(), validation, LOOP)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    other = train_in_memory(own, train, validation, LOOP.model_copy(update={"seed": 1}))
    assert not torch.equal(first["fusion.head.linear.weight"], other["fusion.head.linear.weight"])


def test_a_subset_keeps_columns_with_their_names() -> None:
    whole = data()
    part = whole.of(["photo"])
    assert list(part.vectors) == ["photo"]
    np.testing.assert_array_equal(part.present[:, 0], whole.present[:, 1])
    assert len(part.readable().targets) == int(whole.present[:, 1].sum())


def test_a_hidden_modality_still_learns_from_its_own_loss() -> None:
    given = data(32)
    batch = {name: torch.from_numpy(values) for name, values in given.vectors.items()}
    batch |= {"present": torch.ones(32, 2, dtype=torch.uint8), "targets": torch.from_numpy(given.targets)}
    for weight, arrives in ((0.5, True), (0.0, False)):
        torch.manual_seed(0)
        # Nearly every product loses one of its inputs, and none keeps both.
        own = task(given, input_dropout=0.999, modality_loss=weight)
        module = own.build().train()
        words = batch["words"].clone().requires_grad_()
        module({**batch, "words": words}).backward()
        assert bool((words.grad.abs().sum(dim=1) > 0).all()) is arrives


def test_an_epoch_is_judged_with_all_inputs_and_with_one_kind_alone() -> None:
    own = task(data())
    present = torch.tensor([[True, True], [True, False], [False, True]])
    # Those that have one kind only are judged by it in every view.
    assert [view.tolist() for view in own._views(present)] == [
        present.tolist(),
        [[False, True], [True, False], [False, True]],
        [[True, False], [True, False], [False, True]],
    ]
    titles = FusionStageTask(own.modalities[:1], TREE, own.config)
    assert [view.tolist() for view in titles._views(present[:, :1])] == [present[:, :1].tolist()]
