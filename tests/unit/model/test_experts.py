"""Experts beside a fusion: the mean of the voices that know something of a product, in a bundle as in a fit."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from prodcat.contracts import PRODUCTS, rows_to_table
from prodcat.experts import Experts, ready_experts
from prodcat.labelled import Labelled
from prodcat.model.fusion import FusionOutput
from prodcat.model.fusions.expert import WithExperts
from prodcat.model.names import Names
from prodcat.model.words import WORDS, Words
from prodcat.run_folder import Steps
from prodcat.taxonomy import HeadLayout, Taxonomy
from prodcat.training.fusion_stage import FusionStageConfig
from prodcat.training.words import WordsConfig, fit_words

LAYOUT = HeadLayout(Taxonomy([("A", "a1"), ("A", "a2"), ("B", "b1")]))


class Constant(nn.Module):
    """Says the same of every product."""

    def forward(self, features: dict[str, Tensor], present: Tensor) -> FusionOutput:
        assert list(features) == ["text"]
        assert present.shape[1] == 1
        return FusionOutput(torch.full((len(present), len(LAYOUT)), 3.0), {})


def _words() -> Words:
    tree = LAYOUT.tree
    paths = [("A", "a1"), ("A", "a2"), ("B", "b1")] * 4
    texts = [f"{path[-1]}word thing" for path in paths]
    return fit_words(texts, LAYOUT.end_targets(tree.targets(paths)), LAYOUT, WordsConfig(), 0)


def test_those_that_know_nothing_are_not_asked_and_a_fit_pools_as_a_bundle_does() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 5)).astype(np.float32)
    texts = ["a1word", None, "b1word thing", ""]
    has_vector = np.array([True, True, False, False])
    words, names = _words(), Names(np.eye(5, dtype=np.float32)[: len(LAYOUT.ends)], 10.0)
    here = np.array([bool(text) for text in texts])
    said = {"words": np.zeros((4, len(LAYOUT)), np.float32), "names": np.zeros((4, len(LAYOUT)), np.float32)}
    said["words"][here] = words.read([text for text in texts if text], LAYOUT)
    said["names"][has_vector] = names.read(vectors[has_vector], LAYOUT)

    present = torch.from_numpy(np.stack([has_vector, here, has_vector], axis=1))
    features = {"text": torch.from_numpy(vectors), **{name: torch.from_numpy(values) for name, values in said.items()}}
    served = WithExperts(Constant(), ["words", "names"])(features, present).logits.numpy()

    fitted = Experts(words, names, "text").beside(np.full_like(served, 3.0), texts, {"text": vectors}, {"text": has_vector}, LAYOUT)
    np.testing.assert_allclose(served, fitted, atol=1e-6)
    np.testing.assert_allclose(served[0], (3.0 + said["words"][0] + said["names"][0]) / 3, atol=1e-6)
    np.testing.assert_allclose(served[1], (3.0 + said["names"][1]) / 2, atol=1e-6)
    np.testing.assert_allclose(served[3], 3.0)
    alone = Experts(None, None, None).beside(np.full_like(served, 3.0), texts, {}, {}, LAYOUT)
    np.testing.assert_allclose(alone, 3.0)


@pytest.mark.parametrize("titles", [[None, None, None], ["red thing", "blue thing", None], ["shirt", "dress", "shirt"]])
def test_where_words_say_nothing_of_categories_there_is_no_model_of_them(tmp_path: Path, titles: list[str | None]) -> None:
    paths = [("A", "a1"), ("A", "a1"), ("A", "a2")] if titles[0] == "red thing" else [("A", "a1"), ("A", "a2"), ("A", "a1")]
    rows = [
        {
            **dict.fromkeys(PRODUCTS.names),
            "key": f"s/{row}",
            "platform": "s",
            "product_id": str(row),
            "title": title,
            "digest": str(row),
            "source": "x",
            "row": row,
        }
        for row, title in enumerate(titles)
    ]
    pq.write_table(rows_to_table(rows, PRODUCTS), tmp_path / "products.parquet")
    train = Labelled([row["key"] for row in rows], titles, LAYOUT.tree.targets(paths))
    config = FusionStageConfig(words=WordsConfig(min_products=(1, 1)))
    told: list[str] = []

    def ready(out: Path) -> Experts:
        return ready_experts(config, train, [str(tmp_path / "products.parquet")], {}, LAYOUT, out, 0, Steps(out, told.append), ["x"], told.append)[0]

    found = ready(tmp_path / "run")
    assert (found.words is None) == (titles[0] != "shirt")
    assert [line for line in told if "no model of words: words: " in line] == [line for line in told if "of words" in line]
    # As it is left, it is found again.
    assert (ready(tmp_path / "run").words is None) == (found.words is None)
    assert "words: done before" in told
    found.save(tmp_path / "bundle")
    assert (tmp_path / "bundle" / WORDS).is_file() == (found.words is not None)
