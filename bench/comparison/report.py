"""The result as people read it."""

from __future__ import annotations

import statistics
from typing import Any

from .common import table
from .engines import COMPONENT, TOKENS, TOKENS_COLD

MIB = 1 << 20


def report(result: dict[str, Any]) -> str:
    place = result["machine"]
    load = f", load {place['load']:.1f} on {place['processors']} processors" if place["load"] is not None else ""
    tract, sizes = result["tract"], result["sizes"]
    return f"""\
One text, one thread. Medians of {result["plan"]["rounds"]} interleaved rounds (lowest to highest round).
palisade: tokenisation, the model and the call. The peers: the model's execution only, on ready ids.
{place["system"]}, {place["processor"]}{load}

Warm, in milliseconds: an instance or session that has answered before
{table(["", *(f"{tokens} tokens" for tokens in TOKENS)], warm_rows(result), left=1)}

Against the targets
{table(["", "target", "", "measured", ""], target_rows(result), left=5)}

Cold, in milliseconds: a fresh instance or session, and its first answer for {TOKENS_COLD} tokens
{table(["", "cold"], [[engine, f"{ms:.2f}"] for engine, ms in result["cold_ms"].items()], left=1)}

The tract engine, for any ONNX classifier: artefact {tract["artefact_bytes"] / MIB:.1f} MiB, \
instantiate {tract["instantiate_us"]:.0f} µs, {TOKENS_COLD} tokens {tract["cold_ms"]:.1f} ms cold and {tract["warm_ms"]:.1f} ms warm
Artefact: {sizes["artefact"]} bytes, of which the weights (the packed model) are {sizes["weights"]}
Memory: {memory(result["memory"], sizes["weights"])}
Peaks, in 1e9 multiply-adds a second: {peaks(result["peaks"])}
Variants of the int8 peers, the quickest first and used: {variants(result["variants_ms"])}
Scores differ from those of {COMPONENT} by at most: {differences(result)}
Versions: {", ".join(f"{name} {version}" for name, version in result["versions"].items())}"""


def warm_rows(result: dict[str, Any]) -> list[list[str]]:
    return [[engine, *(f"{ms[tokens]:.2f}" for tokens in TOKENS)] for engine, ms in result["warm_ms"].items()]


def target_rows(result: dict[str, Any]) -> list[list[str]]:
    """One row a figure; what it is and its target stand in the first of them alone."""
    rows = []
    for target in result["targets"]:
        unit = target["unit"]
        met = {True: "met", False: "missed", None: ""}[target["met"]]
        if not target["figures"]:
            rows.append([target["what"], limit(target), "", "not told by this system", ""])
        for number, figure in enumerate(target["figures"]):
            shown = with_unit(figure["median"], unit)
            if figure["lowest"] != figure["highest"]:
                shown += f" ({with_unit(figure['lowest'], unit)} to {with_unit(figure['highest'], unit)})"
            first = [target["what"], limit(target)] if number == 0 else ["", ""]
            rows.append([*first, figure["of"], shown, met if number == 0 else ""])
    return rows


def limit(target: dict[str, Any]) -> str:
    for sign, bound in (("≤", target["at_most"]), ("≥", target["at_least"])):
        if bound is not None:
            digits = f"{bound:.2f}".rstrip("0").rstrip(".") if not target["unit"] else with_unit(bound, target["unit"])
            return f"{sign} {digits}"
    return ""


def with_unit(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value * 100:.0f} %"
    if unit == "µs":
        return f"{value:.1f} µs"
    return f"{value:.2f} {unit}".rstrip()


def memory(memory: dict[str, int] | None, weights: int) -> str:
    if not memory:
        return "not told by this system"
    proportional, private = memory["proportional_bytes"], memory["private_bytes"]
    each = (proportional - weights) / memory["instances"]
    return (
        f"{memory['instances']} live instances, each of which answered one text, add {proportional / MIB:.1f} MiB "
        f"(of which private {private / MIB:.1f}); less the weights, {each / MIB:.2f} MiB each"
    )


def peaks(of_rounds: list[dict[str, Any]]) -> str:
    shown = []
    for name, peak in of_rounds[0].items():
        rate = statistics.median(of_round[name]["multiply_adds_per_s"] for of_round in of_rounds)
        held_against = f"; {peak['simd']}" if peak["simd"] else ""
        shown.append(f"{name} {rate / 1e9:.1f} ({peak['instructions']}{held_against})")
    return "; ".join(shown) or "not measured on this processor"


def variants(of_peers: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{peer}: {', '.join(f'{variant} {ms:.1f} ms' for variant, ms in ms_of.items())}"
        for peer, ms_of in of_peers.items()
    )


def differences(result: dict[str, Any]) -> str:
    allowed = result["score_differences_max"]
    return "; ".join(
        f"{engine} {difference:.1e} ({allowed[engine]:.0e} allowed)" if difference or allowed[engine] else f"{engine} 0"
        for engine, difference in result["score_differences"].items()
    )
