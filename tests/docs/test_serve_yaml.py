"""The configurations of a service in the docs are valid, and the annotated one has every setting and true defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from serve.config import IndexApplication, ServeConfig, TranslatorApplication, parse

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (page, text)
    for page in ("serving.md", "deploy_the_service.md")
    for text in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
]
ANNOTATED = next(text for page, text in BLOCKS if page == "deploy_the_service.md" and text.startswith("http:"))
NOT_SHOWN = {"run_key_sha256"}  # set by the command, never by a person


def settings(model: type[BaseModel]) -> set[str]:
    """Return the names of all settings of a model and of the models in it."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= settings(field.annotation)
    return names


def keys(value: Any) -> set[str]:
    """Return all keys of nested mappings and lists."""
    if isinstance(value, dict):
        return set(value) | {key for part in value.values() for key in keys(part)}
    return {key for part in value for key in keys(part)} if isinstance(value, list) else set()


def lines(node: yaml.Node, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], str]:
    """Return the line of the annotated configuration that each key is on, by the path of the key."""
    pairs: list[tuple[str | int, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, value) for key, value in node.value]
        found = {(*path, key.value): ANNOTATED.splitlines()[key.start_mark.line] for key, _ in node.value}
    else:
        pairs = list(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else []
        found = {}
    for key, value in pairs:
        found |= lines(value, (*path, key))
    return found


def wrong_defaults(
    model: BaseModel, path: tuple[str | int, ...], given: dict[str, Any], whole: BaseModel | None = None
) -> list[str]:
    """Return the settings in ``given`` whose value is not the default and whose line does not say so, or the reverse.

    ``whole`` is the default of the model itself, where it is a part of another one.
    """
    wrong = []
    node = yaml.compose(ANNOTATED)
    assert node is not None
    line = lines(node)
    for name, value in given.items():
        field = type(model).model_fields[name]
        part = getattr(model, name)
        default = field.get_default(call_default_factory=True) if whole is None else getattr(whole, name)
        if isinstance(part, BaseModel):
            wrong += wrong_defaults(part, (*path, name), value, default)
        elif not field.is_required() and (part == default) == ("not the default" in line[*path, name]):
            wrong.append(f"{name} is {default!r} by default: {line[*path, name].strip()}")
    return wrong


@pytest.mark.parametrize("text", [text for _, text in BLOCKS], ids=[page for page, _ in BLOCKS])
def test_every_configuration_is_valid(text: str) -> None:
    assert parse(yaml.safe_load(text)).applications


def test_the_annotated_configuration_has_every_setting() -> None:
    known = settings(ServeConfig) | settings(IndexApplication) | settings(TranslatorApplication)
    page = (DOCS / "deploy_the_service.md").read_text(encoding="utf-8")
    missing = {name for name in known - keys(yaml.safe_load(ANNOTATED)) if f"`{name}`" not in page}
    assert missing == NOT_SHOWN


def test_the_annotated_configuration_says_where_it_is_not_the_default() -> None:
    content = yaml.safe_load(ANNOTATED)
    config = parse(content)
    applications = content.pop("applications")
    wrong = wrong_defaults(config, (), content)
    for number, (application, given) in enumerate(zip(config.applications, applications, strict=True)):
        wrong += wrong_defaults(application, ("applications", number), given)
    assert not wrong, "; ".join(wrong)
