"""A model of one title in a loop: every title as if it were alone, though its numbers are scaled by all that it sees."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from prodcat.training.title_loop import over_titles

VOCABULARY, WIDTH, COLUMNS, PAD = 50, 8, 5, 1


@pytest.fixture(scope="module")
def title() -> onnx.ModelProto:
    """Embeddings, their masked mean, and a matrix in dynamic int8: activations are scaled by their own range."""
    rng = np.random.default_rng(0)
    weights = {
        "embeddings": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32),
        "matrix": rng.integers(-100, 100, size=(WIDTH, COLUMNS)).astype(np.int8),
        "axes": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["embeddings", "input_ids"], ["words"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "axis2"], ["weights"]),
        node("Mul", ["words", "weights"], ["seen"]),
        node("ReduceSum", ["seen", "axes"], ["vector"], keepdims=0),
        node("DynamicQuantizeLinear", ["vector"], ["bytes", "scale", "zero"]),
        node("MatMulInteger", ["bytes", "matrix", "zero"], ["sums"]),
        node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        node("Mul", ["floats", "scale"], ["logits"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "title",
        [info(name, TensorProto.INT64, [1, "T"]) for name in ("input_ids", "attention_mask")],
        [info("logits", TensorProto.FLOAT, [1, COLUMNS]), info("vector", TensorProto.FLOAT, [1, WIDTH])],
        initializer=[numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_many_titles_are_read_as_each_alone(title: onnx.ModelProto) -> None:
    rng = np.random.default_rng(1)
    titles = [rng.integers(2, VOCABULARY, size=length) for length in (3, 9, 1, 5, 9, 2)]
    ids = np.full((len(titles), 9), PAD, np.int64)
    for row, words in zip(ids, titles, strict=True):
        row[: len(words)] = words
    lengths = np.array([len(words) for words in titles])
    model = over_titles(title)
    onnx.checker.check_model(model)
    session, plain = _session(model), _session(title)
    logits, vectors = session.run(["logits", "vector"], {"ids": ids, "lengths": lengths})
    assert logits.shape == (6, COLUMNS)
    assert vectors.shape == (6, WIDTH)
    for row, words in enumerate(titles):
        one = {"input_ids": words[None, :], "attention_mask": np.ones((1, len(words)), np.int64)}
        for found, wanted in zip((logits[row], vectors[row]), plain.run(["logits", "vector"], one), strict=True):
            np.testing.assert_array_equal(found, wanted[0])
    order = [4, 0, 5]
    again, _ = session.run(["logits", "vector"], {"ids": ids[order], "lengths": lengths[order]})
    np.testing.assert_array_equal(again, logits[order])


def test_in_one_batch_without_the_loop_answers_would_depend_on_their_neighbours(title: onnx.ModelProto) -> None:
    """What the loop is for: the test above would not see it if these numbers were the same either way."""
    batch = onnx.ModelProto()
    batch.CopyFrom(title)
    for value in (*batch.graph.input, *batch.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    session = _session(batch)
    ids = np.array([[3, 4, 5], [40, 41, 42]])
    alone = np.concatenate([session.run(["logits"], {"input_ids": row[None, :], "attention_mask": np.ones((1, 3), np.int64)})[0] for row in ids])
    together = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    assert not np.array_equal(together, alone)
