"""Extraction of recordings into a corpus: deterministic, resumable, with bad recordings quarantined."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ray

from cli.main import main
from signatlas.corpus.extraction.extraction_store import ExtractionStore
from signatlas.corpus.extraction.recording import Options, extract, extraction_key
from signatlas.corpus.format import Corpus
from signatlas.corpus.sources.base import Item, Listing
from signatlas.corpus.sources.media_listing import listing
from signatlas.errors import CorpusError
from signatlas.pose.holistic import Holistic
from signatlas.pose.media import Limits
from signatlas.pose.serialization import write_pose
from signatlas.pose.video import frames
from trainers.pipelines.extract import ATTEMPTS, Extractor, Progress, run_listing

Film = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("ray_session")


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_info:
        main(["corpus", "extract", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exit_info.value.code or 0), out, err


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """Return a folder of ten `.pose` files, the last two identical, and one truncated file."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(10):
        rng = np.random.default_rng(min(number, 8))
        write_pose(folder / f"p{number}.pose", rng.random((12, 75, 3), np.float32), 25.0, 640, 480)
    whole = (folder / "p0.pose").read_bytes()
    (folder / "q.pose").write_bytes(whole[: len(whole) // 2])
    return folder


def recordings(folder: Path | str) -> Listing:
    return listing([str(folder)], name="mine", sign_language="ase", license="MIT", source="us")


@pytest.mark.slow
def test_broken_videos_are_quarantined(
    film: Film, mirror: Path | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    film(folder / "nobody.mp4", 5)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 99)
    real = mirror / "video" if mirror is not None and (mirror / "video").is_dir() else None
    arguments = [folder, "--out", tmp_path / "out", "--sign-language", "rsl", "--json", "--workers", 2]
    if real is None:
        code, _, err = command(capsys, *arguments)
        assert code == 2 and "none of 3 recordings can be used" in err
        return
    code, output, err = command(capsys, real, *arguments)
    assert code == 1, err
    summary = json.loads(output)
    reasons = {q["id"]: q["reason"] for q in summary["quarantine"]}
    assert set(reasons) == {"out/nobody", "out/empty", "out/text"}
    assert "no hand detected" in reasons["out/nobody"] and "is empty" in reasons["out/empty"]
    assert "is not a readable video" in reasons["out/text"]

    corpus = Corpus.open(tmp_path / "out", verify=True)
    assert [row["id"] for row in corpus.metadata()] == ["out/posefmt_test_video", "out/slovo_f17a6060"]
    assert corpus.info.made["quarantine"] == summary["quarantine"]
    lines = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == summary["quarantine"]
    assert [json.loads(line)["id"] for line in (tmp_path / "out" / "media.jsonl").read_text().splitlines()] == [
        row["id"] for row in corpus.metadata()
    ]
    assert not (tmp_path / "out.partial").exists()
    expected = Holistic()(frames(real / "posefmt_test_video.mp4"))
    clip = corpus.clip("out/posefmt_test_video")
    np.testing.assert_array_equal(clip.poses, expected.poses)
    np.testing.assert_array_equal(clip.visibility, expected.visibility)
    hands = np.isfinite(corpus.clip("out/slovo_f17a6060").poses[:, 33:, 0]).any(1)
    assert hands.sum() > 80


@pytest.mark.slow
def test_the_corpus_does_not_depend_on_the_number_of_workers(poses: Path, tmp_path: Path) -> None:
    one, three = (run_listing(recordings(poses), tmp_path / f"w{n}", workers=n, make_splits=True) for n in (1, 3))
    assert one.corpus.info.fingerprint == three.corpus.info.fingerprint
    assert one.corpus.info.checksums == three.corpus.info.checksums
    assert [row["id"] for row in one.corpus.metadata()] == [f"mine/p{n}" for n in range(10)]
    assert [q.id for q in one.quarantined] == ["mine/q"]
    assert "truncated or damaged" in one.quarantined[0].reason
    splits = {row["id"]: row["split"] for row in one.corpus.metadata()}
    assert splits["mine/p8"] == splits["mine/p9"]  # the same recording twice
    assert len(set(splits.values())) > 1


@pytest.mark.slow
def test_finished_clips_are_reused_unless_options_change(poses: Path, tmp_path: Path) -> None:
    work = ExtractionStore.for_corpus(tmp_path / "out")
    work.prepare()
    items = recordings(poses).items
    for item in items[:4]:
        work.commit(extraction_key(item, Options()), extract(item, Options(), Holistic))
    marked = work.clip(extraction_key(items[0], Options()))
    work.commit(extraction_key(items[0], Options()), type(marked)(**{**vars(marked), "fps": 24.0}))  # marks the clip
    seen: list[Progress] = []
    result = run_listing(recordings(poses), tmp_path / "out", workers=2, progress=seen.append)
    assert result.reused == 4
    assert result.corpus.clip("mine/p0").fps == 24.0
    assert seen[-1] == Progress(11, 11, 6 * 12)
    for item in items[:4]:
        work.prepare()
        work.commit(extraction_key(item, Options()), extract(item, Options(), Holistic))
    other = run_listing(recordings(poses), tmp_path / "out", options=Options(target_fps=12.5), overwrite=True)
    assert other.reused == 0
    assert {row["num_frames"] for row in other.corpus.metadata()} == {6}


@pytest.mark.slow
def test_input_and_output_in_an_object_store(poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = run_listing(recordings(poses), tmp_path / "local", make_splits=True)
    out = (tmp_path / "store" / "mine").as_uri()
    code, output, _ = command(capsys, poses.as_uri(), "--out", out, "--sign-language", "ase", "--license", "MIT")
    assert code == 1
    assert "10 clips" in output and "1 in quarantine, 0 missing" in output
    stored = Corpus.open(out, verify=True)
    assert stored.info.fingerprint == local.corpus.info.fingerprint
    assert (tmp_path / "store" / "mine" / "quarantine.jsonl").is_file()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["mine"]


def test_a_manifest_sets_labels_and_splits(poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = poses / "list.csv"
    manifest.write_text("path,label,split,signer\np0.pose,HOUSE,train,a\np1.pose,TREE,test,b\np2.pose,TREE,dev,b\n")
    code, output, err = command(capsys, manifest, "--out", tmp_path / "out", "--sign-language", "ase", "--json")
    assert code == 0, err
    assert json.loads(output)["splits"] == {"train": 1, "dev": 1, "test": 1}
    rows = Corpus.open(tmp_path / "out").metadata()
    assert [(row["gloss"], row["split"], row["signer"]) for row in rows] == [
        ("HOUSE", "train", "a"), ("TREE", "test", "b"), ("TREE", "dev", "b"),
    ]  # fmt: skip


def test_interrupted_runs_do_not_count_as_attempts(poses: Path, tmp_path: Path) -> None:
    work = ExtractionStore.for_corpus(tmp_path / "out")
    work.prepare()
    for _ in range(ATTEMPTS):
        work.start_attempt(extraction_key(recordings(poses).items[0], Options()))
    result = run_listing(recordings(poses), tmp_path / "out")
    assert [q.id for q in result.quarantined] == ["mine/q"]


@pytest.mark.slow
def test_a_recording_that_kills_the_process_is_quarantined(film: Film, poses: Path, tmp_path: Path) -> None:
    class Deadly(Options):
        @property
        def limits(self) -> Limits:
            """Exit the actor when a video is opened."""
            if ray.get_runtime_context().get_actor_id():
                os._exit(1)
            return super().limits

    film(poses / "deadly.mp4", 3)
    result = run_listing(recordings(poses), tmp_path / "out", options=Deadly(), workers=2)
    assert [q.id for q in result.quarantined] == ["mine/deadly", "mine/q"]
    assert f"the process died {ATTEMPTS} times while reading it" in result.quarantined[0].reason
    assert len(result.corpus) == 10


class FakeMeter:
    """Stand-in for the meter actor of a run."""

    def __getattr__(self, name: str) -> FakeMeter:
        return self

    def remote(self, number: int) -> None:
        assert number >= 0


def extract_locally(work: ExtractionStore, media: Path) -> str:
    """Return the problem that an extractor reports for one recording, in this process."""
    batch = {"item": [pickle.dumps(Item("a", str(media), "ase", "video"))], "name": ["a.mp4"], "key": ["k"]}
    result = Extractor(work, Options(), FakeMeter())({name: np.array(values, object) for name, values in batch.items()})
    return str(result["stop"][0])


def test_a_detector_that_cannot_start_stops_the_run(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ExtractionStore.for_corpus(tmp_path / "out")
    work.prepare()
    video = film(tmp_path / "a.mp4", 3)
    for package, message in (
        ("mediapipe.python.solution_base", "Holistic cannot start"),
        ("av", "cannot be read here"),
    ):
        monkeypatch.setitem(sys.modules, package, None)  # as if not installed
        problem = extract_locally(work, video)
        assert message in problem and "ModuleNotFoundError" in problem and "same command again" in problem
        assert "\n" not in problem and not work.is_done("k")
        monkeypatch.undo()


def test_machine_errors_are_retried_by_the_next_run(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    work = ExtractionStore.for_corpus(tmp_path / "out")
    video = film(tmp_path / "a.mp4", 3)
    for error, message in ((MemoryError(), "MemoryError"), (OSError(5, "Input/output error"), "Input/output error")):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        work.prepare()
        with monkeypatch.context() as patched:
            patched.setattr(av, "open", fail)
            assert extract_locally(work, video) == ""
        assert work.is_done("k") and message in work.reason("k") and work.rejected() == set()
    work.prepare()
    assert not work.is_done("k")
    assert extract_locally(work, video) == ""
    work.prepare()
    assert "no hand detected" in work.reason("k") and work.rejected() == {"k"}


def test_relative_paths_are_resolved_on_the_driver(
    poses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.get(ray.remote(lambda: 0).remote())  # existing workers have another working directory
    monkeypatch.chdir(tmp_path)
    result = run_listing(recordings("recordings"), "out")
    assert len(result.corpus) == 10
    assert [(q.id, q.media) for q in result.quarantined] == [("mine/q", "recordings/q.pose")]
    assert result.quarantined[0].reason.startswith("recordings/q.pose")
    rows = [json.loads(line) for line in (tmp_path / "out" / "media.jsonl").read_text().splitlines()]
    assert rows[0]["media"] == str(poses / "p0.pose")


def test_a_full_disk_stops_the_run_and_keeps_finished_clips(poses: Path, tmp_path: Path) -> None:
    work = ExtractionStore.for_corpus(tmp_path / "out")
    work.prepare()
    items = recordings(poses).items
    work.commit(extraction_key(items[0], Options()), extract(items[0], Options(), Holistic))
    notes = Path(work.root) / "begun"
    notes.rmdir()
    notes.write_text("in the way")  # writes fail, as on a full disk
    with pytest.raises(CorpusError, match=r"cannot be written .*: free some space, then run the same command again"):
        run_listing(recordings(poses), tmp_path / "out")
    assert len(work.finished()) == 1
    notes.unlink()
    assert run_listing(recordings(poses), tmp_path / "out").reused == 1


def test_invalid_arguments_fail_before_ray_starts(
    poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "existing").mkdir()
    for arguments, message in (
        ((poses, "--out", tmp_path / "existing", "--sign-language", "ase"), "already exists"),
        ((poses, "--out", tmp_path / "out"), "no --sign-language"),
        ((poses, "--out", "s3://a/b?scheme=http", "--sign-language", "ase"), "AWS_ENDPOINT_URL"),
        ((f"{poses.as_uri()}?a=b", "--out", tmp_path / "out", "--sign-language", "ase"), "AWS_ENDPOINT_URL"),
        ((poses / "gone", "--out", tmp_path / "out", "--sign-language", "ase"), "is missing"),
        ((poses, "a.csv", "--out", tmp_path / "out", "--sign-language", "ase"), "is a manifest: give it alone"),
    ):
        code, _, err = command(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1) and message in err
    (poses / "only").mkdir()
    (poses / "q.pose").rename(poses / "only" / "q.pose")
    code, _, err = command(capsys, poses / "only", "--out", tmp_path / "out", "--sign-language", "ase")
    assert code == 2 and "none of 1 recordings can be used" in err
    assert f"{tmp_path / 'out'}.partial: delete it to try all of them again" in err
    item = recordings(poses).items[0]
    with pytest.raises(CorpusError, match="occurs twice"):
        run_listing(Listing(recordings(poses).info, (item, item)), tmp_path / "out")
