"""Evaluate a sign encoder on a corpus: by a protocol, or on any two filters of clips."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError
from signatlas.evaluation import report as reports
from signatlas.evaluation.report import Evaluation
from signatlas.evaluation.signs import report
from signatlas.evaluation.signs.protocols import Outcome, SignEvaluation, rank
from signatlas.evaluation.signs.space import Space, embed, keypoint_space, parse_filter

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Clip, Corpus
    from signatlas.models.sign_encoder import SignEncoder


def evaluate(
    model: str,
    corpus: str,
    *,
    protocol: str | None = None,
    split: str = "test",
    words: str = "all",
    adjustments: Sequence[str] = ("none",),
    gallery: str | None = None,
    queries: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    pictures: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Rank clips by a protocol, or by the filters ``gallery`` and ``queries``, and write the evaluation folder.

    Raises UserError for settings that do not fit each other or the corpus.
    """
    from signatlas.corpus.format import Corpus
    from signatlas.models.sign_encoder import SignEncoder

    if (protocol is None) == (gallery is None and queries is None):
        raise UserError("choose either --protocol closed|open|one-shot|unseen or both --gallery and --queries")
    source = Corpus.open(corpus)
    encoder = SignEncoder.from_pretrained(model)
    name = protocol or "custom"
    variant = "" if words == "all" else words
    target = reports.check_target(folder or reports.default_folder(model, source, name, split, variant))
    progress = progress or reports.no_progress()
    if protocol is None:
        if gallery is None or queries is None:
            raise UserError("--gallery and --queries go together: pass both")
        outcomes, baselines = _run_filters(encoder, source, gallery, queries, progress)
    else:
        excluded = reports.excluded_glosses(encoder.record)
        settings = SignEvaluation(protocol, split, words, tuple(adjustments), excluded)
        outcomes, baselines = _run_protocol(encoder, source, settings, progress)
    baseline_of = {outcome.setting: outcome for outcome in baselines}
    document: dict[str, Any] = {
        "protocol": name,
        "split": split if protocol else f"queries {queries}, gallery {gallery}",
        "seed": seed,
        "notes": reports.training_notes(encoder.record, source, same_corpus=protocol != "unseen"),
        "corpus": reports.describe_corpus(source),
        "model": reports.describe_model(model, encoder),
        "results": [
            report.summarize_outcome(outcome, baseline_of.get(outcome.setting), seed)
            | {"synthetic": source.info.synthetic}
            for outcome in outcomes
        ],
    }
    report.write(target, document, outcomes)
    if pictures:
        report.draw_neighbors(source, outcomes[0], target, pictures)
    tables = [report.result_table(result) for result in document["results"]]
    return Evaluation(target, document, reports.summary(document), tables)


def _run_protocol(
    encoder: SignEncoder, corpus: Corpus, settings: SignEvaluation, progress: Progress
) -> tuple[list[Outcome], list[Outcome]]:
    """Return the outcomes of the model and of the 1-NN baseline."""
    if settings.split not in corpus.info.counts:
        corpus.split(settings.split)  # raises an error that lists the splits
    part = corpus.where(settings.clip_filter(corpus.metadata()))
    mirror = settings.needs_mirrored
    space = embed(encoder, _tracked(part, "embedding", progress), mirror=mirror)
    clips = _tracked(part, "1-NN baseline", progress)
    keypoints = keypoint_space(clips, mirror=mirror, aspect=encoder.config.aspect)
    return settings.run(space), replace(settings, adjustments=("none",)).run(keypoints)


def _run_filters(
    encoder: SignEncoder, corpus: Corpus, gallery: str, queries: str, progress: Progress
) -> tuple[list[Outcome], list[Outcome]]:
    """Return the outcome of the model and of the 1-NN baseline for any two parts of a corpus."""
    in_gallery, in_queries = parse_filter(gallery), parse_filter(queries)
    part = corpus.where(lambda row: in_gallery(row) or in_queries(row))

    def outcome(space: Space) -> list[Outcome]:
        return [Outcome(f"{queries} in {gallery}", "none", rank(space.where(in_queries), space.where(in_gallery)))]

    space = embed(encoder, _tracked(part, "embedding", progress))
    keypoints = keypoint_space(_tracked(part, "1-NN baseline", progress), aspect=encoder.config.aspect)
    return outcome(space), outcome(keypoints)


def _tracked(corpus: Corpus, description: str, progress: Progress) -> Iterable[Clip]:
    return progress.track(corpus, total=len(corpus), description=description)
