#!/usr/bin/env python3
"""Holds Palisade's speed against its targets, and against onnxruntime's, native and in Node.js.

    cargo xtask bench [--short] [--json FILE] [--plot FILE]

(which builds everything and calls this). Installs the peers under target/, bench/peers/ and conformance/, starts one worker an
engine, and asks them in turn, so that whatever else the machine does falls on all of them alike. Exits with 0 when the scores
agree, 1 when they differ, 2 on an error. No time is asserted. README.md says what is measured, comparison/ is how.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from comparison.common import ROOT, BenchError
from comparison.engines import Engines, Paths
from comparison.measure import FULL, SHORT, Plan, measure, memory_growth
from comparison.plot import plot
from comparison.report import report
from comparison.results import result, scores_agree

BUILT = ROOT / "target" / "release"
PLOT = ROOT / "target" / "bench.svg"


def compare(paths: Paths, plan: Plan) -> dict[str, Any]:
    with Engines(paths) as engines:
        differences = engines.score_differences()
        memory = memory_growth(engines)
        measured = measure(engines, plan)
        return result(engines, plan, measured, score_differences=differences, memory=memory)


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--short", action="store_true", help=f"{SHORT.rounds} rounds of few repeats, for CI")
    parser.add_argument("--rounds", type=int, help=f"rounds (default {FULL.rounds}, with --short {SHORT.rounds})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it, every sample included, to FILE")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        default=PLOT,
        help="where to draw latency against tokens (default target/bench.svg)",
    )

    def path(option: str, default: Path, help: str) -> None:
        shown = f"{help} (default {default.relative_to(ROOT)})"
        parser.add_argument(option, type=Path, metavar="PATH", default=default, help=shown)

    path("--worker", BUILT / "palisade-bench-worker", "our side of the comparison")
    path("--palisade", BUILT / "palisade", "the program")
    path("--artefact", BUILT / "palisade-default.wasm", "the component with relaxed SIMD")
    path("--artefact-strict", BUILT / "palisade-default-strict.wasm", "the component with strict SIMD")
    path("--release", ROOT / "models" / "english-toxicity", "the release that is in both, for the peers")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    return arguments


def main() -> int:
    arguments = arguments_of(argparse.ArgumentParser(description="Holds Palisade's speed against targets and peers."))
    plan = SHORT if arguments.short else FULL
    if arguments.rounds:
        plan = Plan(**vars(plan) | {"rounds": arguments.rounds})
    paths = ("worker", "palisade", "artefact", "artefact_strict", "release")
    try:
        found = compare(Paths(**{name: getattr(arguments, name).resolve() for name in paths}), plan)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        arguments.plot.write_text(plot(found["warm_ms"]), encoding="utf-8")
    except (BenchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(found))
    return 0 if scores_agree(found) else 1


if __name__ == "__main__":
    sys.exit(main())
