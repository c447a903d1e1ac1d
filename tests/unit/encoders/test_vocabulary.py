"""The learned vocabulary: whole, small where titles are few, the same every time, and read alike by both libraries."""

import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from prodcat.encoders import vocabulary

from .conftest import TITLES


def test_special_tokens_come_first() -> None:
    tokenizer = vocabulary.learn(TITLES, 320)
    assert [tokenizer.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [0, 1, 2, 3, 4]
    assert tokenizer.encode("shirt").ids[0] == 0
    assert tokenizer.encode("shirt").ids[-1] == 2


@pytest.mark.parametrize("titles", [[], ["one"], TITLES])
def test_few_titles_give_a_smaller_vocabulary_that_writes_everything(titles: list[str]) -> None:
    tokenizer = vocabulary.learn(titles, 8000)
    assert 5 + 256 <= tokenizer.get_vocab_size() < 8000
    ids = tokenizer.encode("Ünbekannt 女士 👗").ids
    assert vocabulary.UNKNOWN_ID not in ids
    assert tokenizer.decode(ids).strip() == "ünbekannt 女士 👗"


def test_frequent_words_become_entries_whatever_their_case_and_place() -> None:
    tokenizer = vocabulary.learn(["Blue SHIRT", "shirt blue", "ＳＨＩＲＴ"] * 5, 400)
    assert len({tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in ("shirt", "SHIRT", "ｓｈｉｒｔ")}) == 1
    assert len(tokenizer.encode("shirt", add_special_tokens=False).ids) == 1


def test_turkish_capitals_are_the_same_words() -> None:
    tokenizer = vocabulary.learn(["kiremit ışık elbise"] * 5, 400)
    for capital, small in (("KİREMİT", "kiremit"), ("IŞIK", "ışık"), ("İ", "i"), ("I", "ı")):
        assert tokenizer.encode(capital).ids == tokenizer.encode(small).ids
    assert len(tokenizer.encode("KİREMİT", add_special_tokens=False).ids) == 1


@pytest.mark.parametrize(
    "title", ["여성용 긴팔 원피스", "Áo dài tay nữ", "Синее платье", "فستان أزرق طويل", "ワンピース 長袖", "kırmızı elbise", "dress 👗❤️"]
)
def test_every_script_is_written_whole_composed_or_not(title: str) -> None:
    tokenizer = vocabulary.learn([title] * 4, 600)
    ids = tokenizer.encode(title, add_special_tokens=False).ids
    assert len(ids) == len(title.split())
    assert vocabulary.UNKNOWN_ID not in tokenizer.encode("strange " + title[::-1]).ids
    assert tokenizer.encode(unicodedata.normalize("NFD", title), add_special_tokens=False).ids == ids


def test_learning_twice_gives_the_same() -> None:
    assert vocabulary.learn(TITLES * 3, 350).to_str() == vocabulary.learn(TITLES * 3, 350).to_str()


def test_both_libraries_read_the_folder_alike(tmp_path: Path) -> None:
    vocabulary.save(vocabulary.learn(TITLES, 320), tmp_path, 64)
    bare, full = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), AutoTokenizer.from_pretrained(tmp_path)
    assert (full.pad_token_id, full.mask_token_id, full.model_max_length) == (1, 4, 64)
    for title in TITLES:
        assert full(title)["input_ids"] == bare.encode(title).ids
