"""The release's network as onnxruntime quantises it itself, for the int8 peers.

    python quantise.py MODEL_ONNX FOLDER

The shipped model keeps its weights in int8, and casts and scales them to float32 as its first steps. This computes these
steps and hands the float32 network to onnxruntime's dynamic quantisation, which quantises the weights of all matrix products,
in one file each for QInt8 and QUInt8. Beside them, `shape.json` has the encoder's layers, width and inner width.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic


def fold(model: onnx.ModelProto) -> None:
    """Replaces what is computed from weights alone by its result."""
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        values = [known.get(name) for name in node.input]
        if node.op_type == "Cast" and values[0] is not None:
            (to,) = (attribute.i for attribute in node.attribute if attribute.name == "to")
            known[node.output[0]] = values[0].astype(onnx.helper.tensor_dtype_to_np_dtype(to))
        elif node.op_type == "Mul" and all(value is not None for value in values):
            known[node.output[0]] = (values[0] * values[1]).astype(np.float32)
        else:
            kept.append(node)
    read = {name for node in kept for name in node.input}
    weights = [numpy_helper.from_array(value, name) for name, value in known.items() if name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def shape_of(model: onnx.ModelProto) -> dict[str, int]:
    """Told from the weights: each layer has one matrix from the width to the inner width, and one back."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    matrices = Counter(weights[name] for node in products for name in node.input if name in weights)
    widening = [(rows, columns) for rows, columns in matrices if rows < columns and (columns, rows) in matrices]
    if len(widening) != 1:
        raise SystemExit(f"the network is no plain encoder: its matrices are {dict(matrices)}")
    ((width, inner),) = widening
    return {"layers": matrices[width, inner], "width": width, "inner": inner}


def main() -> None:
    logging.disable(logging.WARNING)  # it advises an optimisation that each session makes by itself
    model_file, folder = map(Path, sys.argv[1:])
    model = onnx.load(model_file)
    fold(model)
    (folder / "shape.json").write_text(json.dumps(shape_of(model)) + "\n")
    with tempfile.TemporaryDirectory() as temporary:
        float32 = Path(temporary) / "float32.onnx"
        onnx.save(model, float32)
        for weights in (QuantType.QInt8, QuantType.QUInt8):
            quantize_dynamic(
                float32,
                folder / f"{weights.name}.onnx",
                op_types_to_quantize=["MatMul"],
                weight_type=weights,
                extra_options={"MatMulConstBOnly": True},
            )


if __name__ == "__main__":
    main()
