"""The rounds: what is asked how often, in which order, and the times."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from .engines import (
    COMPONENT,
    NATIVE,
    ORT_FLOAT,
    ORT_INT8,
    PEERS,
    STRICT,
    TIMED,
    TOKENS,
    TOKENS_COLD,
    TRACT,
    V8,
    WEB_FLOAT,
    WEB_INT8,
    Engines,
    Worker,
)

Key = tuple[str, str, int]  # engine, mode, tokens

# Engines in an order in which those that have a target together follow each other.
NEIGHBOURS = (ORT_INT8, NATIVE, COMPONENT, WEB_INT8, V8, STRICT, TIMED, ORT_FLOAT, WEB_FLOAT, TRACT)
BATCH = {"tokens": 12, "texts": 32}
INSTANCES_LIVE = 100


@dataclass(frozen=True)
class Plan:
    """How often everything is asked."""

    rounds: int
    warm: dict[int, int]  # by tokens
    cold: int
    instantiate: int
    batch: int
    peers_cold: int

    def requests(self) -> list[tuple[str, str, dict[str, int]]]:
        """One round: engine, mode, request. What is compared follows each other."""
        requests: list[tuple[str, str, dict[str, int]]] = []
        for tokens in TOKENS:
            warm = {"tokens": tokens, "repeats": self.warm[tokens]}
            requests += [(engine, "warm", warm) for engine in NEIGHBOURS]
        for mode in ("batch", "singly"):
            requests.append((COMPONENT, mode, {**BATCH, "repeats": self.batch}))
        # The warm requests that the cold ones are held against are asked beside them: a ratio near 1 shows every drift.
        beside = {"tokens": TOKENS_COLD, "repeats": self.cold}
        requests += [(COMPONENT, mode, beside) for mode in ("cold", "warm beside cold")]
        requests += [(engine, "cold", beside) for engine in (STRICT, NATIVE)]
        requests += [
            (engine, "cold", {"tokens": TOKENS_COLD, "repeats": self.peers_cold}) for engine in (TRACT, *PEERS)
        ]
        requests += [(engine, "instantiate", {"repeats": self.instantiate}) for engine in (COMPONENT, TRACT)]
        return requests


FULL = Plan(rounds=7, warm={16: 40, 64: 24, 128: 12, 256: 8}, cold=24, instantiate=200, batch=6, peers_cold=2)
SHORT = Plan(rounds=2, warm={16: 6, 64: 4, 128: 2, 256: 2}, cold=6, instantiate=50, batch=1, peers_cold=1)


@dataclass(frozen=True)
class Measured:
    """Milliseconds by engine, mode and tokens, one list a round, and the machine's peaks, one table a round."""

    ms: dict[Key, list[list[float]]]
    peaks: list[dict[str, dict[str, Any]]]

    def median(self, *key: str | int) -> float:
        return statistics.median(ms for of_round in self.ms[key] for ms in of_round)

    def of_rounds(self, *key: str | int) -> list[float]:
        """The median of each round."""
        return [statistics.median(of_round) for of_round in self.ms[key]]

    def ratio(self, one: Key, other: Key) -> dict[str, float]:
        """Of the medians of each round, for what slows a round slows both."""
        return spread([a / b for a, b in zip(self.of_rounds(*one), self.of_rounds(*other), strict=True)])

    def peak_fraction(self, engine: str, tokens: int, simd: str, multiply_adds: int) -> dict[str, float] | None:
        """A warm request's multiply-adds a second by what the machine's dot products of that build could do at best; `None`
        where that is not known."""
        peaks = [
            peak["multiply_adds_per_s"] for of_round in self.peaks for peak in of_round.values() if peak["simd"] == simd
        ]
        if not peaks:
            return None
        times = zip(self.of_rounds(engine, "warm", tokens), peaks, strict=True)
        return spread([multiply_adds / (ms * 1e-3) / peak for ms, peak in times])


def spread(by_round: list[float]) -> dict[str, float]:
    return {"median": statistics.median(by_round), "lowest": min(by_round), "highest": max(by_round)}


def measure(engines: Engines, plan: Plan) -> Measured:
    """All rounds, every second one backwards."""
    workers = engines.workers
    for worker in workers.values():  # until every just-in-time compiler has done its work
        for tokens in TOKENS:
            worker.ask("warm", tokens=tokens, repeats=plan.warm[tokens])
    ms: dict[Key, list[list[float]]] = defaultdict(list)
    peaks = []
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds}", file=sys.stderr)
        requests = plan.requests()
        for engine, mode, request in requests if number % 2 == 0 else reversed(requests):
            times = workers[engine].ask(mode.partition(" ")[0], **request)["ms"]
            ms[engine, mode, request.get("tokens", 0)].append(times)
        peaks.append({peak["name"]: peak for peak in workers[COMPONENT].ask("peak")["peaks"]})
    return Measured(ms, peaks)


def memory_growth(engines: Engines) -> dict[str, Any] | None:
    """What live instances add to a process that did nothing before; `None` where the system does not tell."""
    worker = Worker(f"{COMPONENT} (memory)", engines.command("component", engines.paths.artefact))
    try:
        told = worker.ask("memory", tokens=TOKENS_COLD, instances=INSTANCES_LIVE)
    finally:
        worker.stop()
    if told["before"] is None:
        return None
    return {name: told["after"][name] - told["before"][name] for name in told["before"]} | {"instances": INSTANCES_LIVE}
