"""Quality figures of corpora, by function and by command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.main import main
from signatlas.errors import CorpusError
from signatlas.plots.quality import quality
from signatlas.pose.quality import ClipQuality, Quality


def test_sources_have_colors_and_the_worst_clips_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [ClipQuality(f"clip/{n}", f"source {n % 3}", Quality(*rng.random(5).tolist())) for n in range(60)]
    quality(clips, tmp_path / "three.png", title="three")
    quality([ClipQuality("a", "one", Quality(1.0, 1.0, 1.0, 0.0, 0.0))], tmp_path / "one.png")
    three, one = (np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("three.png", "one.png"))
    colored = [len(np.unique(image[np.ptp(image, axis=-1) > 80], axis=0)) for image in (three, one)]
    assert colored[0] > colored[1] > 0
    below_right = [(image[360:, 900:] < 180).all(-1).sum() for image in (three, one)]
    assert below_right[0] > 2 * below_right[1] > 0  # eight names, or one line that says none
    with pytest.raises(CorpusError, match="no clip"):
        quality([], tmp_path / "none.png")


def test_corpus_info_saves_the_figure(small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "info", str(small_corpus), "--plot", str(tmp_path / "quality.png")])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "quality: median clip and worst" in said
    assert "webcam" in said.split("quality:")[1]
    assert Image.open(tmp_path / "quality.png").size[0] > 1000
