"""The Python blocks of docs/how-to/ run, page by page; docs/api.md and the packages list the same names."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^## `(signatlas[\w.]*)`$", re.MULTILINE)
_NAME = re.compile(r"^- `([A-Za-z_]\w*)", re.MULTILINE)


def script_of(page: Path) -> str:
    """Return the Python blocks of a page, in order, each on the lines that it has on the page."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for match in _FENCE.finditer(text):
        if match[1] == "python":
            start = text[: match.start(2)].count("\n")
            block = match[2].split("\n")[:-1]
            lines[start : start + len(block)] = block
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    script = script_of(page)
    assert script.strip(), f"{page.name} has no Python block"
    run = "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'), {'__name__': 'page'})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", run, page.name], input=script, cwd=tmp_path, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-4000:]


def test_every_way_to_extend_has_a_page() -> None:
    assert {page.stem for page in PAGES} >= {"add_a_loss", "add_a_corpus", "add_a_task", "add_an_endpoint"}


def listed_names() -> dict[str, list[str]]:
    """Return the names that docs/api.md lists, by the package or module of the heading above them."""
    heading, *sections = _HEADING.split((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    assert heading.startswith("# ")
    return {name: _NAME.findall(text) for name, text in zip(sections[::2], sections[1::2], strict=True)}


@pytest.mark.parametrize("name", listed_names())
def test_api_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    missing = [member for member in listed_names()[name] if not hasattr(module, member)]
    assert not missing, f"docs/api.md: {name} has no {', '.join(missing)}"


@pytest.mark.parametrize(
    "name",
    [f"signatlas.{package}" for package in (
        "corpus", "pose", "models", "losses", "similarity", "sampling", "metrics", "evaluation", "retrieval",
        "client", "synthetic",
    )],
)  # fmt: skip
def test_exported_names_are_documented(name: str) -> None:
    exported = importlib.import_module(name).__all__
    assert list(exported) == sorted(exported, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    listed = listed_names()[name]
    assert sorted(listed) == sorted(exported), f"docs/api.md lists other names than {name}.__all__"
