"""Tiny encoders of every family and every kind of source, made once. They read titles in several scripts and images of several shapes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, RobertaConfig, RobertaForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaModel

from prodcat.encoders import hub, vocabulary
from prodcat.encoders.encoder import Encoder, EncoderConfig, ImageScratch, ScratchConfig, TextScratch, obtain

TITLES = [
    "Blue cotton shirt",
    "blue Shirt with long sleeves and a very long title indeed, for men",
    "Зимняя куртка",
    "女士 连衣裙",
    "Кеды",
    "shirt",
    "a",
]
# Written for these tests, in scripts that part words differently, or not at all.
WORLD = [
    "Áo dài tay nữ màu xanh dương",
    "여성용 긴팔 원피스 블랙",
    "Синее платье с длинным рукавом",
    "فستان أزرق بأكمام طويلة",
    "レディース 長袖 ワンピース",
    "dress 👗 red ❤️",
    "ＦＵＬＬ width №5",
]
TINY = ScratchConfig(
    text=TextScratch(layers=1, width=16, heads=2, vocabulary=320), image=ImageScratch(size=32, patch=16, layers=1, width=12, heads=3), embed_dim=8
)


def draw(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth noise: it has edges and colours, and no symmetry that could hide a wrong crop."""
    rough = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


IMAGES = [draw(40, 30, 1), draw(32, 32, 2), draw(20, 90, 3)]


def hf_roberta(folder: Path) -> None:
    """As the hub has roberta-base: a masked language model, so without a pooler and with a head."""
    tokenizer = vocabulary.learn(TITLES, 320)
    vocabulary.save(tokenizer, folder, 20)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 22}
    torch.manual_seed(0)
    RobertaForMaskedLM(RobertaConfig(vocab_size=tokenizer.get_vocab_size(), type_vocab_size=1, pad_token_id=1, **shape)).save_pretrained(folder)


def hf_bert(folder: Path) -> None:
    tokenizer = vocabulary.learn(TITLES, 320)
    vocabulary.save(tokenizer, folder, 20)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 20}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), pad_token_id=1, **shape)).save_pretrained(folder)


def unigram(folder: Path) -> int:
    """A vocabulary as XLM-R has it (Unigram over SentencePiece's ▁, special tokens first, <mask> last); returns its entries."""
    tokenizer = Tokenizer(models.Unigram())
    # XLM-R's is a compiled table; what matters is that there is one, and that it does something.
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        [*TITLES, *WORLD] * 3, trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512, "mask_token": "<mask>", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer.get_vocab_size()


def xlm_roberta(entries: int) -> XLMRobertaConfig:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 22}
    return XLMRobertaConfig(vocab_size=entries, type_vocab_size=1, pad_token_id=1, **shape)


def hf_xlm_roberta(folder: Path) -> None:
    """As the hub has xlm-roberta-base."""
    settings = xlm_roberta(unigram(folder))
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(settings).save_pretrained(folder)


def timm_vit(folder: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=48, embed_dim=12, depth=1, num_heads=3, num_classes=5)
    data = {"input_size": (3, 48, 48), "crop_pct": 0.9, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "interpolation": "bilinear"}
    save_for_hf(model, str(folder), safe_serialization=True, data_config=data)


def open_clip_model(folder: Path) -> None:
    """As the hub has CLIP: open_clip's own vocabulary, no tokenizer files."""
    text = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 12, "head_width": 4}, "text_cfg": text}
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "resize_mode": "shortest", "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def open_clip_xlm_roberta(folder: Path) -> None:
    """As the hub has open_clip's xlm-roberta-base-ViT-B-32: the text tower is named only; what it is stands in text_config.json beside."""
    settings = xlm_roberta(unigram(folder))
    settings.to_json_file(folder / "text_config.json", use_diff=False)
    text = {"hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base", "hf_pooler_type": "mean_pooler", "context_length": 20}
    config = {"embed_dim": 8, "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 12, "head_width": 4}, "text_cfg": text}
    torch.manual_seed(0)
    local = {**text, "hf_model_name": str(folder / "text_config.json"), "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(**{**config, "text_cfg": local})
    assert isinstance(model.text.transformer, XLMRobertaModel)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "resize_mode": "shortest", "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def plain_vit(folder: Path) -> None:
    """A ViT shaped as timm names it: what CLIP's image tower can start from."""
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit"), str(folder), safe_serialization=True, data_config={"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)})


HUB_FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "hf_roberta": ("roberta", hf_roberta),
    "hf_bert": ("roberta", hf_bert),
    "hf_xlm_roberta": ("roberta", hf_xlm_roberta),
    "timm": ("vit", timm_vit),
    "open_clip": ("clip", open_clip_model),
    "open_clip_xlm_roberta": ("clip", open_clip_xlm_roberta),
}
CASES = ("scratch_roberta", "scratch_vit", "scratch_clip", *HUB_FORMATS)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small lose time to threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine reaches, and whatever it has kept of a hub, these tests see none."""
    monkeypatch.setattr(hub, "reachable", lambda: False)


@pytest.fixture(scope="session")
def hub_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in the three hubs' own formats."""
    folders = {}
    for name, (_, write) in HUB_FORMATS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        write(folders[name])
    return folders


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory, hub_folders: dict[str, Path]) -> dict[str, Encoder]:
    """One encoder a case, in evaluation mode; tests must leave them as they are."""
    made = {}
    for case in CASES:
        if case in HUB_FORMATS:
            config = EncoderConfig(family=HUB_FORMATS[case][0], source=str(hub_folders[case]), max_tokens=20)
        else:
            config = EncoderConfig(family=case.removeprefix("scratch_"), scratch=TINY, max_tokens=20)
        made[case] = obtain(config, tmp_path_factory.mktemp("made") / case, TITLES).encoder
    return made
