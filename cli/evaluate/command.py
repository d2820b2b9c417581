"""signatlas evaluate: rank or translate a corpus with a model and write down how well it went."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.evaluate.translations import (
    BatchSize,
    Beams,
    Frames,
    LengthPenalty,
    MaxGlosses,
    MaxNewTokens,
    Options,
    Workers,
)
from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.corpus.format import Clip, Corpus
    from signatlas.evaluation.signs.suites import Outcome, Suite
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.models.sign_encoder import SignEncoder
    from signatlas.models.translator.translator import Translator


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder or Hub name.")],
    corpus: Annotated[str, typer.Option(help="Corpus folder or URI.")],
    protocol: Annotated[str | None, typer.Option(help="closed, open, one-shot or unseen.")] = None,
    split: Annotated[str, typer.Option(help="Split of the queries.")] = "test",
    words: Annotated[str, typer.Option(help="one-shot: all shared words, the dev ones or the other ones.")] = "all",
    adjust: Annotated[
        list[str] | None, typer.Option(help="one-shot: none, center, csls, inverted-softmax; may be repeated.")
    ] = None,
    gallery: Annotated[
        str | None, typer.Option(help="Instead of a protocol: filter such as source=dictionary.")
    ] = None,
    queries: Annotated[str | None, typer.Option(help="Instead of a protocol: filter such as split=dev|test.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results, by default runs/evaluations/MODEL/....")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Sentences: folder of clip features. [that of the model's training]")
    ] = None,
    languages: Annotated[
        list[str] | None, typer.Option(help="Sentences: languages of the texts, such as de,en; may be repeated.")
    ] = None,
    pictures: Annotated[
        int, typer.Option(help="Draw nearest neighbors of this many queries, right and wrong; sentences: recall.png.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    beams: Beams = None,
    max_new_tokens: MaxNewTokens = None,
    length_penalty: LengthPenalty = None,
    workers: Workers = None,
    batch_size: BatchSize = None,
    frames: Frames = None,
    max_glosses: MaxGlosses = None,
) -> None:
    """Evaluate a model on a corpus: retrieval or translation, with intervals and controls beside, all on disk.

    A sign encoder needs a protocol. A dual encoder finds sentences by text and texts by video, a translator writes
    what is signed: both need none.

    Example: signatlas evaluate runs/dgs_gesture/model --corpus data/dgs --protocol closed

    Example: signatlas evaluate runs/scl_slt/model --corpus data/multi-composed --beams 8
    """
    from cli.evaluate import translations as translations
    from signatlas.models import folder
    from signatlas.models.dual_encoder import encoder as dual_encoder

    of_signs = {
        "--protocol": protocol, "--words": words != "all", "--adjust": adjust, "--gallery": gallery,
        "--queries": queries,
    }  # fmt: skip
    options = Options(beams, max_new_tokens, length_penalty, workers, batch_size, frames, max_glosses)
    kind = folder.read_config(folder.locate(model)).get("model_type")
    if kind == translations.MODEL_TYPE:
        given = {**of_signs, "--languages": languages, "--pictures": pictures}
        _refuse(given, f"is not for translators, and {model} is one: leave it out")
        translations.evaluate_translations(
            model, corpus, features=features, split=split, options=options, out=out, json=json, seed=seed
        )
        return
    _refuse(options.given(), f"is for translators, and {model} is none: leave it out")
    if kind == dual_encoder.MODEL_TYPE:
        from cli.evaluate.sentences import evaluate_sentences

        _refuse(of_signs, f"is for sign encoders, and {model} is a dual encoder: leave it out")
        evaluate_sentences(
            model, corpus, features=features, split=split, languages=_codes(languages), out=out,
            pictures=pictures > 0, json=json, seed=seed,
        )  # fmt: skip
        return
    of_sentences = {"--features": features, "--languages": languages}
    _refuse(of_sentences, f"is for dual encoders of sentences, and {model} is a sign encoder: leave it out")
    _evaluate_signs(model, corpus, protocol, split, words, adjust, gallery, queries, out, pictures, json, seed)


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise UserError for the first option that was given and has no meaning here."""
    for name, given in options.items():
        if given:
            raise UserError(f"{name} {reason}")


def _codes(languages: list[str] | None) -> list[str]:
    """Language codes, one an option or several, separated by commas or spaces."""
    return [code for given in languages or () for code in given.replace(",", " ").split()]


def _evaluate_signs(
    model: str,
    corpus: str,
    protocol: str | None,
    split: str,
    words: str,
    adjust: list[str] | None,
    gallery: str | None,
    queries: str | None,
    out: Path | None,
    pictures: int,
    json: bool,
    seed: int,
) -> None:
    """A sign encoder under a protocol, or on two parts of a corpus."""
    from rich.console import Console

    from signatlas.corpus.format import Corpus
    from signatlas.evaluation.signs import report
    from signatlas.evaluation.signs.suites import Suite
    from signatlas.models.sign_encoder import SignEncoder

    if (protocol is None) == (gallery is None and queries is None):
        raise UserError("choose either --protocol closed|open|one-shot|unseen or both --gallery and --queries")
    opened = Corpus.open(corpus)
    encoder = SignEncoder.from_pretrained(model)
    name = protocol or "custom"
    target = report.check_target(out or default_folder(model, opened, name, split, words))
    if protocol is None:
        if gallery is None or queries is None:
            raise UserError("--gallery and --queries go together")
        outcomes, baselines = _custom(encoder, opened, gallery, queries)
    else:
        suite = Suite(protocol, split, words, tuple(adjust or ["none"]), words_never_seen(encoder.record))
        outcomes, baselines = _suite(encoder, opened, suite)
    nearest = {outcome.setting: outcome for outcome in baselines}
    document: dict[str, Any] = {
        "protocol": name,
        "split": split if protocol else f"queries {queries}, gallery {gallery}",
        "seed": seed,
        "notes": notes(encoder.record, opened, name),
        "corpus": describe_corpus(opened),
        "model": describe_model(model, encoder),
        "results": [
            report.result_of(outcome, nearest.get(outcome.setting), seed) | {"synthetic": opened.info.synthetic}
            for outcome in outcomes
        ],
    }
    report.write(target, document, outcomes)
    if pictures:
        draw_neighbors(opened, outcomes[0], target, pictures)
    if json:
        print((target / "report.json").read_text("utf-8"), end="")
        return
    console = Console(highlight=False)
    console.print("\n".join(report.summary(document)), markup=False)
    for result in document["results"]:
        console.print(report.table(result))
    console.print(f"written to {target}", markup=False)


def _suite(encoder: SignEncoder, corpus: Corpus, suite: Suite) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes of the model and of the 1-NN baseline."""
    from dataclasses import replace

    from signatlas.evaluation.signs.baseline import keypoint_space
    from signatlas.evaluation.signs.space import embed

    if suite.split not in corpus.info.counts:
        corpus.split(suite.split)  # says which splits there are
    part = corpus.where(suite.reads(corpus.metadata()))
    space = embed(encoder, _shown(part, "embedding"), mirror=suite.mirrors)
    keypoints = keypoint_space(_shown(part, "1-NN baseline"), mirror=suite.mirrors, aspect=encoder.config.aspect)
    return suite.run(space), replace(suite, adjustments=("none",)).run(keypoints)


def _custom(encoder: SignEncoder, corpus: Corpus, gallery: str, queries: str) -> tuple[list[Outcome], list[Outcome]]:
    """Any two parts of a corpus, by filters."""
    from signatlas.evaluation.signs.baseline import keypoint_space
    from signatlas.evaluation.signs.protocols import rank
    from signatlas.evaluation.signs.space import Space, embed, parse_filter
    from signatlas.evaluation.signs.suites import Outcome

    wanted, asked = parse_filter(gallery), parse_filter(queries)
    part = corpus.where(lambda row: wanted(row) or asked(row))

    def outcome(space: Space) -> list[Outcome]:
        return [Outcome(f"{queries} in {gallery}", "none", rank(space.where(asked), space.where(wanted)))]

    space = embed(encoder, _shown(part, "embedding"))
    return outcome(space), outcome(keypoint_space(_shown(part, "1-NN baseline"), aspect=encoder.config.aspect))


def _shown(corpus: Corpus, what: str) -> Iterator[Clip]:
    """The clips, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import track

    console = Console(file=sys.stderr)
    hidden = not console.is_terminal
    yield from track(iter(corpus), what, len(corpus), console=console, transient=True, disable=hidden)


def words_never_seen(record: dict[str, Any]) -> frozenset[str]:
    """The glosses that training left out, as the model's record says."""
    return frozenset(record.get("excluded_glosses", ()))


def notes(record: dict[str, Any], corpus: Corpus, protocol: str) -> list[str]:
    """What a reader of the figures must know."""
    from signatlas.corpus import composed

    found = []
    trained_on = record.get("corpus_fingerprint")
    if protocol != "unseen" and trained_on and trained_on != corpus.info.fingerprint:
        found.append(f"note: trained on another corpus (fingerprint {trained_on}); its splits may differ")
    if held_out := words_never_seen(record):
        found.append(f"note: training left out {len(held_out)} words: {', '.join(sorted(held_out))}")
    return found + composed.notes(corpus)


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    info = corpus.info
    names = ("name", "version", "license", "source", "sign_languages", "synthetic", "counts", "fingerprint")
    return {"path": corpus.path, **{name: getattr(info, name) for name in names}}


def describe_model(name: str, encoder: SignEncoder | DualEncoder | Translator) -> dict[str, Any]:
    """Where the model is, what it is, and the card that came with it."""
    from signatlas.files import sha256_bytes
    from signatlas.models import folder

    place = folder.locate(name)
    card = place / "README.md"
    return {
        "path": name,
        "weights_sha256": sha256_bytes((place / folder.WEIGHTS).read_bytes()),
        "config": encoder.config.model_dump(mode="json"),
        "record": encoder.record,
        "card": card.read_text("utf-8") if card.is_file() else "",
    }


def default_folder(model: str, corpus: Corpus, protocol: str, split: str, words: str) -> Path:
    """runs/evaluations/<model>/<corpus>-<protocol>-<split>[-<words>]; ``runs/x/model`` is called x."""
    from signatlas.evaluation.signs.report import run_name, slug

    part = "" if words == "all" else words
    return Path("runs/evaluations") / slug(run_name(model)) / slug(corpus.info.name, protocol, split, part)


def draw_neighbors(corpus: Corpus, outcome: Outcome, folder: Path, count: int) -> None:
    """Pictures of the first ``count`` queries, found ones and missed ones in turn, with their five nearest clips."""
    from itertools import zip_longest

    import numpy as np

    from signatlas.evaluation.signs.report import slug
    from signatlas.metrics.retrieval import ranks
    from signatlas.plots.skeleton import Strip, neighbors

    ranking = outcome.ranking
    found = ranks(ranking.scores, ranking.relevant)
    # One query a word, so that the pictures show different words.
    kinds = [f"{gloss} {place == 1}" for gloss, place in zip(ranking.query_glosses, found, strict=True)]
    _, first = np.unique(kinds, return_index=True)
    right, wrong = [q for q in first if found[q] == 1], [q for q in first if found[q] > 1]
    chosen = [q for pair in zip_longest(right, wrong) for q in pair if q is not None]
    top = {q: np.argsort(-ranking.scores[q], kind="stable")[:5] for q in chosen[:count]}
    wanted = {str(ranking.query_ids[q]) for q in top} | {str(ranking.gallery_ids[q, g]) for q in top for g in top[q]}
    clips = {clip.id: clip for clip in corpus.where(lambda row: row["id"] in wanted)}
    for q, nearest in top.items():
        query = clips[ranking.query_ids[q]]
        rows = [Strip(query.poses, f"query: {query.gloss}")]
        for g in nearest:
            clip = clips[ranking.gallery_ids[q, g]]
            label = f"{clip.gloss}  {ranking.scores[q, g]:.3f}"
            rows.append(Strip(clip.poses, label, bool(ranking.relevant[q, g])))
        neighbors(rows, folder / f"neighbors-{slug(query.id)}.png", credit=f"Source: {corpus.info.source}")
