"""Ray jobs: submit a signatlas command, list jobs, read their logs, stop them."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.connect import TOKEN_ADVICE, ClusterError, require_listener

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
FINAL = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A submitted job; times in seconds since the epoch, None while they have not come."""

    id: str
    status: str
    command: str
    started: float | None
    ended: float | None
    message: str

    def as_dict(self) -> dict[str, str | float | None]:
        return asdict(self)


def client(address: str = DEFAULT_ADDRESS) -> JobSubmissionClient:
    """A client of the job server (the dashboard's address). Raises ClusterError when nothing answers there."""
    if "://" not in address:
        address = f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ClusterError(f"'{address}' is no job server: give its dashboard's address, such as {DEFAULT_ADDRESS}")
    require_listener(address, what="the job server", hint="is the cluster up, and its dashboard forwarded?")

    from ray.job_submission import JobSubmissionClient

    for chatty in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env"):
        logging.getLogger(chatty).setLevel(logging.ERROR)  # they tell of every ignore file that they read
    with _as_user_errors(address):
        return JobSubmissionClient(address)


def ray_version(address: str = DEFAULT_ADDRESS) -> str:
    """The cluster's version of Ray, once it has accepted our token (its version alone it tells to everyone)."""
    server = client(address)
    with _as_user_errors(address):
        server.list_jobs()
    return str(server._server_ray_version)


def submit(
    command: Sequence[str], *, address: str = DEFAULT_ADDRESS, name: str | None = None, working_dir: Path = Path()
) -> str:
    """Submit ``command`` with the code of ``working_dir`` and return the job's id. Raises ClusterError.

    .gitignore and .rayignore say what does not travel; 512 MiB at most do.
    """
    folder = working_dir.absolute()
    if not folder.is_dir():
        raise ClusterError(f"{folder} is no folder: --working-dir takes the checkout whose code the job runs")
    server = client(address)
    with _as_user_errors(address):
        identifier: str = server.submit_job(
            entrypoint=shlex.join(command),
            submission_id=name,
            runtime_env={"working_dir": str(folder), "env_vars": _environment()},
        )
    return identifier


def _environment() -> dict[str, str]:
    """What a job's process needs beyond its node's environment.

    On a node that has this interpreter's environment (this machine, or one set up alike) the job runs with it, even
    when Ray was started without activating it; elsewhere the folder does not exist and the node's python is used.
    """
    variables = {"PYTHONUNBUFFERED": "1"}
    if sys.prefix != sys.base_prefix:
        variables["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}${{PATH}}"
    return variables


def jobs(address: str = DEFAULT_ADDRESS) -> list[Job]:
    """All submitted jobs, the newest first."""
    server = client(address)
    with _as_user_errors(address):
        found = [_job(details) for details in server.list_jobs() if details.submission_id]
    return sorted(found, key=lambda job: job.started or float("inf"), reverse=True)


def job(identifier: str, address: str = DEFAULT_ADDRESS) -> Job:
    """One job. Raises ClusterError when there is none of this id."""
    server = client(address)
    with _as_user_errors(address, identifier):
        return _job(server.get_job_info(identifier))


def _job(details: object) -> Job:
    from ray.job_submission import JobDetails

    assert isinstance(details, JobDetails)
    started, ended = (None if time is None else time / 1000 for time in (details.start_time, details.end_time))
    return Job(
        id=details.submission_id or details.job_id or "",
        status=details.status.value,
        command=details.entrypoint,
        started=started,
        ended=ended,
        message=details.message or "",
    )


def log(identifier: str, address: str = DEFAULT_ADDRESS) -> str:
    """What a job has printed so far."""
    server = client(address)
    with _as_user_errors(address, identifier):
        text: str = server.get_job_logs(identifier)
    return text


def follow(identifier: str, write: Callable[[str], object], address: str = DEFAULT_ADDRESS) -> Job:
    """Hand a job's log to ``write`` as it comes, until the job ends; return the job."""
    server = client(address)

    async def tail() -> None:
        async for text in server.tail_job_logs(identifier):
            write(text)

    with _as_user_errors(address, identifier):
        server.get_job_info(identifier)
        asyncio.run(tail())
    return wait(identifier, address)


def stop(identifier: str, address: str = DEFAULT_ADDRESS, *, seconds: float = 30.0) -> Job:
    """Stop a job and wait until it has ended; one that ended before is left as it is."""
    server = client(address)
    with _as_user_errors(address, identifier):
        server.stop_job(identifier)
    return wait(identifier, address, seconds=seconds)


def wait(identifier: str, address: str = DEFAULT_ADDRESS, *, seconds: float = float("inf")) -> Job:
    """Wait until a job has ended, or ``seconds`` have passed; return it as it is then."""
    server = client(address)
    deadline = time.monotonic() + seconds
    with _as_user_errors(address, identifier):
        while True:
            current = _job(server.get_job_info(identifier))
            if current.status in FINAL or time.monotonic() >= deadline:
                return current
            time.sleep(0.5)


@contextmanager
def _as_user_errors(address: str, identifier: str | None = None) -> Iterator[None]:
    """Turn what the job server answers into one line that says what to do."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:
        raise ClusterError(f"the job server at {address} asks for a token: {TOKEN_ADVICE}") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = str(error)
        if identifier and "404" in text:
            raise ClusterError(f"no job '{identifier}' at {address}: 'signatlas jobs' lists them") from None
        if "already exists" in text:
            raise ClusterError(f"a job of this name exists at {address}: choose another --name") from None
        lines = [line for line in text.splitlines() if line.strip()]
        raise ClusterError(f"the job server at {address}: {lines[-1] if lines else type(error).__name__}") from error
