"""signatlas corpus compose: continuous signing from isolated signs, or procedural signs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared import Address, Overwrite, check_output, corpus_summary, status

KINDS = "procedural, multi-composed, phoenix-composed or sentences"


def compose(
    kind: Annotated[str, typer.Option(help=f"Kind of corpus: {KINDS}.")],
    out: Annotated[str | None, typer.Option(help="Corpus folder or URI to create (default: data/KIND).")] = None,
    lexicon: Annotated[str, typer.Option(help="Corpus of isolated signs to compose from.")] = "data/dgs",
    sentences: Annotated[
        Path | None,
        typer.Option(help="Folder of PHOENIX-2014T, or JSONL of id, split, glosses, texts (and frames)."),
    ] = None,
    signers: Annotated[int | None, typer.Option(min=3, help="Synthetic signers (default: 24; procedural: 6).")] = None,
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same corpus.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes.")] = 2,
    signs: Annotated[int, typer.Option(help="procedural: number of signs.")] = 30,
    takes: Annotated[int, typer.Option(help="procedural: recordings of each sign by each signer.")] = 3,
    address: Address = None,
    overwrite: Overwrite = False,
) -> None:
    """Compose continuous signing from real isolated signs, or (procedural) computed signs for machines without data.

    The result is synthetic and marked as such; it must not be used to learn signing.

    Example: signatlas corpus compose --kind multi-composed --lexicon data/dgs --out data/multi-composed
    """
    out = (out or f"data/{kind}").rstrip("/")
    if "://" not in out:
        check_output(Path(out), overwrite)
    if kind == "procedural":
        _procedural(out, signs, signers or 6, takes, seed, overwrite)
        return
    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.synthetic.composition.corpora import plan
    from trainers.pipelines.compose import compose as compose_corpus

    with status("reading the lexicon") as show:
        composition = plan(
            kind,
            Corpus.open(lexicon),
            sentences=sentences,
            name=out.rsplit("/", 1)[-1],
            signers=signers or 24,
            seed=seed,
        )
        show("starting Ray Data")
        total = len(composition.sentences)
        with connected(address, worker_logs=False):
            corpus = compose_corpus(
                composition,
                out,
                workers=workers,
                overwrite=overwrite,
                progress=lambda done: show(f"{done:,} of {total:,} sentences composed"),
            )
    print(f"created {corpus_summary(corpus)}")
    if composition.unsigned:
        print(f"skipped {len(composition.unsigned)} sentences without a gloss: {', '.join(composition.unsigned)}")
    print(f"{corpus.info.made['notice']}; license: {corpus.info.license}")


def _procedural(out: str, signs: int, signers: int, takes: int, seed: int, overwrite: bool) -> None:
    from signatlas.corpus.format import write_corpus
    from signatlas.synthetic.procedural import compose as compose_procedural

    info, clips = compose_procedural(signs, signers, takes, seed)
    corpus = write_corpus(out, info, clips, overwrite=overwrite)
    print(f"created {corpus_summary(corpus)}; procedural, not real signing")
