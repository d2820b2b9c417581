"""The demo without real recordings: it runs end to end, and nothing looks like a result on real signing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.fault
@pytest.mark.slow
def test_without_recordings_it_runs_on_procedural_signs_and_says_so(tmp_path: Path) -> None:
    for folder in ("recipes", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    environment = {name: value for name, value in os.environ.items() if name != "SIGNATLAS_MIRROR"}
    environment |= {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "log"
    started = time.monotonic()
    with log.open("w") as out:
        command = [sys.executable, "-m", "cli", "demo"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.STDOUT)
        while "PROCEDURAL" not in log.read_text():
            assert time.monotonic() - started < 30, "the fallback takes at most 30 s"
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        assert process.wait(timeout=500) == 0, log.read_text()
    lines = log.read_text().strip().splitlines()
    assert lines[0].startswith("PROCEDURAL SIGNS")
    assert lines[-1].startswith("PROCEDURAL SIGNS")
    assert "R@1 =" not in log.read_text()
    assert "queries against" not in log.read_text(), "evaluation tables go to a file"
    assert "demo-procedural" in log.read_text()


def test_outside_a_checkout_it_says_what_to_do(tmp_path: Path) -> None:
    failed = subprocess.run(
        [sys.executable, "-m", "cli", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 2
    assert (
        failed.stderr.strip() == "signatlas: the demo must run in a checkout of signatlas: change to its folder first"
    )
