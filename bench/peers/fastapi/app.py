"""The design that `palisade serve` replaces, as a peer under load: FastAPI, tokenizers and onnxruntime answer
`comments:analyze` from the same release. ../../load.py starts it under uvicorn; ../../README.md tells the set-up.

It does what the load asks for: no spans of sentences, no detection of languages, no keys, no limits on the queue.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np
import onnxruntime
import orjson
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel
from tokenizers import Tokenizer

TEXT_BYTES_MAX = 20_480  # Perspective's


class Comment(BaseModel):
    text: str


class Attribute(BaseModel):
    scoreThreshold: float = 0.0


class AnalyzeRequest(BaseModel):
    comment: Comment
    requestedAttributes: dict[str, Attribute]
    languages: list[str] = []
    clientToken: str | None = None


class Classifier:
    """Text to scores, one a label of the release."""

    def __init__(self, release: Path) -> None:
        manifest = json.loads((release / "release.json").read_text(encoding="utf-8"))
        self.labels = [label["name"] for label in manifest["labels"]]
        self.languages = manifest["languages"]
        self.tokenizer = Tokenizer.from_file(str(release / manifest["tokenizer"]["file"]))
        self.tokenizer.encode_special_tokens = True  # "[SEP]" in a text is five characters, not the end of it
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(manifest["tokens_max"])
        self.special_tokens = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a process for each core uses them all
        options.inter_op_num_threads = 1
        model = str(release / manifest["model"]["file"])
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def scores(self, text: str) -> dict[str, float]:
        ids = self.tokenizer.encode(text).ids
        if len(ids) <= self.special_tokens:
            return dict.fromkeys(self.labels, 0.0)
        logits = self.session.run(["logits"], {"input_ids": np.array([ids], dtype=np.int64)})[0][0]
        return dict(zip(self.labels, (1 / (1 + np.exp(-logits))).tolist(), strict=True))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    # One thread scores while the event loop accepts and parses. More of them only contend for the interpreter's lock;
    # scoring on the loop costs a little less, but it then accepts so slowly that the last of 64 connections waits for
    # seconds.
    anyio.to_thread.current_default_thread_limiter().total_tokens = 1
    yield


classifier = Classifier(Path(os.environ["RELEASE"]))
app = FastAPI(lifespan=lifespan)


@app.post("/v1alpha1/comments:analyze")
def analyze(request: AnalyzeRequest) -> Response:
    text = request.comment.text
    if not text.strip():
        raise HTTPException(400, "Comment must be non-empty.")
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise HTTPException(400, "Comment text was too many bytes.")
    if unknown := request.requestedAttributes.keys() - set(classifier.labels):
        raise HTTPException(400, f"Unknown requested attribute: {', '.join(unknown)}")
    scores = classifier.scores(text)
    answer: dict[str, Any] = {
        "attributeScores": {
            name: attribute_scores(scores[name], text)
            for name, attribute in request.requestedAttributes.items()
            if scores[name] >= attribute.scoreThreshold
        },
        "languages": request.languages or classifier.languages,
        "detectedLanguages": classifier.languages,
    }
    if request.clientToken is not None:
        answer["clientToken"] = request.clientToken
    return Response(orjson.dumps(answer), media_type="application/json")


def attribute_scores(score: float, text: str) -> dict[str, Any]:
    value = {"value": score, "type": "PROBABILITY"}
    utf16_length = len(text.encode("utf-16-le")) // 2
    return {"spanScores": [{"begin": 0, "end": utf16_length, "score": value}], "summaryScore": value}
