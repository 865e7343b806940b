"""``python -m palisade_training.ablations``: what each step of a recipe brings, on a network and a share of the rows small enough to try
them all in one sitting. Writes ``ablations.json`` beside the recipe; ``--table`` prints it.

Each variant is the one before with one thing more, trained with the recipe's settings from the base's first layers: so differences, not
heights, are what the table tells.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from . import __main__ as stages
from . import augmentation, data, fit, masked, quantisation
from .encoder import from_base

VARIANTS = ["jigsaw alone", "+ all sets", "+ normalisation", "+ augmentation", "+ masked-language pre-training", "+ distillation", "+ int8"]


def one(run: stages.Run, variant: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Trains a variant and looks at it."""
    stage = VARIANTS.index(variant)
    settings = run.recipe["teacher"] | run.recipe["ablations"]
    recipe, names, split = run.recipe, run.names, run.split
    run.program = arguments.normalise if stage >= VARIANTS.index("+ normalisation") else None
    train = split.train
    if stage == 0:
        train = train.take(train.source == train.source[train.natural][0])
    count = int(len(split.train) * settings["rows_share"])  # as many for all
    train = train.take(np.sort(np.random.default_rng(settings["seed"]).permutation(len(train))[:count]))
    reader = run.reader(recipe["vocabulary"]["occurrences_min"], recipe["vocabulary"]["tokens_max"])
    torch.manual_seed(settings["seed"])
    config = json.loads((run.base / "config.json").read_text())
    encoder = from_base(run.base, config, reader.base_rows, reader.tokens_max, settings["layers"], len(names), settings["dropout"])
    if stage >= VARIANTS.index("+ masked-language pre-training"):
        masked.pretrain(encoder, reader.ids(train.text), settings, folder / "masked.pt")
    teacher = run.teacher()[:2] if stage >= VARIANTS.index("+ distillation") else None

    def epoch(number: int) -> fit.Epoch:
        texts, labels = train.text, train.labels
        if stage >= VARIANTS.index("+ augmentation"):
            texts, labels = augmentation.epoch_texts(train, names, run.shares, [settings["seed"], number])
        if teacher is None:
            return fit.Epoch(reader.ids(texts), labels)
        short = settings["tokens_max"]
        ids = [i if len(i) <= short else i[: short - 1] + [i[-1]] for i in teacher[1].ids(texts)]
        return fit.Epoch(reader.ids(texts), labels, *fit.outputs_of(teacher[0], ids, torch.device("cpu")))

    validation = (reader.ids(split.validation.text), split.validation.labels)
    soft = {key: recipe["distillation"][key] for key in ("soft_share", "pooled_share")}
    fit.fit(encoder, epoch, len(train), validation, names, settings | soft, folder / f"{min(stage, VARIANTS.index('+ distillation'))}.pt")
    if variant == "+ int8":
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
        torch.use_deterministic_algorithms(True)
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
    print(table(found))


if __name__ == "__main__":
    main()
