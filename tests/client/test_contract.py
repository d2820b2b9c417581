"""The client's own schemas against those of the service in this repository: what one sends, the other knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from serve import schemas as service
from serve.answers import form_options
from signatlas.client import requests, schemas
from signatlas.retrieval import search
from signatlas.retrieval.filters import Filter


@pytest.mark.parametrize("name", ["SearchOptions", "TranslateOptions"])
def test_options_are_those_of_the_service(name: str) -> None:
    # A client asks for a stream by a method of its own.
    assert set(getattr(requests, name).__annotations__) == set(getattr(service, name).model_fields) - {"stream"}


def test_options_of_an_embedding_are_those_of_the_service() -> None:
    assert set(requests.EmbedOptions.__annotations__) | {"queries"} == set(service.EmbedRequest.model_fields)


@pytest.mark.parametrize("name", ["TextQuery", "PosesQuery", "ClipQuery", "VectorQuery"])
def test_queries_have_the_fields_of_the_service(name: str) -> None:
    assert set(getattr(requests, name).__dataclass_fields__) == set(getattr(service, name).model_fields)


def test_a_filter_means_the_same_in_json_and_in_a_form(tmp_path: Path) -> None:
    options: dict[str, Any] = {"filter": {"gloss": ["a", "b"], "hands": 2}, "nprobe": 4, "ef": np.int64(9)}
    (tmp_path / "q.pose").write_bytes(b"")
    form = requests.search_pose_file(tmp_path / "q.pose", options).fields(None)
    body = json.loads(requests.search(requests.TextQuery("a"), options).json(None))
    expected = service.SearchOptions(filter=Filter(gloss=("b", "a"), hands=2), nprobe=4, ef=9)
    assert service.SearchOptions.model_validate(form_options(form)) == expected
    body.pop("queries")
    assert service.SearchOptions.model_validate(body) == expected


def answers() -> dict[str, tuple[Any, Any]]:
    """Return each schema of an answer with the one of the service of the same name."""
    both = {}
    for name, schema in vars(schemas).items():
        if (
            isinstance(schema, type)
            and issubclass(schema, BaseModel)
            and not name.startswith("_")
            and name != "BaseModel"
        ):
            both[name] = schema, getattr(service, name, None) or getattr(search, name)
    return both


@pytest.mark.parametrize("name", answers())
def test_every_field_that_the_client_requires_is_in_the_answer(name: str) -> None:
    client, server = answers()[name]
    required = {field for field, info in client.model_fields.items() if info.is_required()}
    assert required and required <= set(server.model_fields)
    unread = set(server.model_fields) - set(client.model_fields) - {"type"}
    assert not unread, f"the client does not read {', '.join(sorted(unread))}"
