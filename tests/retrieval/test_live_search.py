"""Search in a version with later additions and removals, and the version that a build makes of both."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cli.main import main
from signatlas.corpus.format import Clip
from signatlas.errors import LogError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.live_search import LiveSearch, fold
from signatlas.retrieval.operation_log.log import Log
from signatlas.retrieval.operation_log.record import AddedSign, Consent
from signatlas.retrieval.operation_log.writer import Writer
from signatlas.retrieval.search import SignSearch
from signatlas.retrieval.shard_search import ShardQuery
from trainers.pipelines.index.signs import open_log

CONSENT = Consent(given_by="signer", use="search")
Write = Callable[..., IndexVersion]


def add(writer: Writer, id: str, clip: Clip, vector: np.ndarray, model: str) -> None:
    texts = [{"language": language, "text": text} for language, text in clip.texts]
    sign = AddedSign.model_validate({
        "gloss": clip.gloss, "sign_language": clip.sign_language, "texts": texts, "source": clip.source,
        "fps": clip.fps, "width": clip.width, "height": clip.height, "consent": CONSENT,
    })  # fmt: skip
    writer.add(id, sign, clip.poses, vector, model_sha256=model)


def first(search: LiveSearch, vector: np.ndarray, k: int = 3) -> list[str]:
    return [row["id"] for _, row in search.search([ShardQuery(vector[None], k)])[0].hits]


def test_changes_show_when_the_log_was_read(
    write: Write, vectors: np.ndarray, clips: list[Clip], tmp_path: Path
) -> None:
    opened = write(tmp_path, shards=2, version="v1")
    index_version.activate(tmp_path, "v1")
    log = Log.open(tmp_path / "log")
    search = LiveSearch(opened, log=log)
    assert search.position == 0 and first(search, vectors[0], 1) == [clips[0].id]
    with Writer(tmp_path, name="test") as writer:
        add(writer, "new/1", clips[0], vectors[0], opened.manifest.model.sha256)
        writer.remove(clips[0].id)
    assert first(search, vectors[0], 1) == [clips[0].id]
    assert log.update() == 2 and search.follow() == 2
    assert first(search, vectors[0], 1) == ["new/1"]
    assert search.removed(clips[0].id) and clips[0].id not in search and "new/1" in search
    assert search.row("new/1")["gloss"] == clips[0].gloss
    assert set(search.rows["id"].to_pylist()) == {"new/1", *(clip.id for clip in clips[1:])}
    np.testing.assert_array_equal(search.poses("new/1"), clips[0].poses)
    assert search.poses(clips[1].id) is None
    with pytest.raises(KeyError):
        search.row(clips[0].id)
    hits = SignSearch(opened, log).search(clips[0].poses, aspect=1.0, k=200)
    assert len(hits) == 120 and clips[0].id not in {hit.id for hit in hits} and hits[0].rank == 1


def test_a_build_folds_the_log_in_and_a_roll_back_replays_it(
    write: Write, vectors: np.ndarray, rows: pa.Table, clips: list[Clip], tmp_path: Path
) -> None:
    opened = write(tmp_path, shards=3, version="v1")
    index_version.activate(tmp_path, "v1")
    sha256 = opened.manifest.model.sha256
    with Writer(tmp_path, name="test") as writer:
        for n in range(5):
            add(writer, f"new/{n}", clips[n], vectors[n], sha256)
        writer.remove("new/3")
        for n in range(5):
            writer.remove(clips[n].id)
    log = Log.open(tmp_path / "log")
    folded = fold(vectors, rows, log, model_sha256=sha256, encoder=opened.encoder)
    second = index_version.write(
        tmp_path, *folded, model=opened.path / "model", corpus=opened.manifest.corpus, shards=2, version="v2",
        log_position=log.end,
    )  # fmt: skip
    assert second.manifest.count == 119 and second.manifest.log_position == 11
    before, after = (LiveSearch(v, log=log) for v in (opened, second))
    queries = [ShardQuery(vector[None], 200) for vector in vectors[:10]]
    for old, new in zip(before.search(queries), after.search(queries), strict=True):
        assert len(old.hits) == 119
        assert [(s, row["id"], row["gloss"]) for s, row in old.hits] == [(s, r["id"], r["gloss"]) for s, r in new.hits]
    with Writer(tmp_path, name="test") as writer:
        index_version.activate(tmp_path, "v2")
        writer.remove("new/0")  # of v2
        index_version.activate(tmp_path, "v1")
        add(writer, clips[0].id, clips[0], vectors[0], sha256)
    log.update()
    for search in (before, after):
        assert search.follow() == 13
        assert "new/0" not in search and clips[0].id in search and clips[1].id not in search


def test_additions_from_another_model_are_embedded_again(
    write: Write, vectors: np.ndarray, clips: list[Clip], small_model: Path, tmp_path: Path
) -> None:
    opened = write(tmp_path, shards=2, version="v1")
    index_version.activate(tmp_path, "v1")
    with Writer(tmp_path, name="test") as writer:
        add(writer, "new/1", clips[7], vectors[50], "f" * 64)
    search = LiveSearch(opened, log=Log.open(tmp_path / "log"))
    expected = SignEncoder.from_pretrained(small_model).embed_clips([clips[7]])[0]
    found = {row["id"]: score for score, row in search.search([ShardQuery(expected[None], 2)])[0].hits}
    assert found["new/1"] == pytest.approx(1, abs=1e-6)


def test_an_operation_that_is_read_meanwhile_is_not_skipped(
    write: Write, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread, which loads a version, may read the log further while an earlier part of it is applied."""
    opened = write(tmp_path, version="v1")
    index_version.activate(tmp_path, "v1")
    with Writer(tmp_path, name="test") as writer:
        writer.remove(clips[0].id)
        log = Log.open(tmp_path / "log")
        writer.remove(clips[1].id)
    search = LiveSearch(opened)
    owns = search._owns

    def reading(id: str) -> bool:
        log.update()
        return owns(id)

    monkeypatch.setattr(search, "_owns", reading)
    search.attach(log)
    assert log.end == 2 and search.position == 1
    assert search.follow() == 2 and clips[0].id not in search and clips[1].id not in search


def test_a_backup_is_restored(
    write: Write, vectors: np.ndarray, clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The drill of docs/indexes.md: copy versions, CURRENT and log, lose the folder, copy back, verify, search."""
    root, backup = tmp_path / "index", tmp_path / "backup"
    opened = write(root, shards=2, version="v1")
    index_version.activate(root, "v1")
    with Writer(root, name="test") as writer:
        add(writer, "new/1", clips[0], vectors[0], opened.manifest.model.sha256)
        writer.remove(clips[0].id)
    queries = [ShardQuery(vector[None], 10) for vector in vectors[:20]]
    before = LiveSearch(opened, log=Log.open(root / "log")).search(queries)
    for name in ("v1", "CURRENT", "log"):  # the log last: it may know more than the versions, never less
        copy = shutil.copytree if (root / name).is_dir() else shutil.copyfile
        backup.mkdir(exist_ok=True)
        copy(root / name, backup / name)
    shutil.rmtree(root)
    shutil.copytree(backup, root)

    def verify() -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["index", "verify", str(root)])
        output = capsys.readouterr()
        return int(exit_.value.code or 0), output.out + output.err

    code, text = verify()
    assert code == 0 and "all 2 records match" in text
    restored = LiveSearch(IndexVersion.open(root), log=Log.open(root / "log"))
    assert restored.search(queries) == before
    with Writer(root, name="test") as writer:  # it goes on
        assert writer.remove("new/1").position == 3
    path = root / "log" / "records" / "000000000001"
    path.write_bytes(path.read_bytes()[:-1])
    code, text = verify()
    assert code == 2 and "record 1 is damaged" in text


def test_a_version_that_knows_more_than_the_log_is_refused(write: Write, tmp_path: Path) -> None:
    """A backup of the index without its log would bring removed signs back."""
    opened = write(tmp_path, version="v1", log_position=3)
    with pytest.raises(LogError, match=r"ends at position 0, but version v1 has folded in operations up to 3: restore"):
        LiveSearch(opened, log=Log.open(tmp_path / "log"))


def test_a_sign_that_is_erased_while_the_log_is_read_is_left_out(
    write: Write, vectors: np.ndarray, rows: pa.Table, clips: list[Clip], tmp_path: Path
) -> None:
    """Embedding the additions again takes minutes: one of them may be removed meanwhile, and its poses are gone."""
    opened = write(tmp_path, version="v1")
    index_version.activate(tmp_path, "v1")
    with Writer(tmp_path, name="test") as writer:
        add(writer, "new/1", clips[0], vectors[0], "f" * 64)
        add(writer, "new/2", clips[1], vectors[1], "f" * 64)
        log = Log.open(tmp_path / "log")
        writer.remove("new/1")
    search = LiveSearch(opened, log=log)
    assert search.position == 2 and "new/1" not in search and "new/2" in search
    _, folded = fold(vectors, rows, log, model_sha256=opened.manifest.model.sha256, encoder=opened.encoder)
    assert {"new/1", "new/2"} & set(folded["id"].to_pylist()) == {"new/2"}
    assert log.update() == 3 and search.follow() == 3


def test_a_removal_that_is_folded_in_is_known_as_one(
    write: Write, vectors: np.ndarray, rows: pa.Table, clips: list[Clip], tmp_path: Path
) -> None:
    opened = write(tmp_path, shards=2, version="v1")
    index_version.activate(tmp_path, "v1")
    with Writer(tmp_path, name="test") as writer:
        add(writer, "new/1", clips[0], vectors[0], opened.manifest.model.sha256)
        writer.remove(clips[0].id)
    log = Log.open(tmp_path / "log")
    folded = fold(vectors, rows, log, model_sha256=opened.manifest.model.sha256, encoder=opened.encoder)
    second = index_version.write(
        tmp_path, *folded, model=opened.path / "model", corpus=opened.manifest.corpus, shards=2, version="v2",
        log_position=log.end,
    )  # fmt: skip
    for version in (opened, second):
        searches = [LiveSearch(version, [n], log=log) for n in range(2)]
        assert [s.removed(clips[0].id) for s in searches].count(True) == 1
        assert not any(s.removed(id) for s in searches for id in ("new/1", clips[1].id, "nobody"))


def test_a_build_without_the_log_of_the_live_version_is_refused(write: Write, tmp_path: Path) -> None:
    """It would bring back what was removed."""
    assert open_log(tmp_path, None).end == 0
    write(tmp_path, version="v1")
    index_version.activate(tmp_path, "v1")
    assert open_log(tmp_path, None).end == 0
    write(tmp_path, version="v2", log_position=3)
    index_version.activate(tmp_path, "v2")
    with pytest.raises(LogError, match="ends at position 0, but version v2 has folded in operations up to 3"):
        open_log(tmp_path, None)
