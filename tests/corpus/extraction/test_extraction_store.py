"""The work folder: what is in it is whole, and a full disk takes nothing away."""

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
def work(tmp_path: Path) -> ExtractionStore:
    found = ExtractionStore.for_corpus(tmp_path / "corpus")
    found.prepare()
    return found


def clip(frames: int = 9) -> Clip:
    poses = np.random.default_rng(frames).random((frames, 75, 3), np.float32)
    poses[0, :33] = np.nan
    return Clip("a", "train", poses, "ase", "video", fps=25.0, width=64, height=48,
                visibility=np.ones((frames, 75), np.float16))  # fmt: skip


def test_a_clip_comes_back_bit_for_bit(work: ExtractionStore) -> None:
    work.commit("k1", clip())
    back = work.clip("k1")
    np.testing.assert_array_equal(back.poses, clip().poses)
    assert back.visibility is not None and back.visibility.dtype == np.float16
    assert (back.fps, back.width, back.height) == (25.0, 64, 48)
    assert work.digest("k1") == poses_digest(clip().poses)
    assert work.finished() == {"k1"}
    assert work.refusals() == set()


def test_a_refusal_is_finished_work_too(work: ExtractionStore) -> None:
    work.refuse("k2", "no hand in it", MediaError)
    assert work.refusals() == {"k2"}
    assert work.reason("k2") == "no hand in it"
    assert work.is_done("k2") and not work.is_done("k1")


def test_only_what_is_the_fault_of_a_recording_is_kept_for_the_next_run(work: ExtractionStore) -> None:
    kinds = (MediaError, PoseError, UnreachableError, MemoryError)
    for kind in kinds:
        work.refuse(kind.__name__, f"of {kind.__name__}", kind)
    work.begin("k")
    assert work.is_done("MemoryError") and work.reason("MemoryError") == "of MemoryError"
    work.prepare()
    assert [work.is_done(kind.__name__) for kind in kinds] == [True, True, False, False]
    assert work.refusals() == {"MediaError", "PoseError"}
    assert work.begin("k") == 0


def test_beginnings_without_an_end_are_counted(work: ExtractionStore) -> None:
    assert [work.begin("k") for _ in range(3)] == [0, 1, 2]
    assert work.begin("other") == 0


def test_addresses_of_stores_work_alike(tmp_path: Path) -> None:
    work = ExtractionStore.for_corpus((tmp_path / "corpus").as_uri())
    work.prepare()
    work.commit("k", clip())
    assert (tmp_path / "corpus.partial" / "clips" / "k.parquet").is_file()
    assert work.finished() == {"k"}
    work.remove()
    assert not (tmp_path / "corpus.partial").exists()


def test_leftovers_of_a_kill_are_no_clips(work: ExtractionStore) -> None:
    (Path(work.root) / "clips" / ".k.parquet.123").write_bytes(b"half")
    assert work.finished() == set()


def test_a_damaged_clip_is_named(work: ExtractionStore) -> None:
    path = Path(work.root) / "clips" / "k.parquet"
    work.commit("k", clip())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"k\.parquet cannot be read .* delete it"):
        work.clip("k")


def test_a_folder_that_takes_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError, match=r"corpus\.partial cannot be written \(Not a directory\)"):
        ExtractionStore.for_corpus(tmp_path / "file" / "corpus").prepare()


FULL = """
import resource, signal, sys
import numpy as np
from signatlas.corpus.format import Clip
from signatlas.corpus.extraction.extraction_store import StoreWriteError, ExtractionStore
work = ExtractionStore(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
poses = np.random.default_rng(0).random((int(sys.argv[2]), 75, 3), np.float32)
try:
    work.commit("k" + sys.argv[2], Clip("a", "train", poses, "ase", "video"))
except StoreWriteError as error:
    print(error)
"""


def test_no_room_leaves_what_is_finished(work: ExtractionStore) -> None:
    """A process may write no more than 20 kB a file: the system refuses the rest as it does on a full disk."""

    def commit(frames: int) -> str:
        command = [sys.executable, "-c", FULL, work.root, str(frames)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    assert commit(3) == ""
    assert "cannot be written (File too large): make room there, then run the same command again" in commit(300)
    assert work.finished() == {"k3"}
    assert [path.name for path in (Path(work.root) / "clips").iterdir()] == ["k3.parquet"]
