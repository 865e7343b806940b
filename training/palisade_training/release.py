"""Writes a release: model, tokenizer, manifest with provenance and metrics, card."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from .data import Rows, Split

CALIBRATION_BINS = 15


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(scores[bins == b].mean() - labels[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(gaps) / len(scores))


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
        "training": {"seed": recipe["training"]["seed"], "steps": history["steps"], "device": history["device"], "epochs": history["epochs"]},
        "metrics": {"held_back_natural_rate": metrics},
    }
    _put(folder / "model.onnx", model)
    _put(folder / "tokenizer.json", tokenizer)
    _put(folder / "README.md", card(manifest).encode())
    _put(folder / "release.json", (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    print(f"wrote {folder}: model {len(model) / 2**20:.1f} MiB, mean ROC AUC {metrics['mean_roc_auc']}")


def card(manifest: dict) -> str:
    """The model card, generated from the manifest and nothing else."""
    metrics = manifest["metrics"]["held_back_natural_rate"]
    data, base = manifest["data"][0], manifest["base"]
    thresholds = {label["name"]: label["threshold"] for label in manifest["labels"]}
    rows = "\n".join(
        f"| {name} | {m['positives']} | {m['roc_auc']:.4f} | {m['average_precision']:.4f} | {m['f1']:.4f} | {thresholds[name]:.3f} | {m['calibration_error']:.4f} |"
        for name, m in metrics["labels"].items()
    )
    return f"""# {manifest['name']} {manifest['version']}

<!-- Written by training/palisade_training/release.py from release.json; change it there. -->

{manifest['description']}, for texts of at most {manifest['tokens_max']} tokens (longer ones are read up to there, and flagged). Licence: {manifest['licence']}.

**Made of** the first {base['layers']} layers of {base['model']} ({base['licence']}, from the package {base['package']} {base['version']}), mean pooling
and a linear head; the vocabulary is cut to what the training texts use. Word embeddings are stored as int8, the rest as float16.

**Trained on** {data['source']}: {data['rows_trained']:,} texts, {data['rows_validated']:,} for calibration and thresholds, {data['rows_held_back']:,} held back
({data['rows_dropped_as_repeats']:,} repeats dropped first). Licence: {data['licence']}. The recipe is `training/recipe.toml`, seed {manifest['training']['seed']}.

## Measured

On the {metrics['rows']:,} held-back texts at the natural base rate, which nothing was tuned on. Mean ROC AUC **{metrics['mean_roc_auc']:.4f}**.

| label | positives | ROC AUC | average precision | F1 | at threshold | calibration error |
|---|---|---|---|---|---|---|
{rows}

Labels with few positives (THREAT above all) are measured on few texts: their figures are uncertain.

## Use it for

Sorting comments for people to look at. Scores are probabilities at the base rate of Wikipedia talk pages; on another platform set thresholds on its own
texts.

## Do not use it for

Deciding about people without a person, or texts in other languages than English: they get scores, but nobody measured them.

## Known failures

It was trained on Wikipedia talk pages of up to 2018 alone. It reads words more than intent: it tends to score counter-speech, quotations, friendly profanity
and plain mentions of identities too high, and veiled hostility, slang newer than its data and disguised spelling too low. It was not yet measured by identity
group. What follows after {manifest['tokens_max']} tokens is not read.
"""


def write_held_back(path: Path, rows: Rows, names: list[str]) -> None:
    """The held-back natural-rate rows as CSV with a column a label, for `palisade eval`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *names])
        for text, labels in zip(rows.text, rows.labels.astype(int), strict=True):
            writer.writerow([text, *labels])
