"""What the measured times come to: a table of milliseconds, and each target with its figures."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from .common import ROOT, machine
from .engines import (
    COMPONENT,
    DIFFERENCES_MAX,
    NATIVE,
    ORT_FLOAT,
    ORT_INT8,
    OURS,
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
    inspected,
)
from .measure import BATCH, INSTANCES_LIVE, Key, Measured, Plan, spread

MIB = 1 << 20
Figure = dict[str, Any]  # of: what it is of, such as "64 tokens"; median, lowest, highest


@dataclass(frozen=True)
class Target:
    """A figure, or one a length, and what it should be."""

    what: str
    figures: list[Figure]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""  # "", "%", "µs" or "MiB"

    def met(self) -> bool | None:
        """Whether all medians are; `None` where there is no target or no figure."""
        if not self.figures or (self.at_most is None and self.at_least is None):
            return None
        medians = [figure["median"] for figure in self.figures]
        return all(
            (self.at_most is None or median <= self.at_most) and (self.at_least is None or median >= self.at_least)
            for median in medians
        )


def multiply_adds(shape: dict[str, int], tokens: int) -> int:
    """Of the encoder's matrix products for one text: what else there is, is small, and no product."""
    layers, width, inner = shape["layers"], shape["width"], shape["inner"]
    weights = tokens * layers * (4 * width**2 + 2 * width * inner)
    attention = 2 * tokens**2 * width * layers
    return weights + attention


def figure(of: str, spread: dict[str, float]) -> Figure:
    return {"of": of, **spread}


def single(of: str, value: float) -> Figure:
    return figure(of, spread([value]))


def targets(measured: Measured, engines: Engines, sizes: dict[str, int], memory: dict[str, int] | None) -> list[Target]:
    def warm(one: str, other: str, at_most: float | None = None) -> Target:
        ratios = [
            figure(f"{tokens} tokens", measured.ratio((one, "warm", tokens), (other, "warm", tokens)))
            for tokens in TOKENS
        ]
        return Target(f"{one} / {other}", ratios, at_most=at_most)

    def peak(engine: str, simd: str, at_least: float | None = None) -> Target:
        fractions = [
            (tokens, measured.peak_fraction(engine, tokens, simd, multiply_adds(engines.shape, tokens)))
            for tokens in TOKENS
        ]
        figures = [figure(f"{tokens} tokens", fraction) for tokens, fraction in fractions if fraction]
        return Target(f"{engine}, of the {simd} 128-bit peak", figures, at_least=at_least, unit="%")

    def ratio(what: str, of: str, one: Key, other: Key, **limits: float) -> Target:
        return Target(what, [figure(of, measured.ratio(one, other))], **limits)

    cold = f"{TOKENS_COLD} tokens"
    instantiate = measured.of_rounds(COMPONENT, "instantiate", 0)
    beyond = (sizes["artefact"] - sizes["weights"]) / MIB
    return [
        warm(COMPONENT, WEB_INT8, at_most=0.45),
        warm(V8, WEB_INT8, at_most=0.7),
        warm(NATIVE, ORT_INT8, at_most=1.0),
        warm(COMPONENT, NATIVE, at_most=3.0),
        peak(COMPONENT, "relaxed", at_least=0.5),
        peak(STRICT, "strict"),
        peak(V8, "strict"),
        ratio(
            "fresh instance and request / warm request",
            cold,
            (COMPONENT, "cold", TOKENS_COLD),
            (COMPONENT, "warm beside cold", TOKENS_COLD),
            at_most=1.05,
        ),
        Target(
            "instantiate",
            [figure("a fresh instance", spread([ms * 1e3 for ms in instantiate]))],
            at_most=50.0,
            unit="µs",
        ),
        Target("artefact beyond its weights", [single("the file", beyond)], at_most=1.0, unit="MiB"),
        memory_target(memory, sizes["weights"]),
        ratio("16 tokens / 64 tokens", "warm", (COMPONENT, "warm", 16), (COMPONENT, "warm", 64), at_most=0.3),
        ratio(
            "texts a second: one call / a call for each",
            f"{BATCH['texts']} texts of about {BATCH['tokens']} tokens",
            (COMPONENT, "singly", BATCH["tokens"]),
            (COMPONENT, "batch", BATCH["tokens"]),
            at_least=1.3,
        ),
        warm(TIMED, COMPONENT),
        warm(TIMED, WEB_INT8),
        warm(COMPONENT, ORT_INT8),
        warm(COMPONENT, WEB_FLOAT),
        warm(COMPONENT, ORT_FLOAT),
        warm(NATIVE, ORT_FLOAT),
    ]


def memory_target(memory: dict[str, int] | None, weights: int) -> Target:
    what = f"memory of {INSTANCES_LIVE} live instances"
    at_most = weights / MIB + INSTANCES_LIVE * 2
    figures = [single("together", memory["proportional_bytes"] / MIB)] if memory else []
    return Target(what, figures, at_most=at_most, unit="MiB")


def versions(engines: Engines) -> dict[str, str]:
    about = engines.about
    locked = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    release = about[COMPONENT]["release"]
    return {
        "palisade": about[COMPONENT]["version"],
        "release": f"{release['name']} {release['version']} ({release['digest'][:12]})",
        "wasmtime": locked["wasmtime"],
        "jco in": about[V8]["runtime"],
        "onnxruntime": f"{about[ORT_INT8]['version']} ({about[ORT_INT8]['runtime']})",
        "onnxruntime-web": f"{about[WEB_INT8]['version']} ({about[WEB_INT8]['runtime']})",
    }


def result(engines: Engines, plan: Plan, measured: Measured, **told: Any) -> dict[str, Any]:
    """Everything that the report says and the JSON file holds. ``told``: score_differences and memory."""
    inspection = inspected(engines.paths.palisade, engines.paths.artefact)
    sizes = {"artefact": inspection["sizes"]["file"], "weights": inspection["packed"]["length"]}
    warm = {
        engine: {tokens: measured.median(engine, "warm", tokens) for tokens in TOKENS} for engine in (*OURS, *PEERS)
    }
    cold_of = (COMPONENT, STRICT, NATIVE, TRACT, *PEERS)
    of_engines = targets(measured, engines, sizes, told["memory"])
    return {
        "schema": "palisade-bench/2",
        "machine": machine(),
        "versions": versions(engines),
        "plan": vars(plan),
        "warm_ms": warm,
        "cold_ms": {engine: measured.median(engine, "cold", TOKENS_COLD) for engine in cold_of},
        "targets": [{**vars(target), "met": target.met()} for target in of_engines],
        "tract": {
            "artefact_bytes": engines.about[TRACT]["artefact_bytes"],
            "instantiate_us": measured.median(TRACT, "instantiate", 0) * 1e3,
            "cold_ms": measured.median(TRACT, "cold", TOKENS_COLD),
            "warm_ms": measured.median(TRACT, "warm", TOKENS_COLD),
        },
        "sizes": sizes,
        "shape": engines.shape,
        "peaks": measured.peaks,
        "variants_ms": engines.variants,
        **told,
        "score_differences_max": DIFFERENCES_MAX,
        "samples": [
            {"engine": engine, "mode": mode, "tokens": tokens, "ms": of_rounds}
            for (engine, mode, tokens), of_rounds in sorted(measured.ms.items())
        ],
    }


def scores_agree(result: dict[str, Any]) -> bool:
    differences, allowed = result["score_differences"], result["score_differences_max"]
    return all(differences[engine] <= allowed[engine] for engine in allowed)
