"""The command `signatlas serve`, its configuration, and the file for `serve deploy`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cli.main import main
from cluster.doctor import SERVICE_CPUS, requested_cpus
from cluster.ray_internals import ingress_name
from serve.app import application, build, deploy_file, source_hash, specs
from serve.config import ExtractorOptions, GatewayOptions, IndexApplication, TranslatorApplication, load, parse
from signatlas.errors import UserError
from tests.serve.services import Services, configuration, free_port

ROOT = Path(__file__).parents[2]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the command, which must fail with one line, and return the line."""
    with pytest.raises(SystemExit) as exit_info:
        main(["serve", *(str(argument) for argument in arguments)])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("signatlas: ") and error.count("\n") == 1
    return error


def test_mistakes_are_reported_before_ray_starts(
    services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = services.signs
    assert "--index FOLDER, --model FOLDER or --config" in error_of(capsys)
    assert "no index at" in error_of(capsys, "--index", tmp_path)
    assert "no version 'v9'" in error_of(capsys, "--index", index, "--version", "v9")
    assert "signatlas keys add" in error_of(capsys, "--index", index, "--host", "0.0.0.0")
    assert "it needs keys" in error_of(capsys, "--index", index, "--host", "0.0.0.0", "--allow-anonymous")
    assert "keys" in error_of(capsys, "--index", index, "--keys", tmp_path / "none.json")
    assert "not a translator" in error_of(capsys, "--model", services.signs / "v1" / "model")
    (tmp_path / "serve.yaml").write_text("applications: [{name: a, indx: x}]")
    assert "indx" in error_of(capsys, "--config", tmp_path / "serve.yaml")
    (tmp_path / "serve.yaml").write_text("applications: [{name: a, index: x}]")
    assert "--video belong into the --config" in error_of(capsys, "--config", tmp_path / "serve.yaml", "--video")
    (tmp_path / "serve.yaml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in error_of(capsys, "--config", tmp_path / "serve.yaml")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use; choose another --port" in error_of(
            capsys, "--index", index, "--port", port
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"applications": []}, "applications: "),
        ({"applications": [{"name": "A b", "index": "x"}]}, "name"),
        ({"applications": [{"name": "a", "index": "x"}, {"name": "a", "model": "y"}]}, "two applications are called a"),
        ({"applications": [{"name": "gateway", "index": "x"}]}, "cannot be called gateway"),
        ({"applications": [{"name": "a", "index": "x", "encoder": {"replicas": 2}}]}, "replicas"),
        ({"applications": [{"name": "a", "index": "x", "shard": {"num_replicas": 2, "autoscaling_config": {}}}]},
         "either num_replicas or autoscaling_config"),
        ({"applications": [{"name": "a", "kind": "video", "index": "x"}]}, "choose index or translator"),
        ({"http": {"host": "192.168.1.4"}, "applications": [{"name": "a", "index": "x"}]}, "signatlas keys add"),
        ({"gateway": {"limits": {"body_bytes": 10, "bytes_in_flight": 10}},
          "applications": [{"name": "a", "index": "x"}]}, "seven eighths"),
    ],
)  # fmt: skip
def test_invalid_configurations(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        parse(settings)
    assert "\n" not in str(error.value)


def test_addresses_beyond_loopback_require_a_key_file() -> None:
    part = {"applications": [{"name": "a", "index": "x"}]}
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        parse({"http": {"host": host}, **part})
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(UserError, match="signatlas keys add"):
            parse({"http": {"host": host}, **part})
        parse({"http": {"host": host}, "gateway": {"authorization": {"keys": "k.json"}}, **part})


def test_applications_and_their_options(services: Services) -> None:
    config = configuration(services)
    assert [(s.name, s.route_prefix) for s in specs(config)] == [
        ("signatlas-healthz", "/healthz"),
        ("signatlas-signs", None),
        ("signatlas-translator", None),
        ("signatlas-gateway", "/"),
    ], "colocated indexes have no application of their own"
    names = [ingress_name(application(config, s.part)) for s in specs(config)]
    assert names == ["Health", "Updater", "Translator", "Gateway"]
    assert ingress_name(build({"index": str(services.signs)})) == "Gateway"
    content = deploy_file(config)
    ServeDeploySchema.model_validate(content)
    assert all(a["args"]["sources"] == source_hash() for a in content["applications"])
    assert ingress_name(build(content["applications"][1]["args"])) == "Updater"


def test_a_pose_extractor_is_an_application_of_its_own_that_scales(services: Services) -> None:
    config = configuration(services, parts=("signs",), extractor={})
    assert [spec.part for spec in specs(config)] == ["healthz", "signs", "extractor", "gateway"]
    assert ingress_name(application(config, "extractor")) == "Extractor"
    assert config.extractor is not None and config.extractor.num_replicas is None
    assert config.extractor.autoscaling_config == {"min_replicas": 1, "max_replicas": 2}
    ServeDeploySchema.model_validate(deploy_file(config))
    assert parse(config.model_dump(mode="json")) == config
    fixed = configuration(services, extractor={"num_replicas": 2}).extractor
    assert fixed is not None and fixed.autoscaling_config is None
    with pytest.raises(UserError, match="cannot be called extractor"):
        parse({"applications": [{"name": "extractor", "index": "x"}]})


def test_doctor_knows_what_a_service_requests(services: Services) -> None:
    index, translator = IndexApplication(name="a", index="x"), TranslatorApplication(name="b", model="y")
    parts = {"gateway": GatewayOptions(), "encoder": index.encoder, "shard": index.shard, "updater": index.updater,
             "translator": translator.translator, "extractor": ExtractorOptions()}  # fmt: skip
    assert {name: part.ray_actor_options["num_cpus"] for name, part in parts.items()} == SERVICE_CPUS
    config = {
        "applications": [
            {"name": "a", "index": "x", "shards": 3, "encoder": {"num_replicas": 2}},
            {"name": "c", "index": "x", "colocate": True},
            {"name": "b", "model": "y"},
        ]
    }
    parse(config)
    assert requested_cpus(config) == pytest.approx(0.2 + 2 * 0.2 + 3 * 0.1 + 0.05 + 0.3)
    config |= {"extractor": {"num_replicas": 3}}  # type: ignore[dict-item]
    parse(config)
    assert requested_cpus(config) == pytest.approx(0.2 + 2 * 0.2 + 3 * 0.1 + 0.05 + 0.3 + 3 * 0.5)


def test_write_config_writes_a_file_for_serve_deploy(
    services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(services.signs.parent)
    (tmp_path / "serve.yaml").write_text(
        yaml.safe_dump({"applications": [{"name": "signs", "index": "signs"}, {"name": "t", "model": "tiny/model"}]})
    )
    with pytest.raises(SystemExit) as exit_info:
        main(["serve", "--config", str(tmp_path / "serve.yaml"), "--write-config", str(tmp_path / "deploy.yaml")])
    assert not exit_info.value.code
    assert "names no keys" in capsys.readouterr().err
    content = yaml.safe_load((tmp_path / "deploy.yaml").read_text())
    ServeDeploySchema.model_validate(content)
    service = content["applications"][0]["args"]["service"]
    assert service["applications"][0]["index"] == str(services.signs), "absolute: replicas run in another folder"
    assert parse(service) == parse({**load(tmp_path / "serve.yaml").model_dump(), **service})


@contextmanager
def running(*arguments: object, ignore_sigint: bool = False) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `signatlas serve`; yield its process and its output until it serves."""
    command = [sys.executable, "-m", "cli", "serve", *map(str, arguments)]
    before = signal.getsignal(signal.SIGINT)
    if ignore_sigint:  # as a shell does for a command that it starts with &
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "serving at" in line or "key of this run" in line:
                break
        try:
            yield process, "".join(lines)
        finally:
            if process.poll() is None:
                process.kill()


def stop_under_load(process: subprocess.Popen[str], url: str, headers: dict[str, str], stop_signal: int) -> None:
    """Stop a service while eight clients search; what it has admitted is answered, and it ends without a trace."""
    statuses: list[int] = []
    stopped = threading.Event()
    body = {"queries": [{"clip": "small/dictionary/wört 0/000"}], "k": 5}

    def ask() -> None:
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            while not stopped.is_set():
                try:
                    statuses.append(client.post("/v1/search", json=body).status_code)
                except httpx.TransportError:
                    statuses.append(0)  # refused or closed: the service has ended
                    return

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    started = time.monotonic()
    process.send_signal(stop_signal)
    rest = process.stdout.read() if process.stdout else ""
    assert process.wait(timeout=60) == 0, rest
    stopped.set()
    for thread in threads:
        thread.join()
    assert "Traceback" not in rest and "stopping the service" in rest
    assert time.monotonic() - started < 45
    # Once the application is gone, the proxy answers 404 or nothing at all.
    served = [status for status in statuses if status not in (0, 404, 503)]
    assert len(served) > 20 and set(served) == {200}, statuses
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


@pytest.mark.slow
def test_the_service_ends_on_ctrl_c_after_answering_what_is_in_flight(services: Services) -> None:
    port = free_port()
    arguments = ("--index", services.signs, "--port", port, "--num-cpus", 2, "--allow-anonymous", "--colocate")
    with running(*arguments) as (process, output):
        url = f"http://127.0.0.1:{port}"
        assert url in output, output
        assert httpx.get(f"{url}/readyz", timeout=20).status_code == 200
        stop_under_load(process, url, {}, signal.SIGINT)


@pytest.mark.slow
def test_a_key_is_made_for_the_run_and_sigterm_ends_the_service(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    environment_key = "sig_from_the_environment"
    monkeypatch.setenv("SIGNATLAS_API_KEY", environment_key)
    arguments = ("--index", services.signs, "--port", port, "--num-cpus", 2, "--colocate")
    with running(*arguments, ignore_sigint=True) as (process, output):
        if "key of this run" not in output and process.stdout is not None:
            output += process.stdout.readline()
        secret = re.search(r"Bearer (sig_\S+?)'", output)
        assert secret is not None, output
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/v1/indexes", timeout=20).status_code == 401
        headers = {"X-API-Key": secret[1]}
        assert httpx.get(f"{url}/v1/indexes", headers=headers, timeout=20).status_code == 200
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                content = (folder / "environ").read_bytes()
                title = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"ray::ServeReplica:signatlas" in title:
                assert secret[1].encode() not in content and environment_key.encode() not in content
        stop_under_load(process, url, headers, signal.SIGTERM)
