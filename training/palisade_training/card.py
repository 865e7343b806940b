"""The model card: written from a release's manifest and from nothing else.

``python3 -m palisade_training.card RELEASE`` writes ``README.md`` beside ``release.json``; with ``--check`` it only compares. Needs nothing
beyond Python itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def interval(metrics: dict) -> str:
    low, high = metrics["mean_roc_auc_interval"]
    return f"{low:.4f} to {high:.4f}"


def card(manifest: dict) -> str:
    """The model card, generated from the manifest and nothing else."""
    metrics, more = manifest["metrics"]["held_back_natural_rate"], manifest["metrics"]["held_back_all_rows"]
    data, base = manifest["data"][0], manifest["base"]
    thresholds = {label["name"]: label["threshold"] for label in manifest["labels"]}
    rows = "\n".join(
        f"| {name} | {m['positives']} | {m['roc_auc']:.4f} | {m['average_precision']:.4f} | {m['f1']:.4f} | {thresholds[name]:.3f} "
        f"| {m['calibration_error']:.4f} | {more['labels'][name]['positives']} | {more['labels'][name]['roc_auc']:.4f} |"
        for name, m in metrics["labels"].items()
    )
    return f"""# {manifest['name']} {manifest['version']}

<!-- Written by training/palisade_training/card.py from release.json; change it there. -->

{manifest['description']}, for texts of at most {manifest['tokens_max']} tokens (longer ones are read up to there, and flagged). Licence: {manifest['licence']}.

**Made of** the first {base['layers']} layers of {base['model']} ({base['licence']}, from the package {base['package']} {base['version']}), mean pooling
and a linear head; the vocabulary is cut to what the training texts use. Word embeddings are stored as int8, the other matrices as float16, all else as float32; it computes in float32.

**Trained on** {data['source']}:
{data['rows_trained']:,} texts, {data['rows_validated']:,} for calibration and thresholds, {data['rows_held_back']:,} held back ({data['rows_dropped_as_repeats']:,} repeats dropped first).
Licence: {data['licence']}. The recipe is `training/recipe.toml`, seed {manifest['training']['seed']}.

## Measured

On the {metrics['rows']:,} held-back texts at the natural base rate, which nothing was tuned on: mean ROC AUC **{metrics['mean_roc_auc']:.4f}**
(95 % interval {interval(metrics)}, by resampling the texts). Some labels have few positives there, THREAT above all, so their own figures say little; the last two
columns give all {more['rows']:,} held-back texts, where positives were over-sampled (mean ROC AUC {more['mean_roc_auc']:.4f}, {interval(more)}). Texts that are equal but for case and punctuation are
on one side only; near-repeats (quoted templates, repeated vandalism) can be on both, which flatters all figures a little.

| label | positives | ROC AUC | average precision | F1 | at threshold | calibration error | positives, all | ROC AUC, all |
|---|---|---|---|---|---|---|---|---|
{rows}

## Use it for

Sorting comments for people to look at. Scores are probabilities at the base rate of Jigsaw's own sample of Wikipedia talk pages, where about one text in ten has a
label; where fewer or more do, scores are too high or too low, so choose thresholds on your own texts.

## Do not use it for

Decisions about people without a person. Other languages than English: texts get scores, but nobody measured them.

## Known failures

It reads words more than intent. `cases.jsonl` beside this card shows it on texts written for the project: profanity between friends scores like an attack,
and so does an insult that is only quoted, denied or argued against; a friendly sentence that names an identity can be flagged; a threat without the
usual words passes (`I know where you live and I will make you pay for this.`); spelling tricks (`y0u 4r3 4n 1d10t`, letters apart, look-alike
letters) hide an insult. It was not yet measured by identity group. What follows after {manifest['tokens_max']} tokens is not read, so an insult behind a long beginning goes
unseen.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="palisade_training.card", description="Writes a release's model card from its manifest.")
    parser.add_argument("release", type=Path, help="folder of the release")
    parser.add_argument("--check", action="store_true", help="fail where the card is not what the manifest says")
    arguments = parser.parse_args()
    text = card(json.loads((arguments.release / "release.json").read_text(encoding="utf-8")))
    path = arguments.release / "README.md"
    if not arguments.check:
        path.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{path} is not what release.json says; write it anew with: python3 -m palisade_training.card {arguments.release} (in training/)")


if __name__ == "__main__":
    main()
