"""corpus extract, killed in the middle: nothing that is finished is lost or done again."""

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
    """Eight cuts of the two real clips, each a recording of its own."""
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


def wait(until: Callable[[], bool], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def finished(out: Path) -> dict[str, int]:
    """Finished clips and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(f"{out}.partial/clips").glob("[!.]*.parquet")}


def begun(out: Path) -> set[str]:
    return {path.name for path in Path(f"{out}.partial/begun").glob("[!.]*")}


@pytest.fixture(scope="module")
def undisturbed(manifest: Path | None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The fingerprint of a run that nobody kills."""
    if manifest is None:
        return ""
    out = tmp_path_factory.mktemp("undisturbed") / "corpus"
    said, err = start(manifest, out, 2).communicate(timeout=400)
    told = json.loads(said or "{}")
    assert told.get("clips") == CLIPS, err
    return str(told["fingerprint"])


def test_the_whole_command_is_killed(manifest: Path | None, undisturbed: str, tmp_path: Path) -> None:
    if manifest is None:
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    out = tmp_path / "corpus"
    process = start(manifest, out, 1)
    try:
        wait(lambda: len(finished(out)) >= 3 or process.poll() is not None, "three clips")
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(family, timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    kept, notes = finished(out), begun(out)
    assert 3 <= len(kept) < CLIPS

    again = start(manifest, out, 1)
    mtimes: dict[str, int] = {}
    while again.poll() is None:
        if Path(f"{out}.partial").exists():
            notes |= begun(out)
            mtimes |= finished(out)
        time.sleep(0.05)
    said, err = again.communicate()
    told = json.loads(said)
    assert again.returncode == 0, err
    assert (told["clips"], told["reused"]) == (CLIPS, len(kept))
    assert told["fingerprint"] == undisturbed
    assert {name: mtimes[name] for name in kept} == kept
    keys = {name.removesuffix(".parquet") for name in kept}
    assert {name for name in notes if name.split(".")[0] in keys} == {f"{key}.0" for key in keys}
    assert not Path(f"{out}.partial").exists()
    assert len(list(Corpus.open(out, verify=True))) == CLIPS


def test_a_worker_is_killed(manifest: Path | None, undisturbed: str, tmp_path: Path) -> None:
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
        said, err = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 0, err
    told = json.loads(said)
    assert (told["clips"], told["quarantine"], told["reused"]) == (CLIPS, [], 0)
    assert told["fingerprint"] == undisturbed
