"""signatlas evaluate: retrieval or translation metrics of a model on a corpus, written to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.shared import AsJson, console, print_json, progress_bars
from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.evaluation.report import Evaluation

Options = Mapping[str, Any]  # by parameter of the command


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder or Hub name.")],
    corpus: Annotated[str, typer.Option(help="Corpus folder or URI.")],
    protocol: Annotated[str | None, typer.Option(help="Signs: closed, open, one-shot or unseen.")] = None,
    split: Annotated[str, typer.Option(help="Split of the queries.")] = "test",
    words: Annotated[
        str | None,
        typer.Option(help="Signs, one-shot: all shared words, or the dev or other ones (default: all)."),
    ] = None,
    adjust: Annotated[
        list[str] | None, typer.Option(help="Signs, one-shot: none, center, csls, inverted-softmax; may be repeated.")
    ] = None,
    gallery: Annotated[
        str | None, typer.Option(help="Signs, instead of a protocol: filter such as source=dictionary.")
    ] = None,
    queries: Annotated[
        str | None, typer.Option(help="Signs, instead of a protocol: filter such as split=dev|test.")
    ] = None,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Signs, instead of a protocol: the confidence words of an index.")
    ] = False,
    index: Annotated[
        Path | None,
        typer.Option(help="Signs, with --calibration: index of the model (default: built from the train split)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: runs/evaluations/RUN/CORPUS-PROTOCOL-SPLIT).")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Sentences, translation: folder of clip features (default: as in training).")
    ] = None,
    languages: Annotated[
        list[str] | None, typer.Option(help="Sentences: languages of the texts, such as de,en; may be repeated.")
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(help="Signs: number of queries to draw with nearest neighbors; sentences: recall.png."),
    ] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="Translation: beams of the search (default: 8).")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Translation: maximum number of tokens of a text (default: 60).")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="Translation: above 1 favors longer texts (default: 1).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Translation: Ray actors; 0: this process (default: all of the cluster).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Translation: clips per batch (default: 32).")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Translation from video: folder of frames (default: as in training).")
    ] = None,
    max_glosses: Annotated[
        int | None,
        typer.Option(min=0, help="Translation: leave out longer clips; 0: none (default: as in training)."),
    ] = None,
    json: AsJson = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Evaluate a model on a corpus: retrieval or translation metrics, with intervals and controls.

    A sign encoder needs a protocol, or --calibration, which says how often answers with each confidence word are right.
    A dual encoder retrieves videos by text and texts by video; a translator translates. The results are in a folder.

    Example: signatlas evaluate runs/dgs_gesture/model --corpus data/dgs --protocol closed

    Example: signatlas evaluate runs/dgs_gesture/model --corpus data/dgs --calibration --index indexes/dgs

    Example: signatlas evaluate runs/scl_slt/model --corpus data/multi-composed --beams 8
    """
    options = {
        "protocol": protocol, "words": words, "adjust": adjust, "gallery": gallery, "queries": queries,
        "calibration": calibration or None, "index": index,
        "features": features, "languages": languages, "pictures": pictures, "beams": beams,
        "max_new_tokens": max_new_tokens, "length_penalty": length_penalty, "workers": workers,
        "batch_size": batch_size, "frames": frames, "max_glosses": max_glosses,
    }  # fmt: skip
    passed = {name: value for name, value in options.items() if value is not None}
    evaluator = _evaluator_for(model, passed)
    _print(evaluator(model, corpus, passed, split=split, folder=out, seed=seed), json)


class Evaluator(NamedTuple):
    """The evaluation of a model type: a function, and the options that apply to it."""

    run: Callable[..., Evaluation]
    options: frozenset[str]


def _evaluators() -> dict[str, Evaluator]:
    """Return the evaluator of each model type."""
    from signatlas.models import registry

    sign_options = frozenset({"protocol", "words", "adjust", "gallery", "queries", "pictures", "calibration", "index"})
    decoding = frozenset({"beams", "max_new_tokens", "length_penalty", "workers", "batch_size", "max_glosses"})
    return {
        registry.SIGN_ENCODER: Evaluator(_evaluate_signs, sign_options),
        registry.DUAL_ENCODER: Evaluator(_evaluate_sentences, frozenset({"features", "languages", "pictures"})),
        registry.TRANSLATOR: Evaluator(_evaluate_translations, decoding | {"features", "frames"}),
    }


def _evaluator_for(model: str, passed: Options) -> Callable[..., Evaluation]:
    """Return the evaluation of a model's type. Raises UserError for an option that does not apply to it."""
    from signatlas.models import registry

    evaluators, model_type = _evaluators(), registry.model_type(model)
    described = {name: registry.MODELS[name].description for name in evaluators}
    if model_type not in evaluators:
        raise UserError(
            f"{model} is {registry.MODELS[model_type].description}, which has no evaluation: "
            f"name {', '.join(described.values())}"
        )
    for name in passed:
        if name not in evaluators[model_type].options:
            owners = " or ".join(described[t] for t, evaluator in evaluators.items() if name in evaluator.options)
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is for {owners}, and {model} is {described[model_type]}: leave it out")
    return evaluators[model_type].run


def _evaluate_signs(model: str, corpus: str, options: Options, **common: Any) -> Evaluation:
    from signatlas.evaluation.signs.evaluator import evaluate

    if options.get("calibration"):
        return _evaluate_confidence(model, corpus, options, **common)
    if "index" in options:
        raise UserError("--index is for --calibration: add it, or leave --index out")
    names = {"adjust": "adjustments"}
    with progress_bars() as progress:
        arguments = {names.get(name, name): value for name, value in options.items()}
        return evaluate(model, corpus, **arguments, **common, progress=progress)


def _evaluate_confidence(model: str, corpus: str, options: Options, **common: Any) -> Evaluation:
    from signatlas.evaluation.confidence.evaluator import evaluate

    for name in options:
        if name not in ("calibration", "index"):
            raise UserError(f"--{name} is not for --calibration: leave it out")
    with progress_bars() as progress:
        return evaluate(model, corpus, index=options.get("index"), **common, progress=progress)


def _evaluate_sentences(model: str, corpus: str, options: Options, **common: Any) -> Evaluation:
    from signatlas.evaluation.sentences.evaluator import evaluate

    # Codes are separated by commas or spaces, or the option is repeated.
    codes = [code for value in options.get("languages", ()) for code in value.replace(",", " ").split()]
    pictures = bool(options.get("pictures"))
    with progress_bars() as progress:
        return evaluate(
            model, corpus, features=options.get("features"), languages=codes, pictures=pictures, **common,
            progress=progress,
        )  # fmt: skip


def _evaluate_translations(model: str, corpus: str, options: Options, **common: Any) -> Evaluation:
    from signatlas.evaluation.translations.evaluator import TranslationSettings, evaluate
    from trainers.pipelines.translate import decode_with_ray

    settings = TranslationSettings(**{name: options.get(name) for name in TranslationSettings._fields})
    workers = options.get("workers")
    decode = None if workers == 0 else partial(decode_with_ray, workers=workers)
    with progress_bars() as progress:
        return evaluate(
            model, corpus, settings=settings, batch_size=options.get("batch_size", 32), decode=decode, **common,
            progress=progress,
        )  # fmt: skip


def _print(evaluation: Evaluation, json: bool) -> None:
    """Print report.json, or the lines and tables of an evaluation."""
    from json import loads

    from signatlas.evaluation.report import REPORT_JSON, rich_table

    if json:
        print_json(loads((evaluation.folder / REPORT_JSON).read_text("utf-8")), indent=2)
        return
    output = console()
    output.print("\n".join(evaluation.lines))
    for table in evaluation.tables:
        output.print(rich_table(table))
    output.print(f"written to {evaluation.folder}")
