"""Encoders of the open_clip library: photos and titles in one space, two towers. Vectors have length 1, as CLIP compares them.

Knows how open_clip writes its folders: open_clip_config.json (model_cfg, preprocess_cfg), open_clip_model.safetensors, tokenizer.json. A text tower
of the transformers library (XLM-R in the multilingual CLIPs) is there only named; text_config.json beside says what it is, so that no hub is asked.
"""

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.model import get_model_preprocess_cfg
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_model
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional

from prodcat.encoders import vocabulary
from prodcat.encoders.encoder import EncoderConfig, Tower, needed
from prodcat.encoders.inputs import ImageInput, Manifest, TextInput, Tokens
from prodcat.encoders.roberta import positions
from prodcat.encoders.towers import ImageTower, TextTower
from prodcat.errors import EncoderError

CONFIG, WEIGHTS, TEXT_CONFIG = "open_clip_config.json", "open_clip_model.safetensors", "text_config.json"


def scratch(config: EncoderConfig, part: Path, titles: Sequence[str]) -> Manifest:
    """Write a small CLIP with random weights (image tower from `vision_from`, if named) and a vocabulary learned from `titles`."""
    text, image = config.scratch.text, config.scratch.image
    tokenizer = vocabulary.learn(titles, text.vocabulary)
    vocabulary.save(tokenizer, part, config.max_tokens)
    text_cfg = {
        "context_length": config.max_tokens,
        "vocab_size": tokenizer.get_vocab_size(),
        # open_clip takes the folder's own tokenizer.json when any name stands here.
        "hf_tokenizer_name": "learned",
        "width": text.width,
        "heads": text.heads,
        "layers": text.layers,
        "pool_type": "eos",
        "eos_id": vocabulary.EOS_ID,
        "pad_id": vocabulary.PAD_ID,
    }
    reads = ImageInput(size=image.size, resize="squash")
    vision_cfg: dict[str, Any] = {"image_size": image.size}
    start: Any = None
    if config.scratch.vision_from is None:
        vision_cfg |= {"patch_size": image.patch, "layers": image.layers, "width": image.width, "head_width": image.width // image.heads}
    else:
        start = _start(Path(config.scratch.vision_from).expanduser(), image.size)
        theirs = ImageInput.from_timm(start.pretrained_cfg)
        reads = reads.model_copy(update={"mean": theirs.mean, "std": theirs.std, "interpolation": theirs.interpolation})
        vision_cfg |= {"timm_model_name": start.pretrained_cfg["architecture"], "timm_pool": "token", "timm_proj": "linear"}
    model_cfg = {"embed_dim": config.scratch.embed_dim, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    module = _build(model_cfg, part)
    if start is not None:
        try:
            module.visual.trunk.load_state_dict(start.state_dict())
        except RuntimeError as error:
            name = vision_cfg["timm_model_name"]
            raise EncoderError(
                f"vision_from {config.scratch.vision_from}: not shaped as timm's {name}, which open_clip builds by name alone"
            ) from error
    settings = TextInput(**config.reading.model_dump(), max_tokens=config.max_tokens, pad_id=vocabulary.PAD_ID)
    return _save(module, part, model_cfg, reads.to_open_clip(), settings)


def _start(folder: Path, size: int) -> Any:
    """The ViT that CLIP's image tower starts from, its position embeddings resampled to `size` pixels."""
    needed(folder, "config.json", "model.safetensors")
    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, img_size=size)
    except (RuntimeError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise EncoderError(
            f"vision_from {folder}: not a timm ViT that can see {size} pixels ({error}); choose another folder or image.size"
        ) from error


def fetch(config: EncoderConfig, name: str, part: Path, *, hub: bool) -> Manifest:
    """Write the encoder of a hub name ("MODEL/TAG" of open_clip, or "hf-hub:OWNER/NAME") or of a folder in the hub's format."""
    if hub:
        place, tag = (name, None) if name.startswith("hf-hub:") else _split(name)
        model_cfg = open_clip.get_model_config(place)
        if tag is not None:
            weights = open_clip.download_pretrained(open_clip.get_pretrained_cfg(place, tag))
            if not str(weights).endswith(".safetensors"):
                raise EncoderError(f"hub:{name}: its weights are no safetensors ({weights}); choose another tag")
    else:
        needed(Path(name), CONFIG, WEIGHTS)
        place, tag = f"local-dir:{name}", None
        model_cfg = _read(Path(name))["model_cfg"]
    _check(model_cfg, name)
    try:
        module: Any = open_clip.create_model(place, pretrained=tag, require_pretrained=True) if hub else _of_folder(Path(name))
    except (RuntimeError, ValueError, KeyError) as error:
        if hub:
            raise
        raise EncoderError(f"{name}: not an open_clip model's folder ({error})") from error
    length = int(model_cfg["text_cfg"].get("context_length", 77))
    pad = _write_tokenizer(name if hub else str(Path(name)), model_cfg, part)
    if _is_transformers(model_cfg):
        model_cfg = copy.deepcopy(model_cfg)
        model_cfg["text_cfg"]["hf_model_pretrained"] = False
        _write_text_config(module, name, part, length, pad)
    settings = TextInput(**config.reading.model_dump(), max_tokens=length, pad_id=pad)
    return _save(module, part, model_cfg, get_model_preprocess_cfg(module), settings)


def _is_transformers(model_cfg: dict[str, Any]) -> bool:
    return bool(model_cfg["text_cfg"].get("hf_model_name"))


def _of_folder(folder: Path) -> Any:
    """The model of a folder in open_clip's format. A text tower of transformers, which the format only names, is built by text_config.json."""
    document = _read(folder)
    if not _is_transformers(document["model_cfg"]):
        return open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
    if not (folder / TEXT_CONFIG).is_file():
        name = document["model_cfg"]["text_cfg"]["hf_model_name"]
        raise EncoderError(
            f"{folder}: its text tower is {name} of the transformers library, and nothing here says what that is; put the config.json of {name} into "
            f"the folder as {TEXT_CONFIG}"
        )
    # open_clip builds the tower by its name: in this copy the name is a file.
    with tempfile.TemporaryDirectory() as scratch:
        document["model_cfg"]["text_cfg"]["hf_model_name"] = str((folder / TEXT_CONFIG).absolute())
        (Path(scratch) / CONFIG).write_text(json.dumps(document), encoding="utf-8")
        (Path(scratch) / WEIGHTS).symlink_to((folder / WEIGHTS).absolute())
        return open_clip.create_model(f"local-dir:{scratch}", require_pretrained=True)


def _write_text_config(module: Any, name: str, part: Path, length: int, pad: int) -> None:
    config = module.text.config
    limit = positions(module.text.transformer)
    if limit is not None and length > limit:
        raise EncoderError(f"{name}: its text tower reads at most {limit} tokens, context_length is {length}; its configuration does not fit")
    if config.pad_token_id != pad:
        raise EncoderError(f"{name}: its text tower fills with {config.pad_token_id}, its tokenizer with {pad}; they are of two models")
    # Whatever the weights were once saved in, they are read and written as they stand.
    config.dtype = torch.float32
    config.to_json_file(part / TEXT_CONFIG, use_diff=False)


def _split(name: str) -> tuple[str, str]:
    model, slash, tag = name.partition("/")
    if not slash or open_clip.get_pretrained_cfg(model, tag) == {}:
        raise EncoderError(
            f"hub:{name}: open_clip knows no such weights; expected is MODEL/TAG, for example ViT-B-32/laion2b_s34b_b79k, or hf-hub:OWNER/NAME"
        )
    return model, tag


def _check(model_cfg: dict[str, Any], name: str) -> None:
    text = model_cfg["text_cfg"]
    unsupported = [key for key in ("tokenizer_kwargs", "tokenizer_mode") if text.get(key)]
    unsupported += ["multimodal_cfg"] if "multimodal_cfg" in model_cfg else []
    if unsupported:
        raise EncoderError(f"{name}: its configuration has {', '.join(unsupported)}, which prodcat does not carry in a folder; choose a plain CLIP")


def _write_tokenizer(name: str, model_cfg: dict[str, Any], part: Path) -> int:
    """Write tokenizer.json; return the id that fills short rows."""
    source = model_cfg["text_cfg"].get("hf_tokenizer_name")
    if not source:
        openai_tokenizer().save(str(part / "tokenizer.json"))
        return 0
    return vocabulary.fetch(name if Path(name).is_dir() else source, part)


def openai_tokenizer() -> Tokenizer:
    """CLIP's own vocabulary, which open_clip ships, for the tokenizers library (Radford et al. 2021, arXiv 2103.00020).

    The same ids as open_clip.SimpleTokenizer, but for what that mends before: HTML entities, full-width forms and broken Unicode.
    """
    origin = SimpleTokenizer()
    start, end = "<start_of_text>", "<end_of_text>"
    tokenizer = Tokenizer(models.BPE(vocab=origin.encoder, merges=list(origin.bpe_ranks), end_of_word_suffix="</w>", unk_token=end))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
            normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(token, origin.encoder[token]) for token in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)
    return tokenizer


def _save(module: Any, part: Path, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], text: TextInput) -> Manifest:
    image = ImageInput.from_open_clip(preprocess_cfg)
    (part / CONFIG).write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}, indent=1) + "\n", encoding="utf-8")
    write(module, part)
    return Manifest(family="clip", dim=int(model_cfg["embed_dim"]), text=text, image=image)


def write(module: nn.Module, part: Path) -> None:
    """Write the weights, logit_scale among them; the configuration beside them does not change in training."""
    save_model(module, str(part / WEIGHTS), metadata={"format": "pt"})


def open_folder(folder: Path, manifest: Manifest) -> tuple[nn.Module, dict[str, Tower]]:
    needed(folder, CONFIG, WEIGHTS, "tokenizer.json")
    if manifest.text is None or manifest.image is None:
        raise EncoderError(f"{folder / 'encoder.json'}: CLIP needs 'text' and 'image'; write the folder again")
    model_cfg = _read(folder)["model_cfg"]
    if _is_transformers(model_cfg):
        needed(folder, TEXT_CONFIG)
    module = _build(model_cfg, folder)
    open_clip.load_checkpoint(module, str(folder / WEIGHTS))
    length, pad = manifest.text.max_tokens, manifest.text.pad_id

    def text(ids: torch.Tensor) -> torch.Tensor:
        if _is_transformers(model_cfg):
            # It masks what is filled, so there is no need to fill up.
            return torch.as_tensor(module.encode_text(ids, normalize=True))
        # open_clip adds all position embeddings, so rows are filled up; its causal mask and pooling at the end token keep the filling unseen.
        return torch.as_tensor(module.encode_text(functional.pad(ids, (0, length - ids.shape[1]), value=pad), normalize=True))

    def image(pixels: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(module.encode_image(pixels, normalize=True))

    return module, {
        "image": ImageTower(module, image, manifest.image, manifest.dim),
        "text": TextTower(module, text, Tokens(manifest.text, folder), manifest.dim),
    }


def _build(model_cfg: dict[str, Any], folder: Path) -> Any:
    """open_clip.create_model without weights, and with a timm tower at the configured size: create_model builds that at the tower's own.

    Args:
        folder: holds text_config.json, if the text tower is one of transformers.
    """
    settings = copy.deepcopy(model_cfg)
    custom = settings.pop("custom_text", False) or _is_transformers(model_cfg)
    if _is_transformers(model_cfg):
        settings["text_cfg"]["hf_model_name"] = str(folder / TEXT_CONFIG)
    module = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**settings)
    size, trunk = settings["vision_cfg"].get("image_size", 224), getattr(module.visual, "trunk", None)
    if trunk is not None and hasattr(trunk, "set_input_size"):
        module.visual.set_input_size(size)
    return module


def _read(folder: Path) -> Any:
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if {"embed_dim", "vision_cfg", "text_cfg"} <= set(document["model_cfg"]):
            return document
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderError(f"{folder / CONFIG}: not open_clip's configuration ({error!r})") from error
    raise EncoderError(f"{folder / CONFIG}: model_cfg lacks embed_dim, vision_cfg or text_cfg")
