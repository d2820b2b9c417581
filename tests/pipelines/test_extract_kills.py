"""Extraction that is killed resumes without losing or repeating finished clips."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from signatlas.corpus.format import Corpus

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
CLIPS = 8


@pytest.fixture(scope="module")
def manifest(mirror: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Return a manifest of eight cuts of the two real clips."""
    if mirror is None or not (mirror / "video").is_dir():
        return None
    rows = []
    for number in range(CLIPS):
        name, first = (("slovo_f17a6060", 10 * number + 10), ("posefmt_test_video", 15 + number))[number % 2]
        path = str(mirror / "video" / f"{name}.mp4")
        rows.append({"path": path, "id": f"cut{number}", "first_frame": first, "end_frame": first + 24})
    target = tmp_path_factory.mktemp("cuts") / "cuts.jsonl"
    target.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return target


def start(manifest: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cli", "corpus", "extract", str(manifest), "--out", str(out),
               "--sign-language", "rsl", "--workers", str(workers), "--json"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait(condition: Callable[[], bool], description: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, description
        time.sleep(0.05)


def finished(out: Path) -> dict[str, int]:
    """Return the modification times of finished clips."""
    return {path.name: path.stat().st_mtime_ns for path in Path(f"{out}.partial/clips").glob("[!.]*.parquet")}


def begun(out: Path) -> set[str]:
    return {path.name for path in Path(f"{out}.partial/begun").glob("[!.]*")}


@pytest.fixture(scope="module")
def uninterrupted(manifest: Path | None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the fingerprint of an uninterrupted run."""
    if manifest is None:
        return ""
    out = tmp_path_factory.mktemp("uninterrupted") / "corpus"
    output, err = start(manifest, out, 2).communicate(timeout=400)
    summary = json.loads(output or "{}")
    assert summary.get("clips") == CLIPS, err
    return str(summary["fingerprint"])


def test_a_killed_command_resumes(manifest: Path | None, uninterrupted: str, tmp_path: Path) -> None:
    if manifest is None:
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    out = tmp_path / "corpus"
    process = start(manifest, out, 1)
    try:
        wait(lambda: len(finished(out)) >= 3 or process.poll() is not None, "three clips")
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    before, notes = finished(out), begun(out)
    assert 3 <= len(before) < CLIPS

    again = start(manifest, out, 1)
    mtimes: dict[str, int] = {}
    while again.poll() is None:
        if Path(f"{out}.partial").exists():
            notes |= begun(out)
            mtimes |= finished(out)
        time.sleep(0.05)
    output, err = again.communicate()
    summary = json.loads(output)
    assert again.returncode == 0, err
    assert (summary["clips"], summary["reused"]) == (CLIPS, len(before))
    assert summary["fingerprint"] == uninterrupted
    assert {name: mtimes[name] for name in before} == before
    keys = {name.removesuffix(".parquet") for name in before}
    assert {name for name in notes if name.split(".")[0] in keys} == {f"{key}.0" for key in keys}
    assert not Path(f"{out}.partial").exists()
    assert len(list(Corpus.open(out, verify=True))) == CLIPS


def test_killed_workers_are_replaced(manifest: Path | None, uninterrupted: str, tmp_path: Path) -> None:
    if manifest is None:
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    out = tmp_path / "corpus"
    process = start(manifest, out, 2)
    try:
        wait(lambda: len(finished(out)) >= 1 or process.poll() is not None, "the first clip")
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "ray::MapWorker" in " ".join(child.cmdline())
        ]
        assert len(workers) == 2
        for worker in workers:
            worker.kill()
        output, err = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 0, err
    summary = json.loads(output)
    assert (summary["clips"], summary["quarantine"], summary["reused"]) == (CLIPS, [], 0)
    assert summary["fingerprint"] == uninterrupted
