"""`signatlas evaluate` from end to end, with a real (untrained) encoder on a small corpus."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from cli.main import main
from signatlas.corpus.format import Corpus
from signatlas.errors import UserError
from signatlas.evaluation.trec import read_ranking
from signatlas.metrics.retrieval import evaluate

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, two_part_corpus: Corpus) -> Path:
    import torch

    from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig

    torch.manual_seed(0)
    config = SignEncoderConfig(width=32, heads=4, depth=1, feedforward=32, embedding=16, frames=16, dims=2)
    record = {"corpus_fingerprint": two_part_corpus.info.fingerprint, "excluded_glosses": ["wort 0"]}
    folder = tmp_path_factory.mktemp("models") / "tiny"
    SignEncoder(config, record).save_pretrained(folder, "# A card of its own\n")
    return folder


def signatlas(*arguments: object, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, whose imports are made; return its exit code and output."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, {"COLUMNS": "100"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as exit_info,
    ):
        main([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, int(exit_info.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def one_shot(model: Path, two_part_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("out") / "one-shot"
    done = signatlas(
        "evaluate", model, "--corpus", two_part_corpus.path, "--protocol", "one-shot", "--out", out,
        "--adjust", "none", "--adjust", "csls", "--pictures", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_prints_metrics_intervals_chance_baseline_and_corpus(
    one_shot: tuple[Path, str], two_part_corpus: Corpus
) -> None:
    _, printed = one_shot
    for expected in ("R@1", "MedR", "95 %", "1-NN", "chance", two_part_corpus.info.fingerprint, "synthetic signing"):
        assert expected in printed
    assert "8 shared words: 16 queries against 30 clips" in printed
    assert "8 shared words, all recordings: 8 queries against 30 clips" in printed
    assert "training left out 1 words: wort 0" in printed


def test_metrics_can_be_computed_again_from_the_files(one_shot: tuple[Path, str]) -> None:
    out, _ = one_shot
    document = json.loads((out / "report.json").read_text("utf-8"))
    assert len(document["results"]) > 6
    for result in document["results"]:
        ranking = read_ranking(out / result["files"]["run"], out / result["files"]["qrels"])
        again = evaluate(ranking.scores, ranking.relevant)
        assert {name: again[name] for name in result["metrics"]} == result["metrics"]
    assert document["model"]["card"] == "# A card of its own\n"
    assert document["model"]["record"]["excluded_glosses"] == ["wort 0"]


def test_report_md_has_tables_and_card(one_shot: tuple[Path, str]) -> None:
    text = (one_shot[0] / "report.md").read_text("utf-8")
    assert text.startswith("# one-shot: two-part\n")
    assert "| chance |" in text
    assert "# A card of its own" in text


def test_pictures_are_drawn(one_shot: tuple[Path, str]) -> None:
    pictures = list(one_shot[0].glob("neighbors-*.png"))
    assert len(pictures) == 2
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_json_on_standard_output_and_seed(model: Path, two_part_corpus: Corpus, tmp_path: Path) -> None:
    arguments = ["evaluate", model, "--corpus", two_part_corpus.path, "--protocol", "closed", "--json", "--pictures", 0]
    runs = [signatlas(*arguments, "--seed", seed, cwd=tmp_path) for seed in (0, 1)]
    zero, one = (json.loads(run.stdout)["results"] for run in runs)
    assert [result["metrics"] for result in zero] == [result["metrics"] for result in one]
    assert [result["intervals"] for result in zero] != [result["intervals"] for result in one]
    assert (tmp_path / "runs/evaluations/tiny/two-part-closed-test/report.json").is_file()


def test_any_two_parts_by_filters(model: Path, two_part_corpus: Corpus, tmp_path: Path) -> None:
    done = signatlas(
        "evaluate", model, "--corpus", two_part_corpus.path, "--gallery", "source=dictionary",
        "--queries", "source=webcam,split=dev|test", "--out", tmp_path / "x", "--json",
    )  # fmt: skip
    (result,) = json.loads(done.stdout)["results"]
    assert (result["queries"], result["left_out"], result["gallery"]) == (32, 8, 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "choose either --protocol"),
        (["--protocol", "closed", "--gallery", "split=train"], "choose either --protocol"),
        (["--queries", "split=test"], "--gallery and --queries go together"),
        (["--protocol", "clsd"], "unknown protocol 'clsd'"),
        (["--protocol", "closed", "--split", "tset"], "no split 'tset'"),
        (["--protocol", "one-shot", "--adjust", "cls"], "unknown adjustment 'cls'"),
        (["--gallery", "split=train", "--queries", "split=nine"], "0 queries against"),
    ],
)
def test_user_errors_are_one_line(
    model: Path, two_part_corpus: Corpus, tmp_path: Path, options: list, message: str
) -> None:
    import typer
    from typer.testing import CliRunner

    from cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    target = tmp_path / "out"
    arguments = [str(model), "--corpus", two_part_corpus.path, "--out", str(target), *options]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not target.exists()


def test_missing_model_or_corpus_ends_with_code_2(model: Path, two_part_corpus: Corpus, tmp_path: Path) -> None:
    for arguments in (
        ("evaluate", tmp_path / "no", "--corpus", two_part_corpus.path, "--protocol", "closed"),
        ("evaluate", model, "--corpus", tmp_path / "no", "--protocol", "closed"),
    ):
        done = signatlas(*arguments)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_never_replaces_a_folder_that_is_not_an_evaluation(
    model: Path, two_part_corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    done = signatlas("evaluate", model, "--corpus", two_part_corpus.path, "--protocol", "closed", "--out", tmp_path)
    assert done.returncode == 2
    assert "is not an evaluation" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_tables_fit_a_terminal_of_80_columns(one_shot: tuple[Path, str]) -> None:
    from rich.console import Console

    from signatlas.evaluation.report import rich_table
    from signatlas.evaluation.signs.report import result_table

    document = json.loads((one_shot[0] / "report.json").read_text("utf-8"))
    result = document["results"][0]
    wide = {name: (0.1234, 1.0) if name != "MedR" else (10.5, 2104.5) for name in result["intervals"]}
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(rich_table(result_table({**result, "intervals": wide, "group_intervals": wide})))
    text = console.export_text()
    assert "…" not in text
    assert ".12-1.00" in text
