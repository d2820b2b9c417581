"""What the reports of all evaluations share: names and tables."""

from __future__ import annotations

from signatlas.evaluation.report import ReportTable, markdown_table, rich_table, run_name


def test_a_run_and_its_stages_have_names_of_their_own() -> None:
    names = ("runs/x_0/model", "runs/x_0/alignment/model", "x_0/alignment", "hub/name", "alignment", "/tmp/model")
    assert [run_name(name) for name in names] == ["x_0", "x_0/alignment", "x_0/alignment", "name", "alignment", "tmp"]


def test_tables_show_brackets_and_bars() -> None:
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as capture:
        console.print(rich_table(ReportTable("[mouth]", ["", "[b]"], [["[all]", ".5"]])))
    assert all(name in capture.get() for name in ("[mouth]", "[b]", "[all]"))
    assert markdown_table(["a"], [["x|y\nz"]]) == ["| a |", "|---|", "| x\\|y z |"]


def test_the_package_exports_what_it_lists() -> None:
    from signatlas import evaluation

    assert evaluation.__all__ == sorted(evaluation.__all__)
    assert all(callable(getattr(evaluation, name)) for name in evaluation.__all__)
