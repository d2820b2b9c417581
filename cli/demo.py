"""signatlas demo: run the commands from data to service, each in its own process, and search over HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import console
from signatlas.client import Client, PosesQuery, ServiceError
from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.client.schemas import Hit
    from signatlas.corpus.format import Clip

MIN_RECALL = 0.85  # R@1 among the 30 words on real recordings
NUM_ROWS = 12
EXAMPLE = "examples/sentence_models.py"
SENTENCES_NOTICE = (
    "Small models, trained for some minutes on sentences composed of isolated signs: a demonstration, not a result."
)
PROCEDURAL_NOTICE = (
    "PROCEDURAL SIGNS: no real recordings are available, so the signs below are computed. "
    "Nothing here is a result on real signing."
)


@dataclass(frozen=True)
class Plan:
    """Corpus and recipe of the demo: real recordings, or computed signs without a network."""

    name: str
    corpus: str
    recipe: str
    real: bool
    settings: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


REAL = Plan("demo", "data/dgs", "recipes/dgs_gesture.yaml", True, ("optimizer.epochs=30",), ("--source", "webcam"))
PROCEDURAL = Plan("demo-procedural", "data/procedural", "recipes/procedural.yaml", False)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")] = False,
    mirror: Annotated[
        str | None, typer.Option(help="Folder that mirrors the public sources.", envvar="SIGNATLAS_MIRROR")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the service (default: a free one).")] = None,
) -> None:
    """Run everything end to end: data, training with two workers, evaluation, a sharded index, service, HTTP search.

    Without the real recordings it runs on computed (procedural) signs and says so.

    Example: signatlas demo --mirror ../mirror --keep
    """
    started = time.monotonic()
    if not Path(REAL.recipe).exists():
        raise UserError("the demo must run in a checkout of signatlas: change to its folder first")
    if port is not None:
        require_free_port(port)
    plan = get_data(mirror)
    run, index = f"runs/{plan.name}", f"indexes/{plan.name}"
    print_step("train", "two Ray Train workers with DeepSpeed")
    overrides = [part for setting in plan.settings for part in ("--set", setting)]
    run_command("train", plan.recipe, "--name", plan.name, "--workers", "2", "--fresh", *overrides)
    print_step("evaluate", "held-out recordings against training recordings" if plan.real else "results not shown")
    evaluation = ("--corpus", plan.corpus, "--protocol", "closed", "--out", f"{run}/evaluation")
    run_command("evaluate", f"{run}/model", *evaluation, silent=not plan.real)
    print_step("index", "two shards, embedded with Ray Data")
    shutil.rmtree(index, ignore_errors=True)  # written by this demo only; versions would accumulate
    clips = ("--split", "train", *plan.source)
    run_command("index", "build", f"{run}/model", plan.corpus, "--out", index, "--shards", "2", *clips)
    print_step("sentences", "a classifier, a dual encoder and a translator, small, on composed sentences")
    sentences = f"runs/{plan.name}-sentences"
    train_sentence_models(sentences, plan)
    print_step("serve", "Ray Serve: gateway; an encoder, shards and an updater for each index; a translator")
    with service((index, f"{sentences}/sentences"), f"{sentences}/translator", port) as url:
        correct, total = search(plan, url, Path(index).name)
        search_and_translate_sentences(url, Path(sentences))
        minutes = (time.monotonic() - started) / 60
        if keep:
            print(f"\nThe service runs at {url} (pages: {url}/ and {url}/docs); press Ctrl-C to stop it.", flush=True)
            _wait_for_ctrl_c()
    print_result(plan, correct / total, total, minutes)


def print_step(name: str, description: str) -> None:
    """Print the heading of a step."""
    print(f"\n== {name}: {description}", flush=True)


def run_command(*arguments: str, silent: bool = False) -> None:
    """Run a signatlas command in its own process. Raises UserError if it fails."""
    print("$ signatlas " + " ".join(arguments), flush=True)
    out = subprocess.DEVNULL if silent else None
    code = subprocess.run([sys.executable, "-m", "cli", *arguments], check=False, stdout=out).returncode
    if code:
        raise UserError(f"'signatlas {arguments[0]}' failed with exit code {code}; see its message above")


def train_sentence_models(folder: str, plan: Plan) -> None:
    """Run the example that composes sentences and trains on them, in its own process. Raises UserError."""
    arguments = [EXAMPLE, folder, plan.corpus, *plan.source[1:]]
    print("$ python " + " ".join(arguments), flush=True)
    # More threads would wait for each other: its models are small.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    code = subprocess.run([sys.executable, *arguments], check=False, env=environment).returncode
    if code:
        raise UserError(f"'python {EXAMPLE}' failed with exit code {code}; see its message above")


def get_data(mirror: str | None) -> Plan:
    """Fetch the real recordings; without a mirror, existing data or network, compose procedural signs.

    Falls back only when nothing answers: a given mirror, or a server that answers, must provide the data.
    """
    from signatlas.corpus.sources.fetch import load_source

    _, download = load_source("dgs")
    if mirror or Path(REAL.corpus).exists() or is_reachable(download.url):
        print_step("data", "webcam recordings of 30 words and 3,012 dictionary entries of German Sign Language (gsg)")
        run_command("corpus", "fetch", "dgs", "--out", REAL.corpus, *(["--mirror", mirror] if mirror else []))
        return REAL
    print(PROCEDURAL_NOTICE, flush=True)
    print(f"For real recordings, connect to {download.url}, or set SIGNATLAS_MIRROR=FOLDER.", flush=True)
    print_step("data", "procedural signs of synthetic signers")
    run_command("corpus", "compose", "--kind", "procedural", "--out", PROCEDURAL.corpus, "--overwrite")
    return PROCEDURAL


def is_reachable(url: str, seconds: float = 15) -> bool:
    """Return whether ``url`` answers within ``seconds``, including name resolution and redirects."""
    answers: list[bool] = []

    def request() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            answers.append(True)
        except OSError:
            answers.append(False)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


def require_free_port(port: int) -> None:
    """Raise UserError if a process listens on the port."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"port {port} is in use: choose another --port, or leave it out")


@contextmanager
def service(indexes: tuple[str, ...], translator: str, port: int | None) -> Iterator[str]:
    """Run `signatlas serve` in its own process; yield its URL when it is ready, and stop it after the block."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    parts = [part for index in indexes for part in ("--index", index)] + ["--model", translator]
    parts += ["--port", str(port), "--num-cpus", "2", "--allow-anonymous"]
    command = [sys.executable, "-m", "cli", "serve", *parts]
    print("$ signatlas " + " ".join(command[3:]), flush=True)
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 180
        while not _is_ready(url):
            if process.poll() is not None:
                raise UserError(f"the service exited with code {process.returncode}; see its message above")
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


def _is_ready(url: str) -> bool:
    with Client(url, timeout_s=5) as client, suppress(ServiceError):
        return client.ready()
    return False


def search(plan: Plan, url: str, index: str) -> tuple[int, int]:
    """Search every held-out recording and print a table; return the numbers of correct first results and of queries."""
    from signatlas.corpus import Corpus

    test = Corpus.open(plan.corpus).split("test")
    clips = [c for c in (test.source("webcam") if plan.real else test) if c.gloss is not None]
    print_step("search", f"{len(clips)} {'held-out recordings' if plan.real else 'procedural signs'} over HTTP")

    with Client(url) as client, ThreadPoolExecutor(4) as pool:

        def hits(clip: Clip) -> list[Hit]:
            query = PosesQuery(clip.poses, clip.width or None, clip.height or None, clip.source)
            return client.search(query, index=index, k=50).hits

        answers = list(pool.map(hits, clips))
    _print_table(clips, answers, plan)
    return sum(hits[0].gloss == clip.gloss for clip, hits in zip(clips, answers, strict=True)), len(clips)


def search_and_translate_sentences(url: str, folder: Path) -> None:
    """Search the composed test clips by all their texts and translate the first clip, over HTTP; print the answers."""
    from signatlas.corpus import Corpus

    clips = list(Corpus.open(str(folder / "corpus")).split("test"))
    print_step("search by text", f"{len(clips)} sentences of composed signing over HTTP; the first five:")
    with Client(url) as client:
        answers = [client.search_text(clip.texts[0][1], "de", index="sentences", k=3).hits for clip in clips]
        right = [hits[0].id == clip.id for clip, hits in zip(clips, answers, strict=True)]
        for clip, hits, found in list(zip(clips, answers, right, strict=True))[:5]:
            texts = " | ".join(hit.texts[0].text for hit in hits)
            print(f"{'yes' if found else 'no ':3}  {clip.texts[0][1]}  ->  {texts}")
        recall, chance = sum(right) / len(clips), 1 / len(clips)
        print(f"text to clip: {sum(right)} of {len(clips)} first ({recall:.3f}; by chance {chance:.3f})")
        print_step("translate", f"the composed clip {clips[0].id} over HTTP")
        query = PosesQuery(clips[0].poses, clips[0].width, clips[0].height, clips[0].source, fps=clips[0].fps)
        print(f"translation: {client.translate(query, num_beams=4).result.texts[0]}")
    print(f"reference:   {clips[0].texts[0][1]}\n{SENTENCES_NOTICE}", flush=True)


def _print_table(clips: list[Clip], answers: list[list[Hit]], plan: Plan) -> None:
    from rich.table import Table
    from rich.text import Text

    kind = "held-out recordings (German Sign Language, gsg)" if plan.real else "procedural signs"
    table = Table(title=f"{NUM_ROWS} of {len(clips)} queries: {kind}")
    for name in ("performed sign", "", "first 5 words found"):
        table.add_column(name)
    order = sorted(range(len(clips)), key=lambda i: clips[i].id[::-1])[: 8 * NUM_ROWS]
    glosses: set[str] = set()
    for i in order:
        gloss = str(clips[i].gloss)
        if gloss in glosses or len(glosses) == NUM_ROWS:
            continue
        glosses.add(gloss)
        words = list(dict.fromkeys(str(hit.gloss) for hit in answers[i]))[:5]
        mark = Text("yes", "green") if words[0] == gloss else Text("no", "red")
        table.add_row(gloss, mark, ", ".join(words))
    console(width=None if sys.stdout.isatty() else 100).print(table)


def print_result(plan: Plan, recall: float, total: int, minutes: float) -> None:
    """Print recall and data of the demo; exit with code 1 if R@1 is below its minimum."""
    if not plan.real:
        print(f"\nPROCEDURAL: R@1 of {total} computed recordings is {recall:.3f}; {minutes:.1f} min.")
        print(PROCEDURAL_NOTICE)
        return
    print("\nData: real recordings of German Sign Language (gsg): SignDict, Tachionstrahl/SignLanguageRecognition.")
    print(f"{total} held-out webcam recordings of 30 words searched over HTTP, {minutes:.1f} min after the start.")
    print(f"R@1 = {recall:.3f} (minimum {MIN_RECALL})", flush=True)
    if recall < MIN_RECALL:
        raise typer.Exit(1)


def _wait_for_ctrl_c() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        os.write(1, b"\n")
