"""Run signatlas commands from a benchmark, one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def say(command: list[str]) -> None:
    """Run ``signatlas`` with these arguments; what it printed is shown when it fails. Raises SystemExit."""
    program = str(Path(sys.executable).with_name("signatlas"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([program, *command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"signatlas {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
        raise SystemExit(1)
