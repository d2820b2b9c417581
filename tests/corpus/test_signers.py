"""Signers and lengths of a corpus."""

from __future__ import annotations

from typing import Any

from signatlas.corpus import signers


def row(split: str, signer: str | None, frames: int, fps: float | None = 25.0) -> dict[str, Any]:
    return {"split": split, "signer": signer, "num_frames": frames, "fps": fps}


def test_clips_of_signers_and_those_that_splits_share() -> None:
    rows = [row("train", "a", 1), row("train", "a", 1), row("train", "b", 1), row("test", "b", 1), row("test", "c", 1),
            row("test", None, 1)]  # fmt: skip
    said = signers.describe(rows)
    assert said is not None and said["clips"] == {"min": 1, "median": 2, "max": 2}
    assert said["splits"] == {"train": {"signers": 2, "in_train": 2}, "test": {"signers": 2, "in_train": 1}}
    assert "clips a signer 1-2, median 2; signers: train 2, test 2 (1 in train)" in signers.as_lines(said, {})[0]
    assert signers.describe([row("train", None, 3)]) is None


def test_lengths_by_split() -> None:
    said = signers.lengths(
        [row("train", None, 10), row("train", None, 40), row("dev", None, 5), row("dev", None, 5, None)]
    )
    assert said == {
        "train": {"min": 10, "median": 25, "max": 40, "frames": 50, "seconds": 2.0},
        "dev": {"min": 5, "median": 5, "max": 5, "frames": 10, "seconds": None},
    }
    train, dev = signers.as_lines(None, said)
    assert train == "  train        10-40 frames, median 25; 50 in all, 2 s" and dev.endswith("10 in all")
    hours = signers.lengths([row("test", None, 25 * 9000)])
    assert signers.as_lines(None, hours)[0].endswith("225000 in all, 2.5 h")
