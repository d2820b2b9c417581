"""Describe composed corpora: coverage of their glosses by real signs, and the shortcuts that probes measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from signatlas.files import read_bytes

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus

PROBES = "probes.json"  # next to corpus.json; written by 'signatlas corpus doctor --probes'


def is_composed(made: Mapping[str, Any]) -> bool:
    """Return whether ``made`` of a CorpusInfo describes a corpus composed from the signs of a lexicon."""
    return "lexicon" in made


def load_probes(corpus: Corpus) -> dict[str, Any] | None:
    """Return the content of probes.json; None if the corpus was not probed, or has changed since."""
    if not is_composed(corpus.info.made):
        return None
    try:
        probes: dict[str, Any] = json.loads(read_bytes(f"{corpus.path}/{PROBES}"))
    except (FileNotFoundError, ValueError):
        return None
    return probes if probes.get("fingerprint") == corpus.info.fingerprint else None


def notes(corpus: Corpus) -> list[str]:
    """Return lines to print with every result on a composed corpus: its open shortcuts, or that it was not probed."""
    if not is_composed(corpus.info.made):
        return []
    probes = load_probes(corpus)
    if probes is None:
        return [f"note: shortcuts were not measured; run 'signatlas corpus doctor --probes {corpus.path}'"]
    return [f"note: OPEN SHORTCUT of this corpus: {line}" for line in probes["open"]]


def as_lines(description: dict[str, Any]) -> list[str]:
    """Return lines of text on a composed corpus, given ``signatlas.corpus.report.describe``; none for other corpora."""
    made, probes = description["made"], description["probes"]
    if not is_composed(made):
        return []
    shared = [sign for sign in made["signs"].values() if sign["shared"]]
    glosses = sum(sign["count"] for sign in made["signs"].values())
    lines = [
        f"composed of {made['lexicon']['name']} ({made['lexicon']['fingerprint'][:12]}), seed {made['seed']}: "
        f"{len(made['signs'])} glosses, {len(shared)} of them ({sum(s['count'] for s in shared) / glosses:.1%} of "
        "tokens) from recordings that all splits share"
    ]
    if made["coverage"]:
        lines += [f"  {line}" for line in coverage_lines(made["coverage"])]
    if not probes:
        return [*lines, f"shortcuts not measured: run 'signatlas corpus doctor --probes {description['path']}'"]
    return [*lines, "shortcuts (signatlas corpus doctor --probes)", *(f"  {line}" for line in probe_lines(probes))]


def coverage_lines(coverage: Mapping[str, Any]) -> list[str]:
    """Return a table of ``made["coverage"]``: share of tokens (and number of types) per kind and rule, by split."""
    splits = coverage["splits"]
    rows = [["", *splits], ["sentences", *(f"{part['sentences']:,}" for part in splits.values())]]
    rows.append(["glosses", *(f"{part['tokens']:,} ({part['types']:,})" for part in splits.values())])
    first = next(iter(splits.values()))
    for group, prefix in (("kinds", ""), ("rules", "rule: "), ("aliases", "alias: ")):
        for name in first[group]:
            cells = [part[group][name] for part in splits.values()]
            rows.append([prefix + name, *(f"{cell['share']:.1%} ({cell['types']:,})" for cell in cells)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    if coverage["without_gloss"]:
        lines.append(f"without a gloss, not composed: {', '.join(coverage['without_gloss'])}")
    return lines


def probe_lines(probes: Mapping[str, Any]) -> list[str]:
    """Return the content of probes.json as lines of text."""
    limits, lines = probes["limits"], []
    if source := probes["source"]:
        random = source["after_for_random_words"]
        lines.append(
            f"source of a sign, single frames: balanced accuracy {source['before']:.3f} before, {source['after']:.3f} "
            f"after (limit {limits['source']})"
            + (f"; random words after: {min(random):.3f}-{max(random):.3f}" if random else "")
        )
    else:
        lines.append("source of a sign: not measured, all signs come from the same kind of recordings")
    seam = probes["seam"]
    lines.append(
        f"seams, velocity and jerk: AUC {seam['auc']:.3f} (limit {limits['seam']}); boosted trees "
        f"{seam['auc_boosted']:.3f}; over seven frames {seam['auc_seven_frames']:.3f}, boosted "
        f"{seam['auc_seven_frames_boosted']:.3f}"
    )
    if frames := probes["frames"]:
        lines.append(
            f"frames: {frames['within_a_tenth']:.1%} within a tenth of the originals, median ratio "
            f"{frames['median_ratio']:.3f}; exemplars joined unchanged "
            f"{frames['plain_concatenation_median_ratio']:.2f}"
        )
    template = probes["template"]
    missed = "".join(f"{kind} recordings {rate:.1%} missed; " for kind, rate in template["missed"].items())
    lines.append(
        f"template matching, no learning: WER {template['wer']:.1%} (at least {limits['template_wer']:.0%}; signs of "
        f"{missed}{template['clips']} test clips, {template['templates']} templates)"
    )
    return [*lines, *([f"OPEN SHORTCUT: {line}" for line in probes["open"]] or ["no open shortcut"])]
