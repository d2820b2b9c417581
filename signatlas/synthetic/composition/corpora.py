"""Plans of composed corpora: sentences, signs and the description in corpus.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.corpus.clips import SPLITS
from signatlas.corpus.format import Corpus, CorpusInfo
from signatlas.corpus.sentences import Sentence, read_jsonl
from signatlas.errors import CorpusError
from signatlas.synthetic.composition.composer import REAL, Settings, Word
from signatlas.synthetic.composition.lexicon import Lexicon, calibrate_lexicon, collect, word_counts

NOTICE = (
    "synthetic, not for learning to sign: real isolated signs joined in the order of spoken-language glosses, by "
    "synthetic signers, two-dimensional, without face or body"
)
KINDS = ("multi-composed", "phoenix-composed", "sentences")
PHOENIX_PACE = 15.0  # frames per gloss at 25 fps, the median of PHOENIX-2014T


@dataclass(frozen=True)
class Plan:
    """Input of a composed corpus. ``unsigned`` are the ids of sentences without a gloss."""

    settings: Settings
    lexicon: Lexicon
    sentences: tuple[Sentence, ...]
    words: Mapping[str, Word]
    unsigned: tuple[str, ...]
    info: CorpusInfo


def plan(
    kind: str, lexicon_corpus: Corpus, *, sentences: Path | None = None, name: str, signers: int = 24, seed: int = 0
) -> Plan:
    """Return the plan of a corpus: ``kind`` is one of ``KINDS``; ``sentences`` a PHOENIX-2014T folder or a JSONL file.

    Raises CorpusError for an unknown kind, missing sentences, or glosses without a sign.
    """
    if kind not in KINDS:
        raise CorpusError(f"unknown kind '{kind}': choose one of {', '.join(KINDS)}")
    all_sentences = _sentences(kind, sentences, seed)
    collected = collect(lexicon_corpus)
    lexicon = calibrate_lexicon(collected)
    signed = tuple(s for s in all_sentences if s.glosses)
    counts = Counter(gloss for s in signed for gloss in s.glosses)
    matches, coverage = _matches(kind, lexicon_corpus, lexicon, signed, counts, seed)
    unknown = sorted({gloss for gloss in counts if gloss not in matches})
    if unknown:
        raise CorpusError(
            f"{lexicon_corpus.path} has no sign for {len(unknown)} glosses ({', '.join(unknown[:5])}, ...): "
            "choose another lexicon or sentences"
        )
    words = {gloss: Word(match["word"], match["kind"]) for gloss, match in matches.items()}
    calibrated_lexicon = calibrate_lexicon(
        collected, word_counts({g: {**match, "count": counts[g]} for g, match in matches.items()})
    )
    settings = Settings(name, lexicon_corpus.info.sign_languages[0], signers, seed)
    unsigned = tuple(s.id for s in all_sentences if not s.glosses)
    made = {
        "command": f"signatlas corpus compose --kind {kind}",
        "notice": NOTICE,
        "seed": seed,
        "lexicon": {"name": lexicon_corpus.info.name, "fingerprint": lexicon_corpus.info.fingerprint},
        "settings": {**asdict(settings), "variation": asdict(settings.variation)},
        "calibration": {
            source: {"aspect": round(c.aspect, 4), "time": round(c.time, 4)}
            for source, c in calibrated_lexicon.calibrations.items()
        },
        "coverage": coverage,
        "sentences_without_gloss": list(unsigned),
        "signs": _signs(calibrated_lexicon, matches, counts),
    }
    return Plan(settings, calibrated_lexicon, signed, words, unsigned, _info(kind, name, lexicon_corpus, made))


def _sentences(kind: str, path: Path | None, seed: int) -> list[Sentence]:
    if kind == "multi-composed":
        from signatlas.synthetic.grammar.grammar import sentences

        return sentences(seed)
    if path is None:
        raise CorpusError(f"--kind {kind} needs --sentences: {_SENTENCES_HELP[kind]}")
    if kind == "phoenix-composed":
        from signatlas.corpus.sources.phoenix14t import read_sentences

        return read_sentences(path)
    return list(read_jsonl(path))


_SENTENCES_HELP = {
    "phoenix-composed": "a folder of RWTH-PHOENIX-Weather 2014 T annotations",
    "sentences": "a JSONL file with id, split, glosses and texts in each line",
}


def _matches(
    kind: str,
    corpus: Corpus,
    lexicon: Lexicon,
    signed: Sequence[Sentence],
    counts: Mapping[str, int],
    seed: int,
) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """Return word, kind and rule of each gloss, and the coverage of the glosses by kind."""
    if kind != "phoenix-composed":
        plain = {g: {"word": g, "kind": REAL, "rule": "same"} for g in counts if g in lexicon.words}
        return plain, {}
    from signatlas.synthetic.composition.coverage import coverage
    from signatlas.synthetic.composition.matching import match_glosses

    sources = {e.word: e.source for e in lexicon.exemplars}
    several = sorted(word for word in lexicon.words if not lexicon.shared(word))
    matches = match_glosses(counts, sources, several, seed)
    plain = {gloss: {"word": m.word, "kind": m.kind, "rule": m.rule} for gloss, m in matches.items()}
    return plain, coverage(signed, matches)


def _signs(lexicon: Lexicon, matches: Mapping[str, Mapping[str, str]], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return word, kind, rule, count and recordings per split of each gloss, and whether splits share recordings."""
    signs = {}
    for gloss, match in sorted(matches.items()):
        word = match["word"]
        by_split = {split: len(lexicon.recordings(word, split)) for split in SPLITS}
        signs[gloss] = {**match, "count": counts[gloss], "recordings": by_split, "shared": lexicon.shared(word)}
    return signs


def _info(kind: str, name: str, lexicon: Corpus, made: dict[str, Any]) -> CorpusInfo:
    license, source = lexicon.info.license, lexicon.info.source
    if kind == "phoenix-composed":
        from signatlas.corpus.sources.phoenix14t import RELEASE

        license = f"non-commercial. Texts and glosses: {RELEASE.license}. Signs: {license}"
        source = f"texts and glosses: {RELEASE.url}; signs: {source}"
    return CorpusInfo(
        name=name,
        version="1",
        license=license,
        source=source,
        sign_languages=lexicon.info.sign_languages,
        fps=25.0,
        synthetic=True,
        made=made,
    )


def frame_counts(plan: Plan, composed: Mapping[str, int]) -> dict[str, float]:
    """Compare composed with original lengths: median ratio, share within 10 %, and median ratio of plain concatenation.

    Returns an empty dict if no sentence has a known length.
    """
    known = [s for s in plan.sentences if s.frames]
    if not known:
        return {}
    ratios = np.array([composed[s.id] / (s.frames or 1) for s in known])
    lengths = {word: np.mean([len(e.motion) for e in plan.lexicon.recordings(word, "train")]) for word in
               {plan.words[g].word for s in known for g in s.glosses}}  # fmt: skip
    plain = np.array([sum(lengths[plan.words[g].word] for g in s.glosses) / (s.frames or 1) for s in known])
    return {
        "median_ratio": float(np.median(ratios)),
        "within_a_tenth": float((np.abs(ratios - 1) <= 0.1).mean()),
        "plain_concatenation_median_ratio": float(np.median(plain)),
    }
