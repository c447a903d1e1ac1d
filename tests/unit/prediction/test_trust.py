"""Stops, decoders, back-off and sets in the cascade's answers, the same alone and in any batch; and how `calibrate` puts them together."""

from dataclasses import asdict
from typing import get_args

import numpy as np
import pytest

from prodcat.calibrating import StageLogits, calibrate, check_enough
from prodcat.contracts import PREDICTIONS, Product, rows_to_table
from prodcat.decoding import DecoderName
from prodcat.encoders.inputs import TextReading
from prodcat.errors import TaxonomyError, TrainingError
from prodcat.prediction.backoff import Backoff, BackoffConfig
from prodcat.prediction.batch import prediction_row
from prodcat.prediction.calibration import Calibration, CalibrationConfig, whole_labels
from prodcat.prediction.cascade import Answer, Cascade, CascadeSettings, StageTwoOutput, Unsure
from prodcat.prediction.conformal import Conformal, ConformalConfig
from prodcat.prediction.gate import Gate, GateConfig, PlatformGate
from prodcat.serving.conversion import to_product, to_response
from prodcat.serving.schema import ClassifyRequest, ClassifyResponse
from prodcat.taxonomy import HeadLayout, Taxonomy

TREE = Taxonomy([("Apparel", "Shirts"), ("Apparel", "Socks"), ("Shoes", "Sneakers", "Running"), ("Shoes", "Sneakers", "Court"), ("Gifts",)])
SHOES, SNEAKERS = TREE.index(("Shoes",)), TREE.index(("Shoes", "Sneakers"))
LAYOUT = HeadLayout(TREE, (SNEAKERS,))
PLAIN = Calibration(temperatures=(1.0, 1.0, 1.0))


class Table:
    """Both stages: logits by title."""

    def __init__(self, rows: dict[str, np.ndarray]) -> None:
        self.rows = rows

    def read(self, given, vectors=None):
        if given and isinstance(given[0], Product):
            return StageTwoOutput(np.stack([self.rows[p.title] for p in given]), np.ones(len(given), dtype=bool), (None,) * len(given))
        return np.stack([self.rows[title] for title in given]), np.zeros((len(given), 1), np.float32)


def logits(**sure: float) -> np.ndarray:
    """Scores by the last name of a path; `stop` is the column beside the sneakers."""
    named = {category.name: column for column, category in enumerate(TREE.categories)} | {"stop": len(TREE)}
    row = np.zeros(len(LAYOUT), np.float32)
    for name, score in sure.items():
        row[named[name]] = score
    return row


ROWS = {
    "sure": logits(Shoes=9, Court=9),
    "stops": logits(Shoes=9, stop=9),
    "torn leaf": logits(Shoes=9, Court=0.5),
    "torn root": logits(Shoes=0.5, Court=3),
}


def cascade(**settings) -> Cascade:
    known = {"calibration_one": PLAIN, "calibration_two": PLAIN, "gate": Gate(threshold=0.99), "stops": (TREE.categories[SNEAKERS].id,)}
    return Cascade(TREE, CascadeSettings(text=TextReading(), **(known | settings)), Table(ROWS), Table(ROWS), "v1")


def answers(over: Cascade) -> dict[str, Answer]:
    products = [Product("shop", title, title=title) for title in ROWS]
    results = over.classify(products)
    assert [over.classify([product])[0] for product in products] == results
    assert all(isinstance(result, Answer) for result in results)
    return dict(zip(ROWS, results, strict=True))


BACKOFF = Backoff(precision=0.9, confidence=0.9, thresholds=(0.9, 0.9, 0.9), products=0, held=0)


def test_an_answer_may_end_at_a_category_with_a_stop() -> None:
    found = answers(cascade())
    assert found["stops"].path == ("Shoes", "Sneakers")
    assert not found["stops"].stopped_at_parent
    assert found["stops"].stage == 1
    assert ("Shoes", "Sneakers") not in [other.path for other in found["stops"].alternatives]
    assert ("Shoes", "Sneakers") in [other.path for other in found["sure"].alternatives]
    assert found["sure"].holds_precision is None
    assert found["sure"].candidates is None


def test_back_off_stops_at_the_parent_and_keeps_the_leaf_as_an_alternative() -> None:
    plain, found = answers(cascade()), answers(cascade(backoff=BACKOFF))
    assert found["sure"] == Answer(**{**{name: getattr(plain["sure"], name) for name in asdict(plain["sure"])}, "holds_precision": True})
    torn = found["torn leaf"]
    assert (torn.path, torn.stopped_at_parent, torn.holds_precision) == (("Shoes", "Sneakers"), True, True)
    assert torn.category_id == TREE.categories[SNEAKERS].id
    assert torn.confidences == plain["torn leaf"].confidences[:2]
    assert torn.alternatives[0].path == plain["torn leaf"].path == ("Shoes", "Sneakers", "Court")
    assert torn.alternatives[0].confidence == plain["torn leaf"].confidences[2]
    root = found["torn root"]
    assert (root.path, root.stopped_at_parent, root.holds_precision) == (("Shoes",), True, False)


def test_sets_hold_the_answer_and_what_is_likely() -> None:
    found = answers(cascade(conformal=Conformal(coverage=0.9, threshold=0.2, products=0)))
    assert found["sure"].candidates == (("Shoes", "Sneakers", "Court"),)
    assert found["torn leaf"].candidates is not None
    assert set(found["torn leaf"].candidates) == {("Shoes", "Sneakers", "Court"), ("Shoes", "Sneakers", "Running"), ("Shoes", "Sneakers")}


def test_each_platform_has_its_own_gate_in_a_batch_alone_and_over_http() -> None:
    own = {"open": PlatformGate(threshold=0.0), "shut": PlatformGate(threshold=1.0)}
    over = cascade(gate=Gate(threshold=0.99, platforms=own))
    titles = ["sure", "torn leaf"]
    products = [Product(shop, title, title=title) for title in titles for shop in ("open", "shut", "new")]
    results = over.classify(products)
    # One gate for all would send on by title alone.
    assert [result.stage for result in results] == [1, 2, 1, 1, 2, 2]
    assert [over.classify([product])[0] for product in products] == results
    assert over.classify(products[::-1]) == results[::-1]
    for product, result in zip(products, results, strict=True):
        request = to_product(ClassifyRequest(platform=product.platform, product_id=product.product_id, title=product.title))
        assert over.classify([request]) == [result]
    # Without a platform: the common threshold.
    assert [over.classify([to_product(ClassifyRequest(title=title))])[0].stage for title in titles] == [1, 2]


def test_one_open_platform_opens_a_common_gate_that_is_shut() -> None:
    over = cascade(gate=Gate(threshold=1.0, platforms={"open": PlatformGate(threshold=0.5)}))
    first = over.first([Product("open", "1", title="sure"), Product("other", "2", title="sure")])
    assert first.unsure == (1,)
    assert over.first([Product("open", "1", title="sure")]).unsure == ()
    assert over.first([Product("other", "2", title="sure")]).unsure == (0,)


@pytest.mark.parametrize("decoder", get_args(DecoderName))
def test_http_and_tables_say_what_the_answer_says(decoder: DecoderName) -> None:
    found = answers(cascade(backoff=BACKOFF, conformal=Conformal(coverage=0.9, threshold=0.2, products=0), decoder=decoder))
    rows = rows_to_table([prediction_row(answer, Product("shop", title)) for title, answer in found.items()], PREDICTIONS).to_pylist()
    for row, answer in zip(rows, found.values(), strict=True):
        response = to_response(answer)
        assert isinstance(response, ClassifyResponse)
        assert tuple(row["path"]) == tuple(response.path) == answer.path
        assert row["stopped_at_parent"] == response.stopped_at_parent == answer.stopped_at_parent
        assert row["holds_precision"] == response.holds_precision == answer.holds_precision
        assert answer.candidates is not None
        assert row["candidates"] == response.candidates == [list(path) for path in answer.candidates]
        assert response.candidates_under is not None
        assert all(path[: len(response.candidates_under)] == response.candidates_under for path in response.candidates)
    (without,) = rows_to_table([prediction_row(answers(cascade())["sure"], Product("shop", "sure"))], PREDICTIONS).to_pylist()
    assert (without["stopped_at_parent"], without["holds_precision"], without["candidates"]) == (None, None, None)


def test_stops_of_another_tree_are_refused() -> None:
    with pytest.raises(TaxonomyError, match="nowhere"):
        cascade(stops=("nowhere",))
    with pytest.raises(TaxonomyError, match="not an inner category"):
        cascade(stops=(TREE.categories[TREE.index(("Gifts",))].id,))


def drawn(seed: int, rows: int, steepness: float) -> tuple[np.ndarray, np.ndarray]:
    """Boastful logits over the layout, and labels drawn from what they would say honestly; a tenth of the labels stops being known at level 1."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(size=(rows, len(LAYOUT))) * 3
    joint = PLAIN.read(honest, LAYOUT).decoded.joint[:, LAYOUT.ends]
    ends = LAYOUT.ends[(joint + generator.gumbel(size=joint.shape)).argmax(axis=1)]
    targets = LAYOUT.end_targets(TREE.path_indices[LAYOUT.nodes[ends]])
    targets[(generator.random(rows) < 0.1) & (targets[:, 0] != TREE.index(("Gifts",))), 1:] = -1
    return (honest * steepness).astype(np.float32), targets


@pytest.mark.parametrize(("decoder", "method", "per_platform"), [("greedy", "temperature", False), ("joint", "isotonic", True)])
def test_all_is_fitted_to_the_answers_the_cascade_gives(decoder: DecoderName, method: str, per_platform: bool) -> None:
    rows = 1500
    two, targets = drawn(0, rows, 2.0)
    # Stage one is noisier, the more in the second of two shops, and cannot read every fifth product.
    shops = [("even", "odd")[row % 2] for row in range(rows)]
    noise = np.where(np.arange(rows) % 2, 4, 0.5)[:, None] if per_platform else 4
    one = two + (np.random.default_rng(1).normal(size=two.shape) * noise).astype(np.float32)
    readable = np.arange(rows) % 5 > 0
    lines: list[str] = []
    settings, figures = calibrate(
        StageLogits(one, readable),
        StageLogits(two, np.ones(rows, dtype=bool)),
        targets,
        LAYOUT,
        platforms=shops,
        text=TextReading(),
        decoder=decoder,
        calibration=CalibrationConfig(method=method),
        gate=GateConfig(per_platform=per_platform),
        backoff=BackoffConfig(precision=0.9),
        conformal=ConformalConfig(coverage=0.9),
        on_progress=lines.append,
    )
    assert figures["stage_two"]["before"]["leaf"] > 0.08
    assert figures["stage_two"]["after"]["leaf"] < 0.04
    assert set(figures["stage_one"]["after"]) == {"leaf", "1", "2", "3"}
    assert any("back-off to hold 90.00%" in line for line in lines)
    assert CascadeSettings.model_validate_json(settings.model_dump_json()) == settings
    titles = [f"{row}" for row in range(rows)]
    over = Cascade(TREE, settings, Table(dict(zip(titles, one, strict=True))), Table(dict(zip(titles, two, strict=True))), "v1")
    given = [Product(shop, title, title=title if ok else None) for shop, title, ok in zip(shops, titles, readable, strict=True)]
    first = over.first(given)
    results = over.finish(first, StageTwoOutput(two[list(first.unsure)], np.ones(len(first.unsure), dtype=bool), (None,) * len(first.unsure)))
    assert {result.stage for result in results} == {1, 2}
    # The figures of the gate are those of the cascade on the very same products.
    assert settings.gate.outcome is not None
    assert settings.gate.outcome.stage_two_share == pytest.approx(np.mean([result.stage == 2 for result in results]))
    for row in range(0, rows, 49):
        (alone,) = over.first([given[row]]).results
        assert isinstance(alone, Unsure) == (row in first.unsure)
        assert isinstance(alone, Unsure) or alone == first.results[row]
    if per_platform:
        even, odd = (settings.gate.platforms[shop] for shop in ("even", "odd"))
        assert even.threshold < odd.threshold
        sent = [row for row in first.unsure if shops[row] == "even"]
        assert even.chosen is not None
        assert len(sent) < rows / 4
        assert even.chosen.stage_two_share == pytest.approx(len(sent) / (rows / 2))
        assert any("2 platforms with their own" in line for line in lines)
    whole = np.flatnonzero(whole_labels(targets, LAYOUT))
    held = [row for row in whole if results[row].holds_precision]
    assert settings.backoff is not None
    assert settings.backoff.products == len(whole)
    assert settings.backoff.held == len(held) > 0.5 * len(whole)
    labels = {row: TREE.categories[LAYOUT.nodes[targets[row][targets[row] >= 0][-1]]].path for row in whole}
    right = [labels[row][: len(results[row].path)] == results[row].path for row in held]
    assert sum(right) == sum(depth.right for depth in settings.backoff.depths) >= 0.9 * len(held)
    assert np.mean([labels[row] in (results[row].candidates or ()) for row in whole]) >= 0.9


def test_what_cannot_be_proved_is_said_before_training() -> None:
    check_enough(1000, BackoffConfig(), ConformalConfig())
    check_enough(700, BackoffConfig(precision=0.995), ConformalConfig(coverage=0.99))
    with pytest.raises(
        TrainingError, match=r"backoff\.precision 0\.995 needs at least 322 labelled validation products, there are 100; ask for less"
    ):
        check_enough(100, BackoffConfig(precision=0.995), ConformalConfig())
    with pytest.raises(TrainingError, match=r"coverage 0\.99 needs at least 99"):
        check_enough(98, BackoffConfig(), ConformalConfig(coverage=0.99))
