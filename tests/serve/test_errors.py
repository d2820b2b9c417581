"""Problem documents: any text fits into them, and nothing long is repeated back."""

from __future__ import annotations

import json
import pickle
from typing import Annotated, Any, Literal

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve import errors
from serve.errors import MAX_SHOWN, Problem, from_validation, respond, shown
from signatlas.errors import PoseError, UserError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = 0
    choice: Literal["a", "b"] = "a"
    text: Annotated[str, Field(max_length=5)] = ""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    parts: list[Inner] = []
    options: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Wörter, 手語", "Wörter, 手語"),
        ("a" * 100, "a" * 100),
        ("a" * 101, "a" * 97 + "..."),
        ("a\n\x1b[31m\u202e\x00", r"a\n\x1b[31m\u202e\x00"),
        ("\ud800", r"\ud800"),
        ("\n" * 60, r"\n" * 48 + "\\..."),
        (12, "12"),
    ],
)
def test_shown_values_are_short_and_printable(value: Any, expected: str) -> None:
    assert shown(value) == expected and len(expected) <= MAX_SHOWN


def test_shown_does_not_read_a_whole_long_value() -> None:
    assert shown("\n" * 10_000_000) == r"\n" * 48 + "\\..."


def test_every_text_fits_into_a_document() -> None:
    response = respond(Problem(422, "half: \ud800", errors=[{"field": "\udfff", "message": "x"}]))
    document = json.loads(bytes(response.body).decode())
    assert document["detail"] == r"half: \ud800" and document["errors"][0]["field"] == "?"
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {"y" * 10**6: 1},
        {"parts": [{"number": "y" * 10**6}, {"choice": "y" * 10**6}, {"text": "y" * 10**6}, {"y" * 10**6: 1}]},
        {"options": {"y" * 10**6: {"number": "y" * 10**6}}},
        {"parts": [{"choice": "\ud800" * 1000, "\ud800" * 1000: 1}]},
    ],
)
def test_nothing_long_is_repeated_back(body: Any) -> None:
    with pytest.raises(ValidationError) as error:
        Body.model_validate(body)
    response = respond(from_validation(error.value))
    assert response.status_code == 422
    content = bytes(response.body).decode()
    assert "y" * (MAX_SHOWN + 1) not in content and content.count("ud800") <= 10 * MAX_SHOWN / 6


def test_few_of_many_errors_are_listed() -> None:
    with pytest.raises(ValidationError) as error:
        Body.model_validate({"parts": [{"number": "x"}] * 50})
    assert len(from_validation(error.value).extensions["errors"]) == errors.MAX_ERRORS
    with pytest.raises(ValidationError) as error:
        Body.model_validate({"parts": [{"number": "x"}] * 5000})
    assert from_validation(error.value).detail.startswith("the request has 5,000 invalid values")


def test_a_problem_travels_between_processes() -> None:
    sent = Problem(503, "busy", {"Retry-After": "1"}, errors=[])
    problem = pickle.loads(pickle.dumps(sent))
    assert (problem.status, problem.headers, problem.document()) == (503, {"Retry-After": "1"}, sent.document())


def test_errors_of_an_application_are_documents(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    errors.install(app)
    raised = {
        "problem": (Problem(429, "slow down", {"Retry-After": "2"}), 429),
        "pose": (PoseError("poses: \ud800" + "x" * 1000), 422),
        "user": (UserError("/secret/path: \ud800"), 503),
        "unexpected": (RuntimeError("\ud800 /secret/path"), 500),
    }

    @app.get("/{name}")
    async def fail(name: str) -> None:
        raise raised[name][0]

    @app.get("/number/{number}")
    async def number(number: int) -> None: ...

    with TestClient(app, raise_server_exceptions=False) as client:
        for name, (_, status) in raised.items():
            answer = client.get(f"/{name}")
            assert (answer.status_code, answer.json()["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"
            assert "secret" not in answer.text and len(answer.text) < 500
        assert client.get("/problem").headers["retry-after"] == "2"
        assert client.get("/number/" + "9" * 3000 + "x").status_code == 422
        head = client.head("/number/1")
        assert (head.status_code, head.headers["allow"]) == (405, "GET")
        assert client.get("/a/b/c").json()["title"] == "Not Found"
