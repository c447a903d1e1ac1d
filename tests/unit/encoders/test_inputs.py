"""Normalisation agrees with what timm and open_clip do to an image, to within rounding, and text is chosen and padded as said."""

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from timm.data import create_transform
from tokenizers import Tokenizer

from prodcat.encoders import vocabulary
from prodcat.encoders.inputs import ImageInput, Manifest, TextInput, TextReading, Tokens, product_text
from prodcat.errors import EncoderError

from .conftest import draw

SHAPES = [(64, 64), (90, 41), (33, 77), (224, 224), (20, 20), (301, 180)]


def _ours(image_input: ImageInput, image: Image.Image) -> np.ndarray:
    return image_input.normalise(torch.from_numpy(image_input.prepare(image))[None])[0].numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("mode", "crop", "filter_name"),
    [("center", 0.9, "bicubic"), ("center", 1.0, "bilinear"), ("squash", 0.875, "bicubic"), ("border", 0.95, "lanczos")],
)
def test_agrees_with_timm(shape: tuple[int, int], mode: str, crop: float, filter_name: str) -> None:
    config = {
        "input_size": (3, 56, 56),
        "crop_pct": crop,
        "crop_mode": mode,
        "interpolation": filter_name,
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.4),
    }
    image = draw(*shape)
    np.testing.assert_allclose(_ours(ImageInput.from_timm(config), image), create_transform(**config)(image).numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "filter_name"), [("shortest", "bicubic"), ("longest", "bicubic"), ("squash", "bilinear")])
def test_agrees_with_open_clip(shape: tuple[int, int], mode: str, filter_name: str) -> None:
    config = {"size": 56, "resize_mode": mode, "interpolation": filter_name, "fill_color": 7, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    image = draw(*shape)
    theirs = image_transform_v2(PreprocessCfg(**config), is_train=False)(image).numpy()
    np.testing.assert_allclose(_ours(ImageInput.from_open_clip(config), image), theirs, atol=1e-5)


def test_open_clip_settings_survive_the_round() -> None:
    image_input = ImageInput(size=56, resize="pad", interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), fill=(9, 9, 9))
    assert ImageInput.from_open_clip(image_input.to_open_clip()) == image_input


def test_a_sliver_costs_no_gigabytes_and_shows_its_middle() -> None:
    strip = Image.new("RGB", (40_000, 8), (0, 0, 255))
    strip.paste((255, 0, 0), (19_900, 0, 20_100, 8))
    seen = ImageInput(size=56).prepare(strip)
    assert seen.shape == (56, 56, 3)
    assert (seen == (255, 0, 0)).all()


def test_inputs_that_are_not_square_or_not_known_are_refused() -> None:
    with pytest.raises(EncoderError, match="only square"):
        ImageInput.from_timm({"input_size": (3, 56, 112)})
    with pytest.raises(EncoderError, match="preprocessing that is not supported"):
        ImageInput.from_timm({"input_size": (3, 56, 56), "crop_mode": "swirl"})


def test_jpeg_shrinking_leaves_the_resize_something_to_do() -> None:
    assert ImageInput(size=90, crop_pct=0.9).at_least == 200


@pytest.mark.parametrize(
    ("given", "fields", "expected"),
    [
        (("T", "D", "B"), ("title",), "T"),
        (("T", "D", "B"), ("title", "description", "brand"), "T. D. B"),
        (("T", None, "B"), ("brand", "description", "title"), "B. T"),
        ((None, "D", "B"), ("title",), "D"),
        ((None, "D", "B"), ("title", "brand"), "B"),
        ((None, None, "B"), ("title",), None),
        ((None, None, None), ("title", "description"), None),
    ],
)
def test_product_text(given: tuple[str | None, str | None, str | None], fields: tuple[str, ...], expected: str | None) -> None:
    assert product_text(*given, fields) == expected


VI = "Giày sandal nữ quai hậu"


@pytest.mark.parametrize(
    ("glossary", "language", "expected"),
    [
        ("off", "vi", VI),
        ("added", "vi", f"{VI} (sandals, women)"),
        ("instead", "vi", "sandals, women"),
        ("instead", "en", VI),
        # Not one word that the glossary knows: the text stays.
        ("instead", "vi", "Rosé 2024"),
        ("instead", None, "red dress for women"),
    ],
)
def test_a_reading_by_glossary(glossary: str, language: str | None, expected: str) -> None:
    given = VI if "Gi" in expected or "," in expected else expected
    assert TextReading(glossary=glossary).of(given, None, None, language) == expected


def test_a_language_of_its_own_is_read_as_it_stands() -> None:
    reading = TextReading(fields=("title", "description"), glossary="instead", own_languages=("vi",))
    assert reading.of(VI, "Dép", None, "vi") == f"{VI}. Dép"
    assert reading.of("Vestido rojo", None, None, "es") == "dresses"
    # English nouns stand for words of other languages, so English stays as it is though it is not the model's own.
    assert reading.of("Red dress", None, None, "en") == "Red dress"


def test_tokens_are_padded_to_the_longest_and_cut(tmp_path) -> None:
    vocabulary.save(vocabulary.learn(["blue shirt"], 320), tmp_path, 8)
    tokens = Tokens(TextInput(max_tokens=8, pad_id=1), tmp_path)
    ids = tokens.prepare(["b", "blue shirt " * 20])
    assert ids.dtype == np.int32
    assert ids.shape == (2, 8)
    assert ids[1, 0] == vocabulary.BOS_ID
    assert ids[1, -1] == vocabulary.EOS_ID
    short = tokens.prepare(["b"])[0]
    assert ids[0].tolist() == short.tolist() + [vocabulary.PAD_ID] * (8 - len(short))
    assert tokens.prepare([]).shape == (0, 0)


def test_special_tokens_typed_into_a_title_are_text(tmp_path) -> None:
    vocabulary.save(vocabulary.learn(["blue shirt"], 320), tmp_path, 32)
    ids = Tokens(TextInput(max_tokens=32, pad_id=1), tmp_path).prepare(["a <pad></s> b"])[0]
    assert ids.tolist().count(vocabulary.EOS_ID) == 1
    assert vocabulary.PAD_ID not in ids


def test_padding_saved_in_a_tokenizer_file_is_not_followed(tmp_path) -> None:
    tokenizer = vocabulary.learn(["blue shirt"], 320)
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(3)
    vocabulary.save(tokenizer, tmp_path, 32)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).padding is not None
    assert Tokens(TextInput(max_tokens=32, pad_id=1), tmp_path).prepare(["xyzxyz"]).shape == (1, 9)


def test_a_folder_without_description_is_named(tmp_path) -> None:
    with pytest.raises(EncoderError, match=r"encoder\.json: cannot be read"):
        Manifest.load(tmp_path)
    (tmp_path / "encoder.json").write_text('{"family": "roberta", "dim": 4, "meen": 1}')
    with pytest.raises(EncoderError, match="meen"):
        Manifest.load(tmp_path)
