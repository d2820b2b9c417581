"""The HTTP API against real Ray Serve and FAISS: right answers, and every mistake as a problem document."""

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
from signatlas.pose.posefile import write_pose
from signatlas.pose.posejson import to_json
from signatlas.retrieval.index_version import Snapshot
from signatlas.retrieval.search import LocalSearch

SIZE = {"width": 640, "height": 480}


@pytest.fixture(scope="module")
def clips(small_corpus: Path) -> list[Clip]:
    return list(Corpus.open(small_corpus))


@pytest.fixture(scope="module")
def local(index_root: Path) -> LocalSearch:
    return LocalSearch(Snapshot.open(index_root, "v1"))


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status and body["title"] and body["detail"]
    assert "Traceback" not in answer.text and "\n" not in body["detail"]
    return body


def test_it_says_that_it_is_ready(service: httpx.Client) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready", "index_version": "v1", "shards": 3}
    info = service.get("/v1/info").json()
    assert info["count"] == 120 and info["synthetic"] is True and info["sign_languages"] == ["gsg"]
    page = service.get("/")
    assert page.headers["content-type"].startswith("text/html") and "120 synthetic signs (gsg)" in page.text
    assert "/docs" in page.text and service.get("/docs").status_code == 200
    paths = service.get("/openapi.json").json()["paths"]
    assert {"/v1/search", "/v1/search/video", "/v1/signs/{id}", "/v1/signs/{id}/poses"} <= set(paths)


def test_poses_are_answered_as_by_the_unsharded_search(
    service: httpx.Client, clips: list[Clip], local: LocalSearch
) -> None:
    for clip in clips[:5]:
        answer = service.post("/v1/search", json={"poses": to_json(clip.poses), **SIZE, "top_k": 7}).json()
        expected = local.search(clip.poses, aspect=640 / 480, k=7)
        assert answer["index_version"] == "v1" and answer["synthetic"] is True
        assert [h["id"] for h in answer["hits"]] == [h.id for h in expected]
        np.testing.assert_allclose([h["score"] for h in answer["hits"]], [h.score for h in expected], atol=1e-5)
        assert answer["verdict"] == local.catalog.verdict(expected)
        assert answer["hits"][0]["texts"][0]["language"] == "de"


def test_many_at_once_are_answered_as_one_by_one(service: httpx.Client, clips: list[Clip]) -> None:
    bodies = [{"poses": to_json(c.poses), **SIZE, "top_k": 1 + n % 9} for n, c in enumerate(clips[:48])]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda body: service.post("/v1/search", json=body).json(), bodies))
    for body, answer, clip in zip(bodies, together, clips, strict=False):
        assert len(answer["hits"]) == body["top_k"]
        assert clip.poses.shape == next(c.poses.shape for c in clips if c.id == answer["hits"][0]["id"])
        assert answer["hits"][0]["score"] > 0.9999


def test_one_clip_without_hands_does_not_spoil_the_others(service: httpx.Client, clips: list[Clip]) -> None:
    # A body alone passes no check, so the nose is there; its neighbors in the batch must not notice.
    poses = np.full((4, 75, 3), np.nan, np.float32)
    bodies = [{"poses": to_json(poses if n % 2 else clips[n].poses)} for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: service.post("/v1/search", json=body), bodies))
    assert [a.status_code for a in answers] == [200, 422] * 8


def test_by_clip_by_vector_and_mirrored(service: httpx.Client, clips: list[Clip], local: LocalSearch) -> None:
    clip = clips[5]
    assert clip.id.endswith("/poses")
    by_clip = service.post("/v1/search", json={"clip": clip.id, "top_k": 3}).json()["hits"]
    assert [h["id"] for h in by_clip] == [
        h.id for h in local.search(clip.poses, aspect=640 / 480, k=3, leave_out=clip.id)
    ]
    vector = local.snapshot.encoder().embed_clips([clip])[0]
    by_vector = service.post("/v1/search", json={"vector": (3 * vector).tolist(), "top_k": 4}).json()["hits"]
    as_signed = local.search(clip.poses, aspect=640 / 480, k=3, leave_out=clip.id, mirror="none")
    assert by_vector[0]["id"] == clip.id and [h["id"] for h in by_vector[1:]] == [h.id for h in as_signed]
    body = {"poses": to_json(clip.poses), **SIZE, "mirror": "best"}
    mirrored = service.post("/v1/search", json=body).json()["hits"]
    expected = local.search(clip.poses, aspect=640 / 480, mirror="best")
    assert [h["id"] for h in mirrored] == [h.id for h in expected]


def test_an_uploaded_pose_file(service: httpx.Client, clips: list[Clip], tmp_path: Path) -> None:
    write_pose(tmp_path / "q.pose", clips[9].poses, 25, 640, 480)
    content = (tmp_path / "q.pose").read_bytes()
    files = {"file": ("q.pose", content)}
    answer = service.post("/v1/search/video", files=files, data={"top_k": "2", "mirror": "best"})
    assert answer.status_code == 200 and len(answer.json()["hits"]) == 2
    assert answer.json()["hits"][0]["id"] == clips[9].id
    for cut in (0, 40, len(content) - 3):
        body = problem(service.post("/v1/search/video", files={"file": ("q.pose", content[:cut])}), 422)
        assert "truncated or damaged" in body["detail"]
    assert (
        "video is not taken yet"
        in problem(service.post("/v1/search/video", files={"file": ("q.mp4", content)}), 415)["detail"]
    )
    assert (
        "named 'file'" in problem(service.post("/v1/search/video", files={"other": ("q.pose", content)}), 422)["detail"]
    )
    problem(service.post("/v1/search/video", files=files, data={"top_k": "0"}), 422)
    problem(service.post("/v1/search/video", json={}), 415)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    problem(service.post("/v1/search/video", content=b"--y\r\n", headers=broken), 400)
    problem(service.post("/v1/search/video", content=b"", headers={"content-type": "multipart/form-data"}), 400)
    blind = np.full((3, 75, 3), np.nan, np.float32)
    write_pose(tmp_path / "blind.pose", blind, 25, 640, 480)
    problem(service.post("/v1/search/video", files={"file": ("b.pose", (tmp_path / "blind.pose").read_bytes())}), 422)


def test_signs_and_their_poses(service: httpx.Client, clips: list[Clip]) -> None:
    for clip in (clips[0], clips[5]):  # the second one's id ends in /poses
        sign = service.get(f"/v1/signs/{quote(clip.id)}").json()
        assert sign["id"] == clip.id and sign["gloss"] == clip.gloss and sign["num_frames"] == clip.num_frames
        answer = service.get(f"/v1/signs/{quote(clip.id)}/poses")
        assert "NaN" not in answer.text
        body = answer.json()
        found = np.array(body["poses"], dtype=np.float64)
        assert body["fps"] == 25.0 and found.shape == clip.poses.shape
        np.testing.assert_allclose(found, clip.poses, atol=1e-5)
    problem(service.get("/v1/signs/nothing/here"), 404)
    problem(service.get("/v1/signs/nothing/here/poses"), 404)
    problem(service.get("/v1/nothing"), 404)
    problem(service.get("/v1/search"), 405)


def frames(n: int) -> list[Any]:
    return to_json(np.full((n, 75, 3), 0.5, np.float32))


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "exactly one of"),
        ({"clip": "a", "vector": [1.0]}, 422, "exactly one of"),
        ({"clip": "unknown"}, 404, "no clip 'unknown'"),
        ({"poses": []}, 422, "poses: expected a list of frames"),
        ({"poses": "abc"}, 422, "poses: expected a list of frames"),
        ({"poses": [[[0.1, 0.2]] * 75]}, 422, "expected [frames, 75, 3]"),
        ({"poses": [[[0.1, 0.2, 0.3]] * 543]}, 422, "expected [frames, 75, 3]"),
        ({"poses": [[[0.1, 0.2, None]] * 75, [[0.1, 0.2, None]] * 74]}, 422, "every frame needs 75 points"),
        ({"poses": [[[None] * 3] * 75] * 3}, 422, "neither face nor hands"),
        ({"poses": [[["x", 0, 0]] * 75]}, 422, "every frame needs 75 points"),
        ({"poses": frames(2), "width": 640}, 422, "width and height go together"),
        ({"poses": frames(2), "top_k": 0}, 422, "top_k: Input should be greater"),
        ({"poses": frames(2), "top_k": 51}, 422, "at most 50"),
        ({"poses": frames(2), "mirror": "yes"}, 422, "mirror"),
        ({"poses": frames(2), "color": 1}, 422, "color: Extra inputs"),
        ({"poses": frames(101)}, 413, "at most 100"),
        ({"vector": [1.0, 2.0]}, 422, "vectors of 32"),
        ({"vector": [0.0] * 32}, 422, "length above zero"),
        ([], 422, "valid dictionary"),
    ],
)
def test_wrong_bodies(service: httpx.Client, body: Any, status: int, said: str) -> None:
    assert said in problem(service.post("/v1/search", json=body), status)["detail"]


def test_wrong_types_sizes_and_syntax(service: httpx.Client) -> None:
    problem(service.post("/v1/search", content=b"{}", headers={"content-type": "text/plain"}), 415)
    problem(service.post("/v1/search"), 415)
    typed = {"content-type": "application/json; charset=utf-8"}
    assert "not JSON" in problem(service.post("/v1/search", content=b"{", headers=typed), 400)["detail"]
    problem(service.post("/v1/search", content=b"[" * 100_000, headers=typed), 400)
    problem(service.post("/v1/search", content=b"\xff\xfe\x00", headers=typed), 400)
    inf = json.dumps({"poses": [[[float("inf"), 0, 0]] * 75]}).encode()
    assert "infinite" in problem(service.post("/v1/search", content=inf, headers=typed), 422)["detail"]
    problem(service.post("/v1/search", content=b" " * (3 << 20), headers=typed), 413)

    def chunks() -> Any:
        for _ in range(48):
            yield b" " * 65536

    problem(service.post("/v1/search", content=chunks(), headers=typed), 413)
    many = {"poses": frames(2)} | {f"key{n}": n for n in range(50)}
    assert len(problem(service.post("/v1/search", json=many), 422)["errors"]) <= 5


def test_the_command_asks_the_service(
    service: httpx.Client, clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "q.npy", clips[2].poses)
    url = str(service.base_url)
    for what in (["--clip", clips[2].id], ["--pose", str(tmp_path / "q.npy")]):
        with pytest.raises(SystemExit) as ended:
            main(["search", "--url", url, *what, "--top", "3", "--json"])
        assert not ended.value.code
        assert len(json.loads(capsys.readouterr().out)["hits"]) == 3
    with pytest.raises(SystemExit) as ended:
        main(["search", "--url", url, "--clip", "nothing"])
    assert ended.value.code == 2
    assert "404: no clip 'nothing'" in capsys.readouterr().err


def test_a_body_that_ends_early_harms_nobody(service: httpx.Client) -> None:
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
