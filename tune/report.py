"""Results of a study: a parquet table, a report in Markdown and HTML, the best recipe."""

from __future__ import annotations

import base64
import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError
from signatlas.files import write_text_atomically
from signatlas.recipe import Recipe, dump
from tune.record import Trial, ranked
from tune.study import Study, encoded, formatted, with_settings

if TYPE_CHECKING:
    from trainers.run_folder import RunFolder

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}tr.hand{background:#fff4d6}img{max-width:100%}
code,pre{background:#f4f4f4;padding:.1rem .3rem}pre{padding:.7rem;overflow-x:auto}"""


def write(study: Study, base: Recipe, trials: list[Trial], folder: RunFolder) -> dict[str, Any]:
    """Write the result files of a completed study, results.json last, and return its content.

    Raises UserError when no trial has a value, after writing table and report.
    """
    from tune import plots

    local = folder.local
    local.mkdir(parents=True, exist_ok=True)
    _write_table(study, trials, local)
    best = next((trial for trial in ranked(trials, study.mode) if trial.best(study.mode)), None)
    captions = {}
    if best is not None:
        recipe = with_settings(base, best.settings, "best recipe").model_copy(update={"name": f"{study.name}_best"})
        write_text_atomically(local / "best_recipe.yaml", _recipe_text(study, best, recipe))
        captions = plots.draw(study, trials, local)
    write_text_atomically(local / "report.md", markdown(study, trials, best, local, captions))
    write_text_atomically(local / "report.html", html_page(study, trials, best, local, captions))
    if best is None:
        reason = next((trial.reason for trial in trials if trial.reason), "no trial ran")
        raise UserError(f"{folder}: no trial reached an evaluation; the first failure: {reason}")
    results = {
        "name": study.name, "study": study.model_dump(mode="json"), "folder": str(local), "metric": study.metric,
        "best": _table_row(study, best), "trials": [_table_row(study, trial) for trial in trials],
        "report": str(local / "report.html"), "best_recipe": str(local / "best_recipe.yaml"),
    }  # fmt: skip
    write_text_atomically(local / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def _table_row(study: Study, trial: Trial) -> dict[str, Any]:
    best = trial.best(study.mode)
    return {
        "trial": trial.number, "id": trial.id, "hand_set": trial.hand_set, "settings": trial.settings,
        "best": None if best is None else best[0], "best_epoch": None if best is None else best[1],
        "epochs": max(trial.values, default=0), "seconds": round(trial.seconds, 1), "status": trial.status,
        "reason": trial.reason,
    }  # fmt: skip


def _write_table(study: Study, trials: list[Trial], folder: Path) -> None:
    """Write results.parquet, one row per trial; a setting with values other than numbers is a text column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_table_row(study, trial) for trial in trials]
    columns: dict[str, Any] = {key: [row[key] for row in rows] for key in ("trial", "id", "hand_set")}
    for path in study.space:
        values = [trial.settings[path] for trial in trials]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        columns[path] = [float(value) for value in values] if numbers else [encoded(value) for value in values]
    for key, type_ in {"best": pa.float64(), "best_epoch": pa.int64(), "epochs": pa.int64(), "seconds": pa.float64(),
                       "status": pa.string(), "reason": pa.string()}.items():  # fmt: skip
        columns[key] = pa.array([row[key] for row in rows], type_)
    columns["values"] = pa.array([sorted(trial.values.items()) for trial in trials], pa.map_(pa.int64(), pa.float64()))
    partial = folder / ".results.parquet"
    pq.write_table(pa.table(columns), partial)
    os.replace(partial, folder / "results.parquet")


def _recipe_text(study: Study, best: Trial, recipe: Recipe) -> str:
    value, epoch = best.best(study.mode) or (0.0, 0)
    return (
        f"# Best recipe of the study {study.name}: trial {best.number}, {study.metric} {value:.4f} on dev after epoch "
        f"{epoch}.\n{dump(recipe)}"
    )


def markdown(study: Study, trials: list[Trial], best: Trial | None, folder: Path, captions: dict[str, str]) -> str:
    """Return the report in Markdown, which links to the plots."""
    header, rows = _table(study, trials)
    lines = [f"# Study {study.name}", "", *(f"- {line}" for line in _summary(study, trials))]
    if best is not None:
        lines += ["", f"Best: trial {best.number}. {_comparison(study, trials, best)}"]
        lines += ["", *_best_settings(study, best)]
        lines += ["", "```", _train_command(folder), "```"]
    lines += ["", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    for file, caption in captions.items():
        lines += ["", f"![{caption}]({file})", "", caption]
    return "\n".join([*lines, ""])


def html_page(study: Study, trials: list[Trial], best: Trial | None, folder: Path, captions: dict[str, str]) -> str:
    """Return the report as one self-contained HTML page."""
    header, rows = _table(study, trials)
    title = f"Study {html.escape(study.name)}"
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"]
    parts += [f"<h1>{title}</h1><ul>", *(f"<li>{html.escape(line)}" for line in _summary(study, trials)), "</ul>"]
    if best is not None:
        parts.append(f"<h2>Best: trial {best.number}</h2><p>{html.escape(_comparison(study, trials, best))}</p><ul>")
        parts += [f"<li>{html.escape(line.removeprefix('- '))}" for line in _best_settings(study, best)]
        parts.append(f"</ul><pre>{html.escape(_train_command(folder))}</pre>")
    parts.append("<h2>Trials</h2><table><tr>" + "".join(f"<th>{html.escape(name)}" for name in header))
    for row, trial in zip(rows, ranked(trials, study.mode), strict=True):
        parts.append("<tr class=hand>" if trial.hand_set else "<tr>")
        parts += [f"<td{' class=n' if _is_number(cell) else ''}>{html.escape(cell)}" for cell in row]
    parts.append("</table>")
    for file, caption in captions.items():
        data = base64.b64encode((folder / file).read_bytes()).decode()
        caption = html.escape(caption, quote=True)
        parts.append(f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figure>')
    return "\n".join([*parts, "</html>", ""])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _summary(study: Study, trials: list[Trial]) -> list[str]:
    counts = {status: sum(trial.status == status for trial in trials) for status in ("finished", "stopped", "failed")}
    searcher, scheduler = study.searcher, study.scheduler
    asha = f"ASHA, grace period {scheduler.grace} epochs, reduction factor {scheduler.reduction:g}"
    early_stopping = asha if scheduler.name == "asha" else "none"
    return [
        f"recipe: {study.recipe}" + (f", with fixed settings {json.dumps(study.set)}" if study.set else ""),
        *(f"{path}: {values}" for path, values in study.space.items()),
        f"metric: {study.metric} ({study.mode}) on dev, best evaluation of each trial",
        f"searcher: {searcher.name}, seed {searcher.seed}; early stopping: {early_stopping}",
        f"trials: {len(trials)} ({', '.join(f'{n} {status}' for status, n in counts.items())})",
        f"total time of all trials: {sum(trial.seconds for trial in trials):.0f} s",
        *([f"budget: {study.budget}"] if study.budget else []),
    ]


def _comparison(study: Study, trials: list[Trial], best: Trial) -> str:
    """Return a sentence that compares the best trial with the hand-set recipe."""
    best_value = best.best(study.mode)
    hand_set = next((trial for trial in trials if trial.hand_set), None)
    text = f"{study.metric} {best_value[0]:.4f} after epoch {best_value[1]}" if best_value else ""
    if hand_set is best:
        return text + ": the hand-set recipe is the best."
    hand_value = hand_set.best(study.mode) if hand_set is not None else None
    return f"{text}; the hand-set recipe " + (f"{hand_value[0]:.4f}." if hand_value else "has no value.")


def _best_settings(study: Study, best: Trial) -> list[str]:
    return [f"- {path}: {encoded(value)}" for path, value in best.settings.items()]


def _train_command(folder: Path) -> str:
    path = os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)
    return f"signatlas train {path}/best_recipe.yaml"


def _table(study: Study, trials: list[Trial]) -> tuple[list[str], list[list[str]]]:
    header = ["trial", *study.space, study.metric, "epoch", "epochs", "s", "status"]
    rows = []
    for trial in ranked(trials, study.mode):
        best = trial.best(study.mode)
        rows.append([
            f"{trial.number} (hand-set)" if trial.hand_set else str(trial.number),
            *(formatted(value) for value in trial.settings.values()),
            *(("-", "-") if best is None else (f"{best[0]:.4f}", str(best[1]))),
            str(max(trial.values, default=0)), f"{trial.seconds:.0f}",
            trial.status + (f": {trial.reason}" if trial.reason else ""),
        ])  # fmt: skip
    return header, rows
