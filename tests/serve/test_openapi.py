"""The description of the API: sound in itself, and good enough for a generated client that really searches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve import schemas
from serve.errors import MEDIA_TYPE
from serve.gateway import app
from serve.openapi import EXAMPLES, OPEN
from signatlas.corpus.format import Corpus
from signatlas.pose.serialization import to_json, write_pose
from tests.serve.services import Services

CLIENT = Path(__file__).with_name("generated_client_search.py")
GENERATOR = ("openapi-python-client==0.29.1", "openapi-spec-validator==0.9.0")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    # As a client reads it.
    read: dict[str, Any] = json.loads(json.dumps(app.openapi(), allow_nan=False))
    return read


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    references = {found["$ref"] for found in objects(document) if isinstance(found.get("$ref"), str)}
    assert "#/components/schemas/SearchRequest" in references
    for reference in references:
        target = document
        for key in reference.removeprefix("#/").split("/"):
            assert key in target, reference
            target = target[key]


def test_operation_ids_are_short_and_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert sorted(ids) == [
        "add_sign", "embed", "get_sign", "get_sign_poses", "health", "list_indexes", "list_models", "ready",
        "remove_sign", "search", "search_video", "translate", "translate_video",
    ]  # fmt: skip
    assert all(operation["tags"] for _, operation in operations(document))


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in EXAMPLES for kind in EXAMPLES[name]])
def test_examples_are_valid_requests(document: dict[str, Any], name: str, kind: str) -> None:
    body = next(
        content["application/json"]
        for _, operation in operations(document)
        if name in str(content := operation.get("requestBody", {}).get("content", {}))
    )
    assert body["schema"] == {"$ref": f"#/components/schemas/{name}"}
    request = getattr(schemas, name).model_validate(body["examples"][kind]["value"])
    if name != "AddRequest":  # which has no queries
        assert getattr(request.queries[0], kind) is not None
    with pytest.raises(ValueError, match="Extra inputs"):
        getattr(schemas, name).model_validate({**body["examples"][kind]["value"], "unknown": 1})


def test_every_operation_states_its_keys_and_problems(document: dict[str, Any]) -> None:
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    schemes = set(document["components"]["securitySchemes"])
    for path, operation in operations(document):
        responses = operation["responses"]
        assert responses["200"]["content"]["application/json"]["schema"], path
        for status, response in responses.items():
            if status not in ("200", "201"):
                assert response["content"] == problem, (path, status)
                assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))
        if path in OPEN:
            assert operation["security"] == []
        else:
            assert {name for choice in operation["security"] for name in choice} == schemes
            assert {"401", "404", "422", "429", "503", "504"} <= set(responses), path
        if "requestBody" in operation:
            assert {"400", "408", "413", "415"} <= set(responses), path


def test_each_kind_of_query_has_a_title_and_nullable_options_say_so(document: dict[str, Any]) -> None:
    known = document["components"]["schemas"]
    for name, kinds in (
        ("SearchRequest", ["TextQuery", "PosesQuery", "ClipQuery", "VectorQuery"]),
        ("TranslateRequest", ["PosesQuery", "ClipQuery"]),
    ):
        choices = [
            choice["$ref"].rpartition("/")[2] for choice in known[name]["properties"]["queries"]["items"]["oneOf"]
        ]
        assert choices == kinds and all(known[kind]["title"] == kind for kind in kinds)
        # Exactly one fits: each requires a key that the others refuse.
        required = [known[kind]["required"] for kind in kinds]
        assert len({*map(tuple, required)}) == len(kinds)
        assert all(known[kind]["additionalProperties"] is False for kind in kinds)
    assert {"type": "null"} in known["SearchRequest"]["properties"]["index"]["anyOf"]
    point = known["PosesQuery"]["properties"]["poses"]["items"]["items"]
    assert point["minItems"] == 3 and {"type": "null"} in point["items"]["anyOf"]


def test_a_form_has_no_null(document: dict[str, Any]) -> None:
    form = document["paths"]["/v1/search/video"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"file", *schemas.SearchOptions.model_fields}
    assert not [found for found in objects(form) if found.get("type") == "null" or "anyOf" in found]
    assert form["properties"]["index"]["type"] == "string" and form["properties"]["k"]["default"] == 10


def environment(folder: Path, *packages: str) -> Path:
    """Return the folder of programs of a new environment with ``packages``."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", *packages], check=True)
    return folder / "bin"


def run(*command: str | Path, cwd: Path) -> str:
    # PATH: the generator calls ruff, which is installed beside it.
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path}, text=True, capture_output=True)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.fault  # installs a generator
def test_a_generated_client_searches(service: httpx.Client, services: Services, tmp_path: Path) -> None:
    bin = environment(tmp_path / "venv", *GENERATOR)
    (tmp_path / "openapi.json").write_bytes(service.get("/openapi.json").content)
    run(bin / "openapi-spec-validator", "openapi.json", cwd=tmp_path)
    output = run(bin / "openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none",
                 "--output-path", "signatlas_client", "--fail-on-warning", cwd=tmp_path)  # fmt: skip
    assert "WARNING" not in output
    clips = list(Corpus.open(services.corpus))
    clip, sentence = clips[5], next(iter(Corpus.open(services.translator_corpus))).id
    write_pose(tmp_path / "q.pose", clip.poses, 25, 640, 480)
    queries = {"text": "word 3", "poses": to_json(clip.poses), "clip": clip.id, "sentence": sentence,
               "file": str(tmp_path / "q.pose")}  # fmt: skip
    (tmp_path / "queries.json").write_text(json.dumps(queries), encoding="utf-8")
    script = tmp_path / CLIENT.name  # beside the generated package, and away from this project
    script.write_bytes(CLIENT.read_bytes())
    result = json.loads(run(bin / "python", script, str(service.base_url), "queries.json", cwd=tmp_path))

    def ids(index: str, query: dict[str, Any]) -> list[str]:
        answer = service.post("/v1/search", json={"index": index, "queries": [query], "k": 3}).json()
        return [hit["id"] for hit in answer["results"][0]["hits"]]

    assert result["text"] == ids("clips", {"text": "word 3"}) and len(result["text"]) == 3
    assert result["poses"] == ids("signs", {"poses": to_json(clip.poses), "width": 640, "height": 480})
    assert result["poses"][0] == result["vector"][0] == result["upload"][0] == clip.id
    assert result["clip"] == ids("signs", {"clip": clip.id}) and clip.id not in result["clip"]
    translation = service.post("/v1/translate", json={"queries": [{"clip": sentence}]}).json()
    assert result["translation"] == translation["results"][0]["texts"]
    assert result["mixed"] == result["alone"] == 404 and result["dims"] == 32
    assert result["indexes"] == ["signs", "clips", "texts"] and result["models"] == ["translator"]
    assert result["sign"] == clip.id and result["frames"] == clip.num_frames
    assert result["ready"] == "ready" and result["health"] == "ok"
