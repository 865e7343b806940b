"""The model card: written from a release's manifest and its measures, and from nothing else.

``python3 -m palisade_training.card RELEASE`` writes ``README.md`` beside ``release.json`` and ``metrics.json`` (which ``cargo xtask measure``
writes, from ``palisade eval`` on the baked component); with ``--check`` it only compares. Needs nothing beyond Python itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

GROUPS_SHOWN = ("madlibs",)
KNOWN_FAILURES_MAX = 12


def number(value: float | None, places: int = 3) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def estimate(e: dict | None, places: int = 3) -> str:
    """A value with its 95 % interval."""
    if e is None or e["value"] is None:
        return "–"
    if not e.get("interval"):
        return f"{e['value']:.{places}f}"
    low, high = e["interval"]
    return f"{e['value']:.{places}f} ({low:.{places}f}–{high:.{places}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def measurements(report: dict) -> dict[str, dict]:
    return {m["name"]: m for m in report["measurements"]}


def data_section(manifest: dict) -> str:
    rows = [
        [d["source"], d["licence"], f"{d['rows_trained']:,}", f"{d['rows_validated']:,}", f"{d['rows_held_back']:,}", f"{d['rows_dropped_as_repeats']:,}"]
        for d in manifest["data"]
    ]
    total = [sum(d[k] for d in manifest["data"]) for k in ("rows_trained", "rows_validated", "rows_held_back", "rows_dropped_as_repeats")]
    rows.append(["**all**", "", *(f"{n:,}" for n in total)])
    return table(["set", "licence", "trained", "validated", "held back", "repeats dropped"], rows)


def held_back_section(manifest: dict) -> str:
    natural, everything = manifest["metrics"]["held_back_natural_rate"], manifest["metrics"]["held_back_all_rows"]
    thresholds = {label["name"]: label for label in manifest["labels"]}
    rows = []
    for name, m in everything["labels"].items():
        own = natural["labels"].get(name)
        cells = [f"{own['positives']} of {own['rows']}", number(own["roc_auc"], 4), number(own["average_precision"]), number(own["calibration_error"], 4)] if own else ["–"] * 4
        chosen = [thresholds[name].get(kind) for kind in ("review", "block")]
        rows.append(
            [name, *cells, f"{m['positives']:,} of {m['rows']:,}", number(m["roc_auc"], 4), number(m["average_precision"])]
            + [f"{t['threshold']:.3f} ({t['precision']:.2f}, {t['recall']:.2f})" if t else "–" for t in chosen]
        )
    head = ["label", "positives, natural rate", "ROC AUC", "average precision", "calibration error", "positives, all sets", "ROC AUC", "average precision", "review at (precision, recall)", "block at (precision, recall)"]
    return table(head, rows)


def development_section(report: dict) -> str:
    rows = []
    for m in report["measurements"]:
        for s in m["scores"]:
            at = s["decisions"][0] if s["decisions"] else None
            rows.append(
                [m["title"], s["name"], f"{s['positives']:,} of {s['rows']:,}", estimate(s["roc_auc"]), estimate(s["average_precision"]), number(at["macro_f1"] and at["macro_f1"]["value"]) if at else "–"]
            )
    return table(["set", "score", "positives", "ROC AUC", "average precision", "macro F1 at the thresholds for review"], rows)


def groups_section(report: dict) -> str:
    rows = []
    for name in GROUPS_SHOWN:
        m = measurements(report).get(name)
        if m is None:
            continue
        for s in m["scores"]:
            for g in s["groups"]:
                rows.append([g["name"], f"{g['positives']} of {g['rows']}", estimate(g["subgroup_auc"]), estimate(g["bpsn_auc"]), estimate(g["bnsp_auc"]), estimate(g["false_positive_rate"])])
    return table(["group", "positives", "subgroup AUC", "BPSN AUC", "BNSP AUC", "harmless ones flagged for review"], rows)


def dialect_section(report: dict) -> str:
    rows = []
    for m in report["measurements"]:
        for s in m["scores"]:
            for d in s.get("dialects", []):
                rows.append([s["name"], d["name"], f"{d['negatives']:,}", estimate(d["false_positive_rate"])])
    return table(["score", "dialect", "harmless rows", "flagged for review"], rows) if rows else ""


def functions_section(report: dict) -> str:
    cases = measurements(report)["cases"]
    by = next(b for b in cases["accuracy"] if b["by"] == "function")
    rows = [[s["name"], str(s["rows"]), ", ".join(s["decided_by"]), estimate(s["accuracy"], 2)] for s in by["slices"]]
    return table(["function", "cases", "score", "right"], rows)


def tricks_section(report: dict) -> str:
    tricks = measurements(report)["tricks"]["tricks"]
    rows = [[t["name"], estimate(t["recall"], 2), estimate(t["recall_plain"], 2), estimate(t["kept"], 2)] for t in tricks]
    return table(["trick", "recall", "recall of the same texts, plain", "kept"], rows)


def failures_section(report: dict) -> str:
    """Wrong answers, one of each function, the worst functions first."""
    cases = measurements(report)["cases"]
    accuracy = {s["name"]: s["accuracy"]["value"] for b in cases["accuracy"] if b["by"] == "function" for s in b["slices"] if s["accuracy"]}
    examples: dict[str, dict] = {}
    for e in cases["examples"]:
        examples.setdefault(e["function"], e)
    worst = sorted(examples.values(), key=lambda e: accuracy.get(e["function"], 1.0))[:KNOWN_FAILURES_MAX]
    rows = [[e["function"], number(accuracy.get(e["function"]), 2), f"{e['score']} {e['value']:.2f}", "yes" if e["expected"] else "no", "`" + e["text"].replace("|", "\\|").replace("`", "'") + "`"] for e in worst]
    return table(["function", "right", "score", "should be flagged", "example"], rows)


def headline(functional: dict) -> str:
    scores = {s["name"]: s for s in measurements(functional)["cases"]["scores"]}
    parts = []
    for name in ("hateful", "abusive"):
        if name in scores and scores[name]["decisions"]:
            parts.append(f"{name} or not, macro F1 {estimate(scores[name]['decisions'][0]['macro_f1'], 2)}")
    return "; ".join(parts)


def card(manifest: dict, metrics: dict) -> str:
    natural = manifest["metrics"]["held_back_natural_rate"]
    low, high = natural["mean_roc_auc_interval"]
    base, student, training = manifest["base"], manifest["student"], manifest["training"]
    named = {"masked": "masked-language training"}
    stages = ", ".join(f"{named.get(name, name)} {s['steps']:,} steps in {s['seconds'] / 60:.0f} minutes" for name, s in training["stages"].items())
    development, functional = metrics["development"], metrics["functional"]
    return f"""# {manifest['name']} {manifest['version']}

<!-- Written by training/palisade_training/card.py from release.json and metrics.json; change it there. -->

{manifest['description']}. It reads English, at most {manifest['tokens_max']} tokens of a text (longer ones are read up to there, and flagged). Licence: {manifest['licence']}.

**Made of** {base['model']} ({base['licence']}, from the package {base['package']} {base['version']}): all its six layers go on with masked-language
training on the texts, then learn the task as a teacher, and the release is a student of {len(student['layers'])} of them (feed-forward width {student['inner']}) that learns from the teacher and from the labels. Mean pooling and a linear head; the vocabulary is cut to what the
training texts use; matrices and word embeddings are int8 with a scale a column or row. Texts are normalised first (`{manifest['normalisation']}`, `crates/core/src/normalise.rs`).

**Trained** by `{training['recipe']}` on {training['machine']} ({stages}; both releases share all but the student; other work ran on the machine at times).

## Intended use

Sorting comments for people to look at: what to show a moderator first, what to hold until one has looked, what to point out to its author before it is
sent. Scores are probabilities: the first six labels at the base rate of Jigsaw's own sample of Wikipedia talk pages, where about one text in ten has a label; the others at
the rate of the sets that judge them, which is far above any forum's. Where your rate differs, so do the scores that mean the same: choose thresholds on your own texts.

**Not for**: decisions about people without a person; other languages than English (texts get scores, but nobody measured them); judging what somebody is or believes; finding crimes, self-harm or
child abuse (nothing here was trained for it); long documents.

## Labels

TOXICITY, SEVERE_TOXICITY, INSULT, PROFANITY, THREAT and IDENTITY_ATTACK mean what they mean in Perspective's set. HATE is an attack on people for a protected attribute, as many sets of different
guidelines have it. SEXUALLY_EXPLICIT is learnt from the few human labels of ConvAbuse and from word lists (a clear wording is yes, none of a broad list's words is no, all between is unknown): it knows
explicit wording better than innuendo. SPAM is learnt from one rule of Reddit communities against advertising, with texts without any commercial word as counter-examples; it knows little else, see the functions "spam: …" below before you rely on it.
Where a set judges nothing but hate, its hate mostly counts as toxic too (not where it is only implied, nor in the Fox News comments); a text there that is not hate, and has no word of a broad list of abusive
words, counts as not toxic.
Left out, because no allowed set supports them: self-harm, violence without a threat, misinformation, personal data.

## Data

Only sets whose original licence lets a derived model be shipped. A label that a set does not judge is missing there, not "no". Texts that are equal but for case and punctuation, or whose word triples
overlap by 0.8, count once over all sets, in the set that comes first; of equal ones it takes the labels that only the other set has (so SemEval's posts, all of them repeats, add labels and no rows). The split is by a hash of the text.

{data_section(manifest)}

## Measured: held-back rows

Nothing was trained, calibrated or given a threshold on them; they were looked at while the recipe was made. Of each label only the cells that people judged count. At the natural base rate, mean ROC AUC of the six **{natural['mean_roc_auc']:.4f}** ({low:.4f}–{high:.4f}, 95 % by resampling the texts). Some labels have few positives there
(THREAT {natural['labels']['THREAT']['positives']}), so read their figures in the columns for all sets. Thresholds are chosen on validation rows, weighted to the natural rate for the first six (precision and recall there in
brackets): the lowest score from 0.01 on that reaches the recipe's precision with at least a tenth of the positives. Where none does, "review" is the score with the highest F1, and there is none to block; nor is there
where people judged fewer than 50 validation rows positive. The rare labels' thresholds rest on a few dozen positives; SEXUALLY_EXPLICIT's and SPAM's
also on cells that word lists filled.

{held_back_section(manifest)}

## Measured: other sets

By `palisade eval --suite development` on the baked component, 95 % intervals by bootstrap. Sets that are not in the table above, most of them for want of a
licence that allows training, are only measured on; of those in it only the rows that training holds back are (near-repeats are not dropped here, so their numbers differ a little from those above). Texts that are equal, but for case
and punctuation, to one that was trained or validated on are left out.

{development_section(development)}

## By identity group

Templates with identity words (Borkan et al. 2019 for the measures). The templates were not trained on; training puts such words into other texts (`training/palisade_training/augmentation.py`).

{groups_section(development)}

{dialect_section(development)}

## By function

By `palisade eval --suite functional`, on texts written for this project, at the thresholds for review ({headline(functional)}). A score of several labels is their highest, and is flagged where one of them reaches its own threshold.

{functions_section(functional)}

Spelling tricks, harmful texts flagged for review:

{tricks_section(functional)}

## Known failures

It reads words more than intent. The worst functions, with an example each that it gets wrong:

{failures_section(functional)}

What follows after {manifest['tokens_max']} tokens is not read, so an insult behind a long beginning goes unseen.
"""


def read(release: Path) -> str:
    """The card as it should be. Raises ``SystemExit`` where the measures are of another release."""
    manifest = (release / "release.json").read_bytes()
    metrics = json.loads((release / "metrics.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(manifest).hexdigest()
    for suite, report in metrics.items():
        if report["release"]["digest"] != digest:
            raise SystemExit(f"{release / 'metrics.json'}: suite {suite} measured the release {report['release']['digest'][:12]}…, but this is {digest[:12]}…; measure it with: cargo xtask measure")
    return card(json.loads(manifest), metrics)


def main() -> None:
    parser = argparse.ArgumentParser(prog="palisade_training.card", description="Writes a release's model card from its manifest and its measures.")
    parser.add_argument("release", type=Path, help="folder of the release")
    parser.add_argument("--check", action="store_true", help="fail where the card is not what they say")
    arguments = parser.parse_args()
    text = read(arguments.release)
    path = arguments.release / "README.md"
    if not arguments.check:
        path.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{path} is not what release.json and metrics.json say; write it anew with: python3 -m palisade_training.card {arguments.release} (in training/)")


if __name__ == "__main__":
    main()
