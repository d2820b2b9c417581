"""The description of the API at /openapi.json, and /docs with assets of its own, so that it works without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel

from serve.errors import MEDIA_TYPE
from serve.events import MEDIA_TYPE as EVENTS
from serve.schemas import ProblemDocument

DESCRIPTION = """Find signs by performing them, signing by text, texts by signing; translate signing into text.

Every error is an RFC 9457 document. Send the key as `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
FAVICON = "data:,"
STATUSES = {
    400: "the body is not JSON, or not a form",
    401: "the key is missing or not valid",
    403: "the key may only read, or the index takes no changes",
    404: "no such clip, entry, index, model or path",
    409: "the index has an entry with this id",
    408: "the body did not arrive in time",
    413: "more bytes, frames, characters or queries than are accepted",
    415: "another content type or encoding, or a video where the service takes none",
    422: "JSON that does not fit: wrong shape, empty, out of range",
    429: "the key's rate or number of requests at a time is used up; see Retry-After",
    503: "a part of the service does not answer, or there is too much to do; see Retry-After",
    504: "the deadline of the request has passed",
}
STATUSES_OF_GET = (401, 404, 422, 429, 503, 504)
OPEN = ("/readyz", "/healthz")
POSES = [[[0.5, 0.25, 0.0] for _ in range(75)]]  # one frame
EXAMPLES: dict[str, dict[str, Any]] = {
    "SearchRequest": {
        "text": {"queries": [{"text": "morgen regen im norden", "language": "de"}], "k": 5},
        "poses": {"queries": [{"poses": POSES, "width": 640, "height": 480}]},
        "clip": {"queries": [{"clip": "dgs/dictionary/Hunger"}], "group_by": "gloss", "filter": {"hands": [1, 2]}},
        "vector": {"queries": [{"vector": [0.6, -0.8]}], "min_score": 0.5},
    },
    "AddRequest": {
        "sign": {
            "poses": POSES,
            "width": 640,
            "height": 480,
            "fps": 25,
            "gloss": "BAUM",
            "sign_language": "gsg",
            "texts": [{"language": "de", "text": "Baum"}],
            "signer": "anna",
            "consent": {"given_by": "anna", "use": "search in this service"},
        }
    },
    "TranslateRequest": {
        "clip": {"queries": [{"clip": "phoenix-composed/test/0001"}], "num_beams": 8},
        "poses": {
            "queries": [{"poses": POSES, "width": 640, "height": 480, "fps": 25}],
            "num_beams": 1,
            "stream": True,
        },
    },
    "EmbedRequest": {
        "clip": {"queries": [{"clip": "dgs/dictionary/Hunger"}]},
        "text": {"queries": [{"text": "morgen regen im norden"}], "tokens": True},
    },
}
RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
EVENT_STREAM = {
    "type": "string",
    "description": "Events with JSON data: `progress` (schema Progress), `token` (schema Token; translations with one "
    "beam), and at the end `result`, with the answer that the request would otherwise get, or `problem` "
    "(ProblemDocument).",
}
HEALTH = {
    "get": {
        "tags": ["health"],
        "summary": "Health",
        "description": "Return 200 while the service runs. Answers while searches queue.",
        "operationId": "health",
        "responses": {
            "200": {
                "description": "Successful Response",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}},
            }
        },
        "security": [],
    }
}


def request_body(model: type[BaseModel], *, upload: bool = False, stream: bool = False) -> dict[str, Any]:
    """Return the OpenAPI of a body that the endpoint itself reads: JSON, or a form with a file and the same options.

    With ``stream`` the answer may also be server-sent events.
    """
    if not upload:
        examples = {name: {"value": value} for name, value in EXAMPLES[model.__name__].items()}
        schema = {"$ref": f"#/components/schemas/{model.__name__}"}
        content = {"application/json": {"schema": schema, "examples": examples}}
    else:
        fields = model.model_json_schema()["properties"]
        form = {
            "type": "object",
            "required": ["file"],
            "additionalProperties": False,
            "properties": {
                "file": {"type": "string", "format": "binary", "description": "a video, or a .pose file"},
                **{name: _form_field(schema) for name, schema in fields.items()},
            },
        }
        content = {"multipart/form-data": {"schema": form}}
    # The name of the model is read again by `_document`, which adds its schema to the document.
    answer = {"responses": {"200": {"content": {EVENTS: {"schema": EVENT_STREAM}}}}} if stream else {}
    return {
        "requestBody": {"required": True, "content": content},
        "x-model": None if upload else model.__name__,
        **answer,
    }


def _form_field(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an option as a field of a form, which knows no null: a field is left out instead."""
    field = {key: value for key, value in schema.items() if key not in ("title", "anyOf")}
    if "anyOf" in schema:
        (alternative,) = (kind for kind in schema["anyOf"] if kind != {"type": "null"})
        # An object is JSON text in a form.
        field |= {"type": "string", "contentMediaType": "application/json"} if "$ref" in alternative else alternative
    return {key: value for key, value in field.items() if not (key == "default" and value is None)}


def describe(app: FastAPI) -> None:
    """Give ``app`` its OpenAPI document and the page /docs."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # Relative addresses, so that a path prefix in front does not matter.
        return get_swagger_ui_html(
            openapi_url="openapi.json", title="signatlas", swagger_js_url="assets/swagger-ui-bundle.js",
            swagger_css_url="assets/swagger-ui.css", swagger_favicon_url=FAVICON,
        )  # fmt: skip

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> FileResponse:
        import fastapi_offline
        from starlette.exceptions import HTTPException

        if name not in ("swagger-ui-bundle.js", "swagger-ui.css"):
            raise HTTPException(404, "no such file")
        return FileResponse(Path(fastapi_offline.__file__).parent / "static" / name)


def _document(app: FastAPI) -> dict[str, Any]:
    from serve import schemas

    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    components = document.setdefault("components", {})
    known = components.setdefault("schemas", {})
    names = ["ProblemDocument", "Health", "Progress", "Token"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation.pop("x-model", None)
            if name:
                names.append(name)
            _set_responses(operation, path, method)
    for name in names:
        model: type[BaseModel] = getattr(schemas, name)
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        known.update(schema.pop("$defs", {}))
        known[name] = schema
    document["paths"]["/healthz"] = HEALTH  # an application of its own
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own errors, which this API does not send
        known.pop(name, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "the key"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the key"},
    }
    return document


def _statuses(path: str, method: str) -> list[int]:
    """Return the statuses of the problems that an operation can answer with."""
    changes = path.startswith("/v1/signs") and method != "get"
    possible = STATUSES if method == "post" else {*STATUSES_OF_GET, *((403,) if changes else ())}
    return [status for status in STATUSES if status in possible and (changes or status not in (403, 409))]


def _set_responses(operation: dict[str, Any], path: str, method: str) -> None:
    """State the problems that an operation can answer with, and which keys it takes."""
    problem = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    responses = operation["responses"]
    responses.pop("422", None)
    if path in OPEN:
        responses["503"] = {"description": STATUSES[503], "content": problem, "headers": RETRY_AFTER}
        operation["security"] = []
        return
    for status in _statuses(path, method):
        headers = RETRY_AFTER if status in (429, 503) else {}
        responses[str(status)] = {
            "description": STATUSES[status],
            "content": problem,
            **({"headers": headers} if headers else {}),
        }
    operation["security"] = [{"bearer": []}, {"header": []}]
