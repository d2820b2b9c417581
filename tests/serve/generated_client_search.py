"""Searches with a client that was generated from /openapi.json: ``python generated_client_search.py URL QUERIES.json``.

It runs in the generator's environment, without this project. It prints one JSON object of what came back.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

from signatlas_client import Client
from signatlas_client.api.catalog import get_sign, get_sign_poses, list_indexes, list_models
from signatlas_client.api.health import health, ready
from signatlas_client.api.search import embed, search, search_video
from signatlas_client.api.translation import translate
from signatlas_client.models import (
    ClipQuery,
    EmbedRequest,
    PosesQuery,
    ProblemDocument,
    SearchRequest,
    SearchVideoBody,
    TextQuery,
    TranslateRequest,
    VectorQuery,
)
from signatlas_client.types import File


def main() -> None:
    given = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    client = Client(base_url=sys.argv[1], timeout=60)
    clip = given["clip"]

    def ids(query: object, index: str) -> list[str]:
        answer = search.sync(client=client, body=SearchRequest(queries=[query], index=index, k=3))
        return [hit.id for hit in answer.results[0].hits]

    answer = embed.sync(client=client, body=EmbedRequest(queries=[ClipQuery(clip=clip)], index="signs"))
    vector = answer.results[0].vector
    upload = File(payload=BytesIO(Path(given["file"]).read_bytes()), file_name="q.pose")
    uploaded = search_video.sync(client=client, body=SearchVideoBody(file=upload, index="signs", k=3, rerank=False))
    translated = translate.sync(client=client, body=TranslateRequest(queries=[ClipQuery(clip=given["sentence"])]))
    mixed = search.sync(
        client=client,
        body=SearchRequest(queries=[ClipQuery(clip=clip), ClipQuery(clip="unknown")], index="signs"),
    )
    alone = search.sync(client=client, body=SearchRequest(queries=[ClipQuery(clip="unknown")], index="signs"))
    assert isinstance(alone, ProblemDocument)
    result = {
        "text": ids(TextQuery(text=given["text"]), "clips"),
        "poses": ids(PosesQuery(poses=given["poses"], width=640, height=480), "signs"),
        "clip": ids(ClipQuery(clip=clip), "signs"),
        "vector": ids(VectorQuery(vector=vector), "signs"),
        "upload": [hit.id for hit in uploaded.results[0].hits],
        "dims": len(vector),
        "translation": translated.results[0].texts,
        "mixed": mixed.results[1].problem.status,
        "alone": alone.status,
        "indexes": [index.name for index in list_indexes.sync(client=client).indexes],
        "models": [model.name for model in list_models.sync(client=client).models],
        "sign": get_sign.sync(client=client, id=clip).id,
        "frames": len(get_sign_poses.sync(client=client, id=clip).poses),
        "ready": ready.sync(client=client).status,
        "health": health.sync(client=client).status,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
