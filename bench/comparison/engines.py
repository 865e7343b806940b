"""Everything that scores the same texts with the same network, each in a process of its own."""

from __future__ import annotations

import json
import math
import statistics
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .common import BENCH, ROOT, SCORE_DIFFERENCE_MAX, BenchError, download, install, run, sha256, virtual_environment

NODE_PEER = BENCH / "peers" / "node"
PYTHON_PEER = BENCH / "peers" / "python"
CONFORMANCE = ROOT / "conformance"
VENV = ROOT / "target" / "bench-venv"
WORK = ROOT / "target" / "bench"  # what is derived from the release for the comparison

COMPONENT, TIMED, STRICT, V8, NATIVE, TRACT = (
    "palisade",
    "palisade with a time limit",
    "palisade strict",
    "palisade strict, V8",
    "palisade native",
    "palisade tract",
)
ORT_INT8, ORT_FLOAT, WEB_INT8, WEB_FLOAT = (
    "onnxruntime int8",
    "onnxruntime float32",
    "onnxruntime-web int8",
    "onnxruntime-web float32",
)
OURS = (COMPONENT, TIMED, STRICT, V8, NATIVE, TRACT)
PEERS = (WEB_INT8, WEB_FLOAT, ORT_INT8, ORT_FLOAT)
TOKENS = (16, 64, 128, 256)
TOKENS_COLD = 64  # the length of cold requests

# How onnxruntime may quantise the weights of an int8 peer. Which is quicker depends on the processor, on the build, and on
# what else the machine does; so the scores of both are checked.
VARIANTS = ("QInt8", "QUInt8")
INT8_VARIANTS = tuple(f"{peer} {variant}" for peer in (ORT_INT8, WEB_INT8) for variant in VARIANTS)

# Scores may differ so much from the component's. Ours are the same bits everywhere, but for tract, which computes in float32.
# The int8 peers have one scale for a whole matrix, which moves their scores further from float32 than ours are.
DIFFERENCES_MAX = (
    dict.fromkeys((TIMED, STRICT, V8, NATIVE), 0.0)
    | dict.fromkeys((TRACT, ORT_FLOAT, WEB_FLOAT), SCORE_DIFFERENCE_MAX)
    | dict.fromkeys(INT8_VARIANTS, 2 * SCORE_DIFFERENCE_MAX)
)


@dataclass(frozen=True)
class Paths:
    """What `cargo xtask bench` built, and the release that is in it."""

    worker: Path
    palisade: Path
    artefact: Path
    artefact_strict: Path
    release: Path


class Worker:
    """A process that answers one JSON object a line with one JSON object a line."""

    def __init__(self, name: str, command: list[str | Path]) -> None:
        self.name = name
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, mode: str, **request: int) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"mode": mode, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            raise BenchError(f"the worker {self.name} ended with status {status} at {mode} {request}; see above")
        return json.loads(line)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


class Engines:
    """All workers, started; a context that stops them."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.workers: dict[str, Worker] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self.variants: dict[str, dict[str, float]] = {}  # peer to variant to the milliseconds that chose it
        self.scores: dict[str, dict[int, list[float]]] = {}  # of all variants, by tokens
        self.shape: dict[str, int] = {}

    def __enter__(self) -> Engines:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        if not self.paths.worker.is_file():
            raise BenchError(f"there is no {self.paths.worker}: start through `cargo xtask bench`, which builds it")
        release = Release.read(self.paths.release)
        python = prepare()
        models = quantised(python, release)
        self.shape = json.loads((models / "shape.json").read_text())
        self._add(COMPONENT, self.command("component", self.paths.artefact))
        about = self.about[COMPONENT]
        if about["release"]["digest"] != sha256(release.manifest):
            raise BenchError(f"the artefact holds another release than {release.folder}: run `cargo xtask component`")
        word = about["word"]
        self._add(TIMED, self.command("timed", self.paths.artefact))
        self._add(STRICT, self.command("component", self.paths.artefact_strict))
        self._add(V8, ["node", NODE_PEER / "component.mjs", self.paths.artefact_strict, WORK / "v8", word])
        self._add(NATIVE, self.command("native", self.paths.artefact))
        self._add(TRACT, self.command("component", with_tract(self.paths.palisade, release)))

        programs = {
            (ORT_INT8, ORT_FLOAT): [python, PYTHON_PEER / "worker_onnxruntime.py"],
            (WEB_INT8, WEB_FLOAT): ["node", NODE_PEER / "worker.mjs"],
        }
        for (int8, float32), program in programs.items():
            self._add(float32, [*program, release.model, release.tokenizer, word])
            self._add_quickest(int8, {v: [*program, models / f"{v}.onnx", release.tokenizer, word] for v in VARIANTS})

    def command(self, engine: str, artefact: Path) -> list[str | Path]:
        """Our own worker with an engine and an artefact."""
        return [self.paths.worker, engine, artefact]

    def _add(self, name: str, command: list[str | Path]) -> None:
        self.workers[name] = Worker(name, command)
        self.about[name] = self.workers[name].ask("about")

    def _add_quickest(self, name: str, commands: dict[str, list[str | Path]]) -> None:
        """Starts all variants of a peer, and keeps the one that is quicker over all lengths."""
        started = {}
        for variant, command in commands.items():
            # Under a name of its own, so that it is stopped whatever happens.
            started[variant] = self.workers[f"{name} {variant}"] = Worker(f"{name} {variant}", command)
        ms = {variant: milliseconds(worker) for variant, worker in started.items()}
        quickest = min(ms, key=ms.__getitem__)
        for variant, worker in started.items():
            self.scores[f"{name} {variant}"] = scores_of(worker)
            del self.workers[f"{name} {variant}"]
            if variant == quickest:
                self.workers[name] = worker
            else:
                worker.stop()
        self.about[name] = self.workers[name].ask("about")
        self.variants[name] = dict(sorted(ms.items(), key=lambda pair: pair[1]))

    def _stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()

    def score_differences(self) -> dict[str, float]:
        """The largest difference between an engine's score and the component's, over all lengths and labels."""
        labels = len(self.about[COMPONENT]["labels"])
        largest = dict.fromkeys(DIFFERENCES_MAX, 0.0)
        scores = self.scores | {name: scores_of(worker) for name, worker in self.workers.items()}
        for tokens in TOKENS:
            for name, of_tokens in scores.items():
                given = of_tokens[tokens]
                if not (len(given) == labels and all(is_number(score) for score in given)):
                    raise BenchError(f"{name} gave no {labels} numbers at {tokens} tokens but {given}")
            ours = scores[COMPONENT][tokens]
            for name, allowed in DIFFERENCES_MAX.items():
                theirs = scores[name][tokens]
                difference = max(abs(float32(a) - float32(b)) for a, b in zip(ours, theirs, strict=True))
                largest[name] = max(largest[name], difference)
                if difference > allowed:
                    print(f"{name} differs by {difference} at {tokens} tokens: {theirs}", file=sys.stderr)
                    print(f"{COMPONENT} says {ours}", file=sys.stderr)
        return largest


def scores_of(worker: Worker) -> dict[int, list[float]]:
    """By tokens, one a label."""
    return {tokens: worker.ask("scores", tokens=tokens)["scores"] for tokens in TOKENS}


def is_number(score: object) -> bool:
    return isinstance(score, int | float) and math.isfinite(score)


def float32(number: float) -> float:
    """The nearest; JSON has the shortest digits that tell it from its neighbours."""
    return struct.unpack("<f", struct.pack("<f", number))[0]


def milliseconds(worker: Worker) -> float:
    """The sum of the medians of all lengths, for a first look."""
    for tokens in TOKENS:
        worker.ask("warm", tokens=tokens, repeats=3)
    return sum(statistics.median(worker.ask("warm", tokens=tokens, repeats=5)["ms"]) for tokens in TOKENS)


@dataclass(frozen=True)
class Release:
    """A release's folder, whose files are the ones that its manifest names."""

    folder: Path
    manifest: Path
    model: Path
    tokenizer: Path

    @classmethod
    def read(cls, folder: Path) -> Release:
        manifest_file = folder / "release.json"
        if not manifest_file.is_file():
            raise BenchError(f"there is no release in {folder} (no release.json); --release names another folder")
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        files = {part: folder / manifest[part]["file"] for part in ("model", "tokenizer")}
        for part, file in files.items():
            if not file.is_file() or sha256(file) != manifest[part]["sha256"]:
                raise BenchError(
                    f"{file} is missing or not the file that {manifest_file} names; copy the release again"
                )
        return cls(folder, manifest_file, files["model"], files["tokenizer"])


def prepare() -> Path:
    """Installs the peers, and gives the Python that has onnxruntime."""
    for folder, what in ((NODE_PEER, "onnxruntime-web"), (CONFORMANCE, "jco")):
        step = (download, f"installing {what}", ["npm", "ci"])
        install([folder / "package-lock.json"], folder / "node_modules", [step])
    return virtual_environment(VENV, PYTHON_PEER / "requirements.txt")


def quantised(python: Path, release: Release) -> Path:
    """The folder of the model as onnxruntime quantises it."""
    script, folder = PYTHON_PEER / "quantise.py", WORK / "quantised"
    folder.mkdir(parents=True, exist_ok=True)
    step = (run, "quantising the model with onnxruntime", [python, script, release.model, folder])
    install([script, PYTHON_PEER / "requirements.txt", release.model], folder, [step])
    return folder


def with_tract(palisade: Path, release: Release) -> Path:
    """The same release, baked into the tract engine."""
    folder = WORK / "tract"
    artefact = folder / "artefact.wasm"
    folder.mkdir(parents=True, exist_ok=True)
    engine = palisade.with_name("palisade-engine-tract.wasm")
    if not engine.is_file():
        raise BenchError(f"there is no {engine}: `cargo xtask component` makes it")
    bake = [palisade, "bake", release.folder, "--engine-module", engine, "--output", artefact]
    install([release.manifest, engine], folder, [(run, "baking the release with tract", bake)])
    return artefact


def inspected(palisade: Path, artefact: Path) -> dict[str, Any]:
    """What `palisade inspect` says of an artefact's file."""
    command = [palisade, "inspect", "--json", artefact]
    shown = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if shown.returncode:
        raise BenchError(f"`palisade inspect` failed with status {shown.returncode} at {artefact}")
    return json.loads(shown.stdout)["component"]
