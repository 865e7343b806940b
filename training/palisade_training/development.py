"""A look at sets that no licence lets us train on, while developing: is it the set or the task that a model has learnt?

The released figures come from `palisade eval` on the baked component; this is the same idea on a network in memory, for the table of
ablations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from .table import Record, read

ROWS_MAX = 1000


@dataclass(frozen=True)
class Look:
    """One measure: rows of a file, the truth of a row (None: unknown), and the labels whose highest score is judged."""

    name: str
    file: str
    truth: Callable[[Record], bool | None]
    labels: tuple[str, ...]
    measure: str = "roc_auc"  # or "average_precision", or "accuracy" (of the score against 0.5)


def _among(column: str, yes: set[str], no: set[str]) -> Callable[[Record], bool | None]:
    return lambda r: True if r[column] in yes else False if r[column] in no else None


HATE = ("HATE",)
TOXIC = ("TOXICITY",)
ANY = ("TOXICITY", "SEVERE_TOXICITY", "INSULT", "PROFANITY", "THREAT", "IDENTITY_ATTACK", "SEXUALLY_EXPLICIT", "HATE")

LOOKS = [
    Look("hatecheck, three functions", "hatecheck", _among("label_gold", {"hateful"}, {"non-hateful"}), HATE),
    Look("hatecheck, three functions", "hatecheck", _among("label_gold", {"hateful"}, {"non-hateful"}), HATE, "accuracy"),
    Look("gab", "gab_hate_corpus", _among("hd", {"1"}, {"0"}), HATE),
    Look("stormfront", "stormfront_vicomtech", _among("label", {"hate"}, {"noHate"}), HATE),
    Look("ethos", "ethos_binary", lambda r: float(r["isHate"]) >= 0.5, HATE),
    Look("madlibs", "bias_madlibs_77k", _among("Label", {"BAD"}, {"NOT_BAD"}), TOXIC),
    Look("sentence templates", "bias_en_sentence_templates", _among("toxicity", {"toxic"}, {"nontoxic"}), TOXIC),
    Look("user prompts", "toxicchat_human_annotated", _among("toxicity", {"1"}, {"0"}), ANY, "average_precision"),
    Look("dota chat", "conda_dota2_chat", _among("intentClass", {"E"}, {"O", "A"}), TOXIC),
    Look("md-agreement", "lewidi_md_agreement", _among("hard_label", {"1"}, {"0"}), TOXIC),
    Look("sbic, sexual", "sbic_v2_dev_annotations", _among("sexYN", {"1.0"}, {"0.0"}), ("SEXUALLY_EXPLICIT",)),
    Look("sms spam", "sms_spam_collection", _among("label", {"spam"}, {"ham"}), ("SPAM",)),
    Look("sms phishing", "sms_phishing_5971", _among("label", {"Smishing", "smishing"}, {"ham"}), ("SPAM",)),
    Look("youtube spam", "youtube_spam_collection", _among("label", {"1"}, {"0"}), ("SPAM",)),
]


def look(data_dir: Path, names: list[str], score: Callable[[list[str]], np.ndarray]) -> dict[str, float]:
    """Each measure by name; ``score`` gives probabilities [texts, labels]."""
    found = {}
    scored: dict[str, np.ndarray] = {}
    for at in LOOKS:
        path = data_dir / f"{at.file}.csv.gz"
        if not path.is_file():
            continue
        rows = [r for r in read(path) if at.truth(r) is not None and r["text"].strip()]
        rows = sorted(rows, key=lambda r: hashlib.sha256(r["text"].encode()).digest())[:ROWS_MAX]
        if at.file not in scored:
            scored[at.file] = score([r["text"] for r in rows])
        values = scored[at.file][:, [names.index(label) for label in at.labels]].max(axis=1)
        truth = np.array([at.truth(r) for r in rows])
        if at.measure == "accuracy":
            found[f"{at.name}, accuracy yes"] = float((values[truth] >= 0.5).mean())
            found[f"{at.name}, accuracy no"] = float((values[~truth] < 0.5).mean())
        else:
            measure = roc_auc_score if at.measure == "roc_auc" else average_precision_score
            found[f"{at.name}, {at.measure.replace('_', ' ')}"] = float(measure(truth, values))
    return found
