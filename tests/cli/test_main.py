"""The command itself: help texts, brackets, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from rich.table import Table

from cli import main, shared
from signatlas.errors import UserError

from .conftest import Run

ROOT = Path(__file__).parents[2]


def example(
    what: Annotated[str, typer.Argument(help="Needs signatlas[all].")] = "x",
    size: Annotated[int, typer.Option(help="In [0, 9], such as [bold]; [/b] too.")] = 3,
) -> None:
    """Serve an index; needs signatlas[all] and [serve].

    Example: signatlas example '[mouth]'
    """
    raise typer.Exit(size)


@pytest.fixture
def example_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.COMMANDS, "example", main.Entry("here:example", "An example."))
    monkeypatch.setattr(main, "_function", lambda target: example)


def test_help_shows_brackets(example_command: None, run: Run) -> None:
    code, page, _ = run("example", "--help")
    assert code == 0
    for text in ("signatlas[all] and [serve].", "Example: signatlas example '[mouth]'", "Needs signatlas[all].",
                 "In [0, 9], such as [bold]; [/b] too."):  # fmt: skip
        assert text in page


def test_serve_help_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    page = run("serve", "--help")[1]
    documented = re.findall(r"\[[a-z]+\]", main._function("cli.serve:serve").__doc__ or "")
    assert all(extra in page for extra in documented)


def test_exit_codes(example_command: None, run: Run) -> None:
    assert run("example", "--size", 0)[0] == 0
    assert run("example", "--size", 4)[0] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["example", "--nope"], "signatlas: No such option: --nope; see 'signatlas example --help'\n"),
        (["exampel"], "signatlas: unknown command 'exampel': did you mean 'example'?\n"),
        (["corpus", "fetsh"], "signatlas: unknown command 'corpus fetsh': did you mean 'fetch'?\n"),
        (["example", "--size", "x"], "see 'signatlas example --help'\n"),
    ],
)
def test_wrong_arguments_are_one_line(example_command: None, run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2 and not out and err.endswith(message) and err.count("\n") == 1


def test_the_console_prints_text_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title="Signs like [mouth]")
    table.add_column("a[/b]")
    table.add_row("[mouth] :smile: text")
    shared.console(width=60).print(table)
    shared.console(width=60).print("runs/[a]/a[/b]")
    with shared.status("reading [mouth]") as show, shared.progress_bars() as bars:
        show("reading a[/b]")
        assert list(bars.track([1], description="reading a[/b]")) == [1]
    out = capsys.readouterr().out
    for text in ("Signs like [mouth]", "a[/b]", "[mouth] :smile: text", "runs/[a]/a[/b]"):
        assert text in out


def test_json_has_stdout_for_itself(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Ray prints of its processes to sys.stdout in a thread of its own, at any moment of the command."""

    def command(json: shared.AsJson = False) -> None:
        print("(raylet) a worker ended")
        if json:
            shared.print_json({"gloss": "GRÜN"})
        print("(raylet) and another one")

    monkeypatch.setitem(main.COMMANDS, "example", main.Entry("here:example", "An example."))
    monkeypatch.setattr(main, "_function", lambda target: command)
    assert run("example", "--json")[1:] == (
        '{"gloss": "GRÜN"}\n',
        "(raylet) a worker ended\n(raylet) and another one\n",
    )
    assert run("example")[1:] == ("(raylet) a worker ended\n(raylet) and another one\n", "")


def test_every_json_option_has_stdout_for_itself() -> None:
    def options(entries: main.Entries) -> Iterator[Any]:
        for name, entry in entries.items():
            if isinstance(entry, main.Entry):
                yield from main._command(name, main._function(entry.target)).params
            else:
                yield from options(entry)

    json = [option for option in options(main.COMMANDS) if "--json" in option.opts]
    assert len(json) > 20 and all(option.callback for option in json)


def test_commands_print_through_the_shared_console() -> None:
    """Elsewhere a console, a spinner or a progress bar could read data as markup."""
    own = re.compile(r"rich\.console|rich\.markup|\bConsole\(|rich import print|rich\.progress import .*\btrack\b")
    allowed = {"cli/shared.py", "cli/main.py"}
    files = [path for path in (ROOT / "cli").rglob("*.py") if path.relative_to(ROOT).as_posix() not in allowed]
    assert [path.name for path in files if own.search(path.read_text(encoding="utf-8"))] == []


def test_outputs_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"already exists: choose another --out or pass --overwrite"):
        shared.check_output(tmp_path, overwrite=False)
    with pytest.raises(UserError, match=r"/proc/nope/x cannot be created"):
        shared.check_output(Path("/proc/nope/x"), overwrite=True)
    with (
        pytest.raises(UserError, match=r"cannot be written \(No such file or directory\): choose another --plot"),
        shared.output_errors(tmp_path / "a" / "b", "--plot"),
    ):
        (tmp_path / "a" / "b").write_text("")


def test_python_m_cli_is_signatlas() -> None:
    pages = {
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        for command in ([sys.executable, "-m", "cli"], [str(Path(sys.prefix) / "bin" / "signatlas")])
    }
    assert len(pages) == 1
