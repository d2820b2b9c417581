"""The HTTP API on real Ray Serve and FAISS: correct results, and problem documents for every mistake."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Clip, Corpus
from signatlas.pose.serialization import to_json, write_pose
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch

SIZE = {"width": 640, "height": 480}


@pytest.fixture(scope="module")
def clips(small_corpus: Path) -> list[Clip]:
    return list(Corpus.open(small_corpus))


@pytest.fixture(scope="module")
def local(index_root: Path) -> SignSearch:
    return SignSearch(IndexVersion.open(index_root, "v1"))


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status and body["title"] and body["detail"]
    assert "Traceback" not in answer.text and "\n" not in body["detail"]
    return body


def test_health_readiness_info_and_page(service: httpx.Client) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready", "index_version": "v1", "shards": 3}
    info = service.get("/v1/info").json()
    assert info["count"] == 120 and info["synthetic"] is True and info["sign_languages"] == ["gsg"]
    page = service.get("/")
    assert page.headers["content-type"].startswith("text/html") and "120 synthetic signs (gsg)" in page.text
    assert "/docs" in page.text and service.get("/docs").status_code == 200
    paths = service.get("/openapi.json").json()["paths"]
    assert {"/v1/search", "/v1/search/video", "/v1/signs/{id}", "/v1/signs/{id}/poses"} <= set(paths)


def test_search_by_poses_equals_the_local_search(service: httpx.Client, clips: list[Clip], local: SignSearch) -> None:
    for clip in clips[:5]:
        answer = service.post("/v1/search", json={"poses": to_json(clip.poses), **SIZE, "top_k": 7}).json()
        expected = local.search(clip.poses, aspect=640 / 480, k=7)
        assert answer["index_version"] == "v1" and answer["synthetic"] is True
        assert [h["id"] for h in answer["hits"]] == [h.id for h in expected]
        np.testing.assert_allclose([h["score"] for h in answer["hits"]], [h.score for h in expected], atol=1e-5)
        assert answer["verdict"] == local.catalog.verdict(expected)
        assert answer["hits"][0]["texts"][0]["language"] == "de"


def test_concurrent_searches_get_their_own_results(service: httpx.Client, clips: list[Clip]) -> None:
    bodies = [{"poses": to_json(c.poses), **SIZE, "top_k": 1 + n % 9} for n, c in enumerate(clips[:48])]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda body: service.post("/v1/search", json=body).json(), bodies))
    for body, answer, clip in zip(bodies, together, clips, strict=False):
        assert len(answer["hits"]) == body["top_k"]
        assert clip.poses.shape == next(c.poses.shape for c in clips if c.id == answer["hits"][0]["id"])
        assert answer["hits"][0]["score"] > 0.9999


def test_one_clip_without_hands_does_not_fail_the_others_of_its_batch(service: httpx.Client, clips: list[Clip]) -> None:
    poses = np.full((4, 75, 3), np.nan, np.float32)
    bodies = [{"poses": to_json(poses if n % 2 else clips[n].poses)} for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: service.post("/v1/search", json=body), bodies))
    assert [a.status_code for a in answers] == [200, 422] * 8


def test_search_by_clip_by_vector_and_mirrored(service: httpx.Client, clips: list[Clip], local: SignSearch) -> None:
    clip = clips[5]
    assert clip.id.endswith("/poses")
    by_clip = service.post("/v1/search", json={"clip": clip.id, "top_k": 3}).json()["hits"]
    assert [h["id"] for h in by_clip] == [
        h.id for h in local.search(clip.poses, aspect=640 / 480, k=3, leave_out=clip.id)
    ]
    vector = local.index_version.encoder().embed_clips([clip])[0]
    by_vector = service.post("/v1/search", json={"vector": (3 * vector).tolist(), "top_k": 4}).json()["hits"]
    as_signed = local.search(clip.poses, aspect=640 / 480, k=3, leave_out=clip.id, mirror="none")
    assert by_vector[0]["id"] == clip.id and [h["id"] for h in by_vector[1:]] == [h.id for h in as_signed]
    body = {"poses": to_json(clip.poses), **SIZE, "mirror": "best"}
    mirrored = service.post("/v1/search", json=body).json()["hits"]
    expected = local.search(clip.poses, aspect=640 / 480, mirror="best")
    assert [h["id"] for h in mirrored] == [h.id for h in expected]


def test_search_by_an_uploaded_pose_file(service: httpx.Client, clips: list[Clip], tmp_path: Path) -> None:
    write_pose(tmp_path / "q.pose", clips[9].poses, 25, 640, 480)
    content = (tmp_path / "q.pose").read_bytes()
    files = {"file": ("q.pose", content)}
    answer = service.post("/v1/search/video", files=files, data={"top_k": "2", "mirror": "best"})
    assert answer.status_code == 200 and len(answer.json()["hits"]) == 2
    assert answer.json()["hits"][0]["id"] == clips[9].id
    for length in (0, 40, len(content) - 3):
        body = problem(service.post("/v1/search/video", files={"file": ("q.pose", content[:length])}), 422)
        assert "truncated or damaged" in body["detail"]
    assert (
        "video is not supported"
        in problem(service.post("/v1/search/video", files={"file": ("q.mp4", content)}), 415)["detail"]
    )
    assert (
        "named 'file'" in problem(service.post("/v1/search/video", files={"other": ("q.pose", content)}), 422)["detail"]
    )
    problem(service.post("/v1/search/video", files=files, data={"top_k": "0"}), 422)
    problem(service.post("/v1/search/video", json={}), 415)
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    problem(service.post("/v1/search/video", content=b"--y\r\n", headers=multipart), 400)
    problem(service.post("/v1/search/video", content=b"", headers={"content-type": "multipart/form-data"}), 400)
    no_points = np.full((3, 75, 3), np.nan, np.float32)
    write_pose(tmp_path / "empty.pose", no_points, 25, 640, 480)
    problem(service.post("/v1/search/video", files={"file": ("b.pose", (tmp_path / "empty.pose").read_bytes())}), 422)


def test_signs_and_their_poses(service: httpx.Client, clips: list[Clip]) -> None:
    for clip in (clips[0], clips[5]):  # the id of the second ends in /poses
        sign = service.get(f"/v1/signs/{quote(clip.id)}").json()
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
    ("body", "status", "detail"),
    [
        ({}, 422, "exactly one of"),
        ({"clip": "a", "vector": [1.0]}, 422, "exactly one of"),
        ({"clip": "unknown"}, 404, "no clip 'unknown'"),
        ({"poses": []}, 422, "poses: expected a list of frames"),
        ({"poses": "abc"}, 422, "poses: expected a list of frames"),
        ({"poses": [[[0.1, 0.2]] * 75]}, 422, "expected [frames, 75, 3]"),
        ({"poses": [[[0.1, 0.2, 0.3]] * 543]}, 422, "expected [frames, 75, 3]"),
        ({"poses": [[[0.1, 0.2, None]] * 75, [[0.1, 0.2, None]] * 74]}, 422, "each frame needs 75 points"),
        ({"poses": [[[None] * 3] * 75] * 3}, 422, "neither face nor hands"),
        ({"poses": [[["x", 0, 0]] * 75]}, 422, "each frame needs 75 points"),
        ({"poses": frames(2), "width": 640}, 422, "width and height go together"),
        ({"poses": frames(2), "top_k": 0}, 422, "top_k: Input should be greater"),
        ({"poses": frames(2), "top_k": 51}, 422, "above the limit of 50"),
        ({"poses": frames(2), "mirror": "yes"}, 422, "mirror"),
        ({"poses": frames(2), "color": 1}, 422, "color: Extra inputs"),
        ({"poses": frames(101)}, 413, "at most 100"),
        ({"vector": [1.0, 2.0]}, 422, "vectors of 32"),
        ({"vector": [0.0] * 32}, 422, "length above zero"),
        ([], 422, "valid dictionary"),
    ],
)
def test_invalid_bodies(service: httpx.Client, body: Any, status: int, detail: str) -> None:
    assert detail in problem(service.post("/v1/search", json=body), status)["detail"]


def test_wrong_content_types_sizes_and_syntax(service: httpx.Client) -> None:
    problem(service.post("/v1/search", content=b"{}", headers={"content-type": "text/plain"}), 415)
    problem(service.post("/v1/search"), 415)
    json_headers = {"content-type": "application/json; charset=utf-8"}
    assert "not valid JSON" in problem(service.post("/v1/search", content=b"{", headers=json_headers), 400)["detail"]
    problem(service.post("/v1/search", content=b"[" * 100_000, headers=json_headers), 400)
    problem(service.post("/v1/search", content=b"\xff\xfe\x00", headers=json_headers), 400)
    inf = json.dumps({"poses": [[[float("inf"), 0, 0]] * 75]}).encode()
    assert "infinite" in problem(service.post("/v1/search", content=inf, headers=json_headers), 422)["detail"]
    problem(service.post("/v1/search", content=b" " * (3 << 20), headers=json_headers), 413)

    def chunks() -> Any:
        for _ in range(48):
            yield b" " * 65536

    problem(service.post("/v1/search", content=chunks(), headers=json_headers), 413)
    many = {"poses": frames(2)} | {f"key{n}": n for n in range(50)}
    assert len(problem(service.post("/v1/search", json=many), 422)["errors"]) <= 5


def test_the_search_command_queries_the_service(
    service: httpx.Client, clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "q.npy", clips[2].poses)
    url = str(service.base_url)
    for query in (["--clip", clips[2].id], ["--pose", str(tmp_path / "q.npy")]):
        with pytest.raises(SystemExit) as exit_info:
            main(["search", "--url", url, *query, "--top", "3", "--json"])
        assert not exit_info.value.code
        assert len(json.loads(capsys.readouterr().out)["hits"]) == 3
    with pytest.raises(SystemExit) as exit_info:
        main(["search", "--url", url, "--clip", "nothing"])
    assert exit_info.value.code == 2
    assert "404: no clip 'nothing'" in capsys.readouterr().err


def test_a_truncated_body_does_not_disturb_other_requests(service: httpx.Client) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", service.base_url.port or 0)) as raw:
        raw.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    assert service.get("/readyz").status_code == 200
    assert (
        service.post("/v1/search", content=io.BytesIO(b"{}"), headers={"content-type": "application/json"}).status_code
        == 422
    )
