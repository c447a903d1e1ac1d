"""Temperatures: overconfident logits are cooled down to what they are worth."""

import numpy as np

from prodcat.decoding import sibling_log_softmax
from prodcat.prediction.calibration import fit_temperatures
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f")])


def overconfident(seed: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits `factor` times as steep as the distribution that the labels were drawn from."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(3000, len(TREE))) * 2
    probability = np.exp(sibling_log_softmax(logits, TREE))
    first = np.where(generator.random(3000) < probability[:, TREE.index(("a",))], TREE.index(("a",)), TREE.index(("d",)))
    left = np.where(first == TREE.index(("a",)), TREE.index(("a", "b")), TREE.index(("d", "e")))
    second = np.where(generator.random(3000) < probability[np.arange(3000), left], left, left + 1)
    return (logits * factor).astype(np.float32), np.stack([first, second], axis=1)


def test_temperature_undoes_overconfidence_on_each_level() -> None:
    logits, targets = overconfident(0, 4.0)
    np.testing.assert_allclose(fit_temperatures(logits, targets, TREE), (4.0, 4.0), rtol=0.15)


def test_expected_calibration_error_falls() -> None:
    logits, targets = overconfident(1, 4.0)
    held_out, truth = overconfident(2, 4.0)
    temperatures = fit_temperatures(logits, targets, TREE)

    def error(values: np.ndarray) -> float:
        conditional = np.exp(values[:, :2])
        confidence, right = conditional.max(axis=1), conditional.argmax(axis=1) == truth[:, 0]
        bins = np.digitize(confidence, np.linspace(0.5, 1, 11))
        return sum(abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in range(12)) / len(truth)

    before, after = error(sibling_log_softmax(held_out, TREE)), error(sibling_log_softmax(held_out, TREE, temperatures))
    assert before > 0.1
    assert after < 0.03


def test_levels_without_evidence_keep_temperature_one() -> None:
    logits, targets = overconfident(3, 4.0)
    targets[:, 1] = -1
    assert fit_temperatures(logits, targets, TREE)[1] == 1.0
    assert fit_temperatures(logits[:5], targets[:5], TREE) == (1.0, 1.0)
