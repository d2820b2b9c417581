"""Each script of examples/ runs as its docstring says, and its printed figures are plausible."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from signatlas.corpus import Corpus
from signatlas.models import DualEncoder, Translator, load
from signatlas.retrieval.index_version import IndexVersion

ROOT = Path(__file__).resolve().parents[2]
# None in sys.modules makes an import of the package fail, also where it is installed.
RUN = (
    "import runpy, sys; sys.modules['ray'] = None; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def output_of(script: str, *arguments: str) -> str:
    """Run a script from the repository root, with Ray blocked, and return its standard output."""
    path = str(Path("examples") / script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", RUN, path, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def change(output: str, name: str) -> tuple[float, float]:
    """Return both figures of a line such as "loss: 3.900 -> 0.020"."""
    match = re.search(rf"{re.escape(name)}: (\S+) -> (\S+)", output)
    assert match, output
    return float(match[1]), float(match[2])


def test_every_example_is_tested_and_says_how_to_run_it() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    for script in (ROOT / "examples").glob("*.py"):
        assert f'"{script.name}"' in tests
        assert f"    python examples/{script.name}" in script.read_text(encoding="utf-8")


def test_the_contrastive_loss_aligns_held_out_pairs() -> None:
    output = output_of("contrastive_loss.py")
    first, last = change(output, "loss")
    before, after = change(output, "held-out text-to-video R@1")
    assert last < first / 2
    assert before < 0.2 and after > 0.8


def test_a_custom_loss_improves_retrieval_of_other_signers() -> None:
    output = output_of("custom_loss.py")
    first, last = change(output, "loss")
    before, after = change(output, "mAP")
    assert last < first and after > before + 0.03
    assert change(output, "R@1")[1] > 0.8


def test_search_finds_the_query_and_then_its_sign() -> None:
    output = output_of("search_from_python.py")
    assert "index v1: 24 synthetic recordings" in output
    firsts = re.findall(r"^1\. (\S+) (\S+) (\S+)$", output, re.MULTILINE)
    query = re.search(r"query (\S+) without itself", output)
    assert query and firsts[0][2] == query[1] and float(firsts[0][0]) == pytest.approx(1, abs=2e-3)
    assert firsts[1][1] == firsts[0][1] and firsts[1][2] != query[1]


def test_own_keypoints_become_a_corpus_and_a_model(tmp_path: Path) -> None:
    output = output_of("own_keypoints.py", str(tmp_path))
    recall = re.search(r"R@1 of \d+ queries by other signers: (\S+)", output)
    assert recall and float(recall[1]) > 0.7
    assert (tmp_path / "corpus" / "corpus.json").is_file() and (tmp_path / "model" / "model.safetensors").is_file()


def test_sentence_models_become_an_index_and_a_translator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a few steps each; `make demo` trains them until they find and translate sentences."""
    example = runpy.run_path(str(ROOT / "examples" / "sentence_models.py"))
    monkeypatch.setitem(example["SENTENCES"], "train", 70)
    for name in example["STEPS"]:
        monkeypatch.setitem(example["STEPS"], name, 2)
    example["main"](tmp_path)
    loaded = IndexVersion.open(tmp_path / "sentences")
    assert loaded.manifest.kind == "clips" and loaded.rows().num_rows == 40
    assert {type(load(tmp_path / name)) for name in ("dual_encoder", "translator")} == {DualEncoder, Translator}
    train, test = (
        {clip.glosses for clip in Corpus.open(tmp_path / "corpus").split(split)} for split in ("train", "test")
    )
    assert len(train) == 70 and len(test) == 40 and not train & test
