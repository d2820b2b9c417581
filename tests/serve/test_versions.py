"""A running service switches to a new version without a failed request, never mixes two, and goes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
import yaml
from ray import serve

from cli.main import main
from serve.app import GATEWAY, deploy_file
from serve.config import ServeConfig
from signatlas.corpus.format import Corpus
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import read_clip
from signatlas.retrieval.search import SignSearch
from tests.serve.services import Services, configuration, free_port, write_signs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(services: Services) -> ServeConfig:
    return configuration(services, parts=("signs",))


class Searches:
    """Searches continuously in threads, and compares each answer with the local one of the version that it names."""

    def __init__(self, url: str, services: Services, threads: int = 3):
        self.url, self.clip = url, next(iter(Corpus.open(services.corpus))).id
        self.services = services
        self.answers: list[tuple[int, str, tuple[str, ...]]] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._search) for _ in range(threads)]

    def __enter__(self) -> Searches:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _search(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._ended.is_set():
                try:
                    answer = client.post("/v1/search", json={"queries": {"clip": self.clip}, "k": 9})
                except httpx.HTTPError as error:
                    self.answers.append((0, repr(error), ()))
                    continue
                if answer.status_code != 200:
                    self.answers.append((answer.status_code, answer.text, ()))
                    continue
                body = answer.json()
                assert body["partial"] is False
                ids = tuple(hit["id"] for hit in body["results"][0]["hits"])
                self.answers.append((200, body["version"], ids))

    def check(self, *versions: str) -> None:
        """Assert that none failed, that exactly these versions answered, and that every answer is that version's."""
        assert [answer for answer in self.answers if answer[0] != 200] == []
        assert {version for _, version, _ in self.answers} == set(versions)
        query = read_clip(self.clip, self.services.corpus)
        for version in versions:
            local = SignSearch(IndexVersion.open(self.services.signs, version))
            hits = local.search(query.poses, aspect=query.aspect, k=9, leave_out=self.clip)
            expected = tuple(hit.id for hit in hits)
            assert {ids for _, v, ids in self.answers if v == version} == {expected}


def wait_for(client: httpx.Client, version: str, seconds: float = 60) -> None:
    answer = None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = client.get("/readyz")
        if answer.status_code == 200 and answer.json()["versions"]["signs"] == version:
            return
        time.sleep(0.25)
    raise AssertionError(f"{version} is not ready: {answer.text if answer else None}")


def news() -> tuple[str | None, str]:
    handle: Any = serve.get_app_handle(GATEWAY)
    live, message = handle.news.remote().result(timeout_s=30)["signs"]
    return live, message


def replicas() -> set[str]:
    actors = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in actors if "SERVE_REPLICA" in actor["name"]}


def other_model(folder: Path) -> Path:
    """A sign encoder of the same size with other weights: its answers are other ones."""
    import torch

    from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig

    torch.manual_seed(7)
    config = SignEncoderConfig(
        points="nose_hands", dims=2, frames=16, width=32, depth=1, heads=2, feedforward=32, embedding=32
    )
    SignEncoder(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_versions_are_switched_under_load_refused_when_damaged_and_rolled_back(
    config: ServeConfig, service: httpx.Client, services: Services, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = replicas()
    with Searches(str(service.base_url), services) as searches:
        time.sleep(1)
        # Another model and another number of shards than the deployments were made for.
        write_signs(services.signs, other_model(tmp_path / "other"), services.corpus, "v2", shards=5)
        wait_for(service, "v2")
        time.sleep(1)
        # A damaged version is refused, even if CURRENT names it; the old one stays in use.
        write_signs(services.signs, tmp_path / "other", services.corpus, "v3", activate=False)
        (services.signs / "v3" / "shard-001" / "index.faiss").write_bytes(b"broken")
        (services.signs / "CURRENT").write_text("v3\n")
        deadline = time.monotonic() + 30
        while "shard-001 of" not in news()[1]:
            assert time.monotonic() < deadline, news()
            time.sleep(0.2)
        assert news()[0] == "v2" and "still serving version v2" in news()[1]
        (services.signs / "CURRENT").write_bytes(b"\xff\xfe")
        time.sleep(3)
        assert service.get("/readyz").json()["versions"] == {"signs": "v2"} and "still serving" in news()[1]
        # Back by one command.
        with pytest.raises(SystemExit) as exit_info:
            main(["index", "activate", str(services.signs), "v1"])
        assert not exit_info.value.code
        wait_for(service, "v1")
        time.sleep(1)
        assert news()[1] == ""
    searches.check("v1", "v2")
    assert len(searches.answers) > 50
    assert replicas() == before, "no replica was restarted"


@pytest.mark.slow
def test_serve_deploy_serves_and_switches_versions(services: Services, tmp_path: Path) -> None:
    """The same without our command: `serve deploy` on a cluster that `ray start` started."""
    binary, port, dashboard, gcs = Path(sys.executable).parent, free_port(), free_port(), free_port()
    ray_folder = Path(f"/tmp/ray-d{os.getpid()}")  # short, because the paths of Unix sockets are
    ray_folder.mkdir()
    environment = {
        **os.environ,
        "RAY_TMPDIR": str(ray_folder),
        "RAY_AUTH_MODE": "token",  # a Ray of this process has set it already, and would look for its token in HOME
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("RAY_ADDRESS", None)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    config = configuration(services, parts=("signs",), http={"port": port})
    file = tmp_path / "deploy.yaml"
    file.write_text(yaml.safe_dump(deploy_file(config)))
    head = subprocess.Popen(
        [binary / "ray", "start", "--head", "--block", f"--port={gcs}", "--num-cpus=2", "--dashboard-host=127.0.0.1",
         f"--dashboard-port={dashboard}", "--disable-usage-stats", f"--temp-dir={ray_folder}"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deploy = [binary / "serve", "deploy", file, "-a", f"http://127.0.0.1:{dashboard}"]
        deadline = time.monotonic() + 90
        while (done := subprocess.run(deploy, cwd=ROOT, env=environment, capture_output=True, text=True)).returncode:
            assert time.monotonic() < deadline, done.stdout + done.stderr
            time.sleep(2)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=30) as client:
            deadline = time.monotonic() + 180
            while True:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert time.monotonic() < deadline
                time.sleep(0.5)
            version = client.get("/readyz").json()["versions"]["signs"]
            with Searches(url, services) as searches:
                time.sleep(1)
                write_signs(services.signs, other_model(tmp_path / "m"), services.corpus, "deployed")
                wait_for(client, "deployed")
                time.sleep(1)
            searches.check(version, "deployed")
    finally:
        head.terminate()
        head.wait(timeout=60)
        shutil.rmtree(ray_folder, ignore_errors=True)
        index_version.activate(services.signs, "v1")
