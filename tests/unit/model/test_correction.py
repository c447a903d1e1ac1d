"""A correction: learned from a few labelled products, applied by its weights as it was fitted by its kernel."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from prodcat.decoding import decode, log_conditionals
from prodcat.model.correction import Correction, CorrectionConfig, Evidence, fit_correction
from prodcat.taxonomy import HeadLayout, Taxonomy

TREE = Taxonomy([("A", "a1"), ("A", "a2"), ("B", "b1"), ("B", "b2")])
LAYOUT = HeadLayout(TREE)
CONFIG = CorrectionConfig()
CENTRE = np.full(5, 0.4, dtype=np.float32)


def products(count: int, seed: int, wrong: bool = True) -> tuple[Evidence, np.ndarray]:
    """Products whose word says their leaf. Args: wrong: the models are sure that all are a1."""
    draws = np.random.default_rng(seed)
    leaf = draws.integers(0, 4, count)
    path = [("A", "a1"), ("A", "a2"), ("B", "b1"), ("B", "b2")]
    words = np.zeros((count, 12), dtype=np.float32)
    words[np.arange(count), leaf] = 0.8
    words[np.arange(count), 4 + draws.integers(0, 8, count)] = 0.6
    vectors = draws.normal(size=(count, 5)).astype(np.float32) + np.eye(5, dtype=np.float32)[leaf] * 2
    sure = np.array([TREE.index(("A",)), TREE.index(("A", "a1"))])
    logits = np.zeros((count, len(LAYOUT)), dtype=np.float32)
    logits[:, sure] = 6.0 if wrong else 0.0
    evidence = Evidence(logits, csr_matrix(words), {"text": vectors}, {"text": draws.random(count) < 0.9}, {"text": CENTRE})
    return evidence, TREE.targets([path[each] for each in leaf])


def right(logits: np.ndarray, targets: np.ndarray) -> float:
    return float((decode(logits, LAYOUT, "joint").nodes == targets[:, 1]).mean())


def test_a_few_labelled_products_move_what_was_surely_wrong() -> None:
    (pool, targets), (asked, truth) = products(60, 0), products(200, 1)
    before = right(asked.logits, truth)
    after = right(fit_correction(pool, targets, LAYOUT, CONFIG, 0).correct(asked), truth)
    assert before < 0.4
    assert after > 0.9


def test_confidences_are_softened_to_products_it_has_not_seen_and_never_sharpened() -> None:
    (pool, targets), (asked, truth) = products(100, 0), products(500, 1)
    rows = np.arange(500)

    def loss(logits: np.ndarray) -> float:
        return -float(log_conditionals(logits, LAYOUT)[rows, truth[:, 1]].mean())

    # Models that are sure of one category, and a correction that may change next to nothing of it.
    stiff = fit_correction(pool, targets, LAYOUT, CorrectionConfig(penalty=1e7), 0)
    assert stiff.scale[0] < 0.5
    assert loss(stiff.correct(asked)) < loss(stiff.correct(asked) / stiff.scale)
    assert 0.99 < fit_correction(pool, targets, LAYOUT, CONFIG, 0).scale[0] <= 1


def test_labels_that_stop_early_and_products_without_anything() -> None:
    evidence, targets = products(30, 2)
    targets[:10, 1] = -1
    correction = fit_correction(evidence, targets, LAYOUT, CONFIG, 0)
    nothing = Evidence(
        np.zeros((2, len(LAYOUT)), np.float32),
        csr_matrix((2, 12), dtype=np.float32),
        {"text": np.zeros((2, 5), np.float32)},
        {"text": np.zeros(2, dtype=bool)},
        {"text": CENTRE},
    )
    np.testing.assert_array_equal(correction.correct(nothing), 0)
    one = fit_correction(evidence.rows(np.arange(1)), targets[:1], LAYOUT, CONFIG, 0)
    assert np.isfinite(one.correct(evidence)).all()
    without_words = Evidence(evidence.logits, None, evidence.vectors, evidence.present, evidence.centres)
    assert fit_correction(without_words, targets, LAYOUT, CONFIG, 0).terms.size == 0


def test_what_all_products_share_says_nothing() -> None:
    evidence, targets = products(40, 7)
    moved = Evidence(evidence.logits, evidence.words, {"text": evidence.vectors["text"] + 50}, evidence.present, {"text": CENTRE + 50})
    found, again = (fit_correction(each, targets, LAYOUT, CONFIG, 0).correct(each) for each in (evidence, moved))
    np.testing.assert_allclose(found, again, atol=1e-3)


def test_what_is_loaded_corrects_as_what_was_saved(tmp_path: Path) -> None:
    evidence, targets = products(40, 3)
    correction = fit_correction(evidence, targets, LAYOUT, CONFIG, 0)
    correction.save(tmp_path / "correction.safetensors")
    again = Correction.load(tmp_path / "correction.safetensors")
    np.testing.assert_array_equal(again.correct(evidence), correction.correct(evidence))
    parts = correction.apply(evidence.logits, correction.from_words(evidence.words), evidence.vectors, evidence.present)
    np.testing.assert_array_equal(parts, correction.correct(evidence))


@pytest.mark.parametrize(("field", "value"), [("softness", 0.5), ("penalty", 0), ("folds", 1)])
def test_settings_that_make_no_sense_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        CorrectionConfig.model_validate({field: value})


def test_a_platform_that_is_answered_rightly_stays_so() -> None:
    targets, truth = products(20, 4)[1], products(200, 5)[1]
    # Every answer right, and fairly sure of it; words that say nothing.
    draws = np.random.default_rng(0)
    logits = [np.full((len(part), len(LAYOUT)), 0.0, dtype=np.float32) for part in (targets, truth)]
    for part, labels in zip(logits, (targets, truth), strict=True):
        np.put_along_axis(part, labels.astype(np.int64), 3.0, axis=1)
    noise = [csr_matrix(draws.random((len(part), 12)).astype(np.float32)) for part in (targets, truth)]
    own, other = (Evidence(part, words, {}, {}, {}) for part, words in zip(logits, noise, strict=True))
    correction = fit_correction(own, targets, LAYOUT, CONFIG, 0)
    assert right(correction.correct(other), truth) == 1.0
