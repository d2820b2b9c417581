"""The HTTP API on real Ray Serve and FAISS: correct results, and problem documents for every mistake."""

from __future__ import annotations

import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import ray

from signatlas.corpus.format import Clip, Corpus
from signatlas.models.translator.translator import Translator
from signatlas.pose.serialization import to_json, write_pose
from signatlas.retrieval.filters import Filter
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import read_clip
from signatlas.retrieval.search import SignSearch
from signatlas.retrieval.sentences import SentenceSearch
from tests.serve.services import Services

SIZE = {"width": 640, "height": 480}


@pytest.fixture(scope="module")
def clips(services: Services) -> list[Clip]:
    return list(Corpus.open(services.corpus))


@pytest.fixture(scope="module")
def local(services: Services) -> SignSearch:
    return SignSearch(IndexVersion.open(services.signs))


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status and body["title"] and body["detail"]
    assert "Traceback" not in answer.text and "\n" not in body["detail"]
    return body


def search(service: httpx.Client, *queries: dict[str, Any], index: str = "signs", **options: Any) -> httpx.Response:
    return service.post("/v1/search", json={"index": index, "queries": list(queries), **options})


def hits(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the hits of the only query of a whole answer."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["partial"] is False and body["shards"]["missing"] == []
    (result,) = body["results"]
    found: list[dict[str, Any]] = result["hits"]
    return found


def test_health_readiness_indexes_models_and_pages(service: httpx.Client) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.head("/healthz").status_code == 200
    assert service.get("/readyz").json() == {
        "status": "ready",
        "versions": {"signs": "v1", "clips": "v1", "texts": "v1"},
    }
    indexes = {info["name"]: info for info in service.get("/v1/indexes").json()["indexes"]}
    assert [indexes[name]["kind"] for name in ("signs", "clips", "texts")] == ["signs", "clips", "texts"]
    assert indexes["signs"]["count"] == 120 and indexes["signs"]["shards"] == 3 and indexes["signs"]["synthetic"]
    assert indexes["texts"]["languages"] == ["de", "en"]
    (model,) = service.get("/v1/models").json()["models"]
    assert model["name"] == "translator" and model["language"] == "de" and model["input"] == "poses"
    page = service.get("/")
    assert page.headers["content-type"].startswith("text/html") and "120 synthetic signs (gsg)" in page.text
    docs = service.get("/docs").text
    assert "//" not in docs.replace("https://fastapi", "").split("<script>")[0].replace("<!--", "")
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert name in docs and len(service.get(f"/assets/{name}").content) > 10_000
    problem(service.get("/assets/config.py"), 404)


def test_the_openapi_document_names_keys_statuses_and_kinds_of_queries(service: httpx.Client) -> None:
    document = service.get("/openapi.json").json()
    assert {"/v1/search", "/v1/search/video", "/v1/translate", "/v1/embed", "/v1/signs/{id}", "/v1/signs/{id}/poses",
            "/v1/indexes", "/v1/models"} <= set(document["paths"])  # fmt: skip
    search_operation = document["paths"]["/v1/search"]["post"]
    assert {"401", "413", "422", "429", "503", "504"} <= set(search_operation["responses"])
    assert search_operation["security"] and set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    queries = document["components"]["schemas"]["SearchRequest"]["properties"]["queries"]
    assert len(queries["items"]["oneOf"]) == 4

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values())) if value else own
        return set().union(*map(references, value)) if isinstance(value, list) and value else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


def test_search_by_poses_equals_the_local_search(service: httpx.Client, clips: list[Clip], local: SignSearch) -> None:
    for clip in clips[:5]:
        answer = search(service, {"poses": to_json(clip.poses), **SIZE}, k=7)
        expected = local.search(clip.poses, aspect=640 / 480, k=7)
        body = answer.json()
        assert body["version"] == "v1" and body["synthetic"] is True and body["kind"] == "signs"
        assert [h["id"] for h in hits(answer)] == [h.id for h in expected]
        np.testing.assert_allclose([h["score"] for h in hits(answer)], [h.score for h in expected], atol=1e-5)
        assert body["results"][0]["verdict"] == local.catalog.verdict(expected)
        assert hits(answer)[0]["texts"][0]["language"] == "de"


def test_filters_restrict_the_hits_before_the_top_k(
    service: httpx.Client, clips: list[Clip], local: SignSearch, tmp_path: Path
) -> None:
    asked = Filter(source="dictionary", split=["train", "dev"], hands=1)
    for clip in clips[:3]:
        answer = hits(search(service, {"poses": to_json(clip.poses), **SIZE}, k=8, nprobe=3, ef=9,
                             filter={"source": "dictionary", "split": ["train", "dev"], "hands": 1}))  # fmt: skip
        expected = local.search(clip.poses, aspect=640 / 480, k=8, filter=asked)
        assert [h["id"] for h in answer] == [h.id for h in expected] and len(answer) == 8
        assert {(h["source"], h["hands"]) for h in answer} == {("dictionary", 1)}
        assert all(h["movement"] and h["location"] for h in answer)
    write_pose(tmp_path / "clip.pose", clips[0].poses, 25, 640, 480)
    for text, status in (('{"gloss": ["wort 1", "wort 2"]}', 200), ("{", 422), ('{"glos": "wort 1"}', 422)):
        with (tmp_path / "clip.pose").open("rb") as file:
            answered = service.post("/v1/search/video", files={"file": ("clip.pose", file)},
                                    data={"index": "signs", "filter": text, "k": "5"})  # fmt: skip
        assert answered.status_code == status, answered.text
        if status == 200:
            assert {h["gloss"] for h in hits(answered)} == {"wort 1", "wort 2"} and len(hits(answered)) == 5
    assert hits(search(service, {"clip": clips[0].id}, filter={"signer": "nobody"})) == []
    (clip,) = hits(search(service, {"text": "word 7"}, index="clips", k=1, filter={"gloss": "wort 7", "split": "test"}))
    assert clip["gloss"] == "wort 7" and clip["hands"] == 1
    german = hits(search(service, {"clip": clips[0].id}, index="texts", filter={"text_language": "de"}, k=30))
    assert len(german) == 12 and all(h["id"].endswith("#de") for h in german)
    unknown = problem(search(service, {"clip": clips[0].id}, filter={"glos": "a", "source": "b"}), 422)
    assert [error["field"] for error in unknown["errors"]] == ["filter.glos"]
    misfit = problem(search(service, {"clip": clips[0].id}, index="texts", filter={"hands": 1}), 422)
    assert misfit["detail"] == "filter.hands: the entries of an index of texts are texts, not recordings"
    info = {i["name"]: i for i in service.get("/v1/indexes").json()["indexes"]}
    assert info["signs"]["filters"]["source"] == ["dictionary", "webcam"] and info["signs"]["nprobe"] is None
    assert info["signs"]["filters"]["hands"] == [1] and info["texts"]["filters"]["text_language"] == ["de", "en"]
    entry = service.get(f"/v1/signs/{quote(clips[0].id)}", params={"index": "signs"}).json()
    assert entry["corpus"] == "small" and entry["hands"] == 1 and entry["signer"] is None


def test_several_queries_each_have_their_result_or_their_problem(service: httpx.Client, clips: list[Clip]) -> None:
    no_hands = np.full((4, 75, 3), np.nan, np.float32)
    queries = [
        {"clip": clips[3].id},
        {"poses": to_json(no_hands)},
        {"clip": "unknown"},
        {"vector": [1.0] * 31},
        {"text": "word"},
        {"poses": to_json(clips[3].poses), **SIZE},
    ]
    answer = search(service, *queries, k=3)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result.get("problem", {}).get("status") for result in results] == [None, 422, 404, 422, 422, None]
    assert len(results[0]["hits"]) == len(results[5]["hits"]) == 3
    assert results[5]["hits"][0]["id"] == clips[3].id


def test_concurrent_searches_get_their_own_results(service: httpx.Client, clips: list[Clip]) -> None:
    options = [{"k": 1 + n % 9} for n in range(48)]
    queries = [{"poses": to_json(c.poses), **SIZE} for c in clips[:48]]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda n: hits(search(service, queries[n], **options[n])), range(48)))
    for option, answer, clip in zip(options, together, clips, strict=False):
        assert len(answer) == option["k"]
        assert clip.poses.shape == next(c.poses.shape for c in clips if c.id == answer[0]["id"])
        assert answer[0]["score"] > 0.9999


def test_one_clip_without_hands_does_not_fail_the_others_of_its_batch(service: httpx.Client, clips: list[Clip]) -> None:
    poses = np.full((4, 75, 3), np.nan, np.float32)
    queries = [{"poses": to_json(poses if n % 2 else clips[n].poses)} for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda query: search(service, query), queries))
    assert [a.status_code for a in answers] == [200, 422] * 8


def test_search_by_clip_by_vector_and_mirrored(service: httpx.Client, clips: list[Clip], local: SignSearch) -> None:
    clip = clips[5]
    assert clip.id.endswith("/poses")
    by_clip = hits(search(service, {"clip": clip.id}, k=3))
    expected = local.search(clip.poses, aspect=640 / 480, k=3, leave_out=clip.id)
    assert [h["id"] for h in by_clip] == [h.id for h in expected]
    vector = local.index_version.encoder().embed_clips([clip])[0]
    by_vector = hits(search(service, {"vector": (3 * vector).tolist()}, k=4))
    as_signed = local.search(clip.poses, aspect=640 / 480, k=3, leave_out=clip.id, mirror="none")
    assert by_vector[0]["id"] == clip.id and [h["id"] for h in by_vector[1:]] == [h.id for h in as_signed]
    one_hand = hits(search(service, {"poses": to_json(clip.poses), **SIZE}, mirror="none"))
    expected = local.search(clip.poses, aspect=640 / 480, mirror="none")
    assert [h["id"] for h in one_hand] == [h.id for h in expected]


def test_pages_of_hits_a_least_score_and_groups(service: httpx.Client, clips: list[Clip]) -> None:
    query = {"clip": clips[7].id}
    whole = hits(search(service, query, k=20))
    page = hits(search(service, query, k=5, offset=10))
    assert [h["id"] for h in page] == [h["id"] for h in whole[10:15]] and page[0]["rank"] == 11
    least = whole[4]["score"]
    assert [h["id"] for h in hits(search(service, query, k=20, min_score=least))] == [h["id"] for h in whole[:5]]
    everything = hits(search(service, query, k=60))
    groups = hits(search(service, query, k=12, group_by="gloss"))
    assert len({h["gloss"] for h in groups}) == 12
    best: dict[str, str] = {}
    for hit in everything:
        best.setdefault(hit["gloss"], hit["id"])
    expected = list(best.values())[:6]
    assert [h["id"] for h in groups[:6]] == expected


def test_clips_by_text_equal_the_local_search_under_load(service: httpx.Client, services: Services) -> None:
    searcher = SentenceSearch(IndexVersion.open(services.clips))
    texts = [f"{word} {n}" for n in range(12) for word in ("Wört", "word")]
    expected = {text: [hit.id for hit in searcher.search_text(text, k=9).hits] for text in texts}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: search(service, {"text": text}, index="clips", k=9), texts * 2))
    for text, answer in zip(texts * 2, answers, strict=True):
        assert [h["id"] for h in hits(answer)] == expected[text]
        assert answer.json()["results"][0]["tokens"] and answer.json()["results"][0]["scored"] == 120
    pooled = hits(search(service, {"text": texts[3]}, index="clips", rerank=False, k=9))
    assert [h["id"] for h in pooled] != expected[texts[3]]
    few = search(service, {"text": texts[3]}, index="clips", k=9, candidates=9).json()["results"][0]
    assert few["scored"] == 18, "nine candidates of each of two shards"
    notes = search(service, {"text": "nichts davon bekannt"}, index="clips").json()["results"][0]["notes"]
    assert any("did not occur in training" in note for note in notes)


def test_texts_by_clip_equal_the_local_search(service: httpx.Client, services: Services, clips: list[Clip]) -> None:
    searcher = SentenceSearch(IndexVersion.open(services.texts))
    for clip in clips[:6]:
        query = read_clip(clip.id, services.corpus)
        for language in (None, "de"):
            expected = searcher.search_clip(query, k=8, language=language).hits
            asked = {"clip": clip.id} | ({"language": language} if language else {})
            found = hits(search(service, asked, index="texts", k=8))
            assert [h["id"] for h in found] == [h.id for h in expected]
            np.testing.assert_array_equal([h["score"] for h in found], [h.score for h in expected])
    assert (
        "'de', 'en'" in problem(search(service, {"clip": clips[0].id, "language": "fr"}, index="texts"), 422)["detail"]
        or "fr" in problem(search(service, {"clip": clips[0].id, "language": "fr"}, index="texts"), 422)["detail"]
    )


def test_translations_equal_those_of_the_model(service: httpx.Client, services: Services) -> None:
    from signatlas.models.translator import recordings

    corpus, model = Corpus.open(services.translator_corpus), Translator.from_pretrained(services.translator)
    ids = [clip.id for clip in corpus][:10]

    def expected(id: str) -> list[str]:
        clip = recordings.read_clip(id, corpus, services.translator, model)
        return list(model.translate([(clip.x, clip.mask)], beams=3, best=2, max_new_tokens=12))

    body = {"num_beams": 3, "n_best": 2, "max_new_tokens": 12}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda id: service.post("/v1/translate", json={"queries": {"clip": id}, **body}), ids))
    for id, answer in zip(ids, answers, strict=True):
        assert answer.json()["results"][0]["texts"] == expected(id), answer.text
    assert answers[0].json()["language"] == "de" and answers[0].json()["model"] == "translator"
    several = service.post("/v1/translate", json={"queries": [{"clip": ids[0]}, {"clip": "unknown"}], **body}).json()
    assert several["results"][0] == answers[0].json()["results"][0]
    assert several["results"][1]["problem"]["status"] == 404
    problem(service.post("/v1/translate", json={"queries": {"clip": "unknown"}}), 404)
    problem(service.post("/v1/translate", json={"queries": {"text": "word"}}), 422)
    assert "raise num_beams" in problem(
        service.post("/v1/translate", json={"queries": {"clip": ids[0]}, "num_beams": 1, "n_best": 2}), 422
    )["detail"]  # fmt: skip


def test_embeddings(service: httpx.Client, clips: list[Clip], local: SignSearch, services: Services) -> None:
    body = {"index": "signs", "queries": [{"clip": clips[0].id}, {"poses": to_json(clips[1].poses), **SIZE}]}
    results = service.post("/v1/embed", json=body).json()["results"]
    expected = local.index_version.encoder().embed_clips(clips[:2])
    np.testing.assert_allclose([r["vector"] for r in results], expected, atol=1e-5)
    searcher = SentenceSearch(IndexVersion.open(services.clips))
    body = {"index": "clips", "queries": [{"text": "word 3"}], "tokens": True}
    (result,) = service.post("/v1/embed", json=body).json()["results"]
    (query,) = searcher.encode_texts(["word 3"])
    np.testing.assert_allclose(result["vector"], query.vector, atol=1e-6)
    np.testing.assert_allclose(result["tokens"], query.tokens, atol=1e-6)
    problem(service.post("/v1/embed", json={"index": "signs", "queries": [{"text": "word"}]}), 422)


def test_search_by_an_uploaded_pose_file(service: httpx.Client, clips: list[Clip], tmp_path: Path) -> None:
    write_pose(tmp_path / "q.pose", clips[9].poses, 25, 640, 480)
    content = (tmp_path / "q.pose").read_bytes()
    files = {"file": ("q.pose", content)}
    answer = service.post("/v1/search/video", files=files, data={"index": "signs", "k": "2", "mirror": "best"})
    assert next(h["id"] for h in hits(answer)) == clips[9].id and len(hits(answer)) == 2
    for length in (0, 40, len(content) - 3):
        body = problem(service.post("/v1/search/video", files={"file": ("q.pose", content[:length])}), 422)
        assert "truncated or damaged" in body["detail"]
    assert (
        "this service takes no video"
        in problem(service.post("/v1/search/video", files={"file": ("q.mp4", content)}), 415)["detail"]
    )
    assert (
        "named 'file'" in problem(service.post("/v1/search/video", files={"other": ("q.pose", content)}), 422)["detail"]
    )
    problem(service.post("/v1/search/video", files=files, data={"index": "signs", "k": "0"}), 422)
    problem(service.post("/v1/search/video", json={}), 415)
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    problem(service.post("/v1/search/video", content=b"--y\r\n", headers=multipart), 400)
    problem(service.post("/v1/search/video", content=b"", headers={"content-type": "multipart/form-data"}), 400)
    no_points = np.full((3, 75, 3), np.nan, np.float32)
    write_pose(tmp_path / "empty.pose", no_points, 25, 640, 480)
    problem(service.post("/v1/search/video", files={"file": ("b.pose", (tmp_path / "empty.pose").read_bytes())}), 422)


def test_signs_and_their_poses(service: httpx.Client, clips: list[Clip]) -> None:
    for clip in (clips[0], clips[5]):  # the id of the second ends in /poses
        answer = service.get(f"/v1/signs/{quote(clip.id)}")
        assert answer.status_code == 200, answer.text
        sign = answer.json()
        assert sign["id"] == clip.id and sign["gloss"] == clip.gloss and sign["num_frames"] == clip.num_frames
        answer = service.get(f"/v1/signs/{quote(clip.id)}/poses")
        assert "NaN" not in answer.text
        body = answer.json()
        poses = np.array(body["poses"], dtype=np.float64)
        assert body["fps"] == 25.0 and poses.shape == clip.poses.shape
        np.testing.assert_allclose(poses, clip.poses, atol=1e-5)
    problem(service.get("/v1/signs/nothing/here"), 404)
    problem(service.get("/v1/signs/nothing/here/poses"), 404)
    problem(service.get("/v1/nothing"), 404)
    problem(service.get("/v1/search"), 405)


def frames(n: int) -> list[Any]:
    return to_json(np.full((n, 75, 3), 0.5, np.float32))


@pytest.mark.parametrize(
    ("query", "options", "status", "detail"),
    [
        ({}, {}, 422, "exactly one of"),
        ({"clip": "a", "vector": [1.0]}, {}, 422, "exactly one of"),
        ({"clip": "unknown"}, {}, 404, "no such clip"),
        ({"clip": "x" * 1_000_000}, {}, 422, "at most 1024"),
        ({"poses": []}, {}, 422, "expected a list of frames"),
        ({"poses": "abc"}, {}, 422, "expected a list of frames"),
        ({"poses": [[[0.1, 0.2]] * 75]}, {}, 422, "expected [frames, 75, 3]"),
        ({"poses": [[[0.1, 0.2, 0.3]] * 543]}, {}, 422, "expected [frames, 75, 3]"),
        ({"poses": [[[0.1, 0.2, None]] * 75, [[0.1, 0.2, None]] * 74]}, {}, 422, "each frame needs 75 points"),
        ({"poses": [[[None] * 3] * 75] * 3}, {}, 422, "neither face nor hands"),
        ({"poses": [[["x", 0, 0]] * 75]}, {}, 422, "each frame needs 75 points"),
        ({"poses": frames(2), "width": 640}, {}, 422, "width and height go together"),
        ({"poses": frames(2), "width": 10**30, "height": 1}, {}, 422, "width"),
        ({"poses": frames(2), "color": 1}, {}, 422, "color: Extra inputs"),
        ({"poses": frames(101)}, {}, 413, "at most 100"),
        ({"clip": "a"}, {"k": 0}, 422, "k: Input should be greater"),
        ({"clip": "a"}, {"k": 61}, 422, "above the limit of 60"),
        ({"clip": "a"}, {"k": 10, "offset": 51}, 422, "above the limit of 60"),
        ({"clip": "a"}, {"mirror": "yes"}, 422, "mirror"),
        ({"clip": "a"}, {"deadline_s": 0}, 422, "deadline_s"),
        ({"clip": "a"}, {"index": "none"}, 404, "there are signs, clips, texts"),
        ({"clip": "a"}, {"index": None}, 422, "name one of signs, clips, texts"),
        ({"clip": "a", "language": "de"}, {}, 422, "only the entries of an index of texts"),
        ({"text": "word"}, {}, 422, "searched by poses, clip or vector"),
        ({"clip": "a"}, {"index": "clips"}, 422, "searched by text or vector"),
        ({"text": "word"}, {"index": "clips", "group_by": "gloss"}, 422, "group_by"),
        ({"text": "word", "language": "fr"}, {"index": "clips"}, 422, "fr"),
        ({"text": "x" * 2001}, {"index": "clips"}, 413, "at most 2,000"),
        ({"vector": [1.0, 2.0]}, {}, 422, "vectors of 32"),
        ({"vector": [0.0] * 32}, {}, 422, "length above zero"),
    ],
)
def test_invalid_queries(
    service: httpx.Client, query: dict[str, Any], options: dict[str, Any], status: int, detail: str
) -> None:
    answer = service.post("/v1/search", json={"index": "signs", "queries": [query], **options})
    body = problem(answer, status)
    assert detail in body["detail"] and len(answer.text) < 2000


def test_invalid_requests(service: httpx.Client) -> None:
    for content in ([], {}, {"queries": []}, {"queries": [1]}, {"queries": [{"clip": "a"}], "top_k": 3}):
        problem(service.post("/v1/search", json=content), 422)
    problem(search(service, *[{"clip": "a"}] * 9), 413)
    problem(service.post("/v1/search", content=b"{}", headers={"content-type": "text/plain"}), 415)
    problem(service.post("/v1/search"), 415)
    json_headers = {"content-type": "application/json; charset=utf-8"}
    problem(service.post("/v1/search", content=b"{}", headers={**json_headers, "content-encoding": "gzip"}), 415)
    assert "not valid JSON" in problem(service.post("/v1/search", content=b"{", headers=json_headers), 400)["detail"]
    assert service.post("/v1/search", content=b"[" * 100_000, headers=json_headers).status_code in (400, 413)
    problem(service.post("/v1/search", content=b"\xff\xfe\x00", headers=json_headers), 400)
    problem(service.post("/v1/search", content=b'{"queries":[{"vector":[NaN]}]}', headers=json_headers), 400)
    problem(service.post("/v1/search", content=b" " * (3 << 20), headers=json_headers), 413)

    def chunks() -> Any:
        for _ in range(48):
            yield b" " * 65536

    problem(service.post("/v1/search", content=chunks(), headers=json_headers), 413)
    many = {"queries": [{"poses": frames(2)} | {f"key{n}": n for n in range(50)}]}
    assert len(problem(service.post("/v1/search", json=many), 422)["errors"]) <= 5


@pytest.mark.parametrize("name", ["huge_width", "poses_3e38", "lone_surrogate"])
def test_values_that_once_were_500_or_empty(service: httpx.Client, clips: list[Clip], name: str) -> None:
    """Beside each, the same query with a sound value."""
    poses = to_json(clips[2].poses)
    bad: dict[str, dict[str, Any]] = {
        "huge_width": {"poses": poses, "width": 10**400, "height": 480},
        "poses_3e38": {
            "poses": np.tile([[3e38, -3e38, 0.0], [-3e38, 3e38, 0.0], [3e38, 3e38, 0.0]], (10, 25, 1)).tolist()
        },
        "lone_surrogate": {"clip": "\ud800"},
    }
    good: dict[str, dict[str, Any]] = {
        "huge_width": {"poses": poses, "width": 640, "height": 480},
        "poses_3e38": {"poses": poses},
        "lone_surrogate": {"clip": clips[2].id},
    }
    headers = {"content-type": "application/json"}
    for query, status in ((bad[name], (404, 422)), (good[name], (200,))):
        content = json.dumps({"index": "signs", "queries": [query]}).encode()
        answer = service.post("/v1/search", content=content, headers=headers)
        assert answer.status_code in status, answer.text
        if status == (200,):
            assert hits(answer)
        else:
            problem(answer, answer.status_code)


def test_a_truncated_body_does_not_disturb_other_requests(service: httpx.Client) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", service.base_url.port or 0)) as raw:
        raw.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    assert service.get("/readyz").status_code == 200
    headers = {"content-type": "application/json"}
    assert service.post("/v1/search", content=io.BytesIO(b"{}"), headers=headers).status_code == 422


def test_ray_exports_what_the_service_measures(service: httpx.Client, local: SignSearch, clips: list[Clip]) -> None:
    before = exported()
    hits(search(service, {"clip": clips[0].id}))
    problem(search(service, {"clip": "nobody"}), 404)
    translation = service.post("/v1/translate", json={"queries": [{"poses": to_json(clips[0].poses), **SIZE}]})
    assert translation.status_code == 200
    end = time.monotonic() + 40  # Ray exports every few seconds
    while True:
        values = exported()
        grown = {key for key, value in values.items() if value > before.get(key, 0)}
        found = {(name, tags.get("part"), tags.get("stage") or tags.get("role")) for name, tags in map(untagged, grown)}
        wanted = {("signatlas_stage_ms_count", "signs", s) for s in ("parse", "wait", "encode", "shards", "merge")}
        wanted |= {("signatlas_stage_ms_count", "translator", s) for s in ("wait", "translate")}
        roles = [("signs", "encoder"), ("signs", "shard 0"), ("signs", "shard 1"), ("translator", "translator")]
        wanted |= {(f"signatlas_{n}_count", *r) for n in ("batch_size", "queue_age_ms") for r in roles}
        if wanted <= found or time.monotonic() > end:
            break
        time.sleep(1)
    assert wanted <= found, wanted - found
    answers = [(tags, values[key]) for key in values for name, tags in [untagged(key)] if name == ANSWERS]
    assert sum(n for tags, n in answers if tags["part"] == "signs" and tags["partial"] == "false") >= 1
    live = [tags for key in values for name, tags in [untagged(key)] if name == LIVE and values[key] == 1]
    assert {(tags["part"], tags["version"]) for tags in live} >= {("signs", "v1"), ("clips", "v1"), ("texts", "v1")}

    known = [tags["role"] for key in values for name, tags in [untagged(key)] if name == "signatlas_log_position"]
    assert {"gateway", "shard 0", "shard 1"} <= set(known)
    grown_by = {(t["path"], t["status"]) for name, t in map(untagged, grown) if name == "signatlas_responses_total"}
    assert {("/v1/search", "200"), ("/v1/search", "404"), ("/v1/translate", "200")} <= grown_by


ANSWERS, LIVE = "signatlas_search_answers_total", "signatlas_live_version"


def exported() -> dict[str, float]:
    """Return the values of our metrics by name and tags, as Prometheus reads them."""
    (node,) = ray.nodes()
    text = httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=10).text
    lines = [line.removeprefix("ray_") for line in text.splitlines() if line.startswith("ray_signatlas_")]
    return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in lines)}


def untagged(key: str) -> tuple[str, dict[str, str]]:
    """Split ``name{tag="value",...}``."""
    name, _, tags = key.partition("{")
    return name, dict(re.findall(r'(\w+)="([^"]*)"', tags))
