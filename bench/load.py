#!/usr/bin/env python3
"""Compares `palisade serve` under load with the design that it replaces: FastAPI, uvicorn and onnxruntime, same model.

    python3 bench/load.py [--short] [--json FILE]

Starts both servers, checks that they give the same answers, and lets wrk ask them in turn, so that whatever else the
machine does falls on both alike. Needs Linux. Exits with 0 when the answers agree and none failed, 1 when not, 2 on an
error. No figure is asserted. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.common import (
    BENCH,
    ROOT,
    SCORE_DIFFERENCE_MAX,
    BenchError,
    install_program,
    machine,
    table,
    virtual_environment,
    with_range,
)

OURS, PEER = "palisade", "fastapi"
SERVERS = (OURS, PEER)
PEER_FOLDER = BENCH / "peers" / "fastapi"
WORK = ROOT / "target" / "bench-load"
SCRIPT = BENCH / "load.lua"
ROUTE = "/v1alpha1/comments:analyze"
ATTRIBUTES = ("TOXICITY", "SEVERE_TOXICITY", "INSULT", "PROFANITY", "THREAT", "IDENTITY_ATTACK")
SHORT_TEXTS = 10
START_S_MAX = 600  # palisade compiles the component at its first start on a machine
STOP_S_MAX = 120
ANSWER_S_MAX = 30
IDLE_CPU_SECONDS = 0.02  # within 0.2 s
# Fewer answers than these, or than connections, are not measured but asked for again, for longer, at most so long.
ANSWERS_MIN = 20
SECONDS_MAX = 60
ENDED = (FileNotFoundError, ProcessLookupError)  # what reading below /proc raises where a process or thread has ended
MEASURES = ("requests_per_second", "p50_ms", "p99_ms", "cpu_ms_per_request")
MEMORY = ("resident", "anonymous", "peak")


class Disagreement(Exception):
    """The servers give different answers, so there is nothing to compare."""


@dataclass(frozen=True)
class Plan:
    """How long everything is asked."""

    rounds: int
    seconds: int
    connections: tuple[int, ...]
    warm_seconds: int


FULL = Plan(rounds=3, seconds=10, connections=(1, 8, 64), warm_seconds=5)
SHORT = Plan(rounds=1, seconds=2, connections=(1, 8), warm_seconds=1)


class Server:
    """A server process and its children."""

    def __init__(self, name: str, command: list[str | Path], **environment: str) -> None:
        self.name = name
        self.log = WORK / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, ready: str, times: int) -> None:
        """Waits until the server has said ``ready`` so many times, and reads its address."""
        deadline = time.monotonic() + START_S_MAX
        while (said := self.log.read_text()).count(ready) < times:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not start; {self.log} ends with\n{said[-2000:]}")
            time.sleep(0.05)
        address = re.search(r"http://[\d.]+:\d+", said)
        if not address:
            raise BenchError(f"{self.name} did not say where it listens; see {self.log}")
        self.url = address[0] + ROUTE

    def processes(self) -> list[Path]:
        """The folders in /proc of the process and all below it."""
        found = [Path("/proc") / str(self.process.pid)]
        for process in found:
            for thread in threads(process):
                found += [Path("/proc") / child for child in told(thread / "children").split()]
        return found

    def forget_peak(self) -> None:
        for process in self.processes():
            with suppress(*ENDED):
                (process / "clear_refs").write_text("5")  # resets VmHWM; see proc(5)

    def memory(self) -> dict[str, int]:
        """Bytes of all processes together. What two of them share is counted twice, as in every sum of this kind."""
        names = dict(zip(("VmRSS", "RssAnon", "VmHWM"), MEMORY, strict=True))
        sums = dict.fromkeys(MEMORY, 0)
        for process in self.processes():
            for line in told(process / "status").splitlines():
                key, _, value = line.partition(":")
                if key in names:
                    sums[names[key]] += int(value.split()[0]) * 1024
        return sums

    def cpu_seconds(self) -> float:
        ticks = 0
        for process in self.processes():
            fields = told(process / "stat").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:13]))  # utime and stime
        return ticks / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Waits until the server has done what clients left behind, so that it does not do it in the other's turn."""
        deadline = time.monotonic() + STOP_S_MAX
        before = -math.inf
        while (now := self.cpu_seconds()) - before > IDLE_CPU_SECONDS:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} is still busy {STOP_S_MAX} s after its last client left")
            before = now
            time.sleep(0.2)

    def ask(self, body: str) -> dict[str, Any]:
        request = urllib.request.Request(self.url, body.encode(), {"Content-Type": "application/json"})
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=ANSWER_S_MAX) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise BenchError(f"{self.name} answers {error.code}: {error.read().decode()}") from error

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not stop within {STOP_S_MAX} s of SIGTERM", file=sys.stderr)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def threads(process: Path) -> list[Path]:
    """The folders of a process's threads; none where it has ended."""
    with suppress(*ENDED):
        return list((process / "task").iterdir())
    return []


def told(file: Path) -> str:
    """What a file below /proc says; nothing where its process or thread has ended."""
    with suppress(*ENDED):
        return file.read_text()
    return ""


def start(palisade: Path, release: Path, servers: dict[str, Server]) -> Path:
    """Starts both servers, and gives the peer's Python."""
    if not palisade.is_file():
        raise BenchError(f"there is no {palisade}: build it with `cargo xtask component`")
    install_program("wrk")
    python = virtual_environment(ROOT / "target" / "bench-load-venv", PEER_FOLDER / "requirements.txt")
    WORK.mkdir(parents=True, exist_ok=True)

    # No request is to be refused or given up, however long it waits: the peer's queue has no bounds either.
    limits = ["--queue-max", "256", "--queue-ms-max", "60000", "--request-ms-max", "60000"]
    serve = [palisade, "serve", "--listen", "127.0.0.1:0", "--feedback", "off", "--log-level", "warn", *limits]
    servers[OURS] = Server(OURS, serve)
    processes = len(os.sched_getaffinity(0))
    uvicorn = [python, "-m", "uvicorn", "--app-dir", PEER_FOLDER, "app:app", "--port", "0", "--no-access-log"]
    uvicorn += ["--loop", "uvloop", "--http", "httptools", "--workers", str(processes)]
    uvicorn += ["--timeout-worker-healthcheck", "60"]  # or one that a busy machine stalls for 5 s is killed
    servers[PEER] = Server(PEER, uvicorn, RELEASE=str(release))
    servers[OURS].wait("http://", 1)
    servers[PEER].wait("Application startup complete", processes)
    return python


def bodies() -> list[str]:
    """The requests' bodies: comments as they are usual, and longer ones, mixed."""
    short = (ROOT / "demo" / "comments.txt").read_text(encoding="utf-8").splitlines()[:SHORT_TEXTS]
    long = (BENCH / "load_texts.txt").read_text(encoding="utf-8").splitlines()
    texts = [*short, *long]
    texts = [text for start in range(3) for text in texts[start::3]]
    requested = {name: {} for name in ATTRIBUTES}
    return [
        json.dumps({"comment": {"text": text}, "languages": ["en"], "requestedAttributes": requested}) for text in texts
    ]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield path, value
    else:
        for name, part in parts:
            yield from leaves(part, (*path, name))


def score_difference(servers: dict[str, Server], body: str) -> float:
    """The largest difference between two scores of the answers to ``body``, which are alike in everything else."""
    ours, theirs = (dict(leaves(servers[name].ask(body))) for name in SERVERS)
    largest = 0.0
    for path in ours.keys() | theirs.keys():
        one, other = ours.get(path), theirs.get(path)
        is_score = path[-1] == "value" and isinstance(one, float) and isinstance(other, float)
        difference = abs(one - other) if is_score else 0.0 if one == other else math.inf
        if not difference <= SCORE_DIFFERENCE_MAX:
            raise Disagreement(f"{'.'.join(map(str, path))} is {one} from {OURS} and {other} from {PEER}, for {body}")
        largest = max(largest, difference)
    return largest


def without_correction(counts: dict[int, int], interval: int) -> dict[int, int]:
    """Latencies as they were measured. wrk adds some to make up for requests that it thinks a slow answer kept back
    (`stats_correct`); here answers are slow because texts are long, and each connection waits for its answer anyway."""
    for latency in sorted(counts, reverse=True):
        for added in range(latency - interval, interval, -interval) if latency >= 2 * interval else ():
            counts[added] -= counts[latency]
    return counts


def percentile(counts: dict[int, int], percent: int) -> int:
    """Nearest rank."""
    rank = math.ceil(sum(counts.values()) * percent / 100)
    for latency in sorted(counts):
        rank -= counts[latency]
        if rank <= 0:
            return latency
    raise BenchError("not a single request was answered")


def count(server: Server, bodies_file: Path, connections: int, seconds: int) -> tuple[dict[str, Any], float]:
    """What wrk counts in some seconds, and the seconds that the server's processes computed."""
    command = ["wrk", "--threads", str(min(connections, 2)), "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{ANSWER_S_MAX}s", "--script", SCRIPT, server.url]
    cpu_seconds = server.cpu_seconds()
    done = subprocess.run([*command, "--", bodies_file], stdout=subprocess.PIPE, text=True)
    cpu_seconds = server.cpu_seconds() - cpu_seconds
    server.settle()
    if done.returncode or not done.stdout.splitlines()[-1:]:
        raise BenchError(f"wrk failed on {server.name} with status {done.returncode}: {done.stdout}")
    return json.loads(done.stdout.splitlines()[-1]), cpu_seconds


def load(server: Server, bodies_file: Path, connections: int, seconds: int) -> dict[str, Any]:
    """What wrk counts in one run, and what the server's processes used."""
    answers_min = max(connections, ANSWERS_MIN)
    while True:
        counted, cpu_seconds = count(server, bodies_file, connections, seconds)
        requests, errors, duration_us = counted["requests"], counted["errors"], counted["duration_us"]
        if requests >= answers_min:
            break
        few = f"{server.name} answered {requests} requests within {seconds} s on {connections} connections"
        if seconds >= SECONDS_MAX:
            raise BenchError(few)
        seconds *= 2
        print(f"{few}; asking again for {seconds} s", file=sys.stderr)
    counts = without_correction(dict(map(tuple, counted["latencies"])), duration_us // (requests // connections))
    if sum(counts.values()) != requests - errors["timeout"]:
        raise BenchError("wrk's latencies do not add up to its requests: another version than 4.1 or 4.2?")
    return {
        "requests": requests,
        "errors": errors,
        "requests_per_second": requests / duration_us * 1e6,
        "p50_ms": percentile(counts, 50) / 1e3,
        "p99_ms": percentile(counts, 99) / 1e3,
        "cpu_ms_per_request": cpu_seconds / requests * 1e3,
    }


Samples = dict[tuple[int, str], list[dict[str, Any]]]  # by connections and server; one a round


def measure(servers: dict[str, Server], bodies_file: Path, plan: Plan) -> tuple[Samples, dict[str, Any]]:
    for server in servers.values():
        load(server, bodies_file, min(max(plan.connections), 8), plan.warm_seconds)
        server.forget_peak()
    warm = {name: server.memory() for name, server in servers.items()}
    samples: Samples = defaultdict(list)
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds}", file=sys.stderr)
        for connections in plan.connections:
            for name, server in servers.items():
                samples[connections, name].append(load(server, bodies_file, connections, plan.seconds))
    loaded = {name: server.memory() for name, server in servers.items()}
    return samples, {
        name: {"processes": len(server.processes()), "warm": warm[name], "loaded": loaded[name]}
        for name, server in servers.items()
    }


def summary(samples: Samples, connections: int) -> dict[str, Any]:
    row: dict[str, Any] = {"connections": connections, "ratios": {}}
    for measure in MEASURES:
        of_rounds = {name: [sample[measure] for sample in samples[connections, name]] for name in SERVERS}
        row[measure] = {name: statistics.median(of_rounds[name]) for name in SERVERS}
        by_round = [ours / theirs for ours, theirs in zip(*of_rounds.values(), strict=True)]
        of_medians = row[measure][OURS] / row[measure][PEER]
        row["ratios"][measure] = {"median": of_medians, "lowest": min(by_round), "highest": max(by_round)}
    return row


def failures(samples: Samples) -> dict[str, dict[str, int]]:
    """Requests without the answer 200, by server and kind; `status` is an answer of 400 or more."""
    sums: dict[str, dict[str, int]] = {name: defaultdict(int) for name in SERVERS}
    for (_, name), of_rounds in samples.items():
        for sample in of_rounds:
            for kind, count in sample["errors"].items():
                sums[name][kind] += count
    return sums


def versions(palisade: Path, release: Path, python: Path) -> dict[str, str]:
    def output(*command: str | Path) -> str:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout

    manifest = json.loads((release / "release.json").read_text(encoding="utf-8"))
    lines = (PEER_FOLDER / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    names = ("fastapi", "uvicorn", "uvloop", "httptools", "tokenizers", "onnxruntime")
    return {
        OURS: output(palisade, "--version").split()[-1],
        "release": f"{manifest['name']} {manifest['version']}",
        "Python": output(python, "--version").split()[-1],
        **{name: pinned[name] for name in names},
        "wrk": output("wrk", "--version").split()[1],
        "Linux": platform.release(),
    }


def report(result: dict[str, Any]) -> str:
    plan, place = result["plan"], result["machine"]
    names = ("requests a second", "p50, ms", "p99, ms", "CPU a request, ms")
    rows = [
        [
            str(row["connections"]) if measure == MEASURES[0] else "",
            name,
            *(f"{row[measure][server]:.2f}" for server in SERVERS),
            with_range(row["ratios"][measure]),
        ]
        for row in result["rows"]
        for measure, name in zip(MEASURES, names, strict=True)
    ]
    memory = [
        [
            name,
            *(f"{result['memory'][server][when][kind] / 1e6:.0f}" for server in SERVERS),
            f"{result['memory'][OURS][when][kind] / result['memory'][PEER][when][kind]:.2f}",
        ]
        for name, when, kind in (
            ("after warm-up", "warm", "resident"),
            ("after the load", "loaded", "resident"),
            ("peak under load", "loaded", "peak"),
            ("anonymous, after the load", "loaded", "anonymous"),
        )
    ]
    failed = ", ".join(
        f"{server} {sum(kinds.values())}" + (f" ({dict(kinds)})" if any(kinds.values()) else "")
        for server, kinds in result["failures"].items()
    )
    return f"""\
POST {ROUTE}, {result["texts"]} texts in turn.
Medians of {plan["rounds"]} interleaved rounds of {plan["seconds"]} s; ratios (lowest to highest round).
{place["system"]}, {place["processor"]}, load {place["load"]:.1f} on {place["processors"]} processors before the start

{table(["connections", "", *SERVERS, f"{OURS}/{PEER}"], rows)}

Resident memory in MB, all processes ({", ".join(f"{name} {result['memory'][name]['processes']}" for name in SERVERS)})
{table(["", *SERVERS, f"{OURS}/{PEER}"], memory)}

Requests without the answer 200: {failed}
Scores: the peer's differ from ours by at most {result["score_difference"]:.1e} ({SCORE_DIFFERENCE_MAX:.0e} allowed)
Versions: {", ".join(f"{name} {version}" for name, version in result["versions"].items())}"""


def compare(palisade: Path, release: Path, plan: Plan) -> dict[str, Any]:
    place = machine()  # before the servers and wrk are part of its load
    servers: dict[str, Server] = {}
    try:
        python = start(palisade, release, servers)
        asked = bodies()
        difference = max(score_difference(servers, body) for body in asked)
        bodies_file = WORK / "bodies.jsonl"
        bodies_file.write_text("".join(body + "\n" for body in asked), encoding="utf-8")
        samples, memory = measure(servers, bodies_file, plan)
    finally:
        for server in servers.values():
            server.stop()
    return {
        "schema": "palisade-load/1",
        "machine": place,
        "versions": versions(palisade, release, python),
        "plan": vars(plan),
        "texts": len(asked),
        "rows": [summary(samples, connections) for connections in plan.connections],
        "memory": memory,
        "failures": failures(samples),
        "score_difference": difference,
        "samples": [
            {"connections": connections, "server": name, "rounds": of_rounds}
            for (connections, name), of_rounds in samples.items()
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares `palisade serve` under load with FastAPI and onnxruntime.")
    parser.add_argument("--short", action="store_true", help="one round of 2 s on 1 and 8 connections, for CI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it, every round included, to FILE")
    parser.add_argument(
        "--palisade",
        type=Path,
        metavar="FILE",
        default=ROOT / "target" / "release" / "palisade",
        help="the program (default target/release/palisade)",
    )
    parser.add_argument(
        "--release",
        type=Path,
        metavar="FOLDER",
        default=ROOT / "models" / "english-toxicity",
        help="the release that is in the artefact, for the peer (default models/english-toxicity)",
    )
    arguments = parser.parse_args()
    try:
        result = compare(arguments.palisade.resolve(), arguments.release.resolve(), SHORT if arguments.short else FULL)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except Disagreement as disagreement:
        print(f"the answers differ: {disagreement}", file=sys.stderr)
        return 1
    except (BenchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(result))
    if any(count for kinds in result["failures"].values() for count in kinds.values()):
        print("some requests were not answered with 200: the figures do not count", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
