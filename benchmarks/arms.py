"""Options and command runner of the benchmarks that train and evaluate several arms."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def run_signatlas(arguments: list[str]) -> None:
    """Run ``signatlas`` with one thread; print its output if it fails. Raises SystemExit."""
    program = str(Path(sys.executable).with_name("signatlas"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"signatlas {' '.join(arguments)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
        raise SystemExit(1)


def arms_parser(
    description: str | None, corpora: Iterable[str], arms: Iterable[str], default_arms: Iterable[str]
) -> argparse.ArgumentParser:
    """Return the option parser of a benchmark that trains some of ``arms`` on one of ``corpora``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=list(corpora), default="multi")
    parser.add_argument("--arms", nargs="+", choices=list(arms), default=list(default_arms))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--parallel", type=int, default=2, help="concurrent arms, one thread each")
    parser.add_argument("--set", action="append", default=[], help="a setting for all arms")
    return parser
