import numpy as np
import pytest

from prodcat.errors import TrainingError
from prodcat.evaluation.new_shop_baselines import NewShopBaselineConfig, Readable, answer, names

READS = {"text": "text", "image": "image"}
CONFIG = NewShopBaselineConfig()
NODES = np.array([1, 2] * 20)


def readable(titles: list[str | None], node: np.ndarray, present: bool = True) -> Readable:
    vectors = {name: np.stack([np.eye(4, dtype=np.float32)[each] for each in node]) for name in READS}
    return Readable(titles, ["made of cotton"] * len(titles), vectors, {name: np.full(len(titles), present) for name in READS})


TRAIN = readable(["red dress", "blue shirt"] * 20, NODES)


def test_the_baselines_of_each_input() -> None:
    assert names(READS, "text") == ("tfidf title", "tfidf title+description", "text regression", "text and tfidf title")
    assert names(READS, "image") == ("image regression",)
    assert set(names(READS, "text+image")) == set(names(READS, "text")) | set(names(READS, "image"))


@pytest.mark.parametrize("name", names(READS, "text+image"))
def test_each_answers_what_it_has_learned(name: str) -> None:
    asked = readable(["shirt in blue", "a dress"], np.array([2, 1]))
    assert answer(name, TRAIN, NODES, asked, CONFIG, 0).tolist() == [2, 1]


def test_a_product_that_cannot_be_read_gets_the_commonest() -> None:
    nodes = np.array([1, 2] * 20)
    nodes[1] = 1
    asked = readable([None, "blue shirt"], np.array([2, 2]), present=False)
    assert answer("tfidf title", TRAIN, nodes, asked, CONFIG, 0).tolist() == [1, 2]
    assert answer("image regression", TRAIN, nodes, asked, CONFIG, 0).tolist() == [1, 1]


def test_nothing_to_learn_from() -> None:
    with pytest.raises(TrainingError, match="image regression: none of 40"):
        answer("image regression", readable(["x y"] * 40, NODES, present=False), NODES, TRAIN, CONFIG, 0)
