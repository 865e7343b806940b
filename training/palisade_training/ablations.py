"""``python -m palisade_training.ablations``: what each step of a recipe brings, on a network and a share of the rows small enough to try
them all in one sitting. Writes ``ablations.json`` beside the recipe; ``--table`` prints it.

Each variant is the one before with one thing more, trained with the recipe's settings: so differences, not heights, are what the table tells.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from . import __main__ as stages
from . import augmentation, fit, quantisation
from .encoder import Encoder, from_base, part_of, with_head

VARIANTS = ["jigsaw alone", "+ all sets", "+ word-list labels", "+ normalisation", "+ augmentation", "+ masked-language pre-training", "+ distillation", "+ int8"]


def one(run: stages.Run, variant: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Trains a variant and looks at it."""
    stage = VARIANTS.index(variant)

    def has(step: str) -> bool:
        return stage >= VARIANTS.index(step)

    recipe, names, split = run.recipe, run.names, run.split
    settings = recipe["teacher"] | recipe["ablations"]
    run.program = arguments.normalise if has("+ normalisation") else None
    train = split.train
    if not has("+ all sets"):
        train = train.take(train.source == train.source[train.natural][0])
    count = int(len(split.train) * settings["rows_share"])  # as many for all
    train = train.take(np.sort(np.random.default_rng(settings["seed"]).permutation(len(train))[:count]))
    known = train.labels if has("+ word-list labels") else np.where(train.judged, train.labels, np.nan).astype(np.float32)
    train = augmentation.Rows(train.text, known, train.natural, train.source, train.judged)
    validation_labels = np.where(split.validation.judged, split.validation.labels, np.nan)

    def begin(positions: int, rows: np.ndarray) -> Encoder:
        if has("+ distillation"):
            # As the student begins: with layers of the teacher.
            teacher, reader, _ = run.teacher()
            row_of = {base: row for row, base in enumerate(reader.base_rows)}
            return part_of(teacher, settings["layers"], None, np.array([row_of[base] for base in rows]), positions)
        base = run.adapted()[0] if has("+ masked-language pre-training") else from_base(run.base, np.arange(int(rows.max()) + 1), positions, settings["dropout"])
        torch.manual_seed(settings["seed"])
        return with_head(part_of(base, settings["layers"], None, rows, positions), len(names))

    reader = run.reader(recipe["vocabulary"]["occurrences_min"], recipe["vocabulary"]["tokens_max"])
    encoder = begin(reader.tokens_max, reader.base_rows)
    shares = augmentation.Shares(**recipe["augmentation"])

    def epoch(number: int) -> fit.Epoch:
        if not has("+ augmentation"):
            return fit.Epoch(reader.ids(train.text), train.labels)
        changed = augmentation.epoch(train, names, shares, [settings["seed"], number])
        ids = reader.ids(changed.text)
        if not has("+ distillation"):
            return fit.Epoch(ids, changed.labels)
        teacher, teachers_reader, _ = run.teacher()
        short = settings["tokens_max"]
        spelt = [i if len(i) <= short else i[: short - 1] + [i[-1]] for i in teachers_reader.ids(changed.spelt)]
        return fit.Epoch(ids, changed.labels, *fit.outputs_of(teacher, spelt, torch.device("cpu")))

    validation = (reader.ids(split.validation.text), validation_labels)
    soft = {key: recipe["distillation"][key] for key in ("soft_share", "pooled_share")}
    fit.fit(encoder, epoch, len(train), validation, names, settings | soft, folder / f"{min(stage, VARIANTS.index('+ distillation'))}.pt")
    if has("+ int8"):
        quantisation.quantise(encoder)
    return run.look(encoder, reader, arguments.data)


def table(found: dict[str, dict[str, float]]) -> str:
    variants = list(found)
    lines = ["| measure | " + " | ".join(variants) + " |", "|---|" + "---|" * len(variants)]
    for measure in found[variants[0]]:
        lines.append(f"| {measure} | " + " | ".join(f"{found[v][measure]:.4f}" for v in variants) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = stages.parser(prog="palisade_training.ablations", description=__doc__)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured, and train nothing")
    arguments = parser.parse_args()
    path = arguments.recipe.parent / "ablations.json"
    kept = json.loads(path.read_text()) if path.is_file() else {"recipe": "", "found": {}}
    found: dict[str, dict[str, float]] = kept["found"]
    if not arguments.table:
        fit.deterministic()
        run = stages.Run(stages.read_recipe(arguments.recipe), arguments)
        folder = run.folder([*run.tables, "distillation", "ablations"])
        if kept["recipe"] != folder.name:
            found = {}
        for variant in VARIANTS:
            if variant not in found:
                started = time.monotonic()
                found[variant] = one(run, variant, arguments, folder)
                print(f"{variant}: {time.monotonic() - started:.0f} s", flush=True)
                path.write_text(json.dumps({"recipe": folder.name, "found": found}, indent=1) + "\n")
    if not found:
        raise SystemExit(f"{path}: nothing is measured yet; run without --table first")
    print(table(found))


if __name__ == "__main__":
    main()
