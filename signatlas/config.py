"""Base class and field types of settings: recipes, studies, configurations of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, SerializationInfo


class Strict(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _serialize_path(value: str, info: SerializationInfo) -> str:
    absolute = bool(info.context and info.context.get("absolute_paths"))
    exists = bool(value) and "://" not in value and Path(value).exists()
    return str(Path(value).absolute()) if absolute and exists else value


# A file or folder of this machine, a URI, or the name of a model on the Hub.
LocalPath = Annotated[str, PlainSerializer(_serialize_path, return_type=str)]


def dump_absolute(settings: BaseModel) -> dict[str, Any]:
    """Return settings as JSON values in which every :data:`LocalPath` that exists on this machine is absolute.

    Workers run in a folder of their own, where a relative path would mean another file.
    """
    return settings.model_dump(mode="json", context={"absolute_paths": True})
