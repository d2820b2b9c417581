"""signatlas demo: the whole way as a user would go it, each step a signatlas command, the last one over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from signatlas.errors import UserError

FLOOR = 0.85  # of R@1 among the 30 words on real recordings
SHOWN = 12
PROCEDURAL = (
    "PROCEDURAL SIGNS: no source of real recordings was reached, so the signs below are computed. "
    "Nothing here is a result on real signing."
)


@dataclass(frozen=True)
class Plan:
    """What the demo runs on: real recordings, or signs that it computes."""

    name: str
    corpus: str
    recipe: str
    real: bool
    settings: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


REAL = Plan("demo", "data/dgs", "recipes/dgs_gesture.yaml", True, ("optimizer.epochs=30",), ("--source", "webcam"))
COMPUTED = Plan("demo-procedural", "data/procedural", "recipes/procedural.yaml", False)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="leave the service running until Ctrl-C")] = False,
    mirror: Annotated[
        str | None, typer.Option(help="folder that mirrors the public sources", envvar="SIGNATLAS_MIRROR")
    ] = None,
    port: Annotated[int | None, typer.Option(help="port of the service; a free one by default")] = None,
) -> None:
    """The whole way: data, training with two workers, evaluation, index in two shards, service, search over HTTP.

    On a machine without the recordings it runs on computed (procedural) signs and says so.

    Example: signatlas demo --mirror ../mirror --keep
    """
    started = time.monotonic()
    if not Path(REAL.recipe).exists():
        raise UserError("the demo runs in a checkout of signatlas: change into its folder first")
    if port is not None:
        require_free(port)
    plan = data(mirror)
    run, index = f"runs/{plan.name}", f"indexes/{plan.name}"
    step("train", "two Ray Train workers with DeepSpeed")
    overrides = [part for setting in plan.settings for part in ("--set", setting)]
    signatlas("train", plan.recipe, "--name", plan.name, "--workers", "2", "--fresh", *overrides)
    step("evaluate", "held-out against training recordings" if plan.real else "written to a file, being no result")
    evaluate = (
        "evaluate",
        f"{run}/model",
        "--corpus",
        plan.corpus,
        "--protocol",
        "closed",
        "--out",
        f"{run}/evaluation",
    )
    signatlas(*evaluate, silent=not plan.real)
    step("index", "two shards, embedded with Ray Data")
    shutil.rmtree(index, ignore_errors=True)  # the demo's own; versions of earlier demos would pile up
    where = ("--split", "train", *plan.source)
    signatlas("index", "build", f"{run}/model", plan.corpus, "--out", index, "--shards", "2", *where)
    step("serve", "Ray Serve: encoder, two shards, router")
    with service(index, port) as url:
        right, total = search(plan, url)
        minutes = (time.monotonic() - started) / 60
        if keep:
            print(f"\nThe service is running at {url} (pages: {url}/ and {url}/docs); Ctrl-C ends it.", flush=True)
            _wait_for_ctrl_c()
    finish(plan, right / total, total, minutes)


def step(name: str, what: str) -> None:
    print(f"\n== {name}: {what}", flush=True)


def signatlas(*arguments: str, silent: bool = False) -> None:
    """Run one command as a user would; its failure ends the demo."""
    print("$ signatlas " + " ".join(arguments), flush=True)
    out = subprocess.DEVNULL if silent else None
    code = subprocess.run([sys.executable, "-m", "cli", *arguments], check=False, stdout=out).returncode
    if code:
        raise UserError(f"'signatlas {arguments[0]}' ended with exit code {code}; its own message stands above")


def data(mirror: str | None) -> Plan:
    """Fetch the real recordings, or find them fetched; where no source answers, compose procedural signs.

    A mirror that was named must hold, and a source that answers must deliver: nothing falls back in silence.
    """
    from signatlas.corpus.sources import dgs

    if mirror or Path(REAL.corpus).exists() or reachable(dgs.URL):
        step("data", "webcam recordings of 30 words and 3,012 dictionary entries of German Sign Language (gsg)")
        signatlas("corpus", "fetch", "dgs", "--out", REAL.corpus, *(["--mirror", mirror] if mirror else []))
        return REAL
    print(PROCEDURAL, flush=True)
    print(f"To run on real recordings: a network that reaches {dgs.URL}, or SIGNATLAS_MIRROR=<folder>.", flush=True)
    step("data", "procedural signs of synthetic signers")
    signatlas("corpus", "compose", "--kind", "procedural", "--out", COMPUTED.corpus, "--overwrite")
    return COMPUTED


def reachable(url: str, seconds: float = 15) -> bool:
    """Whether ``url`` answers at all within ``seconds``, names and redirects included."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            answers.append(True)
        except OSError:
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


def require_free(port: int) -> None:
    """Raise UserError when something listens on the port already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"port {port} is taken: choose another --port, or leave it out")


@contextmanager
def service(index: str, port: int | None) -> Iterator[str]:
    """`signatlas serve` in its own process, ready when the block begins, gone when it ends."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "cli", "serve", "--index", index, "--port", str(port), "--num-cpus", "2"]
    print("$ signatlas " + " ".join(command[3:]), flush=True)
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 180
        while not ready(url):
            if process.poll() is not None:
                raise UserError(f"the service ended with exit code {process.returncode}; its message stands above")
            if time.monotonic() > deadline:
                raise UserError(f"the service at {url} was not ready within 3 minutes")
            time.sleep(0.5)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request as any client would send it, with the key where the service asks for one. Raises UserError."""
    key = os.environ.get("SIGNATLAS_API_KEY")
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            result: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url} answered {error.code}: {error.read().decode(errors='replace')[:200]}") from error
    return result


def search(plan: Plan, url: str) -> tuple[int, int]:
    """Ask the service for every held-out recording; print a table; return how many found their word first, of all."""
    from signatlas.corpus import Corpus
    from signatlas.pose.serialization import to_json

    test = Corpus.open(plan.corpus).split("test")
    clips = [c for c in (test.source("webcam") if plan.real else test) if c.gloss is not None]
    kind = "held-out recordings" if plan.real else "procedural signs"
    step("search", f"{len(clips)} {kind} over HTTP")

    def ask(clip: Any) -> list[dict[str, Any]]:
        body = {"poses": to_json(clip.poses), "top_k": 50, "source": clip.source}
        if clip.width and clip.height:
            body = {"poses": to_json(clip.poses), "top_k": 50, "width": clip.width, "height": clip.height}
        hits: list[dict[str, Any]] = post(f"{url}/v1/search", body)["hits"]
        return hits

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, clips))
    _table(clips, answers, plan)
    return sum(hits[0]["gloss"] == clip.gloss for clip, hits in zip(clips, answers, strict=True)), len(clips)


def _table(clips: list[Any], answers: list[list[dict[str, Any]]], plan: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    kind = "held-out recordings (German Sign Language, gsg)" if plan.real else "procedural signs"
    table = Table(title=f"{SHOWN} of {len(clips)} queries: {kind}")
    for name in ("performed", "", "first 5 words found"):
        table.add_column(name)
    shown = sorted(range(len(clips)), key=lambda i: clips[i].id[::-1])[: 8 * SHOWN]
    words: set[str] = set()
    for i in shown:
        if clips[i].gloss in words or len(words) == SHOWN:
            continue
        words.add(clips[i].gloss)
        found = list(dict.fromkeys(hit["gloss"] for hit in answers[i]))[:5]
        right = found[0] == clips[i].gloss
        table.add_row(clips[i].gloss, "[green]yes[/]" if right else "[red]no[/]", ", ".join(found))
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def finish(plan: Plan, recall: float, total: int, minutes: float) -> None:
    """The last lines: what was found, on what; exit code 1 below the floor."""
    if not plan.real:
        print(f"\nPROCEDURAL: {recall:.3f} of {total} computed performances found their sign first, {minutes:.1f} min.")
        print(PROCEDURAL)
        return
    print("\nData: real recordings of German Sign Language (gsg): SignDict, Tachionstrahl/SignLanguageRecognition.")
    print(f"{total} held-out webcam recordings of 30 words searched over HTTP in {minutes:.1f} min since the start.")
    print(f"R@1 = {recall:.3f} (floor {FLOOR})", flush=True)
    if recall < FLOOR:
        raise typer.Exit(1)


def _wait_for_ctrl_c() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        os.write(1, b"\n")
