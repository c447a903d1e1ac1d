"""An ONNX model of one title made into one that reads many, one after the other. Knows no torch and no tokenizer."""

import onnx
from onnx import TensorProto, helper

IDS, LENGTHS = "ids", "lengths"


def over_titles(title: onnx.ModelProto) -> onnx.ModelProto:
    """(input_ids, attention_mask int64 [1, T]) -> outputs float32 [1, ...], as (ids int64 [n, T], lengths int64 [n]) -> the same outputs [n, ...].

    The title's graph becomes the body of an ONNX Loop and sees each row of `ids` cut to its length: n titles are n runs of the same kernels on the
    same shapes, so none depends on its neighbours, but onnxruntime is called once. Called n times it would give the interpreter's lock back n times,
    and each time wait for it behind whatever else the process does.
    """
    graph, int64, node = title.graph, TensorProto.INT64, helper.make_node
    axis, one = "loop_axis", helper.make_tensor("one", int64, [1], [1])
    cut = [
        node("Gather", [IDS, "loop_turn"], ["loop_row"], axis=0),
        node("Gather", [LENGTHS, "loop_turn"], ["loop_length"], axis=0),
        node("Unsqueeze", ["loop_length", axis], ["loop_end"]),
        node("Slice", ["loop_row", axis, "loop_end"], ["loop_tokens"]),
        node("Unsqueeze", ["loop_tokens", axis], ["input_ids"]),
        node("Shape", ["input_ids"], ["loop_shape"]),
        node("ConstantOfShape", ["loop_shape"], ["attention_mask"], value=one),
        node("Identity", ["loop_goes_on"], ["loop_still"]),
    ]
    # A Loop stacks what its body gives: [1, C] a title would become [n, 1, C].
    flat = [node("Squeeze", [output.name, axis], [f"loop_{output.name}"]) for output in graph.output]
    widths = [output.type.tensor_type.shape.dim[1].dim_value for output in graph.output]
    body = helper.make_graph(
        [*cut, *graph.node, *flat],
        "title",
        [helper.make_tensor_value_info("loop_turn", int64, []), helper.make_tensor_value_info("loop_goes_on", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("loop_still", TensorProto.BOOL, [])]
        + [
            helper.make_tensor_value_info(f"loop_{output.name}", TensorProto.FLOAT, [width])
            for output, width in zip(graph.output, widths, strict=True)
        ],
        # Also the first index of a cut: it starts at 0 along axis 0.
        initializer=[*graph.initializer, helper.make_tensor(axis, int64, [1], [0])],
    )
    names = [output.name for output in graph.output]
    around = helper.make_graph(
        [node("Shape", [LENGTHS], ["shape"]), node("Squeeze", ["shape"], ["titles"]), node("Loop", ["titles", ""], names, body=body)],
        "titles",
        [helper.make_tensor_value_info(IDS, int64, ["n", "T"]), helper.make_tensor_value_info(LENGTHS, int64, ["n"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in zip(names, widths, strict=True)],
    )
    return helper.make_model(around, opset_imports=title.opset_import, ir_version=title.ir_version)
