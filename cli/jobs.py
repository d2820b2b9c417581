"""The commands doctor, submit, jobs, logs and stop."""

from __future__ import annotations

import json as json_
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.connect import ClusterError

if TYPE_CHECKING:
    from cluster.jobs import Job

# Kept apart from cluster.jobs, so that --help need not import it.
Address = Annotated[
    str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's job server: its dashboard's address.")
]
JobId = Annotated[str, typer.Argument(help="The job, as 'signatlas jobs' names it.", metavar="JOB")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DEFAULT_ADDRESS = "http://127.0.0.1:8265"


def doctor(
    address: Annotated[str | None, typer.Option(help="Check the job server of a cluster, too.")] = None,
    json: AsJson = False,
) -> None:
    """Check this machine and the cluster: what is there, what is missing, what to do.

    Ends with code 1 when something is missing without which signatlas does not run.

    Example: signatlas doctor --address http://127.0.0.1:8265
    """
    from cluster import doctor as examination

    found = examination.examine(address)
    if json:
        print(json_.dumps([check.as_dict() for check in found], indent=2))
    else:
        examination.show(found)
    if any(check.state == "fail" for check in found):
        raise typer.Exit(1)


def submit(
    arguments: Annotated[
        list[str],
        typer.Argument(help="A signatlas command, after --: train recipes/dgs_gesture.yaml", metavar="COMMAND"),
    ],
    address: Address = DEFAULT_ADDRESS,
    name: Annotated[str | None, typer.Option(help="The job's id; made up when not given.")] = None,
    working_dir: Annotated[Path, typer.Option(help="The checkout whose code the job runs.")] = Path(),
    wait: Annotated[bool, typer.Option("--wait", help="Show the log until the job ends; end as it does.")] = False,
    json: AsJson = False,
) -> None:
    """Submit a signatlas command to a cluster as a Ray job.

    The folder travels with it, except what .gitignore and .rayignore name; data must be where the cluster reaches it.
    With --wait, the code is 0 when the job succeeds and 1 when not; Ctrl-C leaves the job running.

    Example: signatlas submit --name dgs-1 --wait -- train recipes/dgs_gesture.yaml --workers 4
    """
    from cli.main import COMMANDS
    from cluster import jobs as server

    if arguments[0] not in COMMANDS:
        raise ClusterError(f"'{arguments[0]}' is no signatlas command: write 'signatlas submit -- train RECIPE'")
    identifier = server.submit(["python", "-m", "cli", *arguments], address=address, name=name, working_dir=working_dir)
    if not wait:
        if json:
            print(json_.dumps({"id": identifier, "address": address}))
        else:
            print(f"submitted {identifier}; its log: signatlas logs {identifier} --follow")
        return
    stream = sys.stderr if json else sys.stdout
    job = _follow(identifier, address, stream.write)
    if json:
        print(json_.dumps(job.as_dict()))
    else:
        print(f"{job.id}: {job.status.lower()}")
    if job.status != "SUCCEEDED":
        raise typer.Exit(1)


def _follow(identifier: str, address: str, write: object) -> Job:
    from cluster import jobs as server

    def flushed(text: str) -> None:
        write(text)  # type: ignore[operator]
        sys.stdout.flush()

    try:
        return server.follow(identifier, flushed, address)
    except KeyboardInterrupt:
        print(f"\n{identifier} goes on; to stop it: signatlas stop {identifier}", file=sys.stderr)
        raise


def jobs(address: Address = DEFAULT_ADDRESS, json: AsJson = False) -> None:
    """List the jobs of a cluster, the newest first.

    Example: signatlas jobs --json
    """
    from cluster import jobs as server

    found = server.jobs(address)
    if json:
        print(json_.dumps([job.as_dict() for job in found], indent=2))
        return
    if not found:
        print(f"no jobs at {address}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("job", "status", "started", "took", "command", box=None)
    for job in found:
        table.add_row(job.id, job.status.lower(), _clock(job.started), _took(job), job.command)
    Console().print(table)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _took(job: Job) -> str:
    if job.started is None:
        return ""
    seconds = round((job.ended or time.time()) - job.started)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def logs(
    job: JobId,
    address: Address = DEFAULT_ADDRESS,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    json: AsJson = False,
) -> None:
    """Print or follow the log of a job.

    Example: signatlas logs dgs-1 --follow
    """
    from cluster import jobs as server

    if follow and json:
        raise ClusterError("--follow and --json exclude each other: a log that grows is no JSON")
    if follow:
        _follow(job, address, sys.stdout.write)
    elif json:
        print(json_.dumps({"id": job, "log": server.log(job, address)}))
    else:
        sys.stdout.write(server.log(job, address))


def stop(job: JobId, address: Address = DEFAULT_ADDRESS, json: AsJson = False) -> None:
    """Stop a job and wait until it has ended.

    Example: signatlas stop dgs-1
    """
    from cluster import jobs as server

    ended = server.stop(job, address)
    print(json_.dumps(ended.as_dict()) if json else f"{ended.id}: {ended.status.lower()}")
    if ended.status not in server.FINAL:
        raise ClusterError(f"job '{job}' has not ended within 30 s: see 'signatlas jobs'")
