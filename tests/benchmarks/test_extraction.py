"""The extraction benchmark: the pipeline's points equal those of the plain loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.fault
@pytest.mark.slow
def test_the_points_of_the_pipeline_equal_those_of_a_plain_loop(mirror: Path | None) -> None:
    if mirror is None or not (mirror / "video").is_dir():
        pytest.skip("needs a mirror of the public corpora: set SIGNATLAS_MIRROR")
    video = mirror / "video" / "posefmt_test_video.mp4"
    command = [sys.executable, "-m", "benchmarks.extraction", "--videos", str(video), "--repeat", "6", "--workers", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["clips"], result["identical_clips"], result["frames"]) == (6, 6, 6 * 58)
    assert result["ratio"] > 0
