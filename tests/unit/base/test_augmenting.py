"""Products as another shop might show them: each change does what it says, by key and seed; what is written keeps its label."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prodcat.augmenting import AugmentationConfig, ImageAugmentation, ImageChange, TextAugmentation, TextChange, write_augmented
from prodcat.contracts import PRODUCTS, rows_to_table
from prodcat.encoders.inputs import TextReading
from prodcat.images import ImageLimits
from prodcat.labelled import Labelled
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("Apparel", "Dresses"), ("Apparel", "Sweaters")])
NO_TEXT = dict.fromkeys(TextAugmentation.model_fields, 0.0)
NO_IMAGE = dict.fromkeys(("crop", "mirror", "light", "background"), 0.0)


def changed(text: str, of: str | None, seed: int = 0, **shares: float) -> str:
    return TextChange(TextAugmentation.model_validate({**NO_TEXT, **shares}), TREE)(text, of, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ({}, "Acme Blue jumper dress"),
        ({"brand": 1}, "Blue jumper dress"),
        ({"category": 1}, "Acme Blue jumper"),
        ({"phrasing": 1}, "Acme Blue dress"),  # a jumper dress is one
        ({"brand": 1, "category": 1, "phrasing": 1}, "Blue"),
    ],
)
def test_texts(shares: dict[str, float], found: str) -> None:
    assert changed("Acme Blue jumper dress", "ACME", **shares) == found


def test_a_text_never_vanishes_and_at_most_half_of_it_is_cut() -> None:
    assert changed("Dress", "dress", brand=1, category=1, cut=1) == "Dress"
    words = ["one", "two", "three", "four", "five", "six"]
    cuts = {changed(" ".join(words), None, seed, cut=1) for seed in range(40)}
    assert {len(cut.split()) for cut in cuts} == {3, 4, 5, 6}
    assert all(cut.split() in (words[: len(cut.split())], words[-len(cut.split()) :]) for cut in cuts)
    assert {changed("Red", None, seed, case=1) for seed in range(20)} == {"RED", "red"}
    assert changed("Red Acme thing", "Acme Co", brand=1) == "Red Acme thing"


def test_a_share_is_a_share_and_moves_no_other() -> None:
    dropped = [changed("Acme thing", "Acme", seed, brand=0.3) for seed in range(400)]
    assert 0.2 < np.mean([text == "thing" for text in dropped]) < 0.4
    with_case = [changed("Acme thing", "Acme", seed, brand=0.3, case=0.5).lower() for seed in range(400)]
    assert with_case == [text.lower() for text in dropped]


def photo() -> Image.Image:
    """White, with a red square left of the middle."""
    pixels = np.full((40, 60, 3), 255, dtype=np.uint8)
    pixels[10:30, 5:25] = (200, 20, 20)
    return Image.fromarray(pixels)


def shown(seed: int = 0, **shares: float) -> np.ndarray:
    config = ImageAugmentation.model_validate({**NO_IMAGE, **shares})
    return np.asarray(ImageChange(config)(photo(), np.random.default_rng(seed)))


def test_photos() -> None:
    own = np.asarray(photo())
    np.testing.assert_array_equal(shown(), own)
    np.testing.assert_array_equal(shown(mirror=1), own[:, ::-1])
    other = shown(background=1)
    assert (other[0, 0] < 240).all()
    np.testing.assert_array_equal(other[20, 10], own[20, 10])
    sizes = {shown(seed, crop=1, smallest_crop=0.5).shape for seed in range(20)}
    assert len(sizes) > 5
    assert all(0.45 <= height * width / 2400 <= 1 for height, width, _ in sizes)
    lit = [shown(seed, light=1)[20, 10] for seed in range(20)]
    assert len({tuple(pixel) for pixel in lit}) > 10


def test_what_is_written_keeps_key_and_label_and_is_the_same_again(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    photo().save(buffer, format="PNG")
    blank = {**dict.fromkeys(PRODUCTS.names), "platform": "s", "source": "x", "digest": "0"}
    rows = [
        {**blank, "key": f"s/{row}", "product_id": str(row), "row": row, "title": title, "brand": "Acme", "image": image}
        for row, (title, image) in enumerate(
            [("Acme red dress", None), (None, buffer.getvalue()), ("Acme jumper", b"broken"), (None, None), ("Acme, not learned from", None)]
        )
    ]
    pq.write_table(rows_to_table(rows, PRODUCTS), tmp_path / "products.parquet")
    train = Labelled(
        ["s/3", "s/2", "s/1", "s/0"], [None] * 4, TREE.targets([("Apparel",), ("Apparel", "Sweaters"), ("Apparel",), ("Apparel", "Dresses")]), "d"
    )
    config = AugmentationConfig(text=TextAugmentation(**{**NO_TEXT, "brand": 1.0}), image=ImageAugmentation())

    def write(name: str, config: AugmentationConfig) -> tuple[Labelled, list[dict[str, object]]]:
        file = tmp_path / name
        found = write_augmented([str(tmp_path / "products.parquet")], train, TREE, config, TextReading(), ImageLimits(), file)
        return found, pq.read_table(file).to_pylist()

    found, written = write("a.parquet", config)
    assert found.keys == [row["key"] for row in written] == ["s/0", "s/1", "s/2"]
    assert found.texts == ["red dress", None, "jumper"]
    assert found.targets.tolist() == train.targets[[3, 2, 1]].tolist()
    assert [row["image"] is None for row in written] == [True, False, True]
    assert len({row["digest"] for row in written} | {"0"}) == 4
    assert write("b.parquet", config)[1] == written
    images_alone = write("c.parquet", AugmentationConfig(text=None, image=ImageAugmentation(), seed=1))
    assert images_alone[0].keys == ["s/1"]
    assert images_alone[1][0]["image"] != written[1]["image"]
