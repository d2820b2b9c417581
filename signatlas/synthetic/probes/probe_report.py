"""Report of all probes and controls of a composed corpus, saved as probes.json in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from signatlas.corpus.clips import SPLITS, Clip
from signatlas.corpus.composed import PROBES
from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError
from signatlas.files import filesystem
from signatlas.synthetic.composition.lexicon import Lexicon, calibrate_lexicon, collect, word_counts
from signatlas.synthetic.composition.style import generator
from signatlas.synthetic.probes import probes
from signatlas.synthetic.probes.template_matching import score_template_matching

LIMITS = {"source": 0.65, "seam": 0.65, "frames": 0.10, "template_wer": 0.20}
TRAIN_CLIPS, TEST_CLIPS = 1000, 640
MAX_FRAMES = 40_000
RANDOM_SETS = 5  # number of random sets of words, as a baseline of the source probe


def run_probes(
    corpus: Corpus, lexicon: Corpus, *, seed: int = 0, progress: Callable[[str], Any] = print
) -> dict[str, Any]:
    """Run all probes and controls of a composed ``corpus``; ``lexicon`` is the corpus of its signs.

    ``progress`` is called with a line per probe. Raises CorpusError if ``corpus`` is not composed, or not from
    ``lexicon``.
    """
    made = corpus.info.made
    if "lexicon" not in made:
        raise CorpusError(f"{corpus.path} was not composed of signs: choose a composed corpus")
    if lexicon.info.fingerprint != made["lexicon"]["fingerprint"]:
        raise CorpusError(
            f"{lexicon.path} is not the lexicon of {corpus.path}: give --lexicon {made['lexicon']['name']}"
        )
    if missing := [split for split in SPLITS if split not in corpus.info.counts]:
        raise CorpusError(f"{corpus.path} has no split {', '.join(missing)}: probes need train, dev and test")
    train, test = _sample_clips(corpus, "train", TRAIN_CLIPS, seed), _sample_clips(corpus, "test", TEST_CLIPS, seed)
    report: dict[str, Any] = {"fingerprint": corpus.info.fingerprint, "seed": seed, "limits": LIMITS}
    progress("probe: source of a sign from a single frame")
    calibrated = calibrate_lexicon(collect(lexicon), word_counts(made["signs"]))
    report["source"] = _probe_source(train, test, made["signs"], lexicon, calibrated, seed)
    progress("probe: seams from velocity and jerk")
    report["seam"] = _probe_seam(train, test)
    report["frames"] = made.get("frames") or None
    progress("control: template matching")
    report["template"] = score_template_matching(
        calibrated, made["signs"], _sample_clips(corpus, "dev", TEST_CLIPS, seed), test, seed
    )
    return report | {"open": open_shortcuts(report)}


def _sample_clips(corpus: Corpus, split: str, max_clips: int, seed: int) -> list[Clip]:
    ids = sorted(row["id"] for row in corpus.split(split).metadata())
    if len(ids) > max_clips:
        ids = generator(seed, "probe", split).choice(ids, max_clips, replace=False).tolist()
    return list(_with_ids(corpus, frozenset(ids)))


def _with_ids(corpus: Corpus, ids: frozenset[str]) -> Corpus:
    return corpus.where(lambda row: row["id"] in ids)


def _probe_source(
    train: list[Clip], test: list[Clip], signs: dict[str, Any], corpus: Corpus, lexicon: Lexicon, seed: int
) -> dict[str, Any] | None:
    """Probe whether one frame separates words with several recordings from words with one; None without both kinds."""
    several = {gloss for gloss, sign in signs.items() if not sign["shared"]}
    if not several or len(several) == len(signs):
        return None
    result = _source_accuracy(train, test, several)
    if result is None:
        return None
    accuracy, share = result
    single = sorted(set(signs) - several)
    weight = sum(signs[g]["count"] for g in several)
    sets = (_random_glosses(single, signs, weight, seed + n) for n in range(RANDOM_SETS))
    random_accuracies = [result[0] for result in (_source_accuracy(train, test, glosses) for glosses in sets) if result]
    accuracy_before = _uncalibrated_accuracy(corpus, lexicon, {signs[gloss]["word"] for gloss in several}, seed)
    return {
        "before": accuracy_before,
        "after": accuracy,
        "share_of_frames": share,
        "after_for_random_words": random_accuracies,
    }


def _source_accuracy(train: list[Clip], test: list[Clip], glosses: set[str]) -> tuple[float, float] | None:
    """Return the balanced accuracy of the probe for exemplars of ``glosses``, and their share of the test frames.

    Returns None if train or test has no frames of these glosses, or of no others.
    """
    positive = frozenset(
        exemplar
        for clip in (*train, *test)
        for exemplar, gloss in zip(clip.exemplars or (), clip.glosses or (), strict=True)
        if gloss in glosses
    )
    train_frames = probes.subset(probes.source_frames(train, positive), MAX_FRAMES)
    test_frames = probes.subset(probes.source_frames(test, positive), MAX_FRAMES)
    if any(frames.labels.all() or not frames.labels.any() for frames in (train_frames, test_frames)):
        return None
    return probes.balanced_accuracy(train_frames, test_frames), float(test_frames.labels.mean())


def _random_glosses(glosses: list[str], signs: dict[str, Any], weight: int, seed: int) -> set[str]:
    """Draw random glosses with about ``weight`` occurrences in total."""
    drawn: set[str] = set()
    for gloss in generator(seed, "random words").permutation(glosses).tolist():
        if sum(signs[g]["count"] for g in drawn) >= weight:
            break
        drawn.add(gloss)
    return drawn


def _uncalibrated_accuracy(corpus: Corpus, lexicon: Lexicon, several: set[str], seed: int) -> float:
    """Return the balanced accuracy of the probe on the lexicon's recordings before calibration, in two halves."""
    positive = frozenset(e.id for e in lexicon.exemplars if e.word in several)
    ids = [e.id for e in lexicon.exemplars]
    order = generator(seed, "before").permutation(ids).tolist()
    halves = [
        probes.subset(probes.source_frames(_with_ids(corpus, frozenset(order[part::2])), positive), MAX_FRAMES)
        for part in (0, 1)
    ]
    return probes.balanced_accuracy(*halves)


def _probe_seam(train: list[Clip], test: list[Clip]) -> dict[str, float]:
    frames = [probes.subset(probes.seam_frames(clips), MAX_FRAMES) for clips in (train, test)]
    windows = [probes.subset(probes.seam_frames(clips, window=3), MAX_FRAMES) for clips in (train, test)]
    return {
        "auc": probes.auc(*frames),
        "auc_boosted": probes.auc(*frames, boosted=True),
        "auc_seven_frames": probes.auc(*windows),
        "auc_seven_frames_boosted": probes.auc(*windows, boosted=True),
    }


def open_shortcuts(report: dict[str, Any]) -> list[str]:
    """Return a line per probe that misses its limit, to be printed with every result on the corpus."""
    limits, lines = report["limits"], []
    source, frames = report["source"], report["frames"]
    if source and source["after"] > limits["source"]:
        lines.append(f"a single frame tells the source of a sign: balanced accuracy {source['after']:.2f}")
    if report["seam"]["auc"] > limits["seam"]:
        lines.append(f"seams show in velocity and jerk: AUC {report['seam']['auc']:.2f}")
    strongest = max(report["seam"].values()) if report["seam"]["auc"] <= limits["seam"] else 0.0
    if strongest > limits["seam"]:
        lines.append(f"seams show to stronger detectors than the limit is for: AUC up to {strongest:.2f}")
    if frames and frames["within_a_tenth"] < 1:
        lines.append(f"only {frames['within_a_tenth']:.0%} of the clips last as long as the originals")
    if report["template"]["wer"] < limits["template_wer"]:
        lines.append(f"template matching without learning has a WER of {report['template']['wer']:.0%}")
    return lines


def save_report(corpus: Corpus, report: dict[str, Any]) -> None:
    """Save the report next to corpus.json."""
    store, root = filesystem(corpus.path)
    with store.open_output_stream(f"{root}/{PROBES}") as stream:
        stream.write((json.dumps(report, indent=2) + "\n").encode())
