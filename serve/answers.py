"""From a validated request to what the parts of the service take, and from their results to the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from fastapi.responses import Response

from serve.config import Limits
from serve.encoder import Encoded, EncoderQuery, Signing, status_of
from serve.errors import Problem, shown
from serve.schemas import AddRequest, ClipQuery, PosesQuery, SearchOptions, TextQuery, VectorQuery
from serve.searcher import Found, Outcome
from signatlas.errors import UserError
from signatlas.retrieval.index_version import Manifest
from signatlas.retrieval.search import HIT_COLUMNS, Sign


def json_response(content: Any, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """Return a JSON response; numpy arrays are lists."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, "application/json")


def form_options(fields: dict[str, str]) -> dict[str, Any]:
    """Return the fields of a form as options of a search: the filter is JSON text. Raises a 422 Problem."""
    if "filter" not in fields:
        return dict(fields)
    try:
        return {**fields, "filter": json.loads(fields["filter"])}
    except (ValueError, RecursionError):
        raise Problem(422, 'filter: a form has it as JSON text, such as {"gloss": "hunger"}') from None


def check_signing(query: PosesQuery | AddRequest, limits: Limits) -> Signing:
    """Return the recording of a query or an addition. Raises a 413 Problem for too many frames."""
    if len(query.poses) > limits.frames:
        raise Problem(413, f"poses: {len(query.poses):,} frames; at most {limits.frames:,} are accepted")
    return Signing(query.poses, query.aspect, query.source)


def encoder_query(query: Any, manifest: Manifest, mirror: bool, limits: Limits) -> EncoderQuery | np.ndarray:
    """Return a query for the encoder, or its unit vector float32 [E]. Raises a Problem (413, 422)."""
    if isinstance(query, VectorQuery):
        if len(query.vector) != manifest.dims:
            raise Problem(422, f"vector: {len(query.vector)} numbers, but the index has vectors of {manifest.dims}")
        return np.array(query.vector, np.float32)
    if isinstance(query, TextQuery):
        if manifest.kind != "clips":
            raise Problem(422, f"text: this index of {manifest.kind} is searched by poses, clip or vector")
        if len(query.text) > limits.text_characters:
            raise Problem(413, f"text: at most {limits.text_characters:,} characters are accepted")
        return EncoderQuery(text=query.text, language=query.language)
    if manifest.kind == "clips":
        raise Problem(422, "this index of clips is searched by text or vector")
    if query.language is not None and manifest.kind == "signs":
        raise Problem(422, "language: only the entries of an index of texts have one")
    if isinstance(query, ClipQuery):
        return EncoderQuery(clip=query.clip, language=query.language, mirror=mirror)
    return EncoderQuery(signing=check_signing(query, limits), language=query.language, mirror=mirror)


def encoder_queries(
    queries: Sequence[Any], manifest: Manifest, mirror: bool, limits: Limits
) -> tuple[dict[int, Problem], list[EncoderQuery | np.ndarray]]:
    """Return the problems of queries that cannot be encoded, by position, and the others for the encoder."""
    problems: dict[int, Problem] = {}
    accepted = []
    for number, query in enumerate(queries):
        try:
            accepted.append(encoder_query(query, manifest, mirror, limits))
        except Problem as problem:
            problems[number] = problem
    return problems, accepted


def problem_of(error: UserError | Problem) -> Problem:
    """Return the problem of a query's error; nothing that was sent is repeated at length, and no path of the server."""
    if isinstance(error, Problem):
        return error
    status = status_of(error)
    if status == 503:
        return Problem(503, "the clips of this index cannot be read on the server: search by poses")
    if status == 404:
        return Problem(404, "no such clip in the corpus of this index")
    return Problem(status, shown(str(error), 300))


def search_answer(outcome: Outcome, options: SearchOptions, name: str) -> dict[str, Any]:
    """Return the answer to a search; its results are those of the queries that were searched."""
    manifest = outcome.manifest
    results = [_result(result, manifest, options) for result in outcome.results]
    return {
        "results": results,
        "index": name,
        "kind": manifest.kind,
        "version": manifest.version,
        "synthetic": manifest.corpus.synthetic,
        "entries": manifest.count,
        "partial": bool(outcome.missing),
        "position": outcome.position,
        "shards": {
            "answered": len(manifest.shards) - len(outcome.missing),
            "of": len(manifest.shards),
            "missing": outcome.missing,
        },
    }


def in_order(problems: dict[int, Problem], results: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return results in the order of the request: problems found before the search, and what the search gave.

    Raises the problem of a query that came alone: its failure is the response's status.
    """
    given = iter(results)
    merged = [{"problem": problems[n].document()} if n in problems else next(given) for n in range(count)]
    if count == 1 and "problem" in merged[0]:
        document = merged[0]["problem"]
        raise Problem(document["status"], document["detail"])
    return merged


def _result(result: Found | UserError, manifest: Manifest, options: SearchOptions) -> dict[str, Any]:
    if isinstance(result, UserError):
        return {"problem": problem_of(result).document()}
    confidence, sentences = manifest.confidence, manifest.kind != "signs"
    found = [(score, row) for score, row in result.result.hits if _enough(score, options)]
    first = options.offset
    hits = [
        {
            "rank": rank,
            "score": score,
            "confidence": None if sentences else confidence.word(score),
            "texts": row["texts"] or [],
            **{column: row[column] for column in HIT_COLUMNS},
        }
        for rank, (score, row) in enumerate(found[first : first + options.k], start=first + 1)
    ]
    best = result.result.hits[0][0] if result.result.hits else None
    tokens = result.encoded.tokens
    return {
        "hits": hits,
        "verdict": None if sentences else confidence.verdict(best),
        "tokens": None if tokens is None else len(tokens),
        "scored": result.result.scored if sentences else None,
        "notes": list(result.encoded.notes),
    }


def _enough(score: float, options: SearchOptions) -> bool:
    return options.min_score is None or score >= options.min_score


def embedding(encoded: Encoded | UserError, with_tokens: bool) -> dict[str, Any]:
    """Return one embedding. Of the two signing hands it is the recording as it was given."""
    if isinstance(encoded, UserError):
        return {"problem": problem_of(encoded).document()}
    tokens = encoded.tokens if with_tokens else None
    return {
        "vector": encoded.vectors[0].tolist(),
        "tokens": None if tokens is None else np.asarray(tokens, np.float32).tolist(),
    }


def sign(row: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of an entry."""
    return Sign(**{**row, "texts": row["texts"] or []}).model_dump()


def server_timing(stages: dict[str, float]) -> dict[str, str]:
    """Return the header that says how long each stage took, in milliseconds."""
    return {"Server-Timing": ", ".join(f"{name};dur={ms:.2f}" for name, ms in stages.items())}
