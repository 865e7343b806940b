"""The encoder as an ONNX graph, written node by node so that it is the same for the same weights.

What it stores small: word embeddings and matrices as int8 with one scale a row or output column, positions as float16. They are cast to
float32 on the way in (the matrices at load time, by constant folding), so every runtime that is not our own encoder computes in float32.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import quantisation
from .encoder import Encoder

OPSET = 17


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, *inputs: str, name: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def matrix(self, name: str, weight: np.ndarray) -> str:
        quantised, scale = quantisation.columns(weight)
        floats = self.node("Cast", self.constant(f"{name}.int8", quantised), name=f"{name}.float", to=TensorProto.FLOAT)
        return self.node("Mul", floats, self.constant(f"{name}.scale", scale), name=name)

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        product = self.node("MatMul", x, self.matrix(f"{name}.weight", weight), name=f"{name}.product")
        return self.node("Add", product, self.constant(f"{name}.bias", bias), name=name)

    def norm(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray, epsilon: float) -> str:
        weight, bias = self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)
        return self.node("LayerNormalization", x, weight, bias, name=name, axis=-1, epsilon=epsilon)


def _embeddings(graph: _Graph, p: dict[str, np.ndarray], epsilon: float) -> str:
    quantised, scale = quantisation.rows(p["word.weight"])
    ids = "input_ids"
    rows = graph.node("Gather", graph.constant("word.int8", quantised), ids, name="word.rows", axis=0)
    rows = graph.node("Cast", rows, name="word.rows.float", to=TensorProto.FLOAT)
    scales = graph.node("Gather", graph.constant("word.scale", scale), ids, name="word.row_scales", axis=0)
    word = graph.node("Mul", rows, scales, name="word")

    tokens = graph.node("Shape", ids, name="tokens", start=1, end=2)
    zero, first_axis = graph.constant("zero", np.array([0])), graph.constant("first_axis", np.array([0]))
    stored = graph.constant("position.weight.float16", p["position.weight"].astype(np.float16))
    positions = graph.node("Cast", stored, name="position.weight", to=TensorProto.FLOAT)
    position = graph.node("Slice", positions, zero, tokens, first_axis, name="position")
    hidden = graph.node("Add", word, position, name="embeddings")
    return graph.norm(hidden, "embedding_norm", p["embedding_norm.weight"], p["embedding_norm.bias"], epsilon)


def _attention(graph: _Graph, p: dict[str, np.ndarray], layer: str, x: str, heads: int) -> str:
    width = p[f"{layer}.query.weight"].shape[0]
    split = graph.constant(f"{layer}.split", np.array([0, 0, heads, width // heads]))

    def part(which: str, order: list[int]) -> str:
        y = graph.linear(x, f"{layer}.{which}", p[f"{layer}.{which}.weight"], p[f"{layer}.{which}.bias"])
        y = graph.node("Reshape", y, split, name=f"{layer}.{which}.heads")
        return graph.node("Transpose", y, name=f"{layer}.{which}.transposed", perm=order)

    scores = graph.node("MatMul", part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), name=f"{layer}.scores")
    scale = graph.constant(f"{layer}.scale", np.float32(1 / math.sqrt(width // heads)))
    scores = graph.node("Mul", scores, scale, name=f"{layer}.scaled_scores")
    share = graph.node("Softmax", scores, name=f"{layer}.share", axis=-1)
    context = graph.node("MatMul", share, part("value", [0, 2, 1, 3]), name=f"{layer}.context")
    context = graph.node("Transpose", context, name=f"{layer}.context.transposed", perm=[0, 2, 1, 3])
    merge = graph.constant(f"{layer}.merge", np.array([0, 0, width]))
    context = graph.node("Reshape", context, merge, name=f"{layer}.context.merged")
    name = f"{layer}.attention_output"
    return graph.linear(context, name, p[f"{name}.weight"], p[f"{name}.bias"])


def _gelu(graph: _Graph, x: str, name: str) -> str:
    """x/2 · (1 + erf(x/√2)), the exact form (Hendrycks and Gimpel 2016)."""
    scaled = graph.node("Mul", x, "gelu.inverse_sqrt_two", name=f"{name}.scaled")
    erf = graph.node("Erf", scaled, name=f"{name}.erf")
    raised = graph.node("Add", erf, "gelu.one", name=f"{name}.raised")
    product = graph.node("Mul", x, raised, name=f"{name}.product")
    return graph.node("Mul", product, "gelu.half", name=name)


def export(encoder: Encoder, tokens_max: int) -> bytes:
    """ONNX with input ``input_ids`` [texts, tokens] (int64, no padding: all texts of a batch have the same length, at
    most ``tokens_max``) and output ``logits`` [texts, labels] (float32)."""
    p = {name: parameter.detach().numpy() for name, parameter in encoder.state_dict().items()}
    assert p["position.weight"].shape[0] == tokens_max
    epsilon = float(encoder.embedding_norm.eps)
    graph = _Graph()
    for name, value in (("inverse_sqrt_two", 1 / math.sqrt(2)), ("one", 1.0), ("half", 0.5)):
        graph.constant(f"gelu.{name}", np.float32(value))

    hidden = _embeddings(graph, p, epsilon)
    for i, module in enumerate(encoder.layers):
        layer = f"layers.{i}"
        added = graph.node("Add", hidden, _attention(graph, p, layer, hidden, module.heads), name=f"{layer}.attended")
        name = f"{layer}.attention_norm"
        hidden = graph.norm(added, name, p[f"{name}.weight"], p[f"{name}.bias"], epsilon)
        inner = graph.linear(hidden, f"{layer}.intermediate", p[f"{layer}.intermediate.weight"], p[f"{layer}.intermediate.bias"])
        inner = _gelu(graph, inner, f"{layer}.gelu")
        outer = graph.linear(inner, f"{layer}.output", p[f"{layer}.output.weight"], p[f"{layer}.output.bias"])
        added = graph.node("Add", hidden, outer, name=f"{layer}.transformed")
        name = f"{layer}.output_norm"
        hidden = graph.norm(added, name, p[f"{name}.weight"], p[f"{name}.bias"], epsilon)
    pooled = graph.node("ReduceMean", hidden, name="pooled", axes=[1], keepdims=0)
    logits = graph.node("MatMul", pooled, graph.constant("head.weight", p["head.weight"].T), name="head.product")
    graph.node("Add", logits, graph.constant("head.bias", p["head.bias"]), name="logits")

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "palisade",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", p["head.weight"].shape[0]])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
        producer_name="palisade-training",
    )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def scores(model: bytes, ids: list[list[int]]) -> np.ndarray:
    """float32 scores [texts, labels] as a release gives them: one text at a time through onnxruntime, then the sigmoid."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits = [session.run(["logits"], {"input_ids": np.array([sequence], dtype=np.int64)})[0][0] for sequence in ids]
    return (1 / (1 + np.exp(-np.stack(logits)))).astype(np.float32)
