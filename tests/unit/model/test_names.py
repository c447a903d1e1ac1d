"""The names' expert: the nearest name wins, without a product to learn from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from prodcat.config import load
from prodcat.decoding import decode, log_conditionals
from prodcat.errors import ConfigError
from prodcat.model.names import Names, NamesConfig
from prodcat.profile import FitConfig
from prodcat.taxonomy import HeadLayout, Taxonomy

PATHS = [("Apparel", "Topwear", "Shirts"), ("Apparel", "Topwear", "Tshirts"), ("Apparel", "Dresses"), ("Footwear", "Sandals"), ("Watches",)]
TREE = Taxonomy(PATHS)
# A product may end at Topwear, too.
LAYOUT = HeadLayout(TREE, (TREE.index(("Apparel", "Topwear")),))
WORDS = ["shirts", "tshirts", "dresses", "sandals", "watches", "topwear", "apparel", "footwear"]


def encode(texts: Sequence[str]) -> np.ndarray:
    """A dimension a word."""
    return np.array([[float(word in text.lower().replace(",", "").split()) for word in WORDS] for text in texts])


def test_the_nearest_name_wins_in_every_decoder() -> None:
    names = Names.of(encode, LAYOUT, NamesConfig())
    logits = names.read(encode(["my sandals", "watches for men", "a tshirts", "topwear"]), LAYOUT)
    for decoder in ("greedy", "joint", "flat"):
        found = [TREE.categories[node].path for node in decode(logits, LAYOUT, decoder).nodes]
        assert found == [("Footwear", "Sandals"), ("Watches",), ("Apparel", "Topwear", "Tshirts"), ("Apparel", "Topwear")]
    np.testing.assert_allclose(log_conditionals(logits, LAYOUT), logits, atol=1e-5)


def test_what_is_loaded_says_what_was_saved(tmp_path: Path) -> None:
    names = Names.of(encode, LAYOUT, NamesConfig(sharpness=7.0))
    names.save(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(5, len(WORDS)))
    np.testing.assert_array_equal(Names.load(tmp_path).read(vectors, LAYOUT), names.read(vectors, LAYOUT))


def test_a_profile_whose_names_have_no_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stage_two\.names\.encoder: 'image' is no text encoder of this profile, which has text"):
        load(FitConfig, "offline", ["stage_two.names.encoder=image"])
