"""Writes a release: model, tokenizer, manifest with provenance and first measures. `palisade eval` on the baked component gives the rest."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from .calibration import Threshold
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
    if not labels.any(axis=0).all():
        raise SystemExit("a label has no held-back positive at the natural rate, so there is nothing to measure it on")
    generator = np.random.default_rng(RESAMPLING_SEED)
    means = []
    while len(means) < RESAMPLES:
        rows = generator.integers(len(labels), size=len(labels))
        if labels[rows].any(axis=0).all():
            means.append(np.mean([roc_auc_score(labels[rows, i], scores[rows, i]) for i in range(labels.shape[1])]))
    return [round(float(np.quantile(means, q)), 4) for q in (0.025, 0.975)]


def measure(labels: np.ndarray, judged: np.ndarray, scores: np.ndarray, thresholds: list[float], names: list[str]) -> dict:
    """Measures a label over the rows where people judged it; a share of one half is yes."""
    result: dict = {"rows": len(labels), "labels": {}}
    for i, name in enumerate(names):
        known = ~np.isnan(labels[:, i]) & judged[:, i]
        y, x = labels[known, i] >= 0.5, scores[known, i]
        result["labels"][name] = {
            "rows": int(known.sum()),
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


def _machine() -> str:
    """Processor and cores, as the kernel names them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} cores of {model}"


def _reached(history: dict) -> dict:
    """What a stage came to in the end."""
    if "epochs" not in history:
        return {"loss": round(history["loss"], 3)}
    last = history["epochs"][-1]["validation_roc_auc"]
    return {"validation_roc_auc": {label: round(auc, 4) for label, auc in last.items()}}


def write(
    folder: Path,
    *,
    recipe: dict,
    model: bytes,
    tokenizer_json: str,
    review: list[Threshold],
    block: list[Threshold | None],
    split: Split,
    stages: dict[str, dict],
    metrics: dict,
) -> None:
    """Writes the release's files; the manifest comes last, so a folder with a manifest is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "release.json").unlink(missing_ok=True)
    tokenizer = (tokenizer_json + "\n").encode()
    head, base = recipe["release"], recipe["base"]

    def chosen(t: Threshold) -> dict:
        return {"threshold": round(t.score, 3), "precision": round(t.precision, 3), "recall": round(t.recall, 3)}

    def rows_by_source(rows: Rows) -> list[int]:
        return [int(n) for n in np.bincount(rows.source, minlength=len(recipe["data"]["sources"]))]

    trained, validated, held_back = (rows_by_source(r) for r in (split.train, split.validation, split.test))
    manifest = {
        "schema": "palisade-release/1",
        **{key: head[key] for key in ("name", "version", "description", "licence", "languages")},
        "labels": [
            {"name": name, "threshold": round(r.score, 3), "review": chosen(r)} | ({"block": chosen(b)} if b else {})
            for name, r, b in zip(recipe["labels"]["names"], review, block, strict=True)
        ],
        "tokens_max": head["tokens_max"],
        "normalisation": head["normalisation"],
        "model": _file("model.onnx", model),
        "tokenizer": _file("tokenizer.json", tokenizer),
        "base": {key: base[key] for key in ("model", "package", "version", "sha256", "licence")},
        "student": {key: recipe["student"][key] for key in ("layers", "inner")},
        "data": [
            {
                **{key: s[key] for key in ("name", "source", "licence")},
                "sha256": split.digests[i],
                "rows_trained": trained[i],
                "rows_validated": validated[i],
                "rows_held_back": held_back[i],
                "rows_dropped_as_repeats": split.repeats_dropped[i],
            }
            for i, s in enumerate(recipe["data"]["sources"])
        ],
        "training": {
            "recipe": head["recipe"],
            "machine": _machine(),
            "stages": {
                name: {
                    "steps": history["steps"],
                    "seconds": round(history["seconds"]),
                    "device": history["device"],
                    **_reached(history),
                }
                for name, history in stages.items()
            },
        },
        "metrics": metrics,
    }
    _put(folder / "model.onnx", model)
    _put(folder / "tokenizer.json", tokenizer)
    _put(folder / "release.json", (json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    print(f"wrote {folder}: model {len(model) / 2**20:.1f} MiB, mean ROC AUC {metrics['held_back_natural_rate']['mean_roc_auc']}")


def write_held_back(path: Path, rows: Rows, names: list[str], sources: list[dict]) -> None:
    """The held-back rows as CSV for `palisade eval`: text, set, whether drawn at the natural rate, and a column a label (empty: unknown)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "set", "natural", *names])
        for text, source, natural, labels in zip(rows.text, rows.source, rows.natural.astype(int), rows.labels, strict=True):
            writer.writerow([text, sources[source]["name"], natural, *("" if np.isnan(y) else f"{y:g}" for y in labels)])
