"""signatlas corpus compose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared import refuse_existing

KINDS = "procedural, multi-composed, phoenix-composed or sentences"


def compose(
    kind: Annotated[str, typer.Option(help=f"What to compose: {KINDS}.")],
    out: Annotated[str | None, typer.Option(help="Corpus folder or URI to make; data/KIND by default.")] = None,
    lexicon: Annotated[str, typer.Option(help="Corpus of isolated recordings that gives the signs.")] = "data/dgs",
    sentences: Annotated[
        Path | None, typer.Option(help="PHOENIX-2014T annotations, or a JSONL of id, split, glosses, texts, frames?.")
    ] = None,
    signers: Annotated[int | None, typer.Option(min=3, help="Synthetic signers [24; procedural: 6].")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compose.")] = 2,
    signs: Annotated[int, typer.Option(help="procedural: number of signs.")] = 30,
    takes: Annotated[int, typer.Option(help="procedural: performances of each sign by each signer.")] = 3,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")] = False,
) -> None:
    """Compose continuous signing from real isolated signs, or (procedural) made-up signs for machines without data.

    What comes out is synthetic and says so: it is not for learning to sign.

    Example: signatlas corpus compose --kind multi-composed --lexicon data/dgs --out data/multi-composed
    """
    out = (out or f"data/{kind}").rstrip("/")
    if "://" not in out:
        refuse_existing(Path(out), overwrite)
    if kind == "procedural":
        _procedural(out, signs, signers or 6, takes, seed, overwrite)
        return
    from rich.console import Console

    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.synthetic.composition.corpora import plan
    from trainers.pipelines.compose import compose as compose_corpus

    console = Console(stderr=True)
    with console.status("reading the lexicon") as status:
        planned = plan(
            kind,
            Corpus.open(lexicon),
            sentences=sentences,
            name=out.rsplit("/", 1)[-1],
            signers=signers or 24,
            seed=seed,
        )
        status.update("starting Ray Data")
        total = len(planned.sentences)
        with connected(address, worker_logs=False):
            corpus = compose_corpus(
                planned,
                out,
                workers=workers,
                overwrite=overwrite,
                progress=lambda done: status.update(f"{done:,} of {total:,} sentences composed"),
            )
    counts = ", ".join(f"{split} {number}" for split, number in corpus.info.counts.items())
    print(f"made {corpus.path}: {len(corpus)} clips ({counts}), fingerprint {corpus.info.fingerprint[:12]}")
    if planned.unsigned:
        print(f"left out {len(planned.unsigned)} sentences without a gloss: {', '.join(planned.unsigned)}")
    print(f"{corpus.info.made['notice']}; license: {corpus.info.license}")


def _procedural(out: str, signs: int, signers: int, takes: int, seed: int, overwrite: bool) -> None:
    from signatlas.corpus.format import write_corpus
    from signatlas.synthetic.procedural import compose as compose_procedural

    info, clips = compose_procedural(signs, signers, takes, seed)
    corpus = write_corpus(out, info, clips, overwrite=overwrite)
    counts = ", ".join(f"{split} {number}" for split, number in corpus.info.counts.items())
    print(f"made {corpus.path}: {len(corpus)} clips ({counts}), fingerprint {corpus.info.fingerprint[:12]}; "
          "procedural, not real signing")  # fmt: skip
