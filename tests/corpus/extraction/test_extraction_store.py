"""The extraction store: atomic writes, resuming, full disks, stores of earlier versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.extraction.extraction_store import ExtractionStore, StoreWriteError
from signatlas.corpus.format import Clip
from signatlas.corpus.splits import poses_digest
from signatlas.errors import CorpusError, MediaError, PoseError
from signatlas.pose.media import UnreachableError


@pytest.fixture
def store(tmp_path: Path) -> ExtractionStore:
    extraction_store = ExtractionStore.for_corpus(tmp_path / "corpus")
    extraction_store.prepare()
    return extraction_store


def clip(frames: int = 9) -> Clip:
    poses = np.random.default_rng(frames).random((frames, 75, 3), np.float32)
    poses[0, :33] = np.nan
    return Clip("a", "train", poses, "ase", "video", fps=25.0, width=64, height=48,
                visibility=np.ones((frames, 75), np.float16))  # fmt: skip


def test_a_stored_clip_is_bit_identical(store: ExtractionStore) -> None:
    store.commit("k1", clip())
    stored = store.clip("k1")
    np.testing.assert_array_equal(stored.poses, clip().poses)
    assert stored.visibility is not None and stored.visibility.dtype == np.float16
    assert (stored.fps, stored.width, stored.height) == (25.0, 64, 48)
    assert store.digest("k1") == poses_digest(clip().poses)
    assert store.finished() == {"k1"}
    assert store.rejected() == set()


def test_a_rejected_recording_is_done(store: ExtractionStore) -> None:
    store.reject("k2", "no hand detected", MediaError)
    assert store.rejected() == {"k2"}
    assert store.reason("k2") == "no hand detected"
    assert store.is_done("k2") and not store.is_done("k1")


def test_only_unusable_recordings_stay_rejected_in_the_next_run(store: ExtractionStore) -> None:
    kinds = (MediaError, PoseError, UnreachableError, MemoryError)
    for kind in kinds:
        store.reject(kind.__name__, f"of {kind.__name__}", kind)
    store.start_attempt("k")
    assert store.is_done("MemoryError") and store.reason("MemoryError") == "of MemoryError"
    store.prepare()
    assert [store.is_done(kind.__name__) for kind in kinds] == [True, True, False, False]
    assert store.rejected() == {"MediaError", "PoseError"}
    assert store.start_attempt("k") == 0


def test_unfinished_attempts_are_counted(store: ExtractionStore) -> None:
    assert [store.start_attempt("k") for _ in range(3)] == [0, 1, 2]
    assert store.start_attempt("other") == 0


def test_uris_behave_like_folders(tmp_path: Path) -> None:
    store = ExtractionStore.for_corpus((tmp_path / "corpus").as_uri())
    store.prepare()
    store.commit("k", clip())
    assert (tmp_path / "corpus.partial" / "clips" / "k.parquet").is_file()
    assert store.finished() == {"k"}
    store.remove()
    assert not (tmp_path / "corpus.partial").exists()


def test_partial_files_of_a_killed_process_are_ignored(store: ExtractionStore) -> None:
    (Path(store.root) / "clips" / ".k.parquet.123").write_bytes(b"half")
    assert store.finished() == set()


def test_a_damaged_clip_is_one_line(store: ExtractionStore) -> None:
    path = Path(store.root) / "clips" / "k.parquet"
    store.commit("k", clip())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"k\.parquet cannot be read .* delete it"):
        store.clip("k")


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError, match=r"corpus\.partial cannot be written \(Not a directory\)"):
        ExtractionStore.for_corpus(tmp_path / "file" / "corpus").prepare()


FULL = """
import resource, signal, sys
import numpy as np
from signatlas.corpus.format import Clip
from signatlas.corpus.extraction.extraction_store import StoreWriteError, ExtractionStore
store = ExtractionStore(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
poses = np.random.default_rng(0).random((int(sys.argv[2]), 75, 3), np.float32)
try:
    store.commit("k" + sys.argv[2], Clip("a", "train", poses, "ase", "video"))
except StoreWriteError as error:
    print(error)
"""


def test_a_full_disk_keeps_the_finished_clips(store: ExtractionStore) -> None:
    """A limit of 20 kB per file makes writes fail as on a full disk."""

    def commit(frames: int) -> str:
        command = [sys.executable, "-c", FULL, store.root, str(frames)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    assert commit(3) == ""
    assert "cannot be written (File too large): free some space, then run the same command again" in commit(300)
    assert store.finished() == {"k3"}
    assert [path.name for path in (Path(store.root) / "clips").iterdir()] == ["k3.parquet"]
