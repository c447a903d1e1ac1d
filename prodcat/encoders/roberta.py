"""Text encoders of the transformers library: RoBERTa first, and whatever else AutoModel opens that gives one vector a token (BERT, XLM-R, MPNet).
Knows nothing of images.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn
from transformers import AutoModel, RobertaConfig, RobertaModel
from transformers.utils import logging as transformers_logging

from prodcat.encoders import vocabulary
from prodcat.encoders.encoder import EncoderConfig, Tower, needed
from prodcat.encoders.inputs import Manifest, TextInput, Tokens
from prodcat.encoders.towers import TextTower
from prodcat.errors import EncoderError


def scratch(config: EncoderConfig, part: Path, titles: Sequence[str]) -> Manifest:
    """Write a small RoBERTa with random weights and a vocabulary learned from `titles`."""
    shape = config.scratch.text
    tokenizer = vocabulary.learn(titles, shape.vocabulary)
    vocabulary.save(tokenizer, part, config.max_tokens)
    settings = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        # RoBERTa counts positions from pad_id + 1.
        max_position_embeddings=config.max_tokens + vocabulary.PAD_ID + 1,
        type_vocab_size=1,
        bos_token_id=vocabulary.BOS_ID,
        pad_token_id=vocabulary.PAD_ID,
        eos_token_id=vocabulary.EOS_ID,
    )
    module = RobertaModel(settings, add_pooling_layer=False)
    settings.save_pretrained(part)
    write(module, part)
    text = TextInput(**config.reading.model_dump(), max_tokens=config.max_tokens, pad_id=vocabulary.PAD_ID)
    return Manifest(family="roberta", pooling=config.chosen_pooling, dim=shape.width, text=text)


def fetch(config: EncoderConfig, name: str, part: Path, *, hub: bool) -> Manifest:
    """Write the encoder of a hub name or of a folder in the hub's format."""
    if not hub:
        needed(Path(name), "config.json", "model.safetensors")
    module = _model(name)
    limit = positions(module)
    if limit is not None and config.max_tokens > limit:
        raise EncoderError(f"{name}: reads at most {limit} tokens, max_tokens is {config.max_tokens}; set max_tokens to {limit} or less")
    pad = vocabulary.fetch(name, part)
    module.config.save_pretrained(part)
    write(module, part)
    text = TextInput(**config.reading.model_dump(), max_tokens=config.max_tokens, pad_id=pad)
    return Manifest(family="roberta", pooling=config.chosen_pooling, dim=int(module.config.hidden_size), text=text)


def write(module: nn.Module, part: Path) -> None:
    """Write the weights; the configuration beside them does not change in training."""
    # One file, however large: the folder's names are then always the same.
    save_model(module, str(part / "model.safetensors"), metadata={"format": "pt"})


def open_folder(folder: Path, manifest: Manifest) -> tuple[nn.Module, dict[str, Tower]]:
    needed(folder, "config.json", "model.safetensors", "tokenizer.json")
    if manifest.text is None:
        raise EncoderError(f"{folder / 'encoder.json'}: a text encoder needs 'text'; write the folder again")
    module = _model(str(folder))
    settings = manifest.text

    def forward(ids: torch.Tensor) -> torch.Tensor:
        mask = ids != settings.pad_id
        states = module(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if manifest.pooling == "cls":
            return torch.as_tensor(states[:, 0])
        weights = mask.unsqueeze(-1).to(states.dtype)
        return torch.as_tensor((states * weights).sum(1) / weights.sum(1))

    return module, {"text": TextTower(module, forward, Tokens(settings, folder), manifest.dim)}


def _model(name: str) -> Any:
    with _quiet():
        module, report = AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True)
    if getattr(module, "pooler", None) is not None:
        # Not read by us, and random in checkpoints that were saved without one.
        module.pooler = None
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing or report["mismatched_keys"]:
        raise EncoderError(f"{name}: the weights lack or do not fit {missing or report['mismatched_keys']}; they are of another model")
    return module


def positions(module: Any) -> int | None:
    """Tokens that a model of the transformers library reads at most; None if it does not say."""
    limit = getattr(module.config, "max_position_embeddings", None)
    if limit is None or limit <= 0:
        return None
    # RoBERTa's kin spend pad_id + 1 positions on nothing; their position embedding says so by its padding index.
    embedding = getattr(getattr(module, "embeddings", None), "position_embeddings", None)
    padding = getattr(embedding, "padding_idx", None)
    return int(limit) - (0 if padding is None else padding + 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bar and its table of unused heads, which reads like a failure."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
