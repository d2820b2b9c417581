"""Parts of the service that are given a GPU: what they do without one, and where Ray places them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve.config import ComputeOptions, ServeConfig
from signatlas.corpus.format import Corpus
from signatlas.errors import ModelError
from signatlas.pose.serialization import to_json
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch
from tests.serve.services import Services, configuration

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("options", "available", "expected"),
    [
        ({}, True, False),
        ({"ray_actor_options": {"num_gpus": 0.5}}, True, True),
        ({"ray_actor_options": {"num_gpus": 0.5}}, False, False),
        ({"ray_actor_options": {"num_gpus": 0.5}, "device": "cpu"}, True, False),
        ({"device": "gpu"}, True, True),
    ],
)
def test_a_part_computes_on_a_gpu_where_one_is_wanted_and_there(
    options: dict[str, Any], available: bool, expected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ray.serve"):
        assert ComputeOptions(**options).choose_gpu("encoder of signs", available) is expected
    wanted = bool(options) and options.get("device") != "cpu"
    assert ("encoder of signs: no GPU can be used here" in caplog.text) is (wanted and not available)


def test_device_gpu_insists_on_a_gpu() -> None:
    with pytest.raises(ModelError, match="encoder of signs: device is gpu, but no GPU can be used here: set device to"):
        ComputeOptions(device="gpu").choose_gpu("encoder of signs", False)


# A Ray of its own, with one GPU that only Ray believes in.
SERVICE = """
import json, sys
import httpx, ray
from serve.config import ServeConfig
from serve.service import start, stop

config = ServeConfig.model_validate_json(sys.argv[1])
ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
start(config)
left = ray.available_resources().get("GPU", 0)
answer = httpx.post(f"http://127.0.0.1:{config.http.port}/v1/search", json=json.load(sys.stdin), timeout=60)
stop(config)
ray.shutdown()
print(json.dumps({"left": left, "status": answer.status_code, "answer": answer.json()}))
"""


@pytest.mark.slow
def test_parts_are_placed_on_a_logical_gpu(services: Services) -> None:
    document = configuration(services, parts=("signs",)).model_dump(mode="json")
    (application,) = document["applications"]
    application["encoder"]["ray_actor_options"] = {"num_cpus": 0.1, "num_gpus": 0.5}
    application["shard"]["ray_actor_options"] = {"num_cpus": 0.1, "num_gpus": 0.125}
    config = ServeConfig.model_validate(document)
    clip = next(iter(Corpus.open(services.corpus)))
    query = {"poses": to_json(clip.poses), "width": 640, "height": 480}
    folder = Path(f"/tmp/ray-g{os.getpid()}")  # short, because the paths of Unix sockets are
    folder.mkdir()
    environment = {**os.environ, "RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SERVICE, config.model_dump_json()], input=json.dumps({"queries": [query], "k": 7}),
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["left"] == pytest.approx(1 - 0.5 - 2 * 0.125)
    assert result["status"] == 200, result
    search = SignSearch(IndexVersion.open(services.signs))
    expected = search.search(clip.poses, aspect=640 / 480, k=7)
    assert [hit["id"] for hit in result["answer"]["results"][0]["hits"]] == [hit.id for hit in expected]
