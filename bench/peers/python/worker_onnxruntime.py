"""onnxruntime (native) as a peer of the component: the same model file, CPU, one thread. The protocol is the one that
../../src/main.rs describes, less the mode "instantiate".

    python worker_onnxruntime.py MODEL_ONNX TOKENIZER_JSON WORD
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Feeds = dict[str, np.ndarray]


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feeds_of(vocabulary: dict[str, int], word: str, tokens: int) -> Feeds:
    """``word``, repeated to ``tokens`` tokens, special tokens included."""
    missing = [token for token in ("[CLS]", word, "[SEP]") if token not in vocabulary]
    if missing:
        raise SystemExit(f"the tokenizer has no token {', '.join(missing)}")
    ids = [vocabulary["[CLS]"], *[vocabulary[word]] * (tokens - 2), vocabulary["[SEP]"]]
    return {"input_ids": np.array([ids], dtype=np.int64)}


def times(repeats: int, step: Callable[[], object]) -> list[float]:
    """Milliseconds of each repeat. What ``step`` gives is freed after its time was taken."""
    ms = []
    for _ in range(repeats):
        start = time.perf_counter()
        kept = step()
        ms.append((time.perf_counter() - start) * 1e3)
        del kept
    return ms


def main() -> None:
    model_file, tokenizer_file, word = sys.argv[1:]
    model = Path(model_file).read_bytes()
    vocabulary = json.loads(Path(tokenizer_file).read_text(encoding="utf-8"))["model"]["vocab"]
    session = open_session(model)

    def run(session: onnxruntime.InferenceSession, feeds: Feeds) -> np.ndarray:
        return session.run(["logits"], feeds)[0]

    def first_run(feeds: Feeds) -> onnxruntime.InferenceSession:
        fresh = open_session(model)
        run(fresh, feeds)
        return fresh

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        mode = request["mode"]
        if mode == "about":
            return {"version": onnxruntime.__version__, "runtime": f"Python {platform.python_version()}"}
        feeds = feeds_of(vocabulary, word, request["tokens"])
        if mode == "warm":
            run(session, feeds)
            return {"ms": times(request["repeats"], lambda: run(session, feeds))}
        if mode == "cold":
            return {"ms": times(request["repeats"], lambda: first_run(feeds))}
        if mode == "scores":
            return {"scores": (1 / (1 + np.exp(-run(session, feeds)[0]))).tolist()}
        raise SystemExit(f"there is no mode {mode}")

    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
