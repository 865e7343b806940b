#!/usr/bin/env python3
"""Installs moto's S3 server below the target folder, where it stays until its list changes, and prints the program's path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "bench"))
from comparison.common import BenchError, virtual_environment  # noqa: E402

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()


def main() -> int:
    try:
        python = virtual_environment(TARGET / "moto-venv", HERE / "requirements.txt")
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(python.with_name("moto_server"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
