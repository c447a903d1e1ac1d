"""A byte-level BPE vocabulary learned from titles, and vocabularies that come with weights. Knows no model; the files are read by the tokenizers
library alone and by transformers.

Bytes are the alphabet, so there is no title in any language that it cannot write. Titles are NFKC-normalised and lower-cased first (our choice: shops
differ in case, and a small vocabulary should not pay for it twice).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from shutil import copyfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from prodcat.errors import EncoderError

BOS, PAD, EOS, UNKNOWN, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
SPECIAL = (BOS, PAD, EOS, UNKNOWN, MASK)
BOS_ID, PAD_ID, EOS_ID, UNKNOWN_ID, MASK_ID = range(5)


def learn(titles: Iterable[str], size: int) -> Tokenizer:
    """Learn a vocabulary.

    Args:
        titles: any number of texts, in any language.
        size: entries wanted. With few titles there are fewer: a pair of symbols must occur twice to become one.

    Returns:
        A tokenizer that puts <s> and </s> around a text; special tokens have the ids 0 to 4.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    # Lower-casing knows no language: it makes i and a loose dot of Turkish I with a dot, and i of the one without. Two in three titles of one real
    # shop were cut up by that dot; all four letters become one.
    turkish = [normalizers.Replace("i\u0307", "i"), normalizers.Replace("\u0131", "i")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *turkish])
    # A prefix space makes a word the same entry at the start of a title as inside.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(titles, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=[(BOS, BOS_ID), (EOS, EOS_ID)])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, max_tokens: int) -> None:
    """As tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        "bos_token": BOS,
        "cls_token": BOS,
        "pad_token": PAD,
        "eos_token": EOS,
        "sep_token": EOS,
        "unk_token": UNKNOWN,
        "mask_token": MASK,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def fetch(name: str, folder: Path) -> int:
    """Write the vocabulary that comes with a model to `folder`, as `save` does.

    Args:
        name: a folder in the hub's format, or a hub name.

    Returns:
        the id that fills short rows.

    Raises:
        EncoderError: there is none, or none that the tokenizers library reads and that has a padding token.
    """
    # Here and not above: the text replica reads vocabularies, and does without transformers.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise EncoderError(f"{name}: its tokenizer does not load ({error}); the folder needs tokenizer.json or vocabulary files") from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise EncoderError(f"{name}: needs a tokenizer with a tokenizer.json and a padding token; choose other weights")
    tokenizer.save_pretrained(folder)
    # transformers makes some vocabularies anew from their entries (XLM-R's among them), and what normalised the text before is then lost. The weights
    # learned from the file as it stands.
    if (own := _own_file(name)) is not None:
        copyfile(own, folder / "tokenizer.json")
    return int(tokenizer.pad_token_id)


def _own_file(name: str) -> Path | None:
    """The tokenizer.json of a folder or of a hub name; None where there is none."""
    if Path(name).is_dir():
        file = Path(name) / "tokenizer.json"
        return file if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    except EntryNotFoundError:
        return None
