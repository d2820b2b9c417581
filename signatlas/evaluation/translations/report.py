"""An evaluation of translations as a folder: figures, every text, examples to read, a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signatlas.evaluation.sentences.report import Sheet
from signatlas.evaluation.signs import report
from signatlas.evaluation.translations.scoring import CONTROLS, MODEL, TESTED, Judged, examples
from signatlas.files import folder_atomically
from signatlas.metrics.translation import FIGURES, OF_SENTENCES

if TYPE_CHECKING:
    from rich.table import Table

HYPOTHESES, PICTURE = "hypotheses.jsonl", "scores.png"
PROTOCOL = "translation"
SUBSETS = {"new": "texts that training has not", "seen": "texts that training has too"}


def write(
    folder: str | os.PathLike[str],
    document: dict[str, Any],
    found: Judged,
    beside: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write report.json, report.md, hypotheses.jsonl and scores.png, all at once; adds ``files``.

    ``beside`` has a mapping a clip of more to keep with its texts.
    """
    from signatlas.plots.translations import scores

    with folder_atomically(report.check_target(folder), overwrite=True) as partial:
        document["files"] = {"hypotheses": HYPOTHESES, "picture": PICTURE}
        lines = [json.dumps(row, ensure_ascii=False) for row in _rows(found, beside)]
        (partial / HYPOTHESES).write_text("\n".join(lines) + "\n", "utf-8")
        (partial / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (partial / "report.md").write_text(markdown(document, found), "utf-8")
        rouge = {name: values["ROUGE-L"] for name, values in found.scores.items()}
        kind = " (synthetic signing)" if document["corpus"]["synthetic"] else ""
        scores(rouge, found.counts[MODEL][:, 1], partial / PICTURE, title=f"{document['corpus']['name']}{kind}")


def _rows(found: Judged, beside: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """A row a clip, in the order of the corpus: its texts and what the model's scores."""
    scores = found.scores[MODEL]
    rows = []
    for place, id in enumerate(found.asked.ids):
        reference, hypothesis = found.asked.references[place], found.told[MODEL][place]
        row: dict[str, Any] = {"id": id, "reference": reference, "hypothesis": hypothesis}
        row |= {name: round(float(scores[name][place]), 4) for name in OF_SENTENCES}
        row |= {name: found.told[name][place] for name in CONTROLS if name in found.told}
        rows.append(row | dict(beside[place] if beside else {}))
    return rows


def read_hypotheses(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of hypotheses.jsonl. Raises OSError and ValueError."""
    lines = (Path(folder) / HYPOTHESES).read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """What people read first: figures of all clips with intervals, parts of them, and the model against controls."""
    found = [_figures(document), _against(document)]
    parts = [name for name in SUBSETS if any(r["subset"] == name for r in document["results"])]
    return found + [_part(document, name) for name in parts]


def _of(document: dict[str, Any], subset: str) -> list[dict[str, Any]]:
    return [result for result in document["results"] if result["subset"] == subset]


def _corner(document: dict[str, Any]) -> str:
    return "SYNTH." if document["corpus"]["synthetic"] else ""


def _figures(document: dict[str, Any]) -> Sheet:
    rows = []
    for result in _of(document, "all"):
        rows.append([result["system"], *(f"{result[name]:.2f}" for name in FIGURES)])
        ranges = document["bootstrap"]["intervals"][result["system"]]
        rows.append(["  95 %", *("-".join(f"{e:.1f}" for e in ranges[n]) if n in ranges else "" for n in FIGURES)])
    title = f"{document['language']}: {document['clips']:,} clips"
    return Sheet(title, [_corner(document), *FIGURES], rows)


def _against(document: dict[str, Any]) -> Sheet:
    rows = []
    for name, by_figure in document["bootstrap"]["differences"].items():
        for figure in TESTED:
            told = by_figure[figure]
            low, high = told["interval"]
            verdict = "yes" if told["beats"] else "no"
            rows.append([f"{figure} above {name}", f"{told['difference']:+.2f}", f"{low:+.2f} to {high:+.2f}", verdict])
    return Sheet("the model against its controls, same clips resampled", ["", "difference", "95 %", "better"], rows)


def _part(document: dict[str, Any], subset: str) -> Sheet:
    results = _of(document, subset)
    rows = [[r["system"], *(f"{r[name]:.2f}" for name in FIGURES)] for r in results]
    return Sheet(f"{SUBSETS[subset]}: {results[0]['clips']:,} clips", [_corner(document), *FIGURES], rows)


def lines(document: dict[str, Any]) -> list[str]:
    """What the texts are like, and how they were scored."""
    style, settings = document["texts"], document["settings"]
    return [
        f"texts: {style['distinct']:,} distinct ones ({style['distinct_references']:,} of the references), "
        f"{style['verbatim']:.1%} are training texts to the letter, {style['empty']:.1%} empty, "
        f"{style['length_ratio']:.2f} times as long as the reference",
        f"decoded with {settings['beams']} beams, at most {settings['max_new_tokens']} pieces, length penalty "
        f"{settings['length_penalty']:g}, in {document['seconds']:.0f} s",
        *(f"{name}: {signature}" for name, signature in document["signature"].items()),
    ]


def table(sheet: Sheet) -> Table:
    """For a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    view = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True)
    for place, name in enumerate(sheet.header):
        view.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in sheet.rows:
        view.add_row(*row, style="bold" if row[0] == MODEL else "dim" if row[0].startswith(" ") else "")
    return view


def markdown(document: dict[str, Any], found: Judged) -> str:
    """report.md: the summary, the tables, examples, how to read it and the model's card."""
    text = [f"# {PROTOCOL}: {document['corpus']['name']}", ""]
    text += [f"- {line}" for line in [*report.summary(document), *lines(document)]]
    for sheet in sheets(document):
        text += ["", f"## {sheet.title}", "", *grid(sheet.header, sheet.rows)]
    text += ["", f"![scores]({PICTURE})"]
    for name, places in examples(found, seed=document["seed"]).items():
        header = ["reference", "hypothesis", *OF_SENTENCES, "clip"]
        text += ["", f"## Examples: {name}", "", *grid(header, [_example(found, place) for place in places])]
    text += ["", "## Reading", "", READING, "", "## Model card", "", document["model"]["card"].strip() or "(none)", ""]
    return "\n".join(text)


def _example(found: Judged, place: int) -> list[str]:
    scores = [f"{found.scores[MODEL][name][place]:.1f}" for name in OF_SENTENCES]
    return [found.asked.references[place], found.told[MODEL][place] or "(empty)", *scores, found.asked.ids[place]]


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; cells keep their content whatever it is."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in cells)]


READING = (
    "Scores are 0 to 100, of raw texts, over all clips at once: BLEU-n is corpus BLEU up to n-grams, ROUGE-L the mean "
    "over sentences (beta 1.2). Two controls stand beside the model: the training text that is most frequent, always; "
    "and the text of the training clip whose mean visual token is nearest to that of the clip. A model that has "
    "learned to translate is above both. Intervals are 95 % percentile bootstrap intervals over clips, 'better' means "
    "that the whole interval of the difference is above 0. Seen: the reference is a training text, but for case and "
    "punctuation. BLEU of a single sentence is of the orders that it has."
)
