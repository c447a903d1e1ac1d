import numpy as np
import pytest

from prodcat.evaluation import shift


def test_label_mixes() -> None:
    assert shift.label_divergence([1, 2, 2], [2, 1, 2]) == pytest.approx(0)
    assert shift.label_divergence([1, 1], [2, 3]) == pytest.approx(1)
    assert 0 < shift.label_divergence([1, 2], [1, 1]) < 1


def test_vocabulary_counts_running_words_and_blind_titles() -> None:
    found = shift.vocabulary(["red dress", "blue shirt"], ["Red SHIRT", "robe rouge", "robe, bleue (shirt)"])
    # red shirt | robe rouge | robe bleue shirt: four of seven running words are unknown
    assert found["unknown_words"] == pytest.approx(4 / 7)
    assert found["without_known_word"] == pytest.approx(1 / 3)
    assert 0 < found["divergence"] < 1


def test_platforms_alike_cannot_be_told_apart_and_others_can() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(300, 8))
    area, odds = shift.telling_apart(known, rng.normal(size=(300, 8)), 0)
    assert area == pytest.approx(0.5, abs=0.1)
    assert odds.shape == (300,)
    far, _ = shift.telling_apart(known, rng.normal(size=(300, 8)) + 3, 0)
    assert far > 0.99


def test_products_that_look_like_the_platform_weigh_more() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(400, 4))
    _, odds = shift.telling_apart(known, rng.normal(size=(400, 4)) + np.array([2, 0, 0, 0]), 0)
    assert np.corrcoef(known[:, 0], np.log(odds))[0, 1] > 0.9


def test_label_weights_give_the_platforms_mix() -> None:
    known, platform = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    weights = shift.label_weights(known, platform)
    assert weights[:3].sum() / weights.sum() == pytest.approx(0.25)
    assert shift.label_weights(known, np.array([1])).tolist() == [0, 0, 0, 4]


def test_a_loss_that_the_label_mix_makes_is_explained_by_it() -> None:
    # Category 0 is always right and category 1 never, wherever; the platform has more of 1.
    target = np.repeat([0, 1], [80, 20])
    sums = np.where((target == 0)[:, None], [2, 2, 2], [0, 2, 2])
    platform = np.repeat([0, 1], [20, 80])
    steps = shift.explained(sums, [("labels", shift.label_weights(target, platform))], unseen_f1=0.2)
    assert [step["what"] for step in steps] == ["labels", "rest"]
    assert steps[0]["explains"] == pytest.approx(1)
    assert steps[1]["explains"] == pytest.approx(0, abs=1e-9)


def test_nothing_lost_explains_nothing() -> None:
    steps = shift.explained(np.tile([2, 2, 2], (5, 1)), [("labels", np.ones(5))], unseen_f1=1.0)
    assert [step["explains"] for step in steps] == [None, None]


def test_no_known_product_like_the_platform() -> None:
    steps = shift.explained(np.tile([2, 2, 2], (5, 1)), [("labels", np.zeros(5))], unseen_f1=0.5)
    assert [step["explains"] for step in steps] == [0, 1]
