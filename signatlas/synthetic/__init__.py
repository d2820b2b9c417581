"""Synthetic signing: sentences composed of isolated recordings (composition, grammar, probes) and procedural signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

if TYPE_CHECKING:
    from signatlas.synthetic.composition.composer import Composer
    from signatlas.synthetic.composition.lexicon import Lexicon, build_lexicon
    from signatlas.synthetic.composition.matching import match_glosses
    from signatlas.synthetic.probes.probe_report import run_probes
    from signatlas.synthetic.procedural import compose as compose_procedural
    from signatlas.synthetic.procedural import make_signer, make_signs, perform

__all__ = [
    "Composer",
    "Lexicon",
    "build_lexicon",
    "compose_procedural",
    "make_signer",
    "make_signs",
    "match_glosses",
    "perform",
    "run_probes",
]

_TARGETS = {
    "Composer": ("composition.composer", "Composer"),
    "Lexicon": ("composition.lexicon", "Lexicon"),
    "build_lexicon": ("composition.lexicon", "build_lexicon"),
    "compose_procedural": ("procedural", "compose"),
    "make_signer": ("procedural", "make_signer"),
    "make_signs": ("procedural", "make_signs"),
    "match_glosses": ("composition.matching", "match_glosses"),
    "perform": ("procedural", "perform"),
    "run_probes": ("probes.probe_report", "run_probes"),
}

__getattr__ = lazy_exports(__name__, _TARGETS)
