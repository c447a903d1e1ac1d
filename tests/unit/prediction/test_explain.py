"""Why a product is answered as it is: each part's share by hand, what lay outside the branch, and the nearest training products."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from prodcat.contracts import Product
from prodcat.decoding import path_log_probabilities, sibling_log_softmax
from prodcat.prediction.cascade import Cascade, StageTwoOutput, Unreadable
from prodcat.prediction.explain import Explanation, Reference, explain, explanation_lines, nearest

MODALITIES = ("text", "image", "clip_image")


class SumStage:
    """Stage two as a sum: text looks for category names, the image names a category by its bytes, clip_image half as loudly."""

    def __init__(self, tree) -> None:
        self._tree = tree

    def read(self, products: Sequence[Product], vectors: np.ndarray | None = None) -> StageTwoOutput:
        features, present = self.encode(self.prepare(products))
        return StageTwoOutput(self.fuse(features, present), present.any(axis=1), (None,) * len(products))

    def prepare(self, products: Sequence[Product]) -> Sequence[Product]:
        return products

    def encode(self, prepared: Sequence[Product]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        names = [category.name.lower() for category in self._tree.categories]
        text = np.array([[4.0 * ((p.title or "") + (p.description or "")).lower().count(name) for name in names] for p in prepared], np.float32)
        image = np.array([[3.0 * ((p.image or b"").decode().lower() == name) for name in names] for p in prepared], np.float32)
        present = np.array([[bool(p.title or p.description), bool(p.image), bool(p.image)] for p in prepared])
        return {"text": text, "image": image, "clip_image": image / 2}, present

    def fuse(self, features: dict[str, np.ndarray], present: np.ndarray) -> np.ndarray:
        for column, name in enumerate(MODALITIES):
            assert (features[name][~present[:, column]] == 0).all()
        return sum(features[name] for name in MODALITIES)


@pytest.fixture
def shut(cascade: Cascade) -> Cascade:
    """Everything goes to stage two."""
    settings = replace_gate(cascade, 1.0)
    return Cascade(cascade.tree, settings, cascade.stage_one, SumStage(cascade.tree), "v1")


@pytest.fixture
def open_gate(cascade: Cascade) -> Cascade:
    return Cascade(cascade.tree, replace_gate(cascade, 0.5), cascade.stage_one, SumStage(cascade.tree), "v1")


def replace_gate(cascade: Cascade, threshold: float):
    return cascade.settings.model_copy(update={"gate": cascade.settings.gate.model_copy(update={"threshold": threshold})})


def run(cascade: Cascade, product: Product, **options) -> Explanation:
    found = explain(cascade, cascade.stage_two, MODALITIES, product, **options)
    assert isinstance(found, Explanation)
    return found


def log_probability(cascade: Cascade, product: Product, path: tuple[str, ...]) -> float:
    logits = cascade.stage_two.read([product]).logits
    return float(path_log_probabilities(sibling_log_softmax(logits, cascade.tree), cascade.tree)[0, cascade.tree.index(path)])


BOTH = Product("shop", "1", title="Apparel socks", description="soft", image=b"Apparel")


def test_an_input_s_share_is_what_the_answer_loses_without_it(shut):
    found = run(shut, BOTH)
    assert (found.answer.path, found.answer.stage) == (("Apparel", "Socks"), 2)
    whole = log_probability(shut, BOTH, found.answer.path)
    expected = {
        "title": whole - log_probability(shut, replace(BOTH, title=None), found.answer.path),
        "description": 0.0,
        "image": whole - log_probability(shut, replace(BOTH, image=None), found.answer.path),
    }
    assert {influence.name: influence.change for influence in found.inputs} == pytest.approx(expected, abs=1e-6)
    assert expected["title"] > expected["image"] > 0


def test_a_modality_s_share_is_taken_in_the_fusion(shut):
    found = run(shut, BOTH)
    shares = {influence.name: influence.change for influence in found.modalities}
    assert set(shares) == set(MODALITIES)
    assert shares["text"] > shares["image"] > shares["clip_image"] > 0
    # The two that read the image together do more than either: what one says the other had said.
    image = {influence.name: influence.change for influence in found.inputs}["image"]
    assert image > shares["image"]


def test_what_speaks_against_the_answer_is_below_zero(shut):
    against = Product("shop", "1", title="socks apparel apparel", image=b"Shoes")
    found = run(shut, against)
    assert found.answer.path[0] == "Apparel"
    assert {influence.name: influence.change < 0 for influence in found.inputs} == {"title": False, "image": True}


def test_nothing_left_without_the_only_input_is_said(shut):
    found = run(shut, Product("shop", "1", title="Gifts"))
    assert [(influence.name, influence.change) for influence in found.inputs] == [("title", None)]
    assert [(influence.name, influence.change) for influence in found.modalities] == [("text", None)]
    assert any("nothing is left to read without it" in line for line in explanation_lines(found.as_json()))


def test_through_stage_one_the_image_did_nothing(open_gate):
    found = run(open_gate, replace(BOTH, title="Apparel shirts shirts", description=None))
    assert (found.answer.stage, found.answer.path) == (1, ("Apparel", "Shirts"))
    assert {influence.name: influence.change for influence in found.inputs} == {"title": None, "image": 0.0}
    # Stage two's view of the same answer stands beside.
    assert {influence.name for influence in found.modalities} == set(MODALITIES)


def test_the_mask_kept_out_what_lay_in_other_branches(shut):
    """Shoes is picked by a little; within Shoes nothing is clear, so a leaf of Apparel is likelier than the path that is answered."""
    found = run(shut, Product("shop", "1", image=b"Shoes", title="Apparel shirts"))
    first, second = found.levels[:2]
    assert first.excluded == 0.0
    assert first.best == first.picked
    tree = shut.tree
    logits = shut.stage_two.read([Product("shop", "1", image=b"Shoes", title="Apparel shirts")]).logits
    joint = np.exp(path_log_probabilities(sibling_log_softmax(logits, tree), tree))[0]
    outside = [node for node in range(len(tree)) if tree.levels[node] == 2 and tree.categories[node].path[0] != found.answer.path[0]]
    assert second.excluded == pytest.approx(joint[outside].sum())
    assert second.best_probability == pytest.approx(max(joint[node] for node in range(len(tree)) if tree.levels[node] == 2))
    assert second.picked_probability == pytest.approx(found.answer.confidences[1])


def test_a_product_with_nothing_to_read_is_refused_as_the_cascade_does(shut):
    assert isinstance(explain(shut, shut.stage_two, MODALITIES, Product("shop", "1")), Unreadable)


def reference(**vectors: tuple[list[list[float]], list[bool]]) -> Reference:
    arrays = {name: (np.array(values, np.float32), np.array(present)) for name, (values, present) in vectors.items()}
    return Reference(["a", "b", "c"], ["A", None, "C"], [("x",), ("y",), ("z",)], arrays)


def test_neighbours_are_the_nearest_by_mean_cosine_over_what_both_have():
    known = reference(
        text=([[9, 0], [0, 9], [0, 0]], [True, True, False]),
        image=([[1, 5], [5, 1], [5, 1.1]], [True, True, True]),
        other=([[1], [1], [1]], [True, True, True]),
    )
    found = nearest({"text": np.array([0.0, 9.0]), "image": np.array([5.0, 1.0])}, known, 2)
    assert [near.key for near in found] == ["b", "c"]
    assert found[0].by == pytest.approx({"text": 1.0, "image": 1.0}, abs=1e-4)
    assert set(found[1].by) == {"image"}
    assert (found[0].path, found[0].title) == (("y",), None)


def test_a_direction_that_all_vectors_share_makes_none_alike():
    """As text encoders have it: raw cosines are all above .99."""
    known = reference(text=([[100, 1], [100, -1], [100, 0]], [True] * 3))
    (first, *_, last) = nearest({"text": np.array([100.0, 1.0])}, known, 3)
    assert (first.key, last.key) == ("a", "b")
    assert last.similarity < 0


def test_no_shared_modality_no_neighbour():
    assert nearest({"clip": np.ones(2)}, reference(text=([[1, 1]] * 3, [True] * 3)), 3) == ()


def test_an_explanation_is_json_and_lines(shut):
    known = Reference(
        ["t/1", "t/2"], ["red socks", None], [("Apparel", "Socks"), ("Gifts",)], {"text": (np.eye(8, dtype=np.float32)[:2], np.ones(2, bool))}
    )
    found = run(shut, replace(BOTH, title="Apparel socks"), reference=known, neighbours=1)
    document = found.as_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["path"] == ["Apparel", "Socks"]
    assert len(document["neighbours"]) == 1
    text = "\n".join(explanation_lines(document))
    for words in (
        "Apparel > Socks  ",
        "by stage 2 of bundle v1",
        "what each input did (stage 2)",
        "title         +",
        "what the mask kept out",
        "level 2: picked Socks",
    ):
        assert words in text
    assert math.isclose(document["confidences"][-1], found.answer.confidences[-1])
