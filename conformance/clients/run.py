#!/usr/bin/env python3
"""Tests `palisade serve` with the clients that people use: OpenAI's and Google's own, in Python and in Node.

    python3 conformance/clients/run.py [--palisade FILE] [arguments of pytest]

Installs the clients below target/ and node/, where they stay until their lists change, and runs pytest. The exit status
is pytest's, and 2 where something is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

CLIENTS = Path(__file__).resolve().parent
ROOT = CLIENTS.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from comparison.common import BenchError, download, install, virtual_environment  # noqa: E402

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
VENV = TARGET / "clients-venv"
NODE = CLIENTS / "node"
NODE_VERSION_MIN = 20


class Missing(Exception):
    """Something is not installed or cannot be; the message says what to do."""


def check_tools() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise Missing("Python's `venv` and `ensurepip` are not installed: apt-get install python3-venv")
    get_node = "on Debian 13 or later: apt-get install nodejs npm; elsewhere see https://nodejs.org"
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            raise Missing(f"`{tool}` is not installed; {get_node}")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_VERSION_MIN:
        raise Missing(f"node is {version}, and must be {NODE_VERSION_MIN} or later; {get_node}")


def prepare() -> Path:
    """Installs all clients, and gives the Python that has them."""
    check_tools()
    python = virtual_environment(VENV, CLIENTS / "requirements.txt")
    step = (download, "installing Node's clients", ["npm", "ci"])
    install([NODE / "package-lock.json"], NODE / "node_modules", [step])
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests `palisade serve` with real clients.", allow_abbrev=False)
    parser.add_argument(
        "--palisade",
        type=Path,
        metavar="FILE",
        default=TARGET / "release" / "palisade",
        help="the program (default target/release/palisade)",
    )
    arguments, rest = parser.parse_known_args()
    try:
        if not arguments.palisade.is_file():
            raise Missing(f"there is no {arguments.palisade}: cargo xtask component && cargo build --release")
        python = prepare()
    except (Missing, BenchError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    environment = {"PALISADE_CACHE_DIR": str(TARGET / "clients-cache"), "PYTHONDONTWRITEBYTECODE": "1"} | os.environ
    tests = [] if any(Path(argument.partition("::")[0]).exists() for argument in rest) else [CLIENTS]
    pytest = [python, "-m", "pytest", "--config-file", CLIENTS / "pytest.ini"]
    command = [*pytest, "--palisade", arguments.palisade.resolve(), *rest, *tests]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
