"""End-to-end: both composed corpora from the signs and sentences of the mirror, by the compose command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from signatlas.corpus.format import Corpus

GIB = 2**30


def signatlas(*arguments: object, cwd: Path) -> int:
    """Run the command in a subprocess; return its peak memory in bytes (of its largest process)."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'cli', *sys.argv[1:]])\n"
        "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
        "sys.exit(done.returncode)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return int(process.stdout.splitlines()[-1].split()[1])


@pytest.fixture(scope="module")
def workdir(mirror: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if mirror is None or not (mirror / "phoenix14t").is_dir():
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    folder = tmp_path_factory.mktemp("mirror")
    signatlas("corpus", "fetch", "dgs", "--mirror", mirror, cwd=folder)
    return folder


def made(corpus: Corpus) -> dict[str, Any]:
    return json.loads((Path(corpus.path) / "corpus.json").read_text())["made"]


@pytest.mark.fault
@pytest.mark.slow
def test_multi_composed(workdir: Path) -> None:
    assert signatlas("corpus", "compose", "--kind", "multi-composed", cwd=workdir) < 2 * GIB
    corpus = Corpus.open(workdir / "data" / "multi-composed", verify=True)
    assert corpus.info.counts == {"train": 3000, "dev": 300, "test": 300}
    signs = made(corpus)["signs"]
    assert len(signs) == 30
    assert not any(sign["shared"] for sign in signs.values())
    used: dict[str, set[str]] = {}
    for row in corpus.metadata():
        for exemplar in row["exemplars"]:
            used.setdefault(exemplar, set()).add(row["split"])
    assert all(len(splits) == 1 for splits in used.values()), "recordings are disjoint between splits"


@pytest.mark.fault
@pytest.mark.slow
def test_phoenix_composed(workdir: Path, mirror: Path) -> None:
    annotations = mirror / "phoenix14t"
    words = ("corpus", "compose", "--kind", "phoenix-composed", "--sentences", annotations)
    assert signatlas(*words, cwd=workdir) < 2 * GIB
    corpus = Corpus.open(workdir / "data" / "phoenix-composed", verify=True)
    assert corpus.info.counts == {"train": 7096, "dev": 517, "test": 640}
    description = made(corpus)
    assert len(description["sentences_without_gloss"]) == 4
    assert description["frames"]["within_a_tenth"] == 1
    assert "non-commercial" in corpus.info.license and "not for learning to sign" in description["notice"]
    words_assigned = [s["word"] for s in description["signs"].values() if s["kind"] == "assigned"]
    words_real = {s["word"] for s in description["signs"].values() if s["kind"] == "real"}
    assert len(words_assigned) == len(set(words_assigned)), "an assigned word is used for one gloss only"
    assert not words_real & set(words_assigned)
    kinds = {gloss: sign["kind"] for gloss, sign in description["signs"].items()}
    for row in corpus.split("test").metadata():
        assert row["gloss_kinds"] == [kinds[gloss] for gloss in row["glosses"]]
        assert {text["language"] for text in row["texts"]} == {"de", "en"}
