"""Latency against tokens as one SVG, without a dependency. It follows the reader's light or dark scheme."""

from __future__ import annotations

import math
from html import escape

from .engines import COMPONENT, NATIVE, ORT_FLOAT, ORT_INT8, STRICT, TIMED, TOKENS, TRACT, V8, WEB_FLOAT, WEB_INT8

WIDTH, HEIGHT = 940, 520
LEFT, RIGHT, TOP, BOTTOM = 64, 270, 64, 56
LABEL_DISTANCE = 18  # between the names at the right

# One colour a place where the model runs, readable on white and on black; drawn through is int8, dashed is float32.
STYLES = {
    NATIVE: ("#2f9e44", ""),
    COMPONENT: ("#1c7ed6", ""),
    TIMED: ("#74a9d8", ""),
    STRICT: ("#15aabf", ""),
    V8: ("#9c5cf2", ""),
    TRACT: ("#868e96", "7 5"),
    ORT_INT8: ("#e8590c", ""),
    ORT_FLOAT: ("#e8590c", "7 5"),
    WEB_INT8: ("#e0457b", ""),
    WEB_FLOAT: ("#e0457b", "7 5"),
}
CSS = """\
  svg { color-scheme: light dark; font: 14px system-ui, sans-serif; }
  .paper { fill: #ffffff; } .ink { fill: #1f2328; } .faint { fill: #59636e; } .grid { stroke: #d8dee4; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } .ink { fill: #e6edf3; } .faint { fill: #9198a1; } .grid { stroke: #2a313c; }
  }"""


def plot(warm_ms: dict[str, dict[int, float]]) -> str:
    """Milliseconds by engine and tokens, both axes logarithmic."""
    ticks = ticks_around([ms for of_engine in warm_ms.values() for ms in of_engine.values()])
    x = scale(min(TOKENS), max(TOKENS), LEFT, WIDTH - RIGHT)
    y = scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Milliseconds for one text on one thread, by its tokens</title>",
        f"<style>\n{CSS}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        text(LEFT - 44, 28, "Milliseconds for one text on one thread", "ink", size=17),
        text(
            LEFT - 44, 47, "less is better; drawn through: int8, dashed: float32; at the right: for 256 tokens", "faint"
        ),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "tokens of the text", "faint", "middle"),
    ]
    for tick in ticks:
        parts += [
            line(LEFT, y(tick), WIDTH - RIGHT, y(tick)),
            text(LEFT - 10, y(tick) + 5, f"{tick:g}", "faint", "end"),
        ]
    for tokens in TOKENS:
        parts += [line(x(tokens), TOP, x(tokens), HEIGHT - BOTTOM)]
        parts += [text(x(tokens), HEIGHT - BOTTOM + 20, str(tokens), "faint", "middle")]
    for engine, of_engine in warm_ms.items():
        parts += curve(engine, [(x(tokens), y(ms)) for tokens, ms in of_engine.items()])
    ends = {engine: y(of_engine[max(TOKENS)]) for engine, of_engine in warm_ms.items()}
    for engine, height in apart(ends).items():
        name = f"{engine}  {warm_ms[engine][max(TOKENS)]:.1f}"
        edge = WIDTH - RIGHT
        colour = STYLES[engine][0]
        parts.append(
            f'<path d="M{edge + 6:.1f} {ends[engine]:.1f}L{edge + 18} {height:.1f}" fill="none" stroke="{colour}"/>'
        )
        parts.append(f'<circle cx="{edge + 24}" cy="{height:.1f}" r="4" fill="{colour}"/>')
        parts.append(text(edge + 34, height + 5, name, "ink"))
    return "\n".join([*parts, "</svg>", ""])


def scale(lowest: float, highest: float, start: float, end: float):
    """A logarithmic axis from ``start`` to ``end``."""
    return lambda value: start + (end - start) * math.log(value / lowest) / math.log(highest / lowest)


def ticks_around(values: list[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last below all values to the first above."""
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= min(values))
    last = min(i for i, tick in enumerate(ticks) if tick >= max(values))
    return ticks[first : last + 1]


def curve(engine: str, points: list[tuple[float, float]]) -> list[str]:
    colour, dashes = STYLES[engine]
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    dots = [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in points]
    return [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>', *dots]


def apart(heights: dict[str, float]) -> dict[str, float]:
    """The heights, moved so far that names do not lie on each other: down where they must, then up from the lower edge."""
    order = sorted(heights, key=heights.__getitem__)
    placed: list[float] = []
    for engine in order:
        placed.append(max(heights[engine], placed[-1] + LABEL_DISTANCE if placed else TOP))
    floor = float(HEIGHT - BOTTOM)
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], floor)
        floor = placed[i] - LABEL_DISTANCE
    return dict(zip(order, placed, strict=True))


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, content: str, style: str, anchor: str = "start", size: int = 14) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place} font-size="{size}">{escape(content)}</text>'
