"""Signers and lengths in the report of a corpus."""

from __future__ import annotations

from typing import Any

from signatlas.corpus import report


def row(split: str, signer: str | None, frames: int, fps: float | None = 25.0) -> dict[str, Any]:
    return {"split": split, "signer": signer, "num_frames": frames, "fps": fps}


def test_clips_per_signer_and_signers_that_splits_share() -> None:
    rows = [row("train", "a", 1), row("train", "a", 1), row("train", "b", 1), row("test", "b", 1), row("test", "c", 1),
            row("test", None, 1)]  # fmt: skip
    signers = report.describe_signers(rows)
    assert signers is not None and signers["clips"] == {"min": 1, "median": 2, "max": 2}
    assert signers["splits"] == {"train": {"signers": 2, "in_train": 2}, "test": {"signers": 2, "in_train": 1}}
    assert "clips/signer 1-2, median 2; signers: train 2, test 2 (1 in train)" in report.signer_lines(signers)[0]
    assert report.describe_signers([row("train", None, 3)]) is None


def test_lengths_by_split() -> None:
    lengths = report.describe_lengths(
        [row("train", None, 10), row("train", None, 40), row("dev", None, 5), row("dev", None, 5, None)]
    )
    assert lengths == {
        "train": {"min": 10, "median": 25, "max": 40, "frames": 50, "seconds": 2.0},
        "dev": {"min": 5, "median": 5, "max": 5, "frames": 10, "seconds": None},
    }
    train, dev = report.length_lines(lengths)
    assert train == "  train        10-40 frames, median 25; 50 in total, 2 s" and dev.endswith("10 in total")
    hours = report.describe_lengths([row("test", None, 25 * 9000)])
    assert report.length_lines(hours)[0].endswith("225000 in total, 2.5 h")
