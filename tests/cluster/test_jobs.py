"""Jobs on a real head, submitted by signatlas and by `ray job submit`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.connect import ClusterError
from cluster.jobs import client


def test_submit_runs_a_command_with_this_environment(head: Any) -> None:
    submitted = head.signatlas("submit", "--name", "checked", "--wait", "--", "doctor", "--json")
    assert submitted.returncode == 0, submitted.stderr
    assert submitted.stdout.rstrip().endswith("checked: succeeded")
    log = head.signatlas("logs", "checked", "--json")
    checks = json.loads(_json_part(json.loads(log.stdout)["log"], "["))
    python = next(check["detail"] for check in checks if check["name"] == "python")
    assert str(Path(sys.prefix) / "bin") in python  # Ray was started without it on PATH

    listed = json.loads(head.signatlas("jobs", "--json").stdout)
    job = next(job for job in listed if job["id"] == "checked")
    assert job["status"] == "SUCCEEDED"
    assert job["command"] == "python -m cli doctor --json"
    assert job["started"] < job["ended"]
    assert "checked" in head.signatlas("jobs").stdout

    again = head.signatlas("submit", "--name", "checked", "--", "doctor")
    assert again.returncode == 2
    assert "a job with this name already exists" in _one_line(again.stderr)


@pytest.mark.slow
def test_submit_wait_fails_with_the_error_line_of_a_failing_command(head: Any) -> None:
    arguments = ["train", "recipes/no such.yaml", "--set", "a=b c"]
    submitted = head.signatlas("submit", "--name", "failing", "--wait", "--json", "--", *arguments)
    assert submitted.returncode == 1
    job = json.loads(submitted.stdout)
    assert job["status"] == "FAILED"
    assert job["command"] == "python -m cli train 'recipes/no such.yaml' --set 'a=b c'"
    assert "signatlas: " in submitted.stderr
    assert "Traceback" not in submitted.stderr


@pytest.mark.slow
def test_ray_job_submit_uploads_the_checkout_without_ignored_files(head: Any) -> None:
    environment = json.dumps({"env_vars": {"PATH": f"{sys.prefix}/bin:${{PATH}}"}})
    # The command in docs/cluster.md.
    listing = "signatlas --version; ls -A"
    command = ["job", "submit", "--submission-id", "raw", "--working-dir", ".", "--runtime-env-json", environment]
    submitted = head.run(Path(sys.prefix) / "bin" / "ray", *command, "--", "sh", "-c", listing)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    log = head.signatlas("logs", "raw").stdout.split()
    assert "signatlas" in log
    assert {"cli", "cluster", "trainers", "recipes", "pyproject.toml"} <= set(log)
    assert not {".venv", ".git", "data", "runs", "tests"} & set(log)


def test_stop_ends_a_running_job(head: Any) -> None:
    command = ["job", "submit", "--no-wait", "--submission-id", "long", "--", "sleep", "600"]
    assert head.run(Path(sys.prefix) / "bin" / "ray", *command).returncode == 0
    stopped = head.signatlas("stop", "long", "--json")
    assert stopped.returncode == 0, stopped.stderr
    assert json.loads(stopped.stdout)["status"] == "STOPPED"


@pytest.mark.parametrize("command", [["logs", "--follow"], ["stop"]])
def test_an_unknown_job_is_one_line(head: Any, command: list[str]) -> None:
    result = head.signatlas(*command, "no-such-job")
    assert result.returncode == 2
    assert "no job 'no-such-job'" in _one_line(result.stderr)


@pytest.mark.parametrize("env", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "f" * 64}])
def test_a_missing_or_wrong_token_is_one_line(head: Any, env: dict[str, str]) -> None:
    result = head.signatlas("jobs", **env)
    assert result.returncode == 2
    assert "requires a token" in _one_line(result.stderr)
    checked = head.signatlas("doctor", "--address", head.address, "--json", **env)
    assert checked.returncode == 1
    assert json.loads(checked.stdout)[-1]["state"] == "fail"


def test_doctor_reaches_the_cluster(head: Any) -> None:
    checks = json.loads(head.signatlas("doctor", "--address", head.address, "--json").stdout)
    assert checks[-1]["name"] == "cluster"
    assert checks[-1]["state"] == "ok"


JOIN = """
import sys
from cluster.connect import connected
with connected(sys.argv[1]):
    import ray
    print(sorted(ray.cluster_resources().items()))
assert not ray.is_initialized()
"""


def test_connected_joins_a_cluster(head: Any) -> None:
    joined = head.run(sys.executable, "-c", JOIN, head.gcs)
    assert joined.returncode == 0, joined.stderr
    assert "('CPU', 2.0)" in joined.stdout


@pytest.mark.slow  # Ray gives up after 20 seconds
def test_connected_reports_that_the_cluster_requires_a_token(head: Any) -> None:
    refused = head.run(sys.executable, "-c", JOIN, head.gcs, RAY_AUTH_TOKEN="f" * 64)
    assert "requires a token" in refused.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:1", "ray://127.0.0.1:1", "http://", "nonsense"])
def test_an_unreachable_or_invalid_job_server_is_a_user_error(address: str) -> None:
    with pytest.raises(ClusterError, match=r"does not answer|is not a valid"):
        client(address)


def test_submit_rejects_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    from cli.main import main

    _exits_with(2, lambda: main(["submit", "--", "trian", "recipe.yaml"]))
    assert "unknown signatlas command 'trian'" in _one_line(capsys.readouterr().err)


def test_submit_rejects_a_missing_working_dir(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from cli.main import main

    _exits_with(2, lambda: main(["submit", "--working-dir", str(tmp_path / "none"), "--", "doctor"]))
    assert "no folder at" in _one_line(capsys.readouterr().err)


def _exits_with(code: int, call: Callable[[], object]) -> None:
    with pytest.raises(SystemExit) as ended:
        call()
    assert ended.value.code == code


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def _json_part(text: str, opening: str) -> str:
    return text[text.index(f"{opening}\n") :]
