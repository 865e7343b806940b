"""Writes a release: model, tokenizer, manifest with provenance and metrics, card."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from .card import card
from .data import Rows, Split

CALIBRATION_BINS = 15
RESAMPLES = 1000
RESAMPLING_SEED = 1


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(scores[bins == b].mean() - labels[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(gaps) / len(scores))


def interval(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """95 % interval of the mean ROC AUC: percentiles over resamples of the rows (Efron 1979). Resamples without a positive of some
    label are drawn again."""
    generator = np.random.default_rng(RESAMPLING_SEED)
    means = []
    while len(means) < RESAMPLES:
        rows = generator.integers(len(labels), size=len(labels))
        if labels[rows].any(axis=0).all():
            means.append(np.mean([roc_auc_score(labels[rows, i], scores[rows, i]) for i in range(labels.shape[1])]))
    return [round(float(np.quantile(means, q)), 4) for q in (0.025, 0.975)]


def measure(labels: np.ndarray, scores: np.ndarray, thresholds: list[float], names: list[str]) -> dict:
    """The same measures as `palisade eval`, on the exported model."""
    result = {"rows": len(labels), "labels": {}}
    for i, name in enumerate(names):
        y, x = labels[:, i], scores[:, i]
        result["labels"][name] = {
            "positives": int(y.sum()),
            "roc_auc": round(float(roc_auc_score(y, x)), 4),
            "average_precision": round(float(average_precision_score(y, x)), 4),
            "f1": round(float(f1_score(y, x >= np.float32(thresholds[i]))), 4),
            "calibration_error": round(calibration_error(y, x), 4),
        }
    result["mean_roc_auc_interval"] = interval(labels, scores)
    result["mean_roc_auc"] = round(float(np.mean([m["roc_auc"] for m in result["labels"].values()])), 4)
    return result


def _file(name: str, content: bytes) -> dict:
    return {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _put(path: Path, content: bytes) -> None:
    whole = path.with_suffix(path.suffix + ".part")
    whole.write_bytes(content)
    os.replace(whole, path)


def write(folder: Path, *, recipe: dict, model: bytes, tokenizer_json: str, thresholds: list[float], split: Split, history: dict, metrics: dict) -> None:
    """Writes the release's files; the manifest comes last, so a folder with a manifest is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "release.json").unlink(missing_ok=True)
    tokenizer = (tokenizer_json + "\n").encode()
    head, base, data = recipe["release"], recipe["base"], recipe["data"]
    manifest = {
        "schema": "palisade-release/1",
        "name": head["name"],
        "version": head["version"],
        "description": head["description"],
        "licence": head["licence"],
        "languages": head["languages"],
        "labels": [{"name": name, "threshold": threshold} for name, threshold in zip(data["columns"], thresholds, strict=True)],
        "tokens_max": head["tokens_max"],
        "model": _file("model.onnx", model),
        "tokenizer": _file("tokenizer.json", tokenizer),
        "base": {key: base[key] for key in ("model", "package", "version", "sha256", "licence", "layers")},
        "data": [
            {
                "source": data["source"],
                "licence": data["licence"],
                "sha256": data["sha256"],
                "rows_trained": len(split.train),
                "rows_validated": len(split.validation),
                "rows_held_back": len(split.test),
                "rows_dropped_as_repeats": split.duplicates_dropped,
            }
        ],
        "training": {"seed": recipe["training"]["seed"], "steps": history["steps"], "device": history["device"], "epochs": [{key: round(value, 4) for key, value in epoch.items()} for epoch in history["epochs"]]},
        "metrics": metrics,
    }
    _put(folder / "model.onnx", model)
    _put(folder / "tokenizer.json", tokenizer)
    _put(folder / "README.md", card(manifest).encode())
    _put(folder / "release.json", (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    print(f"wrote {folder}: model {len(model) / 2**20:.1f} MiB, mean ROC AUC {metrics['held_back_natural_rate']['mean_roc_auc']}")


def write_held_back(path: Path, rows: Rows, names: list[str]) -> None:
    """The held-back rows as CSV for `palisade eval`: text, a column a label, and whether the row is at the natural rate."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "natural", *names])
        for text, natural, labels in zip(rows.text, rows.natural.astype(int), rows.labels.astype(int), strict=True):
            writer.writerow([text, natural, *labels])
