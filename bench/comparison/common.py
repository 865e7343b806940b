"""What both comparisons need: folders, installing peers, and tables."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent

# Our engine reads activations in 7 bits, the peers in float32.
SCORE_DIFFERENCE_MAX = 0.05

# Seconds before the second and the third try of what reads from the network.
PAUSES_S = (10, 30)


class BenchError(Exception):
    """Something is missing or broke; the message says what to do."""


def run(what: str, command: list[str | Path], cwd: Path = ROOT, pauses_s: tuple[int, ...] = ()) -> None:
    """Runs a step of the preparation, again after each pause; its output goes to stderr, for stdout holds the result."""
    if not shutil.which(command[0]):
        raise BenchError(f"{what} needs `{command[0]}`, which is not installed")
    for pause_s in (*pauses_s, None):
        if not (status := subprocess.run(command, cwd=cwd, stdout=sys.stderr).returncode):
            return
        failure = f"{what} failed with status {status}: (cd {cwd} && {' '.join(map(str, command))})"
        if pause_s is None:
            raise BenchError(failure)
        print(f"{failure}; trying again in {pause_s} s", file=sys.stderr)
        time.sleep(pause_s)


def download(what: str, command: list[str | Path], cwd: Path = ROOT) -> None:
    """Runs a step that reads from the network: pip and npm themselves give up where an answer breaks off."""
    run(what, command, cwd, PAUSES_S)


def install_program(name: str) -> str:
    """Installs a program from Debian's package of the same name, unless it is there."""
    if not shutil.which(name):
        get = ["apt-get", "--option", "Acquire::Retries=5", "--option", "DPkg::Lock::Timeout=300", "--quiet"]
        if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("apt-get"):
            raise BenchError(f"`{name}` is not installed: sudo apt-get install {name}")
        download("reading Debian's package lists", [*get, "update"])
        download(f"installing {name}", [*get, "install", "--yes", "--no-install-recommends", name])
    return name


def sha256(*files: Path) -> str:
    """Of one file, or of several one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


Step = tuple[Callable[..., None], str, list[str | Path]]  # `run` or `download`, and what it takes


def install(sources: list[Path], folder: Path, steps: list[Step]) -> None:
    """Fills ``folder`` by ``steps``, run beside the first source, unless it was filled from the same ``sources`` before."""
    stamp = folder / ".palisade-source-sha256"
    wanted = sha256(*sources)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    for way, what, command in steps:
        way(what, command, cwd=sources[0].parent)
    stamp.write_text(wanted)


def virtual_environment(folder: Path, requirements: Path) -> Path:
    """Makes a virtual environment of what ``requirements`` names, and gives its Python."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    create = [sys.executable, "-m", "venv", "--clear", folder]
    fill = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]
    create_with = "creating a virtual environment (with Python's `venv` and `ensurepip`)"
    named = f"installing {requirements.relative_to(ROOT)}"
    install([requirements], folder, [(run, create_with, create), (download, named, fill)])
    return python


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


def table(header: list[str], rows: list[list[str]], left: int = 0) -> str:
    """Columns as wide as they must be, the first ``left`` to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(row: list[str]) -> str:
        cells = enumerate(zip(row, widths, strict=True))
        return "   ".join(cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in cells).rstrip()

    return "\n".join(map(line, (header, *rows)))
