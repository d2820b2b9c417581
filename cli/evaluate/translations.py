"""signatlas evaluate on a translator: translate, score beside controls, write and print."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from signatlas.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from signatlas.corpus.format import Corpus
    from signatlas.evaluation.translations.decoding import Batch, Decoded, Decoder, Parts, Work
    from signatlas.evaluation.translations.scoring import Judged, TranslationSet
    from signatlas.models.translator.translator import Translator

MODEL_TYPE = "signatlas.translator"  # that of models.translator, which takes seconds to import
Beams = Annotated[int | None, typer.Option(min=1, help="Translations: beams of the search. [8]")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Translations: pieces of a text at most. [60]")]
LengthPenalty = Annotated[float | None, typer.Option(help="Translations: above 1 for longer texts. [1]")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Translations: actors; 0: this process, without Ray. [all of the cluster]")
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Translations: clips decoded together. [32]")]
Frames = Annotated[Path | None, typer.Option(help="Translations from video: its folder. [that of the training]")]
MaxGlosses = Annotated[
    int | None, typer.Option(min=0, help="Translations: leave out longer clips; 0: none. [as in training]")
]


class Options(NamedTuple):
    """What belongs to translations alone; None: not given."""

    beams: int | None = None
    max_new_tokens: int | None = None
    length_penalty: float | None = None
    workers: int | None = None
    batch_size: int | None = None
    frames: Path | None = None
    max_glosses: int | None = None

    def given(self) -> dict[str, bool]:
        """By the name of each option, whether it was given."""
        return {f"--{name.replace('_', '-')}": value is not None for name, value in self._asdict().items()}

    def changed(self) -> str:
        """What changes the texts, for the name of a folder; "all" where nothing does."""
        names = ("beams", "max_new_tokens", "length_penalty", "max_glosses")
        given = [f"{name} {getattr(self, name):g}" for name in names if getattr(self, name) is not None]
        return " ".join(given) or "all"


def evaluate_translations(
    model: str,
    corpus: str,
    *,
    features: Path | None,
    split: str,
    options: Options,
    out: Path | None,
    json: bool,
    seed: int,
) -> None:
    """Translate the split on all workers, judge it beside two controls, write the folder and print its tables."""
    from cli.evaluate.command import default_folder
    from signatlas.corpus.format import Corpus
    from signatlas.evaluation.signs import report
    from signatlas.evaluation.translations import report as reports
    from signatlas.evaluation.translations.decoding import Decoder
    from signatlas.evaluation.translations.scoring import bootstrap, judged

    opened = Corpus.open(corpus)
    opened.split(split)  # says which splits there are
    work = work_of(model, opened, split, features, options)
    decoder = Decoder(work)
    asked, unusable = asked_of(decoder, opened, split, options)
    target = report.check_target(out or default_folder(model, opened, reports.PROTOCOL, split, options.changed()))
    started = time.monotonic()
    texts, vectors = translated(decoder, asked, target, options)
    seconds = time.monotonic() - started
    told, beside, told_of = controls(asked, texts, vectors)
    found = judged(asked, told)
    document = document_of(decoder, opened, asked, found, split, seed) | {
        "controls": told_of, "seconds": round(seconds, 1), "bootstrap": bootstrap(found, seed=seed),
    }  # fmt: skip
    document["notes"] += [f"note: left out {unusable} clips that there are no inputs of"] if unusable else []
    reports.write(target, document, found, beside)
    parts_of(decoder, target).remove()
    if json:
        print((target / "report.json").read_text("utf-8"), end="")
        return
    _print(document, target)


def work_of(model: str, corpus: Corpus, split: str, features: Path | None, options: Options) -> Work:
    """What each worker needs. Inputs are those named, else those of the model's training."""
    from signatlas.evaluation.translations.decoding import Decoding, Work
    from signatlas.models import folder

    record = folder.read_config(folder.locate(model)).get("record", {})
    named = {name: getattr(options, name) for name in ("beams", "max_new_tokens", "length_penalty")}
    decoding = Decoding(**{name: value for name, value in named.items() if value is not None})
    splits = tuple(dict.fromkeys(name for name in (split, "train") if name in corpus.info.counts))
    given = {"features": features, "frames": options.frames}
    places = {name: str(place) if place else record.get(name) for name, place in given.items()}
    return Work(model, corpus.path, splits, places["features"], places["frames"], decoding)


def asked_of(decoder: Decoder, corpus: Corpus, split: str, options: Options) -> tuple[TranslationSet, int]:
    """The clips that take part, and how many of the split there are no inputs of."""
    from signatlas.evaluation.translations.scoring import translation_set

    record = decoder.model.record
    most = record.get("max_glosses") if options.max_glosses is None else options.max_glosses or None
    rows = corpus.metadata()
    known = [row for row in rows if row["id"] in decoder.inputs]
    lost = sum(row["split"] == split for row in rows) - sum(row["split"] == split for row in known)
    language = decoder.model.language_code
    own = record.get("corpus_fingerprint") == corpus.info.fingerprint
    limit = record.get("limit") if own else None
    return translation_set(known, split, language, corpus.path, max_glosses=most, limit=limit), lost


def parts_of(decoder: Decoder, target: Path) -> Parts:
    """Where answers are kept until the evaluation is whole."""
    from signatlas.evaluation.translations.decoding import Parts
    from signatlas.files import sha256_bytes
    from signatlas.models import folder

    weights = folder.locate(decoder.work.model) / folder.WEIGHTS
    key = {"weights": sha256_bytes(weights.read_bytes()), "inputs": decoder.inputs.fingerprint}
    return Parts(target, key | asdict(decoder.work.decoding) | {"corpus": decoder.work.corpus})


def translated(
    decoder: Decoder, asked: TranslationSet, target: Path, options: Options
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Texts by clip, and vectors by clip; what a stopped run left is not done again."""
    from cli.shared import bars
    from signatlas.evaluation.translations.decoding import batches, gathered

    others = sorted(set(asked.train_ids) - set(asked.ids))
    wanted = batches(decoder.lengths(), asked.ids, others, options.batch_size or 32)
    parts = parts_of(decoder, target)
    missing = parts.missing(wanted)
    if len(missing) < len(wanted):
        print(f"going on: {len(wanted) - len(missing)} of {len(wanted)} batches are there", file=sys.stderr)
    with bars() as progress:
        line = progress.add_task("clips", total=sum(len(batch.ids) for batch in missing))
        for batch, answer in _answers(decoder, missing, options.workers):
            parts.keep(batch, answer)
            progress.advance(line, len(batch.ids))
    return gathered(wanted, parts)


def _answers(decoder: Decoder, wanted: Sequence[Batch], workers: int | None) -> Iterator[tuple[Batch, Decoded]]:
    """On all workers with Ray Data, or here."""
    from signatlas.evaluation.translations.decoding import here
    from trainers.pipelines.translate import spread

    if workers == 0 or not wanted:
        return here(decoder.work, wanted, decoder)
    return spread(decoder.work, wanted, workers)


def controls(
    asked: TranslationSet, texts: Mapping[str, str], vectors: Mapping[str, np.ndarray]
) -> tuple[dict[str, list[str]], list[dict[str, Any]], dict[str, Any]]:
    """Texts by system; what to keep beside each clip's; what the controls are. Raises ModelError."""
    import numpy as np

    from signatlas.evaluation.translations.scoring import FREQUENT, MODEL, NEAREST, most_frequent, nearest

    told = {MODEL: [texts[id] for id in asked.ids]}
    if not asked.train_ids:
        raise ModelError("the corpus has no training texts to compare translations with: choose another --corpus")
    queries, gallery = (np.stack([vectors[id] for id in ids]) for ids in (asked.ids, asked.train_ids))
    places = {id: place for place, id in enumerate(asked.train_ids)}
    own = [places.get(id) for id in asked.ids]  # of --split train: a clip must not answer for itself
    if len(gallery) == 1 and own != [None] * len(own):
        raise ModelError("a single training clip has no other to be nearest to: choose another --split")
    found, cosine = nearest(queries, gallery, own)
    told[NEAREST] = [asked.train_texts[place] for place in found]
    often, count = most_frequent(asked.train_texts)
    told[FREQUENT] = [often] * len(asked.ids)
    pairs = zip(found.tolist(), cosine.tolist(), strict=True)
    beside = [{"nearest_id": asked.train_ids[place], "nearest_cosine": round(value, 6)} for place, value in pairs]
    return told, beside, {FREQUENT: {"text": often, "count": count, "of": len(asked.train_texts)}}


def document_of(
    decoder: Decoder, corpus: Corpus, asked: TranslationSet, found: Judged, split: str, seed: int
) -> dict[str, Any]:
    """report.json, but for what is measured outside."""
    from cli.evaluate.command import describe_corpus, describe_model
    from signatlas.evaluation.translations.report import PROTOCOL
    from signatlas.metrics.translation import signatures

    work = decoder.work
    return {
        "protocol": PROTOCOL,
        "split": split,
        "language": asked.language,
        "seed": seed,
        "notes": notes(decoder.model, corpus, asked, decoder.inputs.fingerprint),
        "corpus": describe_corpus(corpus),
        "inputs": {"features": work.features, "frames": work.frames, "fingerprint": decoder.inputs.fingerprint},
        "model": describe_model(work.model, decoder.model),
        "settings": asdict(work.decoding),
        "clips": len(asked.ids),
        "training_clips": len(asked.train_ids),
        "left_out": asked.left_out,
        "signature": signatures(asked.language),
        "results": found.results(),
        "texts": found.described(),
    }


def notes(model: Translator, corpus: Corpus, asked: TranslationSet, inputs: str) -> list[str]:
    """What a reader of the figures must know."""
    from cli.evaluate.command import notes as general

    record = model.record
    found = general(record, corpus, "translation")
    made = record.get("inputs_fingerprint")
    if made and made != inputs and record.get("corpus_fingerprint") == corpus.info.fingerprint:
        found.append("note: these are not the inputs that the model was trained on")
    if asked.left_out:
        found.append(f"note: left out {asked.left_out} clips without a text, or with more glosses than were asked for")
    if unknown := model.vocabulary.unknown_rate(asked.references):
        found.append(f"note: {unknown:.2%} of the pieces of the references are not in the model's vocabulary")
    return found


def _print(document: dict[str, Any], target: Path) -> None:
    from rich.console import Console

    from signatlas.evaluation.signs import report
    from signatlas.evaluation.translations import report as reports

    console = Console(highlight=False)
    console.print("\n".join([*report.summary(document), *reports.lines(document)]), markup=False)
    for sheet in reports.sheets(document):
        console.print(reports.table(sheet))
    console.print(f"written to {target}: report.md has examples to read", markup=False)
