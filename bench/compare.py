#!/usr/bin/env python3
"""Compares the component's speed with its peers': onnxruntime (native) and onnxruntime-web (WebAssembly under Node.js).

    cargo xtask bench [--short] [--json FILE]

(which builds our worker and calls this). Installs the peers under target/ and bench/peers/, starts one worker a peer, and asks them in turn, so that whatever
else the machine does falls on all of them alike. Exits with 0 when the scores agree, 1 when they differ, 2 on an error.
No time is asserted. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
NODE_PEER = BENCH / "peers" / "node"
PYTHON_PEER = BENCH / "peers" / "python"
VENV = ROOT / "target" / "bench-venv"

OURS, NATIVE, WEB = "palisade", "onnxruntime", "onnxruntime-web"
PEERS = (NATIVE, WEB)
TOKENS = (16, 64, 128)
# Our engine reads activations in 7 bits, the peers in float32.
SCORE_DIFFERENCE_MAX = 0.05

Key = tuple[str, str, int]  # peer, mode, tokens


class BenchError(Exception):
    """Something is missing or broke; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """How often everything is asked."""

    rounds: int
    warm: int
    cold: int
    instantiate: int
    peers_cold: int

    def requests(self) -> list[tuple[str, str, int, int]]:
        """One round: peer, mode, tokens, repeats. Peers that are compared follow each other."""
        requests = [(peer, "warm", tokens, self.warm) for tokens in TOKENS for peer in (OURS, *PEERS)]
        for tokens in TOKENS:
            requests += [(OURS, "cold", tokens, self.cold)]
            requests += [(peer, "cold", tokens, self.peers_cold) for peer in PEERS]
        return [*requests, (OURS, "instantiate", 0, self.instantiate)]


FULL = Plan(rounds=7, warm=20, cold=10, instantiate=100, peers_cold=2)
SHORT = Plan(rounds=2, warm=5, cold=3, instantiate=30, peers_cold=1)


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


def run(what: str, command: list[str | Path], cwd: Path = ROOT) -> None:
    """Runs a step of the preparation; its output goes to stderr, for stdout holds the result."""
    if not shutil.which(command[0]):
        raise BenchError(f"{what} needs `{command[0]}`, which is not installed")
    if status := subprocess.run(command, cwd=cwd, stdout=sys.stderr).returncode:
        raise BenchError(f"{what} failed with status {status}: (cd {cwd} && {' '.join(map(str, command))})")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def install(source: Path, folder: Path, steps: list[tuple[str, list[str | Path]]]) -> None:
    """Fills ``folder`` by ``steps`` unless it was filled from the same ``source`` before."""
    stamp = folder / ".palisade-source-sha256"
    if stamp.is_file() and stamp.read_text() == sha256(source):
        return
    for what, command in steps:
        run(what, command, cwd=source.parent)
    stamp.write_text(sha256(source))


def virtual_environment(folder: Path, requirements: Path) -> Path:
    """Makes a virtual environment of what ``requirements`` names, and gives its Python."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    create = [sys.executable, "-m", "venv", "--clear", folder]
    fill = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]
    create_with = "creating a virtual environment (with Python's `venv` and `ensurepip`)"
    install(requirements, folder, [(create_with, create), (f"installing {requirements.relative_to(ROOT)}", fill)])
    return python


def prepare() -> Path:
    """Installs the peers, and gives the Python that has onnxruntime."""
    install(
        NODE_PEER / "package-lock.json", NODE_PEER / "node_modules", [("installing onnxruntime-web", ["npm", "ci"])]
    )
    return virtual_environment(VENV, PYTHON_PEER / "requirements.txt")


def start(worker: Path, release: Path, workers: dict[str, Worker]) -> dict[str, Any]:
    """Starts all workers on the same release, and gives what each says of itself."""
    if not worker.is_file():
        raise BenchError(f"there is no {worker}: start through `cargo xtask bench`, which builds it")
    python = prepare()
    manifest_file = release / "release.json"
    if not manifest_file.is_file():
        raise BenchError(f"there is no release in {release} (no release.json); --release names another folder")
    manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    model, tokenizer = (release / manifest[part]["file"] for part in ("model", "tokenizer"))
    for part, file in (("model", model), ("tokenizer", tokenizer)):
        if not file.is_file() or sha256(file) != manifest[part]["sha256"]:
            raise BenchError(f"{file} is missing or not the file that {manifest_file} names; copy the release again")

    workers[OURS] = Worker(OURS, [worker])
    about = {OURS: workers[OURS].ask("about")}
    if about[OURS]["release"]["digest"] != sha256(manifest_file):
        raise BenchError(f"the artefact holds another release than {release}: run `cargo xtask component`")

    arguments = [model, tokenizer, about[OURS]["word"]]
    workers[NATIVE] = Worker(NATIVE, [python, PYTHON_PEER / "worker_onnxruntime.py", *arguments])
    workers[WEB] = Worker(WEB, ["node", NODE_PEER / "worker.mjs", *arguments])
    return about | {peer: workers[peer].ask("about") for peer in PEERS}


def score_difference(workers: dict[str, Worker], labels: int) -> float:
    """The largest difference between a peer's score and ours, over all lengths and labels."""
    largest = 0.0
    for tokens in TOKENS:
        scores = {peer: worker.ask("scores", tokens=tokens)["scores"] for peer, worker in workers.items()}
        for peer, of_peer in scores.items():
            numbers = [score for score in of_peer if isinstance(score, int | float) and math.isfinite(score)]
            if not len(of_peer) == len(numbers) == labels:
                raise BenchError(f"{peer} gave no {labels} numbers at {tokens} tokens but {of_peer}")
        for peer in PEERS:
            difference = max(abs(a - b) for a, b in zip(scores[OURS], scores[peer], strict=True))
            if difference > SCORE_DIFFERENCE_MAX:
                print(f"{peer} and palisade differ by {difference} at {tokens} tokens: {scores}", file=sys.stderr)
            largest = max(largest, difference)
    return largest


def measure(workers: dict[str, Worker], plan: Plan) -> dict[Key, list[list[float]]]:
    """Milliseconds by peer, mode and tokens; one list a round."""
    for worker in workers.values():  # until every just-in-time compiler has done its work
        for tokens in TOKENS:
            worker.ask("warm", tokens=tokens, repeats=plan.warm)
    ms: dict[Key, list[list[float]]] = defaultdict(list)
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds}", file=sys.stderr)
        requests = plan.requests()
        for peer, mode, tokens, repeats in requests if number % 2 == 0 else reversed(requests):
            ms[peer, mode, tokens].append(workers[peer].ask(mode, tokens=tokens, repeats=repeats)["ms"])
    return ms


class Times:
    """What was measured, summed up."""

    def __init__(self, ms: dict[Key, list[list[float]]]) -> None:
        self.rounds = ms

    def median(self, *key: str | int) -> float:
        return statistics.median(ms for of_round in self.rounds[key] for ms in of_round)

    def ratio(self, one: Key, other: Key) -> dict[str, float]:
        """Of the medians, and the lowest and highest of any one round."""
        medians = [[statistics.median(of_round) for of_round in self.rounds[key]] for key in (one, other)]
        by_round = [a / b for a, b in zip(*medians, strict=True)]
        return {"median": self.median(*one) / self.median(*other), "lowest": min(by_round), "highest": max(by_round)}


def summary(times: Times, tokens: int) -> dict[str, Any]:
    """One row of both tables."""
    modes = ("warm", "cold")
    ratios = {f"{OURS}/{peer}": times.ratio((OURS, "warm", tokens), (peer, "warm", tokens)) for peer in PEERS}
    return {
        "tokens": tokens,
        "ms": {peer: {mode: times.median(peer, mode, tokens) for mode in modes} for peer in (OURS, *PEERS)},
        "warm_ratios": ratios,
        "cold_to_warm": times.ratio((OURS, "cold", tokens), (OURS, "warm", tokens)),
    }


def versions(about: dict[str, Any]) -> dict[str, str]:
    locked = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    release = about[OURS]["release"]
    return {
        OURS: about[OURS]["version"],
        "release": f"{release['name']} {release['version']} ({release['digest'][:12]})",
        "wasmtime": locked["wasmtime"],
        NATIVE: f"{about[NATIVE]['version']} ({about[NATIVE]['runtime']})",
        WEB: f"{about[WEB]['version']} ({about[WEB]['runtime']})",
    }


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": names[0] if names else platform.processor(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def with_range(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join("   ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in (header, *rows))


def report(result: dict[str, Any]) -> str:
    rows, plan, place = result["rows"], result["plan"], result["machine"]
    load = f", load {place['load']:.1f} on {place['processors']} processors" if place["load"] is not None else ""
    warm = [
        [
            str(row["tokens"]),
            *(f"{row['ms'][peer]['warm']:.2f}" for peer in (OURS, *PEERS)),
            *(with_range(row["warm_ratios"][f"{OURS}/{peer}"]) for peer in PEERS),
        ]
        for row in rows
    ]
    cold = [
        [
            str(row["tokens"]),
            f"{row['ms'][OURS]['cold']:.2f}",
            with_range(row["cold_to_warm"]),
            *(f"{row['ms'][peer]['cold']:.2f}" for peer in PEERS),
        ]
        for row in rows
    ]
    return f"""\
One text, one thread; ours reads activations in 7 bits, the peers in float32. Medians in milliseconds of {plan["rounds"]} interleaved rounds; ratios (lowest to highest round).
palisade: tokenisation, the model and the call of the component. The peers: the model's execution only, on ready ids.
{place["system"]}, {place["processor"]}{load}

Warm: an instance or session that has answered before
{table(["tokens", OURS, *PEERS, *(f"{OURS}/{peer}" for peer in PEERS)], warm)}

Cold: a fresh instance (palisade) or a fresh session (peers), and its first answer
{table(["tokens", OURS, "cold/warm", *PEERS], cold)}

A fresh instance alone: {result["instantiate_us"]:.1f} µs
Artefact: {result["artefact_bytes"] / 1e6:.1f} MB
Scores: the peers' differ from ours by at most {result["score_difference"]:.1e} ({SCORE_DIFFERENCE_MAX:.0e} allowed)
Versions: {", ".join(f"{name} {version}" for name, version in result["versions"].items())}"""


def compare(worker: Path, release: Path, plan: Plan) -> dict[str, Any]:
    workers: dict[str, Worker] = {}
    try:
        about = start(worker, release, workers)
        difference = score_difference(workers, len(about[OURS]["labels"]))
        ms = measure(workers, plan)
    finally:
        for worker in workers.values():
            worker.stop()
    times = Times(ms)
    return {
        "schema": "palisade-bench/1",
        "machine": machine(),
        "versions": versions(about),
        "plan": vars(plan),
        "rows": [summary(times, tokens) for tokens in TOKENS],
        "instantiate_us": times.median(OURS, "instantiate", 0) * 1e3,
        "artefact_bytes": about[OURS]["artefact_bytes"],
        "score_difference": difference,
        "samples": [
            {"peer": peer, "mode": mode, "tokens": tokens, "ms": of_rounds}
            for (peer, mode, tokens), of_rounds in sorted(ms.items())
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares the component's speed with its peers'.")
    parser.add_argument("--short", action="store_true", help=f"{SHORT.rounds} rounds of few repeats, for CI")
    parser.add_argument("--rounds", type=int, help=f"rounds (default {FULL.rounds}, with --short {SHORT.rounds})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it, every sample included, to FILE")
    parser.add_argument(
        "--worker",
        type=Path,
        metavar="FILE",
        default=ROOT / "target" / "release" / "palisade-bench-worker",
        help="our side of the comparison (default target/release/palisade-bench-worker)",
    )
    parser.add_argument(
        "--release",
        type=Path,
        metavar="FOLDER",
        default=ROOT / "models" / "english-toxicity",
        help="the release that is in the artefact, for the peers (default models/english-toxicity)",
    )
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    plan = SHORT if arguments.short else FULL
    if arguments.rounds:
        plan = Plan(**vars(plan) | {"rounds": arguments.rounds})
    try:
        result = compare(arguments.worker, arguments.release.resolve(), plan)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except (BenchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(result))
    return 0 if result["score_difference"] <= SCORE_DIFFERENCE_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
