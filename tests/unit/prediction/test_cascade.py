"""The cascade: who answers, in which order, what an answer says, and what happens to a product that cannot be read."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prodcat.contracts import Product
from prodcat.prediction.calibration import Calibration
from prodcat.prediction.cascade import Answer, Cascade, CascadeSettings, Unreadable
from prodcat.prediction.gate import Gate

CLEAR = Product("shop", "1", title="Shirts Apparel Shirts")
VAGUE = Product("shop", "2", title="something nice")
PICTURE = Product("shop", "3", image=b"pixels")
NOTHING = Product("shop", "4")
BROKEN = Product("shop", "5", image=b"broken")
BROKEN_WITH_TITLE = Product("shop", "6", title="nice", image=b"broken")
EVERY = [CLEAR, VAGUE, PICTURE, NOTHING, BROKEN, BROKEN_WITH_TITLE]


def test_stage_one_answers_what_it_is_sure_of(cascade: Cascade, size_stage) -> None:
    sure, unsure, picture = cascade.classify([CLEAR, VAGUE, PICTURE])
    assert isinstance(sure, Answer)
    assert isinstance(unsure, Answer)
    assert isinstance(picture, Answer)
    assert (sure.stage, sure.path) == (1, ("Apparel", "Shirts"))
    assert (unsure.stage, unsure.path) == (2, ("Shoes", "Sneakers", "Court"))
    assert (picture.stage, picture.path) == (2, ("Gifts",))
    assert size_stage.asked == ["shop/2", "shop/3"]


def test_an_answer_is_whole(cascade: Cascade) -> None:
    (answer,) = cascade.classify([VAGUE])
    assert isinstance(answer, Answer)
    assert answer.key == "shop/2"
    assert answer.bundle == "v1"
    assert answer.category_id == cascade.tree.categories[cascade.tree.index(answer.path)].id
    assert len(answer.confidences) == len(answer.path)
    assert list(answer.confidences) == sorted(answer.confidences, reverse=True)
    assert all(0 <= confidence <= 1 for confidence in answer.confidences)
    assert len(answer.alternatives) == 3
    assert answer.path not in [other.path for other in answer.alternatives]
    assert [other.confidence for other in answer.alternatives] == sorted((other.confidence for other in answer.alternatives), reverse=True)


def test_a_product_with_nothing_to_read_is_refused_by_name(cascade: Cascade) -> None:
    nothing, broken, with_title = cascade.classify([NOTHING, BROKEN, BROKEN_WITH_TITLE])
    assert isinstance(nothing, Unreadable)
    assert nothing.reason == "nothing_to_read"
    assert isinstance(broken, Unreadable)
    assert broken.reason == "image_truncated"
    assert "half of it" in broken.detail
    assert isinstance(with_title, Answer)
    assert with_title.image_problem == "image_truncated"


@given(st.permutations(EVERY), st.integers(0, len(EVERY)))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_answer_alone_in_any_batch_in_any_order(cascade: Cascade, order: list[Product], cut: int) -> None:
    alone = {product.key: cascade.classify([product])[0] for product in EVERY}
    results = cascade.classify(order[:cut]) + cascade.classify(order[cut:])
    assert [result.key for result in results] == [product.key for product in order]
    assert all(result == alone[result.key] for result in results)


def test_a_shut_gate_sends_everything_on(cascade: Cascade, size_stage) -> None:
    shut = CascadeSettings(**{**cascade.settings.model_dump(), "gate": Gate(threshold=1.0)})
    (answer,) = Cascade(cascade.tree, shut, cascade.stage_one, size_stage, "v1").classify([CLEAR])
    assert isinstance(answer, Answer)
    assert answer.stage == 2


def test_stage_one_alone_may_not_classify(cascade: Cascade) -> None:
    alone = Cascade(cascade.tree, cascade.settings, cascade.stage_one, None, "v1")
    with pytest.raises(ValueError, match="stage one only"):
        alone.classify([CLEAR])
    first = alone.first([CLEAR, VAGUE])
    assert first.unsure == (1,)
    assert first.results[0] == cascade.classify([CLEAR])[0]


def test_no_product_no_answer(cascade: Cascade) -> None:
    assert cascade.classify([]) == []


def test_stage_two_is_sharpened_for_known_platforms_and_not_for_foreign_ones(cascade: Cascade, size_stage) -> None:
    sharp = {"gate": Gate(threshold=1.0, known=(VAGUE.platform,)), "calibration_two": Calibration(temperatures=(0.5, 0.5, 0.5))}
    sharpened = Cascade(cascade.tree, CascadeSettings(**{**cascade.settings.model_dump(), **sharp}), cascade.stage_one, size_stage, "v1")
    plain = Cascade(cascade.tree, CascadeSettings(**{**cascade.settings.model_dump(), "gate": sharp["gate"]}), cascade.stage_one, size_stage, "v1")
    known, foreign = VAGUE, replace(VAGUE, platform="stranger")
    for product, same in ((known, False), (foreign, True)):
        (one,), (other,) = sharpened.classify([product]), plain.classify([product])
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert (one.confidences == pytest.approx(other.confidences, abs=1e-7)) is same
