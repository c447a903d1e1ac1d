import numpy as np
import pytest

from prodcat.evaluation.paired import paired

RIGHT, WRONG = [3, 3, 3], [1, 3, 3]


def sums(*rows: list[int]) -> np.ndarray:
    return np.array(rows)


def test_the_same_answers_differ_by_nothing() -> None:
    same = sums(RIGHT, WRONG, RIGHT, WRONG)
    found = paired(same, same, np.arange(4), 0)
    assert (found.difference, found.difference_ci, found.errors, found.errors_ci) == (0, [0, 0], 1, [1, 1])
    assert not found.shown


def test_errors_are_counted_against_the_others() -> None:
    rng = np.random.default_rng(0)
    second = np.where(rng.random(400)[:, None] < 0.5, WRONG, RIGHT)
    # Half of the second one's errors, in the same products.
    first = np.where((second == WRONG).all(axis=1)[:, None] & (np.arange(400)[:, None] % 2 == 0), RIGHT, second)
    found = paired(first, second, np.arange(400), 1)
    assert found.errors == pytest.approx(0.5, abs=0.1)
    low, high = found.errors_ci or [0, 0]
    assert low < found.errors < high
    assert found.shown
    assert found.difference_ci[0] > 0
    # What is shared between the two narrows the interval of the difference: it is drawn together.
    assert high - low < 0.2


def test_groups_are_drawn_whole() -> None:
    first, second = np.tile(RIGHT, (200, 1)), np.tile(RIGHT, (200, 1))
    second[:100] = WRONG
    narrow = paired(first, second, np.arange(200), 0).difference_ci
    wide = paired(first, second, np.arange(200) // 50, 0).difference_ci
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_no_error_to_compare_with() -> None:
    found = paired(sums(WRONG, RIGHT), sums(RIGHT, RIGHT), np.arange(2), 0)
    assert (found.errors, found.errors_ci) == (None, None)
    assert found.difference < 0
