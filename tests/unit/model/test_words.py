"""The model of words: what is stored is what was fitted, and what it says is a distribution on the tree."""

from pathlib import Path

import numpy as np
import pytest

from prodcat.decoding import averaged, decode, log_conditionals
from prodcat.errors import BundleError, TrainingError
from prodcat.model.words import Words
from prodcat.taxonomy import HeadLayout, Taxonomy
from prodcat.training.words import Refit, WordsConfig, ends_of, fit_words

PATHS = [("Apparel", "Topwear", "Shirts"), ("Apparel", "Topwear", "Tshirts"), ("Apparel", "Dresses"), ("Footwear", "Sandals"), ("Watches",)]
TREE = Taxonomy(PATHS)
LAYOUT = HeadLayout(TREE)
NOUNS = ["checked shirt", "printed tshirt", "summer dress", "leather sandals", "analog watch"]
CONFIG = WordsConfig(min_products=(1, 1))


def catalog(count: int = 60) -> tuple[list[str], np.ndarray]:
    texts = [f"Brand{row % 7} {NOUNS[row % 5]} number {row}" for row in range(count)]
    return texts, TREE.targets([PATHS[row % 5] for row in range(count)])


@pytest.fixture(scope="module")
def words() -> Words:
    return fit_words(*catalog(), LAYOUT, CONFIG, 0)


def test_it_learns_the_nouns_and_every_decoder_reads_it(words: Words) -> None:
    logits = words.read([f"Other {noun}, new" for noun in NOUNS], LAYOUT)
    assert logits.dtype == np.float32
    for decoder in ("greedy", "joint", "flat"):
        assert [TREE.categories[node].path for node in decode(logits, LAYOUT, decoder).nodes] == PATHS
    # log p(column | parent): the siblings of every group add up to 1, so the softmax changes nothing.
    np.testing.assert_allclose(log_conditionals(logits, LAYOUT), logits, atol=1e-4)


def test_a_text_without_a_known_term_says_nothing(words: Words) -> None:
    assert not words.read(["żółć", ""], LAYOUT).any()
    assert words.read([], LAYOUT).shape == (0, len(LAYOUT))
    assert words.matrix([]).shape[0] == 0


def test_a_text_is_read_the_same_alone_and_among_others(words: Words) -> None:
    texts = [*catalog(9)[0], "żółć"]
    together = words.read(texts, LAYOUT)
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(words.read([text], LAYOUT)[0], together[row])


def test_what_is_loaded_says_what_was_saved(words: Words, tmp_path: Path) -> None:
    words.save(tmp_path)
    texts = catalog(9)[0]
    np.testing.assert_array_equal(Words.load(tmp_path).read(texts, LAYOUT), words.read(texts, LAYOUT))
    fewer = Words(words.parts[:1], words.idf, words.weights, words.bias, words.columns, words.sharpness)
    fewer.save(tmp_path)
    with pytest.raises(BundleError, match=r"words.json: not the terms of words.safetensors"):
        Words.load(tmp_path)


def test_a_label_above_an_end_teaches_nothing(words: Words) -> None:
    texts, targets = catalog()
    more = TREE.targets([("Apparel",)] * 3)
    again = fit_words([*texts, "odd thing", "odd one", "odd"], np.concatenate([targets, more]), LAYOUT, CONFIG, 0)
    assert again.parts == words.parts
    np.testing.assert_array_equal(again.weights, words.weights)


def test_two_categories_are_enough_and_one_is_not() -> None:
    texts, targets = catalog()
    two = [row for row in range(60) if row % 5 in (0, 4)]
    model = fit_words([texts[row] for row in two], targets[two], LAYOUT, CONFIG, 0)
    found = decode(model.read(["a checked shirt", "an analog watch"], LAYOUT), LAYOUT, "joint").nodes
    assert [TREE.categories[node].path for node in found] == [PATHS[0], PATHS[4]]
    with pytest.raises(TrainingError, match=r"fewer than two categories; set stage_two\.words to null"):
        fit_words(texts[:1], targets[:1], LAYOUT, CONFIG, 0)


def test_the_surer_of_two_readings_says_more() -> None:
    sure = np.where(LAYOUT.nodes == TREE.index(("Watches",)), 9.0, 0.0)[None].astype(np.float32)
    vague = np.where(LAYOUT.nodes == TREE.index(("Footwear",)), 0.5, 0.0)[None].astype(np.float32)
    for decoder in ("greedy", "joint", "flat"):
        assert TREE.categories[decode(averaged([sure, vague], LAYOUT, decoder), LAYOUT, decoder).nodes[0]].path == ("Watches",)
        # One reading alone stays what it is.
        np.testing.assert_allclose(
            log_conditionals(averaged([sure, sure], LAYOUT, decoder), LAYOUT, decoder), log_conditionals(sure, LAYOUT, decoder), atol=1e-4
        )
    mean = averaged([sure, vague], LAYOUT)
    level = LAYOUT.level_columns[0]
    by_hand = (np.exp(log_conditionals(sure, LAYOUT))[:, level] + np.exp(log_conditionals(vague, LAYOUT))[:, level]) / 2
    np.testing.assert_allclose(np.exp(log_conditionals(mean, LAYOUT))[:, level], by_hand, rtol=1e-5)


def of_another_shop(count: int) -> tuple[list[str], np.ndarray]:
    """A shop that says "summer" of sandals, where the first one says it of dresses."""
    return [f"summer number {row}" for row in range(count)], TREE.targets([PATHS[3]] * count)


def test_a_few_products_of_another_shop_change_what_their_words_say_and_nothing_else(words: Words) -> None:
    texts, targets = of_another_shop(8)
    refit = Refit(words, 0)
    adjustment = refit.adjustment(words.matrix(texts), ends_of(targets, LAYOUT))
    assert adjustment is not None
    asked = words.matrix(["summer number 99", "Brand1 checked shirt"])
    before, after = (decode(words.weigh(asked, LAYOUT, change), LAYOUT, "joint").nodes for change in (None, adjustment))
    assert [TREE.categories[node].path for node in before] == [PATHS[2], PATHS[0]]
    assert [TREE.categories[node].path for node in after] == [PATHS[3], PATHS[0]]
    # The same products again, the same change; and only of the terms they have.
    again = Refit(words, 0).adjustment(words.matrix(texts), ends_of(targets, LAYOUT))
    assert again is not None
    np.testing.assert_array_equal(again.weights, adjustment.weights)
    assert set(adjustment.terms.tolist()) == set(words.matrix(texts).indices.tolist())


def test_products_that_end_nowhere_or_have_no_known_word_adjust_nothing(words: Words) -> None:
    refit = Refit(words, 0)
    assert ends_of(TREE.targets([("Apparel",), PATHS[4]]), LAYOUT).tolist() == [-1, TREE.index(PATHS[4])]
    assert refit.adjustment(words.matrix(["checked shirt"]), np.array([-1])) is None
    assert refit.adjustment(words.matrix(["żółć"]), np.array([TREE.index(PATHS[0])])) is None


def test_lessons_are_some_of_each_category_and_are_saved(words: Words, tmp_path: Path) -> None:
    few = fit_words(*catalog(), LAYOUT, WordsConfig(min_products=(1, 1), lessons=3), 0)
    assert few.lessons is not None
    assert np.bincount(few.lessons.ends)[words.columns].tolist() == [3] * 5
    few.save(tmp_path)
    loaded = Words.load(tmp_path)
    texts, targets = of_another_shop(8)
    own, read = (Refit(model, 0).adjustment(model.matrix(texts), ends_of(targets, LAYOUT)) for model in (few, loaded))
    assert own is not None
    assert read is not None
    # Kept in half precision.
    np.testing.assert_allclose(read.weights, own.weights, atol=5e-3)
    none = fit_words(*catalog(), LAYOUT, WordsConfig(min_products=(1, 1), lessons=0), 0)
    assert none.lessons is None
    assert Refit(none, 0).adjustment(none.matrix(texts), ends_of(targets, LAYOUT)) is None
