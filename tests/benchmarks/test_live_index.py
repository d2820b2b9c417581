"""The benchmark of a live index runs, and finds no wrong answer, on a tiny index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_every_load_is_measured_on_a_tiny_index(tmp_path: Path) -> None:
    out = tmp_path / "live.jsonl"
    command = [sys.executable, "-m", "benchmarks.live_index", "--work", tmp_path / "work", "--entries", "2000",
               "--connections", "2", "--seconds", "2", "--additions", "5", "--out", out]  # fmt: skip
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["load"] for row in rows] == [
        "plain", "filtered, 30 %", "plain, beside changes", "plain, 5 additions", "plain, additions removed",
    ]  # fmt: skip
    assert all(row["wrong"] == 0 and not row["errors"] and row["per_s"] > 0 for row in rows)
    assert rows[2]["add_per_s"] > 0
