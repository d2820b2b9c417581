"""Relative links and images of README, CONTRIBUTING, CHANGELOG and docs/ exist; result files are valid JSON Lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RESULTS = sorted((ROOT / "docs" / "results").glob("*.jsonl"))

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_and_images_exist(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_CODE.sub("", _prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken, f"{page.relative_to(ROOT)} links to what does not exist: {', '.join(broken)}"


def test_the_index_links_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    names = [str(page.relative_to(docs)) for page in docs.rglob("*.md") if page != docs / "README.md"]
    missing = [name for name in names if f"({name})" not in index]
    assert not missing, f"docs/README.md does not link {', '.join(missing)}"


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.name)
def test_results_are_json_lines_that_the_page_links(file: Path) -> None:
    for line in file.read_text(encoding="utf-8").splitlines():
        assert {"benchmark", "command", "commit", "date", "cores", "machine", "python"} <= json.loads(line).keys()
    assert f"(results/{file.name})" in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
