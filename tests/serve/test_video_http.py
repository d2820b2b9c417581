"""Videos over HTTP in a real service: the same answer as extracting and searching, deaths, streamed translation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.config import ServeConfig
from signatlas.client import AsyncClient, Client, Progress, ServiceError, Token, TranslateAnswer
from signatlas.corpus.format import Corpus
from signatlas.corpus.sources.media_listing import listing
from signatlas.pose.serialization import to_json, write_pose
from signatlas.pose.video import frames
from tests.serve.services import Services, configuration
from trainers.pipelines.extract import run_listing

Film = Callable[..., Path]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(services: Services) -> ServeConfig:
    extractor = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}
    return configuration(services, parts=("signs", "translator"), colocate=("signs",), extractor=extractor)


@pytest.fixture(scope="module")
def person(mirror: Path | None, film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames of a real recording."""
    if mirror is None or not (mirror / "video").is_dir():
        pytest.skip("needs a recording of a person: SIGNATLAS_MIRROR")
    images = list(islice(frames(mirror / "video" / "slovo_f17a6060.mp4", target_fps=6), 3, 13))
    height, width, _ = images[0].shape
    return film(tmp_path_factory.mktemp("person") / "person.mp4", images=images, size=(width, height))


@pytest.fixture
def client(service: httpx.Client) -> Iterator[Client]:
    with Client(str(service.base_url), timeout_s=100) as client:
        yield client


def post(service: httpx.Client, path: str, file: Path, **fields: Any) -> httpx.Response:
    return service.post(path, files={"file": (file.name, file.read_bytes())}, data=fields, timeout=100)


def test_a_video_gets_the_answer_of_extraction_and_search(
    service: httpx.Client, client: Client, person: Path, tmp_path: Path
) -> None:
    recordings = listing([str(person)], name="mine", sign_language="rsl", license="MIT", source="us")
    (clip,) = Corpus.open(run_listing(recordings, tmp_path / "corpus", workers=1).corpus.path)
    query = {"poses": to_json(clip.poses), "width": clip.width, "height": clip.height, "fps": clip.fps}
    expected = service.post("/v1/search", json={"queries": [query], "index": "signs", "k": 5}).json()
    answer = post(service, "/v1/search/video", person, index="signs", k=5)
    assert answer.status_code == 200, answer.text
    assert answer.json() == expected and len(expected["results"][0]["hits"]) == 5
    assert "extract;dur=" in answer.headers["server-timing"]

    seen: list[Progress] = []
    found = client.search_video(person, index="signs", k=5, progress=seen.append)
    assert [hit.id for hit in found.hits] == [hit["id"] for hit in expected["results"][0]["hits"]]
    assert (seen[0].stage, seen[0].frames, seen[-1].stage) == ("extract", 0, "search")
    read = [progress.frames for progress in seen if progress.stage == "extract" and progress.frames]
    assert read == sorted(read) and read[-1] <= 10 and {p.of for p in seen[1:-1]} == {10}

    expected = service.post("/v1/translate", json={"queries": [query], "num_beams": 3}).json()
    assert post(service, "/v1/translate/video", person, num_beams=3).json() == expected
    *before, last = client.stream_translation(person)
    assert isinstance(last, TranslateAnswer)
    assert "".join(part.text for part in before if isinstance(part, Token)) == last.result.texts[0]


def children() -> list[int]:
    """Return the ids of the processes that decode videos for this Ray."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    own = [int(line.split()[0]) for line in listed.splitlines() if " -m serve.video_process" in line]
    root = str(Path(__file__).parents[2])
    return [pid for pid in own if f"PYTHONPATH={root}" in Path(f"/proc/{pid}/environ").read_text()]


def test_a_killed_decoder_costs_one_request(service: httpx.Client, film: Film, tmp_path: Path) -> None:
    video = film(tmp_path / "gray.mp4", 40)
    assert post(service, "/v1/search/video", video).json()["detail"] == "gray.mp4: no hand detected in 40 frames"
    (victim,) = children()
    with service.stream(
        "POST", "/v1/search/video", files={"file": ("v.mp4", video.read_bytes())}, timeout=100,
        headers={"Accept": "text/event-stream"},
    ) as stream:  # fmt: skip
        lines = stream.iter_lines()
        assert next(lines) == "event: progress"
        os.kill(victim, signal.SIGKILL)
        text = "\n".join(lines)
    problem = json.loads(text.rstrip().rpartition("event: problem\ndata: ")[2])
    assert problem["status"] == 503 and "try again" in problem["detail"]
    assert post(service, "/v1/search/video", video).json()["detail"] == "gray.mp4: no hand detected in 40 frames"
    assert children() != [victim]
    assert service.get("/readyz").status_code == 200


def test_bad_videos_are_refused_with_problems(service: httpx.Client, film: Film, tmp_path: Path) -> None:
    (tmp_path / "text.webm").write_text("no video\n" * 99)
    for path, status, detail in (
        (tmp_path / "text.webm", 422, "is not a readable video"),
        (film(tmp_path / "many.mp4", 101), 413, "many.mp4 has 101 frames, more than 100"),
        (film(tmp_path / "long.mp4", 62, fps=1), 413, "is 62 s long, more than 60 s"),
    ):
        answer = post(service, "/v1/search/video", path)
        assert answer.status_code == status and detail in answer.json()["detail"], answer.text
    answer = post(service, "/v1/search/video", film(tmp_path / "late.mp4", 50), deadline_s=0.001)
    assert answer.status_code == 504


def test_a_translation_is_streamed_token_by_token(
    service: httpx.Client, client: Client, services: Services, tmp_path: Path
) -> None:
    clip = next(iter(Corpus.open(services.translator_corpus)))
    body = {"queries": {"clip": clip.id}, "num_beams": 1}
    expected = service.post("/v1/translate", json=body).json()
    streamed = service.post("/v1/translate", json={**body, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert json.loads(streamed.text.rstrip().rpartition("event: result\ndata: ")[2]) == expected
    text = expected["results"][0]["texts"][0]
    assert streamed.text.startswith('event: progress\ndata: {"stage":"translate"}\n\n')
    tokens = [json.loads(line[6:])["text"] for line in streamed.text.splitlines() if line.startswith('data: {"text"')]
    assert "".join(tokens) == text and len(tokens) > 1

    write_pose(tmp_path / "q.pose", clip.poses, clip.fps or 25, 640, 480)
    parts = list(client.stream_translation(tmp_path / "q.pose", model="translator"))
    assert isinstance(parts[0], Progress) and isinstance(parts[-1], TranslateAnswer)
    assert parts[-1].results == client.translate_pose_file(tmp_path / "q.pose", num_beams=1).results

    async def main() -> list[Any]:
        async with AsyncClient(str(service.base_url)) as other:
            return [part async for part in other.stream_translation(tmp_path / "q.pose", model="translator")]

    assert asyncio.run(main()) == parts
    with pytest.raises(ServiceError, match="no model 'nobody'") as error:
        list(client.stream_translation(tmp_path / "q.pose", model="nobody"))
    assert error.value.status == 404
