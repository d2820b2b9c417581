"""RWTH-PHOENIX-2014T: annotations of both editions, frame folders, videos, incomplete releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from signatlas.corpus.sources import phoenix14t
from signatlas.errors import CorpusError

from .releases import PHOENIX, phoenix_csv, phoenix_frames, phoenix_jsonl, write_images, write_video


def test_annotations_in_csv(tmp_path: Path) -> None:
    sentences = phoenix14t.read_sentences(phoenix_csv(tmp_path))
    assert [(s.id, s.split) for s in sentences] == [
        ("phoenix14t/train/sun-1", "train"),
        ("phoenix14t/train/sun-2", "train"),
        ("phoenix14t/dev/fog-1", "dev"),
        ("phoenix14t/test/dew-1", "test"),
    ]
    assert sentences[0].glosses == ("SONNE", "ABER", "KALT") and sentences[3].glosses == ()
    assert sentences[1].texts == (("de", 'morgen "dichter nebel'),) and sentences[1].frames is None


def test_annotations_in_jsonl_and_in_both(tmp_path: Path) -> None:
    sentences = phoenix14t.read_sentences(phoenix_jsonl(tmp_path))
    assert (
        sentences[1].texts == (("de", 'morgen "dichter nebel'), ("en", "english of sun-2"))
        and sentences[1].frames == 11
    )
    ids = [s.id for s in sentences]
    phoenix_csv(tmp_path)
    both = phoenix14t.read_sentences(tmp_path)
    assert both == sentences and [s.id for s in both] == ids


def test_the_mirror_has_every_sentence(mirror: Path | None) -> None:
    if mirror is None or not (mirror / "phoenix14t").is_dir():
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    sentences = phoenix14t.read_sentences(mirror / "phoenix14t")
    counts = {split: sum(s.split == split for s in sentences) for split in ("train", "dev", "test")}
    assert counts == {"train": 7096, "dev": 519, "test": 642}
    assert sum(not s.glosses for s in sentences) == 4
    assert all([tag for tag, _ in s.texts] == ["de", "en"] and s.frames for s in sentences)


def test_frame_folders(tmp_path: Path) -> None:
    phoenix_frames(phoenix_csv(tmp_path / "PHOENIX-2014-T-release-v3" / "PHOENIX-2014-T"))
    listing = phoenix14t.read(tmp_path)
    assert [item.id for item in listing] == [f"phoenix14t/{i}" for i in ("train/sun-1", "dev/fog-1", "test/dew-1")]
    first = listing.items[0]
    assert Path(first.media).is_dir() and first.media.endswith("fullFrame-210x260px/train/sun-1")
    assert (first.signer, first.fps, first.frames, first.shown_as) == ("Signer01", 25.0, 3, (210, 300))
    assert (first.sign_language, first.source, first.glosses) == ("gsg", "phoenix14t", ("SONNE", "ABER", "KALT"))
    assert [m.id for m in listing.missing] == ["phoenix14t/train/sun-2"] and "sun-2" in listing.missing[0].reason
    assert "non-commercial" in listing.info.license and listing.info.sign_languages == ("gsg",)
    assert listing.info.made == {"kind": "phoenix14t", "named": 4, "splits": "the authors'"}


def test_missing_frame_numbers_count_as_announced(tmp_path: Path) -> None:
    phoenix_frames(phoenix_csv(tmp_path))
    folder = tmp_path / "features" / "fullFrame-210x260px" / "train" / "sun-1"
    write_images(folder, "images{:04d}.png", 40)
    for number in range(10, 16):
        (folder / f"images{number:04d}.png").unlink()
    assert phoenix14t.read(tmp_path).items[0].frames == 40
    write_images(folder, "still.png", 1)
    assert phoenix14t.read(tmp_path).items[0].frames == 35, "images without a number are counted"


def test_frames_one_folder_deeper_and_videos(tmp_path: Path) -> None:
    phoenix_csv(tmp_path)
    features = tmp_path / "features" / "fullFrame-210x260px"
    write_images(features / "train" / "sun-1" / "1", "images{:04d}.png")
    assert phoenix14t.read(tmp_path).items[0].media.endswith("sun-1/1")
    other = phoenix_csv(tmp_path / "other")
    for split, rows in PHOENIX.items():
        for name, *_ in rows:
            write_video(other / "videos" / split / f"{name}.mp4", 3)
    listing = phoenix14t.read(other)
    assert len(listing) == 4 and not listing.missing
    assert listing.items[0].media.endswith("train/sun-1.mp4") and listing.items[0].shown_as is None


def error_of(path: Path) -> str:
    with pytest.raises(CorpusError) as error:
        phoenix14t.read(path)
    message = str(error.value)
    assert "RWTH-PHOENIX-2014-T/" in message and "\n" not in message
    return message


def test_incomplete_releases_are_one_line(tmp_path: Path) -> None:
    assert "no folder at" in error_of(tmp_path / "nowhere")
    assert "PHOENIX-2014-T.train.corpus.csv or PHOENIX-2014-T.dev.corpus.csv" in error_of(tmp_path)
    phoenix_csv(tmp_path)
    assert "features/fullFrame-210x260px is missing" in error_of(tmp_path)
    (tmp_path / "features" / "fullFrame-210x260px").mkdir(parents=True)
    assert "contains none of the 4 recordings" in error_of(tmp_path)
    dev = tmp_path / "annotations" / "manual" / "PHOENIX-2014-T.dev.corpus.csv"
    dev.unlink()
    assert "does not contain PHOENIX-2014-T.dev.corpus.csv" in error_of(tmp_path)
    dev.write_text("id|text\n1|x\n", encoding="utf-8")
    assert "PHOENIX-2014-T.dev.corpus.csv line 2: columns id, text" in error_of(tmp_path)


def test_invalid_lines_are_one_line(tmp_path: Path) -> None:
    phoenix_csv(tmp_path)
    file = tmp_path / "annotations" / "manual" / "PHOENIX-2014-T.test.corpus.csv"
    file.write_text(file.read_text(encoding="utf-8") + "short|line\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"test.corpus.csv line 3: 2 values, expected 7"):
        phoenix14t.read_sentences(tmp_path)
    phoenix_jsonl(tmp_path / "j")
    (tmp_path / "j" / "dev.jsonl").write_text('{"name": "a", "gloss": []}\n', encoding="utf-8")
    valid = (tmp_path / "j" / "test.jsonl").read_bytes()
    for line in (
        b'{"name": ["a"], "gloss": [], "text": {"de": "x"}, "num_frames": 3}',
        b'{"name": "a", "gloss": "A", "text": {"de": "x"}, "num_frames": 3}',
        b'{"name": "a", "gloss": [["A"]], "text": {"de": "x"}, "num_frames": 3}',
        b'{"name": "a", "gloss": [], "text": {"de": ["x"]}, "num_frames": 3}',
    ):
        (tmp_path / "j" / "train.jsonl").write_bytes(line)
        with pytest.raises(CorpusError, match=r"train.jsonl line 1 is not an annotation"):
            phoenix14t.read_sentences(tmp_path / "j")
    (tmp_path / "j" / "train.jsonl").write_bytes(valid + b'{"name": "gr\xfcn"}')
    with pytest.raises(CorpusError, match=r"train.jsonl line \d+ is not UTF-8"):
        phoenix14t.read_sentences(tmp_path / "j")
    (tmp_path / "j" / "train.jsonl").write_bytes(valid)
    with pytest.raises(CorpusError, match=r"dev.jsonl line 1 is not an annotation"):
        phoenix14t.read_sentences(tmp_path / "j")
