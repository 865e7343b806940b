#!/usr/bin/env python3
"""Installs what judges the registry from outside below target/, and prints the folder.

    PALISADE_REGISTRY_VENV=$(python3 crates/registry/tests/prepare.py) cargo test --release --package palisade-registry

It stays until its list changes. The exit status is 2 where something is missing.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from comparison.common import BenchError, virtual_environment  # noqa: E402

VENV = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "registry-venv"


def main() -> int:
    if importlib.util.find_spec("ensurepip") is None:
        print("Python's `venv` and `ensurepip` are not installed: apt-get install python3-venv", file=sys.stderr)
        return 2
    try:
        virtual_environment(VENV, TESTS / "requirements.txt")
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    print(VENV)
    return 0


if __name__ == "__main__":
    sys.exit(main())
