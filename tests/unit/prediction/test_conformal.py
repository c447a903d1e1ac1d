"""Conformal sets cover as often as they say, are as small as that allows, and always hold the answer."""

import numpy as np
import pytest

from prodcat.prediction.conformal import ConformalConfig, choose_conformal, common_path


def drawn(seed: int, rows: int, steepness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences over 12 ends, and truths drawn from them; `steepness` above 1 makes the confidences boastful."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(rows, 12)) * 3
    truth = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
    confidence = np.exp(scores * steepness)
    return confidence / confidence.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("steepness", [1.0, 3.0], ids=["honest", "boastful"])
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_cover_as_often_as_they_say(steepness: float, coverage: float) -> None:
    confidence, truth = drawn(0, 2000, steepness)
    conformal = choose_conformal(confidence[np.arange(2000), truth], ConformalConfig(coverage=coverage))
    new, answers = drawn(1, 2000, steepness)
    sets = [conformal.members(row, int(row.argmax())) for row in new]
    covered = np.mean([answer in members for answer, members in zip(answers, sets, strict=True)])
    assert coverage - 0.025 < covered < coverage + 0.06
    assert 1 <= np.mean([len(members) for members in sets]) < 8


def test_a_set_is_ranked_and_holds_the_answer() -> None:
    conformal = choose_conformal(np.linspace(0.2, 1, 100), ConformalConfig(coverage=0.9))
    assert 0.25 < conformal.threshold < 0.3
    assert conformal.members(np.array([0.1, 0.3, 0.5, 0.1]), 2).tolist() == [2, 1]
    assert conformal.members(np.array([0.1, 0.3, 0.5, 0.1]), 3).tolist() == [2, 1, 3]


def test_the_rank_is_that_of_the_next_product() -> None:
    assert ConformalConfig(coverage=0.9).fewest_products == 9
    assert choose_conformal(np.arange(1, 10) / 10, ConformalConfig(coverage=0.9)).threshold == 0.1
    # One product fewer could not cover nine in ten: everything is in the set.
    assert choose_conformal(np.arange(1, 9) / 10, ConformalConfig(coverage=0.9)).threshold == 0.0
    assert ConformalConfig().fewest_products == 0


def test_what_paths_share() -> None:
    assert common_path([("a", "b", "c"), ("a", "b", "d"), ("a", "b")]) == ("a", "b")
    assert common_path([("a", "b"), ("c",)]) == ()
    assert common_path([("a", "b")]) == ("a", "b")
