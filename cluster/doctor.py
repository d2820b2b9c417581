"""Checks of this machine and of a cluster: what is installed, what is missing, how to fix it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from signatlas.errors import UserError

State = Literal["ok", "warn", "fail"]
GIB = 1 << 30
SERVE_CONFIG = Path("serve.yaml")


@dataclass(frozen=True)
class Check:
    """The result of one check. ``advice`` says how to fix it when ``state`` is not ok."""

    name: str
    state: State
    detail: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def run_checks(address: str | None = None) -> list[Check]:
    """Run every check, with ``address`` also those of a cluster's job server.

    Imports torch and DeepSpeed, which takes seconds.
    """
    checks: list[Callable[[], Check | None]] = [
        python, torch, gpu, deepspeed, compiler, faiss, ray, protobuf, cores, memory, shared_memory, disk,
        lambda: port(8000, "signatlas serve"), lambda: port(8265, "Ray's dashboard"), token, mirror, replicas,
    ]  # fmt: skip
    results = [result for check in checks if (result := check()) is not None]
    return results + ([cluster(address)] if address else [])


def print_checks(checks: Sequence[Check]) -> None:
    """Print the checks as a table, and a line with their counts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colors = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        detail = Text(check.detail)
        if check.advice:
            detail.append(f"\n{check.advice}", style="dim")
        table.add_row(Text(check.state, style=colors[check.state]), check.name, detail)
    console = Console()
    console.print(table)
    states = [check.state for check in checks]
    console.print(f"{states.count('ok')} ok, {states.count('warn')} warnings, {states.count('fail')} failed")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_error(module: str) -> str | None:
    """Return why a module cannot be imported, in one line, or None; its output is dropped."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return None


def _package(name: str, module: str) -> Check:
    version = _version(name)
    if version is None:
        return Check(name, "fail", "not installed", "make setup")
    if error := _import_error(module):
        return Check(name, "fail", f"{version}, but it cannot be imported: {error}", "make setup")
    return Check(name, "ok", version)


def python() -> Check:
    version = f"{sys.version.split()[0]} ({sys.executable})"
    if (3, 11) <= sys.version_info < (3, 13):
        return Check("python", "ok", version)
    return Check("python", "fail", version, "use Python 3.11 or 3.12: make setup PYTHON=/path/to/python3.11")


def torch() -> Check:
    return _package("torch", "torch")


def gpu() -> Check | None:
    if _version("torch") is None or _import_error("torch"):
        return None
    import torch as library

    if library.cuda.is_available():
        names = [library.cuda.get_device_name(index) for index in range(library.cuda.device_count())]
        return Check("gpu", "ok", ", ".join(names))
    if shutil.which("nvidia-smi"):
        advice = "install a torch with CUDA that fits the driver (pip install torch==... from its CUDA index)"
        return Check("gpu", "warn", "a GPU driver is installed, but torch cannot use it", advice)
    return Check("gpu", "ok", "none; training and search run on the CPU")


def deepspeed() -> Check:
    return _package("deepspeed", "deepspeed")


def compiler() -> Check:
    missing = [tool for tool in ("g++", "ninja") if shutil.which(tool) is None]
    if missing:
        return Check("compiler", "ok", f"no {' and '.join(missing)}: DeepSpeed runs without compiled operators")
    return Check("compiler", "ok", "g++ and ninja")


def faiss() -> Check:
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _version(name)]
    if len(installed) == 2:
        advice = "pip uninstall --yes faiss-cpu faiss-gpu; make setup EXTRA=cpu (or gpu)"
        return Check("faiss", "fail", "both faiss-cpu and faiss-gpu are installed, and they share files", advice)
    if not installed:
        return Check("faiss", "fail", "not installed", "make setup EXTRA=cpu (or gpu)")
    error = _import_error("faiss")
    if error:
        return Check("faiss", "fail", f"{installed[0]}, but it cannot be imported: {error}", "make setup")
    return Check("faiss", "ok", f"{installed[0]} {_version(installed[0])}")


def ray() -> Check:
    return _package("ray", "ray")


def protobuf() -> Check:
    version = _version("protobuf")
    if version is None:
        return Check("protobuf", "fail", "not installed", "make setup")
    if version.startswith("4."):
        return Check("protobuf", "ok", version)
    return Check("protobuf", "warn", version, "MediaPipe needs 4.25: pip install -c constraints.txt protobuf")


def cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable >= 2:
        return Check("cores", "ok", str(usable))
    return Check("cores", "warn", str(usable), "two workers would share one core: train with --workers 1")


def memory() -> Check:
    import psutil

    usage = psutil.virtual_memory()
    detail = f"{usage.available / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
    if usage.available >= 4 * GIB:
        return Check("memory", "ok", detail)
    return Check("memory", "warn", detail, "Ray and two workers need about 4 GiB: close other programs")


def shared_memory() -> Check | None:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return None
    size = shutil.disk_usage(folder).total
    if size >= 2 * GIB:
        return Check("shared memory", "ok", f"{size / GIB:.1f} GiB")
    advice = "Ray's object store uses the disk instead; in a container: docker run --shm-size=4g"
    return Check("shared memory", "warn", f"{size / GIB:.1f} GiB", advice)


def disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    state: State = "ok" if free >= 5 * GIB else "warn" if free >= GIB else "fail"
    advice = "" if state == "ok" else "checkpoints and indexes need about 5 GiB: free some, or work in another folder"
    return Check("disk", state, f"{free / GIB:.1f} GiB free in {Path.cwd()}", advice)


def port(number: int, user: str) -> Check:
    """Check that a port is free for ``user``, the program that uses it by default."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            advice = f"{user} uses it by default: stop the program that listens there, or pass --port"
            return Check(f"port {number}", "warn", "in use", advice)
    return Check(f"port {number}", "ok", f"free, for {user}")


def token() -> Check:
    """Check the Ray token: without one, anyone who reaches the dashboard can run code as its user."""
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    in_environment = bool(os.environ.get("RAY_AUTH_TOKEN"))
    exists = in_environment or path.is_file()
    generate = "ray get-auth-token --generate"
    if mode == "disabled":
        detail = "RAY_AUTH_MODE=disabled: anyone who reaches the cluster can run code on it"
        return Check("token", "warn", detail, "unset RAY_AUTH_MODE")
    if mode == "token" and not exists:
        return Check("token", "fail", f"RAY_AUTH_MODE=token, but {path} does not exist", generate)
    if not exists:
        detail = "none yet; a local Ray creates one, but 'ray start' would run without protection"
        return Check("token", "warn", detail, generate)
    if not in_environment and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and _reachable_by_others(path.parent):
        return Check("token", "warn", f"other users can read {path}", f"chmod 600 {path}")
    return Check("token", "ok", "in RAY_AUTH_TOKEN" if in_environment else str(path))


def _reachable_by_others(folder: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.parents))


def mirror() -> Check:
    path = os.environ.get("SIGNATLAS_MIRROR")
    if not path:
        return Check("mirror", "ok", "none (SIGNATLAS_MIRROR is not set): corpora are downloaded")
    if Path(path).is_dir():
        return Check("mirror", "ok", path)
    return Check("mirror", "fail", f"SIGNATLAS_MIRROR={path} does not exist", "set it to a folder, or unset it")


def replicas() -> Check | None:
    """Check that the machine has the CPUs that the replicas in serve.yaml request: without them they never start."""
    if not SERVE_CONFIG.is_file():
        return None
    import yaml

    try:
        config = yaml.safe_load(SERVE_CONFIG.read_text(encoding="utf-8"))
        required = requested_cpus(config)
    except (yaml.YAMLError, UserError) as error:
        return Check("replicas", "fail", f"{SERVE_CONFIG}: {' '.join(str(error).split())}", "correct the file")
    available = os.cpu_count() or 1
    detail = f"{SERVE_CONFIG} requests {required:g} of {available} cores"
    if required <= available:
        return Check("replicas", "ok", detail)
    advice = "they start only on a larger cluster: use fractions in ray_actor_options.num_cpus"
    return Check("replicas", "warn", detail, advice)


# What `signatlas serve` requests for a replica of each part of an application, unless serve.yaml says otherwise.
SERVICE_CPUS = {"gateway": 0.2, "encoder": 0.2, "shard": 0.1, "updater": 0.05, "translator": 0.3, "extractor": 0.5}


def requested_cpus(config: Any) -> float:
    """Return the CPUs that all replicas of a service request at least. Raises UserError if it is invalid.

    ``config`` is a serve.yaml of signatlas, or a file of `serve deploy`, where a replica requests 1 CPU by default. An
    autoscaled deployment starts with min_replicas. An index that does not say how many shards it has counts as one.
    """
    try:
        if not any("index" in part or "model" in part for part in config["applications"]):
            return sum(
                _replicas_and_cpus(deployment, 1)
                for application in config["applications"]
                for deployment in application.get("deployments") or []
            )
        cpus = _replicas_and_cpus(config.get("gateway") or {}, SERVICE_CPUS["gateway"])
        if config.get("extractor") is not None:
            cpus += _replicas_and_cpus(config["extractor"], SERVICE_CPUS["extractor"])
        for application in config["applications"]:
            if application.get("colocate"):
                continue
            parts = ("translator",) if "model" in application else ("encoder", "shard", "updater")
            for part in parts:
                count = application.get("shards") or 1 if part == "shard" else 1
                cpus += count * _replicas_and_cpus(application.get(part) or {}, SERVICE_CPUS[part])
        return cpus
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"not a valid Ray Serve configuration ({error!r})") from None


def _replicas_and_cpus(deployment: dict[str, Any], default: float) -> float:
    """Return the CPUs of all replicas of a deployment."""
    options = deployment.get("ray_actor_options") or {}
    return _replica_count(deployment) * float(options.get("num_cpus", default))


def _replica_count(deployment: dict[str, Any]) -> float:
    autoscaling = deployment.get("autoscaling_config")
    number = deployment.get("num_replicas")
    if autoscaling or number == "auto":
        return float((autoscaling or {}).get("min_replicas", 1))
    return float(1 if number is None else number)


def cluster(address: str) -> Check:
    """Check that the job server answers and runs the same Ray version."""
    from cluster.jobs import ray_version

    try:
        remote = ray_version(address)
    except UserError as error:
        return Check("cluster", "fail", str(error))
    local = _version("ray")
    if remote == local:
        return Check("cluster", "ok", f"{address} runs Ray {remote}")
    detail = f"{address} runs Ray {remote}, this machine Ray {local}"
    return Check("cluster", "warn", detail, "install the same version on both")
