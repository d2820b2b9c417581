"""What benchmarks of several arms share: their options, and signatlas commands of one thread each."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def say(command: list[str]) -> None:
    """Run ``signatlas`` with these arguments; what it printed is shown when it fails. Raises SystemExit."""
    program = str(Path(sys.executable).with_name("signatlas"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([program, *command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"signatlas {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
        raise SystemExit(1)


def arms_parser(
    doc: str | None, corpora: Iterable[str], arms: Iterable[str], first: Iterable[str]
) -> argparse.ArgumentParser:
    """Options of a benchmark that trains ``arms`` on one of ``corpora``; those of ``first`` by default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=list(corpora), default="multi")
    parser.add_argument("--arms", nargs="+", choices=list(arms), default=list(first))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--parallel", type=int, default=2, help="arms at a time, a thread each")
    parser.add_argument("--set", action="append", default=[], help="a setting of all arms")
    return parser
