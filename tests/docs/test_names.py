"""The commands, options, modules, paths and recipe keys that README and docs/ name exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from cli.main import COMMANDS, Entry
from signatlas.recipe import RECIPES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("cli", "signatlas", "cluster", "trainers", "tune", "serve", "benchmarks")
FOLDERS = (*PACKAGES, "tests", "recipes", "docs", "examples")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_DOTTED = re.compile(rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w/]|\.\w)")
_FILE = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./*-]*\w")
FILE_NAMES = (".json", ".safetensors", ".yaml", ".md")
_GENERATED = ("docs/how-to/", "cluster/kuberay")  # what a reader of these pages makes


def _text(page: Path) -> str:
    """Return a page without what it says is planned."""
    return "\n".join(line for line in page.read_text(encoding="utf-8").split("\n") if "(planned)" not in line)


def _command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each signatlas command in a page's code blocks and code spans."""
    blocks = [body for language, body in _BLOCK.findall(text) if language in ("", "sh", "bash")]
    spans = _SPAN.findall(_BLOCK.sub("", text))
    lines = [line for body in blocks for line in body.replace("\\\n", " ").split("\n")]
    for line in [*lines, *spans]:
        for part in re.split(r"[;&|]| -- ", line.partition(" #")[0]):
            found = re.match(r"\s*(?:do )?(?:[A-Z_]+=\S+ )*(?:signatlas|python -m cli) (?=[a-z])(.*)", part)
            if found:
                yield shlex.split(found[1].replace("...", ""))


@cache
def _options(target: str) -> frozenset[str]:
    """Return the options of a command, as typer names them."""
    import typer
    from typer.main import get_command

    module, name = target.split(":")
    app = typer.Typer()
    app.command()(getattr(importlib.import_module(module), name))
    options = [
        option for parameter in get_command(app).params for option in [*parameter.opts, *parameter.secondary_opts]
    ]
    return frozenset([*options, "--help", "-h"])


def _command_problem(words: list[str]) -> str | None:
    entries: Any = COMMANDS
    for position, word in enumerate(words):
        if not re.fullmatch(r"[a-z][a-z0-9-]*", word):
            return None  # a placeholder such as COMMAND, or a list such as add|remove
        if word not in entries:
            return f"no command {' '.join(words[: position + 1])}"
        entries = entries[word]
        if isinstance(entries, Entry):
            unknown = {o.partition("=")[0] for o in words[position + 1 :] if o.startswith("--")} - _options(
                entries.target
            )
            return f"{' '.join(words[: position + 1])} has no {', '.join(sorted(unknown))}" if unknown else None
    return None


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module or an attribute of one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            if importlib.util.find_spec(".".join(parts[:end])) is None:
                continue
        except ModuleNotFoundError:
            continue
        value = importlib.import_module(".".join(parts[:end]))
        for part in parts[end:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    problems = [problem for words in _command_lines(_text(page)) if (problem := _command_problem(words))]
    assert not problems, f"{page.relative_to(ROOT)}: {'; '.join(problems)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_their_members_exist(page: Path) -> None:
    text = _text(page)
    names = {name for span in _SPAN.findall(_BLOCK.sub("", text)) for name in _DOTTED.findall(span)}
    names |= {name for _, body in _BLOCK.findall(text) for name in re.findall(r"python -m (benchmarks[\w.]*\w)", body)}
    for language, body in _BLOCK.findall(text):
        if language == "python":
            for node in ast.walk(ast.parse(body)):
                if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PACKAGES:
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
    missing = sorted(name for name in names if not name.endswith(("NAME", ".yaml")) and not _resolves(name))
    assert not missing, f"{page.relative_to(ROOT)} names what does not exist: {', '.join(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page: Path) -> None:
    text = _text(page)
    paths = {
        path
        for part in [*_SPAN.findall(text), *(body for _, body in _BLOCK.findall(text))]
        for path in _FILE.findall(part)
    }
    missing = sorted(p for p in paths if not p.startswith(_GENERATED) and not any(ROOT.glob(p)))
    assert not missing, f"{page.relative_to(ROOT)} names what does not exist: {', '.join(missing)}"


@cache
def _recipe_keys() -> frozenset[str]:
    """Return every dotted key of every recipe."""
    keys: set[str] = set()

    def collect(model: Any, prefix: str) -> None:
        for name, field in model.model_fields.items():
            keys.add(prefix + name)
            for part in _models(field.annotation):
                collect(part, f"{prefix}{name}.")

    for recipe in RECIPES.values():
        collect(recipe, "")
    return frozenset(keys)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_recipe_keys_exist(page: Path) -> None:
    text, keys = _text(page), _recipe_keys()
    sections = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)}
    named = set(re.findall(r"--set '?([a-z_.]+)=", text))
    for span in _SPAN.findall(_BLOCK.sub("", text)):
        match = re.match(r"([a-z_]+\.[a-z_.]+)(?:$|[:=])", span)
        if match and match[1].split(".")[0] in sections and not match[1].endswith(FILE_NAMES):
            named.add(match[1])
    assert not named - keys, f"{page.relative_to(ROOT)} names no recipe key: {', '.join(sorted(named - keys))}"
