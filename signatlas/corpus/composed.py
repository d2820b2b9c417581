"""What is told of a composed corpus: how much of it is signed with the sign of its word, and its open shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus


def probes(corpus: Corpus) -> dict[str, Any] | None:
    """What 'signatlas corpus doctor --probes' found, or None."""
    from signatlas.synthetic.probes.probe_report import load

    return load(corpus) if "lexicon" in corpus.info.made else None


def notes(corpus: Corpus) -> list[str]:
    """What belongs beside every result on a composed corpus: its open shortcuts, or that nobody measured them."""
    if "lexicon" not in corpus.info.made:
        return []
    found = probes(corpus)
    if found is None:
        return [f"note: nobody measured the shortcuts of this corpus: signatlas corpus doctor --probes {corpus.path}"]
    return [f"note: OPEN SHORTCUT of this corpus: {line}" for line in found["open"]]


def as_lines(described: dict[str, Any]) -> list[str]:
    """For people; no lines for a corpus that is not composed."""
    from signatlas.synthetic.composition.coverage import as_table
    from signatlas.synthetic.probes.probe_report import as_text

    made, found = described["made"], described["probes"]
    if "lexicon" not in made:
        return []
    shared = [sign for sign in made["signs"].values() if sign["shared"]]
    glosses = sum(sign["count"] for sign in made["signs"].values())
    lines = [
        f"composed of {made['lexicon']['name']} ({made['lexicon']['fingerprint'][:12]}), seed {made['seed']}: "
        f"{len(made['signs'])} glosses, {len(shared)} of them ({sum(s['count'] for s in shared) / glosses:.1%} of "
        "tokens) from recordings that all splits share"
    ]
    if made["coverage"]:
        lines += [f"  {line}" for line in as_table(made["coverage"]).splitlines()]
    if not found:
        return [*lines, f"shortcuts not measured: signatlas corpus doctor --probes {described['path']}"]
    return [
        *lines,
        "shortcuts (signatlas corpus doctor --probes)",
        *(f"  {line}" for line in as_text(found).splitlines()),
    ]
