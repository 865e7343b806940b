"""Rows of the training file, without repeats, split by a hash of the text."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

csv.field_size_limit(10**9)
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Rows:
    """Parallel arrays: ``text[i]`` has labels ``labels[i]`` (0 or 1, one column a label)."""

    text: list[str]
    labels: np.ndarray  # float32 [rows, labels]
    natural: np.ndarray  # bool [rows]: drawn at the natural base rate

    def __len__(self) -> int:
        return len(self.text)

    def take(self, keep: np.ndarray) -> "Rows":
        index = np.flatnonzero(keep)
        return Rows([self.text[i] for i in index], self.labels[index], self.natural[index])


@dataclass(frozen=True)
class Split:
    train: Rows
    validation: Rows
    test: Rows
    duplicates_dropped: int


def normalised(text: str) -> str:
    """The form in which two texts count as the same: lower case, runs of anything but letters and digits as one space."""
    return _NOT_WORD.sub(" ", text.lower()).strip() or text


def bucket_of(text: str, buckets: int) -> int:
    digest = hashlib.sha256(normalised(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") % buckets


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(recipe: dict, data_dir: Path) -> Split:
    """Reads the file, keeps the natural-rate copy of each repeated text, and splits by bucket.

    Raises ``SystemExit`` with the file's name when the file is missing or is not the one the recipe names.
    """
    data = recipe["data"]
    path = data_dir / data["file"]
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; pass the folder that holds {data['file']} with --data")
    if (digest := file_sha256(path)) != data["sha256"]:
        raise SystemExit(f"{path}: SHA-256 is {digest}, but the recipe was written for {data['sha256']}")

    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    records.sort(key=lambda r: r["sampling"] != data["natural_sampling"])  # stable: natural rows first
    seen: set[str] = set()
    text, labels, natural = [], [], []
    for record in records:
        key = normalised(record["text"])
        if key in seen:
            continue
        seen.add(key)
        text.append(record["text"])
        labels.append([float(record[column]) for column in data["columns"].values()])
        natural.append(record["sampling"] == data["natural_sampling"])
    rows = Rows(text, np.array(labels, dtype=np.float32), np.array(natural))

    bucket = np.array([bucket_of(t, data["buckets"]) for t in rows.text])
    test, validation = data["test_bucket"], data["validation_bucket"]
    return Split(
        train=rows.take((bucket != test) & (bucket != validation)),
        validation=rows.take(bucket == validation),
        test=rows.take(bucket == test),
        duplicates_dropped=len(records) - len(rows),
    )


def natural_weights(rows: Rows, reference: Rows) -> np.ndarray:
    """Weights that give ``rows`` the share of texts with any label that the natural part of ``reference`` has.

    The over-sampled rows were drawn by class (any label or none); within a class they are drawn evenly.
    """
    positive = rows.labels.any(axis=1)
    share = reference.labels[reference.natural].any(axis=1).mean()
    weights = np.where(positive, share / positive.mean(), (1 - share) / (1 - positive.mean()))
    return weights.astype(np.float64)
