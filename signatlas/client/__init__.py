"""Client of a running service over HTTP; needs httpx: pip install 'signatlas[client]'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

if TYPE_CHECKING:
    from signatlas.client.client import AsyncClient, Client
    from signatlas.client.errors import ServiceError
    from signatlas.client.requests import (
        AddOptions,
        ClipQuery,
        EmbedOptions,
        PosesQuery,
        Query,
        SearchOptions,
        SigningQuery,
        TextQuery,
        TranslateOptions,
        VectorQuery,
    )
    from signatlas.client.schemas import (
        ChangeAnswer,
        EmbedAnswer,
        Embedding,
        Hit,
        Indexes,
        IndexInfo,
        ModelInfo,
        Models,
        ProblemDocument,
        Progress,
        QueryProblem,
        QueryResult,
        SearchAnswer,
        ShardState,
        Sign,
        Text,
        Token,
        TranslateAnswer,
        Translation,
    )

__all__ = [
    "AddOptions",
    "AsyncClient",
    "ChangeAnswer",
    "Client",
    "ClipQuery",
    "EmbedAnswer",
    "EmbedOptions",
    "Embedding",
    "Hit",
    "IndexInfo",
    "Indexes",
    "ModelInfo",
    "Models",
    "PosesQuery",
    "ProblemDocument",
    "Progress",
    "Query",
    "QueryProblem",
    "QueryResult",
    "SearchAnswer",
    "SearchOptions",
    "ServiceError",
    "ShardState",
    "Sign",
    "SigningQuery",
    "Text",
    "TextQuery",
    "Token",
    "TranslateAnswer",
    "TranslateOptions",
    "Translation",
    "VectorQuery",
]

_TARGETS = {
    "AddOptions": ("requests", "AddOptions"),
    "AsyncClient": ("client", "AsyncClient"),
    "ChangeAnswer": ("schemas", "ChangeAnswer"),
    "Client": ("client", "Client"),
    "ClipQuery": ("requests", "ClipQuery"),
    "EmbedAnswer": ("schemas", "EmbedAnswer"),
    "EmbedOptions": ("requests", "EmbedOptions"),
    "Embedding": ("schemas", "Embedding"),
    "Hit": ("schemas", "Hit"),
    "IndexInfo": ("schemas", "IndexInfo"),
    "Indexes": ("schemas", "Indexes"),
    "ModelInfo": ("schemas", "ModelInfo"),
    "Models": ("schemas", "Models"),
    "PosesQuery": ("requests", "PosesQuery"),
    "ProblemDocument": ("schemas", "ProblemDocument"),
    "Progress": ("schemas", "Progress"),
    "Query": ("requests", "Query"),
    "QueryProblem": ("schemas", "QueryProblem"),
    "QueryResult": ("schemas", "QueryResult"),
    "SearchAnswer": ("schemas", "SearchAnswer"),
    "SearchOptions": ("requests", "SearchOptions"),
    "ServiceError": ("errors", "ServiceError"),
    "ShardState": ("schemas", "ShardState"),
    "Sign": ("schemas", "Sign"),
    "SigningQuery": ("requests", "SigningQuery"),
    "Text": ("schemas", "Text"),
    "TextQuery": ("requests", "TextQuery"),
    "Token": ("schemas", "Token"),
    "TranslateAnswer": ("schemas", "TranslateAnswer"),
    "TranslateOptions": ("requests", "TranslateOptions"),
    "Translation": ("schemas", "Translation"),
    "VectorQuery": ("requests", "VectorQuery"),
}

__getattr__ = lazy_exports(__name__, _TARGETS)
