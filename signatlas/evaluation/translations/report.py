"""The report of a translation evaluation: metrics, all texts, examples, a picture of scores."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from signatlas.evaluation.report import (
    ReportTable,
    check_target,
    corner,
    markdown_ending,
    markdown_sections,
    markdown_table,
    summary,
    write_documents,
)
from signatlas.evaluation.significance import verdict
from signatlas.evaluation.translations.scoring import CONTROLS, MODEL, TESTED, ScoredTranslations, examples
from signatlas.files import folder_atomically
from signatlas.metrics.translation import METRICS, SENTENCE_METRICS

HYPOTHESES, PICTURE = "hypotheses.jsonl", "scores.png"
PROTOCOL = "translation"
SUBSETS = {"new": "texts not in training", "seen": "texts also in training"}
READING = (
    "Scores are 0 to 100, of raw texts, over all clips at once: BLEU-n is corpus BLEU up to n-grams, ROUGE-L the mean "
    "over sentences (beta 1.2). Two controls are scored too: always the most frequent training text; and the text of "
    "the training clip whose mean visual token is nearest to that of the clip. A model that has learned to translate "
    "beats both. Intervals are 95 % percentile bootstrap intervals over clips; 'better' means that the whole interval "
    "of the difference is above 0, 'undetermined' that it contains 0. Seen: the reference is a training text, ignoring "
    "case and punctuation. BLEU of a "
    "single sentence uses the orders that the sentence has."
)


def write(
    folder: str | os.PathLike[str],
    document: dict[str, Any],
    scored: ScoredTranslations,
    extra_columns: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write report.json, report.md, hypotheses.jsonl and scores.png, atomically; adds ``files``.

    ``extra_columns`` has a mapping per clip that is added to its row of hypotheses.jsonl.
    """
    from signatlas.plots.translations import scores

    with folder_atomically(check_target(folder), overwrite=True) as partial:
        document["files"] = {"hypotheses": HYPOTHESES, "picture": PICTURE}
        lines = [json.dumps(row, ensure_ascii=False) for row in _rows(scored, extra_columns)]
        (partial / HYPOTHESES).write_text("\n".join(lines) + "\n", "utf-8")
        write_documents(partial, document, markdown(document, scored))
        rouge = {name: values["ROUGE-L"] for name, values in scored.scores.items()}
        synthetic = " (synthetic signing)" if document["corpus"]["synthetic"] else ""
        lengths = scored.counts[MODEL][:, 1]
        scores(rouge, lengths, partial / PICTURE, title=f"{document['corpus']['name']}{synthetic}")


def _rows(scored: ScoredTranslations, extra_columns: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return a row per clip, in the order of the corpus: its texts and the model's scores."""
    scores = scored.scores[MODEL]
    rows = []
    for i, id in enumerate(scored.items.ids):
        reference, hypothesis = scored.items.references[i], scored.hypotheses[MODEL][i]
        row: dict[str, Any] = {"id": id, "reference": reference, "hypothesis": hypothesis}
        row |= {name: round(float(scores[name][i]), 4) for name in SENTENCE_METRICS}
        row |= {name: scored.hypotheses[name][i] for name in CONTROLS if name in scored.hypotheses}
        rows.append(row | dict(extra_columns[i] if extra_columns else {}))
    return rows


def read_hypotheses(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the rows of hypotheses.jsonl. Raises OSError and ValueError."""
    lines = (Path(folder) / HYPOTHESES).read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def tables(document: dict[str, Any]) -> list[ReportTable]:
    """Return the tables of a report: metrics with intervals, the model against its controls, subsets."""
    subsets = [name for name in SUBSETS if any(r["subset"] == name for r in document["results"])]
    metrics_tables = [_metrics_table(document), _controls_table(document)]
    return metrics_tables + [_subset_table(document, name) for name in subsets]


def _results(document: dict[str, Any], subset: str) -> list[dict[str, Any]]:
    return [result for result in document["results"] if result["subset"] == subset]


def _metrics_table(document: dict[str, Any]) -> ReportTable:
    rows = []
    for result in _results(document, "all"):
        rows.append([result["system"], *(f"{result[name]:.2f}" for name in METRICS)])
        ends = document["bootstrap"]["intervals"][result["system"]]
        rows.append(["  95 %", *("-".join(f"{e:.1f}" for e in ends[n]) if n in ends else "" for n in METRICS)])
    title = f"{document['language']}: {document['clips']:,} clips"
    return ReportTable(title, [corner(document["corpus"]), *METRICS], rows)


def _controls_table(document: dict[str, Any]) -> ReportTable:
    rows = []
    for name, by_metric in document["bootstrap"]["differences"].items():
        for metric in TESTED:
            comparison = by_metric[metric]
            low, high = comparison["interval"]
            difference = f"{comparison['difference']:+.2f}"
            rows.append([f"{metric} above {name}", difference, f"{low:+.2f} to {high:+.2f}", verdict((low, high))])
    return ReportTable("the model against its controls, paired over clips", ["", "difference", "95 %", ""], rows)


def _subset_table(document: dict[str, Any], subset: str) -> ReportTable:
    results = _results(document, subset)
    rows = [[r["system"], *(f"{r[name]:.2f}" for name in METRICS)] for r in results]
    title = f"{SUBSETS[subset]}: {results[0]['clips']:,} clips"
    return ReportTable(title, [corner(document["corpus"]), *METRICS], rows)


def text_lines(document: dict[str, Any]) -> list[str]:
    """Return lines on the texts that the model writes, and on how they were decoded and scored."""
    texts, settings = document["texts"], document["settings"]
    return [
        f"texts: {texts['distinct']:,} distinct ({texts['distinct_references']:,} of the references), "
        f"{texts['verbatim']:.1%} are verbatim training texts, {texts['empty']:.1%} empty, "
        f"{texts['length_ratio']:.2f} times as long as the reference",
        f"decoded with {settings['beams']} beams, at most {settings['max_new_tokens']} tokens, length penalty "
        f"{settings['length_penalty']:g}, in {document['seconds']:.0f} s",
        *(f"{name}: {signature}" for name, signature in document["signature"].items()),
    ]


def markdown(document: dict[str, Any], scored: ScoredTranslations) -> str:
    """Return report.md: the summary, the tables, examples, how to read them, and the model card."""
    lines = [f"# {PROTOCOL}: {document['corpus']['name']}", ""]
    lines += [f"- {line}" for line in [*summary(document), *text_lines(document)]]
    lines += [*markdown_sections(tables(document)), "", f"![scores]({PICTURE})"]
    header = ["reference", "hypothesis", *SENTENCE_METRICS, "clip"]
    for name, rows in examples(scored, seed=document["seed"]).items():
        lines += ["", f"## Examples: {name}", ""]
        lines += markdown_table(header, [_example(scored, row) for row in rows])
    return "\n".join(lines + markdown_ending(READING, document))


def _example(scored: ScoredTranslations, row: int) -> list[str]:
    scores = [f"{scored.scores[MODEL][name][row]:.1f}" for name in SENTENCE_METRICS]
    items = scored.items
    return [items.references[row], scored.hypotheses[MODEL][row] or "(empty)", *scores, items.ids[row]]
