"""The training table: all sets of a recipe, without repeats and near-repeats, split by a hash of the text."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import table

_NOT_WORD = re.compile(r"[\W_]+")
_APOSTROPHE = re.compile("['’`]")
_PUNCTUATION = re.compile(r"[\x00-/:-@\[-`{-\xbf\u2000-\u200a\u2010-\u206f\s]+")
_SHINGLE_WORDS = 3
_PERMUTATIONS, _BAND = 24, 3
_NEAR_REPEAT_JACCARD = 0.8


@dataclass(frozen=True)
class Rows:
    """Parallel arrays: ``text[i]`` has ``labels[i]``, one column a label: 1, 0, a share in between, or NaN where nothing is known."""

    text: list[str]
    labels: np.ndarray  # float32 [rows, labels]
    natural: np.ndarray  # bool [rows]: drawn at the natural base rate
    source: np.ndarray  # int [rows]: index into the recipe's sources
    judged: np.ndarray  # bool [rows, labels]: people said so, not a word list

    def __len__(self) -> int:
        return len(self.text)

    def take(self, keep: np.ndarray) -> "Rows":
        index = np.flatnonzero(keep) if keep.dtype == bool else keep
        return Rows([self.text[i] for i in index], self.labels[index], self.natural[index], self.source[index], self.judged[index])


@dataclass(frozen=True)
class Split:
    train: Rows
    validation: Rows
    test: Rows
    repeats_dropped: list[int]  # a number a source
    digests: list[str]  # SHA-256 of the files read, one a source


def normalised(text: str) -> str:
    """The form in which two texts count as the same: lower case, runs of anything but letters and digits as one space."""
    return _NOT_WORD.sub(" ", text.lower()).strip() or text


def repeat_key(text: str) -> str:
    """The form in which a text repeats another one: as `normalised`, but emoji count, and apostrophes do not."""
    return _PUNCTUATION.sub(" ", _APOSTROPHE.sub("", text.lower())).strip() or text


def bucket_of(text: str, buckets: int) -> int:
    digest = hashlib.sha256(normalised(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") % buckets


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_read(texts: list[str], program: Path | None) -> list[str]:
    """The texts as a model reads them: the rules of `crates/core/src/normalise.rs`, run by its example program; unchanged without one."""
    if program is None:
        return texts
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(recipe: dict, data_dir: Path, replaced: dict[str, Path] | None = None) -> Split:
    """Reads all sets, drops repeats over all of them, and splits by bucket.

    Of repeated texts the first stays (sets in the recipe's order), with what the others know beside it. ``replaced`` gives another file
    for a source: the public original, say, whose digest is then not checked. Raises ``SystemExit`` with the file's name when a
    file is missing or is not the one the recipe names.
    """
    names = recipe["labels"]["names"]
    place = {name: i for i, name in enumerate(names)}
    sources = recipe["data"]["sources"]
    if unknown := set(replaced or {}) - {s["name"] for s in sources}:
        raise SystemExit(f"--source {', '.join(sorted(unknown))}: the recipe has {', '.join(s['name'] for s in sources)}")
    text: list[str] = []
    labels: list[np.ndarray] = []
    source: list[int] = []
    natural: list[bool] = []
    digests: list[str] = []
    for number, s in enumerate(sources):
        path = (replaced or {}).get(s["name"]) or data_dir / s["file"]
        if not path.is_file():
            raise SystemExit(f"{path}: no such file; pass the folder that holds {s['file']} with --data, or another file with --source {s['name']}=FILE")
        digests.append(digest := file_sha256(path))
        if s["name"] not in (replaced or {}) and digest != s["sha256"]:
            raise SystemExit(f"{path}: SHA-256 is {digest}, but the recipe was written for {s['sha256']}; pass a file of your own with --source {s['name']}=FILE")
        records = table.read(path)
        marked = sum(r.get("sampling") == "natural_first10k" for r in records)
        for position, (t, known) in enumerate(table.LOADERS[s["loader"]](records)):
            row = np.full(len(names), np.nan, dtype=np.float32)
            for name, value in known.items():
                if name in place:
                    row[place[name]] = value
            if t.strip():
                text.append(t)
                labels.append(row)
                source.append(number)
                natural.append(s.get("natural", False) and (position < marked or not marked))
    kept, merged = without_repeats([repeat_key(t) for t in text], np.stack(labels))
    judged = ~np.isnan(merged)
    for row, i in zip(merged, kept, strict=True):
        known = {name: float(value) for name, value in zip(names, row, strict=True) if not np.isnan(value)}
        for name, value in table.word_list_labels(text[i], known, sources[source[i]].get("hate_only", False)).items():
            if name in place:
                row[place[name]] = value
    rows = Rows([text[i] for i in kept], merged, np.array(natural)[kept], np.array(source)[kept], judged)
    dropped = np.bincount(source, minlength=len(sources)) - np.bincount(rows.source, minlength=len(sources))

    buckets = recipe["split"]["buckets"]
    bucket = np.array([bucket_of(t, buckets) for t in rows.text])
    test, validation = recipe["split"]["test_bucket"], recipe["split"]["validation_bucket"]
    return Split(
        train=rows.take((bucket != test) & (bucket != validation)),
        validation=rows.take(bucket == validation),
        test=rows.take(bucket == test),
        repeats_dropped=[int(d) for d in dropped],
        digests=digests,
    )


def without_repeats(keys: list[str], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the texts that stay, and their labels, with what their repeats know where they know nothing.

    ``keys`` are the texts' `repeat_key`. A repeat is a text with the same key, or one whose word triples overlap by a Jaccard index of at least 0.8 (found
    by MinHash with banding: Broder 1997).
    """
    first: dict[str, int] = {}
    of = np.array([first.setdefault(key, i) for i, key in enumerate(keys)])
    unique = np.array(sorted(first.values()))

    shingles = [_shingles(keys[i]) for i in unique]
    long_enough = [n for n, s in enumerate(shingles) if len(s) >= 4]
    hashes = np.array([h for n in long_enough for h in shingles[n]], dtype=np.uint64)
    starts = np.cumsum([0] + [len(shingles[n]) for n in long_enough])[:-1]
    generator = np.random.default_rng(0)
    signature = []
    for _ in range(_PERMUTATIONS):
        a, b = generator.integers(1, 2**31, size=2, dtype=np.uint64)
        signature.append(np.minimum.reduceat((hashes * (2 * a + 1) + b) & np.uint64(0xFFFFFFFF), starts))
    near = np.arange(len(unique))
    for band in range(0, _PERMUTATIONS, _BAND):
        seen: dict[tuple, list[int]] = {}
        for row, n in enumerate(long_enough):
            if near[n] != n:
                continue
            earlier = seen.setdefault(tuple(s[row] for s in signature[band : band + _BAND]), [])
            for other in earlier[:32]:
                both = len(shingles[n] & shingles[other])
                if both >= _NEAR_REPEAT_JACCARD * (len(shingles[n]) + len(shingles[other]) - both):
                    near[n] = near[other]
                    break
            else:
                earlier.append(n)
    stays = dict(zip(unique.tolist(), unique[near].tolist(), strict=True))
    merged = labels.copy()
    for i, exact in enumerate(of.tolist()):
        # Only equal texts lend their labels: a near-repeat may differ in the word that matters.
        if exact != i and stays[exact] == exact:
            unknown = np.isnan(merged[exact])
            merged[exact, unknown] = labels[i, unknown]
    kept = np.array([i for i in unique.tolist() if stays[i] == i])
    return kept, merged[kept]


def _shingles(key: str) -> set[int]:
    words = key.split()
    return {zlib.crc32(" ".join(words[i : i + _SHINGLE_WORDS]).encode()) for i in range(max(1, len(words) - _SHINGLE_WORDS + 1))}


def natural_weights(rows: Rows, reference: Rows, perspective: int) -> np.ndarray:
    """Weights that give ``rows`` the share of texts with any label that the natural part of ``reference`` has.

    For rows of the source that has a natural part: the over-sampled ones were drawn by class (any of the first ``perspective`` labels, or
    none); within a class they are drawn evenly. Rows of other sources get weight 0.
    """
    source = reference.source[reference.natural][0]
    own = rows.source == source
    positive = (rows.labels[:, :perspective] >= 0.5).any(axis=1)
    share = (reference.labels[reference.natural, :perspective] >= 0.5).any(axis=1).mean()
    mean = positive[own].mean()
    weights = np.where(positive, share / mean, (1 - share) / (1 - mean))
    return np.where(own, weights, 0.0).astype(np.float64)
