"""All probes and controls of one composed corpus in one report, kept beside it for whoever trains on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from signatlas.corpus.clips import SPLITS, Clip
from signatlas.corpus.composed import PROBES
from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError
from signatlas.files import filesystem
from signatlas.synthetic.composition.lexicon import Lexicon, calibrated, collect, word_counts
from signatlas.synthetic.composition.style import generator
from signatlas.synthetic.probes import probes
from signatlas.synthetic.probes import template_control as control

LIMITS = {"source": 0.65, "seam": 0.65, "frames": 0.10, "template_wer": 0.20}
TRAIN_CLIPS, TEST_CLIPS = 1000, 640
MOST_FRAMES = 40_000
RANDOM_SETS = 5  # of words that have nothing in common, for the probe of the source


def examine(corpus: Corpus, lexicon: Corpus, *, seed: int = 0, say: Callable[[str], Any] = print) -> dict[str, Any]:
    """Every probe and control of a composed ``corpus``; ``lexicon`` is the corpus its signs are from.

    Raises CorpusError for a corpus that is not composed, or another lexicon.
    """
    made = corpus.info.made
    if "lexicon" not in made:
        raise CorpusError(f"{corpus.path} was not composed of signs: there is nothing to probe")
    if lexicon.info.fingerprint != made["lexicon"]["fingerprint"]:
        raise CorpusError(
            f"{lexicon.path} is not the lexicon of {corpus.path}: give --lexicon {made['lexicon']['name']}"
        )
    if missing := [split for split in SPLITS if split not in corpus.info.counts]:
        raise CorpusError(f"{corpus.path} has no split {', '.join(missing)}: probes need all three")
    train, test = _some(corpus, "train", TRAIN_CLIPS, seed), _some(corpus, "test", TEST_CLIPS, seed)
    found: dict[str, Any] = {"fingerprint": corpus.info.fingerprint, "seed": seed, "limits": LIMITS}
    say("probe: source of a sign from a single frame")
    used = calibrated(collect(lexicon), word_counts(made["signs"]))
    found["source"] = _source(train, test, made["signs"], lexicon, used, seed)
    say("probe: seams from velocity and jerk")
    found["seam"] = _seam(train, test)
    found["frames"] = made.get("frames") or None
    say("control: template matching")
    found["template"] = control.match(used, made["signs"], _some(corpus, "dev", TEST_CLIPS, seed), test, seed)
    return found | {"open": open_shortcuts(found)}


def _some(corpus: Corpus, split: str, most: int, seed: int) -> list[Clip]:
    ids = sorted(row["id"] for row in corpus.split(split).metadata())
    if len(ids) > most:
        ids = generator(seed, "probe", split).choice(ids, most, replace=False).tolist()
    return list(_chosen(corpus, frozenset(ids)))


def _chosen(corpus: Corpus, ids: frozenset[str]) -> Corpus:
    return corpus.where(lambda row: row["id"] in ids)


def _source(
    train: list[Clip], test: list[Clip], signs: dict[str, Any], corpus: Corpus, lexicon: Lexicon, seed: int
) -> dict[str, Any] | None:
    """Can one frame tell a word with several recordings from one with a single one? None where all are of one kind."""
    several = {gloss for gloss, sign in signs.items() if not sign["shared"]}
    if not several or len(several) == len(signs):
        return None
    told = _told(train, test, several)
    if told is None:
        return None
    after, share = told
    single = sorted(set(signs) - several)
    weight = sum(signs[g]["count"] for g in several)
    sets = (_as_frequent(single, signs, weight, seed + n) for n in range(RANDOM_SETS))
    random = [found[0] for found in (_told(train, test, glosses) for glosses in sets) if found]
    before = _before(corpus, lexicon, {signs[gloss]["word"] for gloss in several}, seed)
    return {"before": before, "after": after, "share_of_frames": share, "after_for_random_words": random}


def _told(train: list[Clip], test: list[Clip], glosses: set[str]) -> tuple[float, float] | None:
    """Balanced accuracy of the probe for the exemplars of ``glosses``, and their share of the test frames.

    None where train or test has none of them, or nothing else.
    """
    special = frozenset(
        exemplar
        for clip in (*train, *test)
        for exemplar, gloss in zip(clip.exemplars or (), clip.glosses or (), strict=True)
        if gloss in glosses
    )
    fitted = probes.subset(probes.source_frames(train, special), MOST_FRAMES)
    held = probes.subset(probes.source_frames(test, special), MOST_FRAMES)
    if any(part.labels.all() or not part.labels.any() for part in (fitted, held)):
        return None
    return probes.balanced_accuracy(fitted, held), float(held.labels.mean())


def _as_frequent(glosses: list[str], signs: dict[str, Any], weight: int, seed: int) -> set[str]:
    """Glosses drawn at random that together occur about ``weight`` times."""
    found: set[str] = set()
    for gloss in generator(seed, "random words").permutation(glosses).tolist():
        if sum(signs[g]["count"] for g in found) >= weight:
            break
        found.add(gloss)
    return found


def _before(corpus: Corpus, lexicon: Lexicon, several: set[str], seed: int) -> float:
    """The same probe on the lexicon's recordings as they are: a half to fit, a half to test."""
    special = frozenset(e.id for e in lexicon.exemplars if e.word in several)
    chosen = [e.id for e in lexicon.exemplars]
    order = generator(seed, "before").permutation(chosen).tolist()
    halves = [
        probes.subset(probes.source_frames(_chosen(corpus, frozenset(order[part::2])), special), MOST_FRAMES)
        for part in (0, 1)
    ]
    return probes.balanced_accuracy(*halves)


def _seam(train: list[Clip], test: list[Clip]) -> dict[str, float]:
    frames = [probes.subset(probes.seam_frames(clips), MOST_FRAMES) for clips in (train, test)]
    wide = [probes.subset(probes.seam_frames(clips, window=3), MOST_FRAMES) for clips in (train, test)]
    return {
        "auc": probes.auc(*frames),
        "auc_boosted": probes.auc(*frames, boosted=True),
        "auc_seven_frames": probes.auc(*wide),
        "auc_seven_frames_boosted": probes.auc(*wide, boosted=True),
    }


def open_shortcuts(found: dict[str, Any]) -> list[str]:
    """One line for each probe that misses its limit: to be named beside every result on the corpus."""
    limits, lines = found["limits"], []
    source, frames = found["source"], found["frames"]
    if source and source["after"] > limits["source"]:
        lines.append(f"a single frame tells the source of a sign: balanced accuracy {source['after']:.2f}")
    if found["seam"]["auc"] > limits["seam"]:
        lines.append(f"seams show in velocity and jerk: AUC {found['seam']['auc']:.2f}")
    stronger = max(found["seam"].values()) if found["seam"]["auc"] <= limits["seam"] else 0.0
    if stronger > limits["seam"]:
        lines.append(f"seams show to stronger detectors than the limit is for: AUC up to {stronger:.2f}")
    if frames and frames["within_a_tenth"] < 1:
        lines.append(f"only {frames['within_a_tenth']:.0%} of the clips last as long as the originals")
    if found["template"]["wer"] < limits["template_wer"]:
        lines.append(f"template matching without learning has a WER of {found['template']['wer']:.0%}")
    return lines


def save(corpus: Corpus, found: dict[str, Any]) -> None:
    """Beside corpus.json, for everything that reports results on the corpus."""
    store, root = filesystem(corpus.path)
    with store.open_output_stream(f"{root}/{PROBES}") as stream:
        stream.write((json.dumps(found, indent=2) + "\n").encode())
