"""All probes and controls of one composed corpus in one report, kept beside it for whoever trains on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from signatlas.compose import probes
from signatlas.compose.blend import uses
from signatlas.compose.lexicon import Exemplar, Lexicon, build, left_handed
from signatlas.compose.motion import LEFT, RIGHT, Motion, from_poses, to_poses
from signatlas.compose.recognise import Recogniser, hand_features, wer
from signatlas.compose.style import REST, generator
from signatlas.corpus.clips import Clip
from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError
from signatlas.files import filesystem, read_bytes
from signatlas.pose.normalise import mirror

FILE = "probes.json"
LIMITS = {"source": 0.65, "seam": 0.65, "frames": 0.10, "template_wer": 0.20}
TRAIN_CLIPS, TEST_CLIPS, TUNING_CLIPS = 800, 300, 40
MOST_FRAMES = 40_000
TEMPLATES_A_WORD = 5
RANDOM_SETS = 5  # of words that have nothing in common, for the probe of the source


def examine(corpus: Corpus, lexicon: Corpus, *, seed: int = 0, say: Callable[[str], Any] = print) -> dict[str, Any]:
    """Every probe and control of a composed ``corpus``; ``lexicon`` is the corpus its signs are from.

    Raises CorpusError for a corpus that is not composed, or another lexicon.
    """
    made = corpus.info.made
    if "signs" not in made or "lexicon" not in made:
        raise CorpusError(f"{corpus.path} was not composed of signs: there is nothing to probe")
    if lexicon.info.fingerprint != made["lexicon"]["fingerprint"]:
        raise CorpusError(
            f"{lexicon.path} is not the lexicon of {corpus.path}: give --lexicon {made['lexicon']['name']}"
        )
    train, test = _some(corpus, "train", TRAIN_CLIPS, seed), _some(corpus, "test", TEST_CLIPS, seed)
    found: dict[str, Any] = {"fingerprint": corpus.info.fingerprint, "seed": seed, "limits": LIMITS}
    say("probe: source of a sign from a single frame")
    found["source"] = _source(train, test, made["signs"], lexicon, seed)
    say("probe: seams from velocity and jerk")
    found["seam"] = _seam(train, test)
    found["frames"] = made.get("frames") or None
    say("control: template matching")
    found["template"] = _templates(corpus, build(lexicon).only({s["word"] for s in made["signs"].values()}), seed)
    return found | {"open": open_shortcuts(found)}


def _some(corpus: Corpus, split: str, most: int, seed: int) -> list[Clip]:
    ids = sorted(row["id"] for row in corpus.split(split).metadata())
    if len(ids) > most:
        ids = generator(seed, "probe", split).choice(ids, most, replace=False).tolist()
    return list(_chosen(corpus, frozenset(ids)))


def _chosen(corpus: Corpus, ids: frozenset[str]) -> Corpus:
    return corpus.where(lambda row: row["id"] in ids)


def _source(
    train: list[Clip], test: list[Clip], signs: dict[str, Any], lexicon: Corpus, seed: int
) -> dict[str, Any] | None:
    """Can one frame tell a word with several recordings from one with a single one? None where all are of one kind."""
    several = {gloss for gloss, sign in signs.items() if not sign["shared"]}
    if not several or len(several) == len(signs):
        return None
    after, share = _told(train, test, several)
    single = sorted(set(signs) - several)
    weight = sum(signs[g]["count"] for g in several)
    random = [_told(train, test, _as_frequent(single, signs, weight, seed + n))[0] for n in range(RANDOM_SETS)]
    words = {signs[gloss]["word"] for gloss in several}
    before = _before(lexicon, {sign["word"] for sign in signs.values()}, words, seed)
    return {"before": before, "after": after, "share_of_frames": share, "after_for_random_words": random}


def _told(train: list[Clip], test: list[Clip], glosses: set[str]) -> tuple[float, float]:
    """Balanced accuracy of the probe for the exemplars of ``glosses``, and their share of the test frames."""
    special = frozenset(
        exemplar
        for clip in (*train, *test)
        for exemplar, gloss in zip(clip.exemplars or (), clip.glosses or (), strict=True)
        if gloss in glosses
    )
    fitted = probes.subset(probes.source_frames(train, special), MOST_FRAMES)
    held = probes.subset(probes.source_frames(test, special), MOST_FRAMES)
    return probes.balanced_accuracy(fitted, held), float(held.labels.mean())


def _as_frequent(glosses: list[str], signs: dict[str, Any], weight: int, seed: int) -> set[str]:
    """Glosses drawn at random that together occur about ``weight`` times."""
    found: set[str] = set()
    for gloss in generator(seed, "random words").permutation(glosses).tolist():
        if sum(signs[g]["count"] for g in found) >= weight:
            break
        found.add(gloss)
    return found


def _before(lexicon: Corpus, words: set[str], several: set[str], seed: int) -> float:
    """The same probe on the recordings as they are: half of each word's for training, half for testing."""
    rows = [row for row in lexicon.metadata() if row["gloss"] in words]
    special = frozenset(row["id"] for row in rows if row["gloss"] in several and row["source"] != "dictionary")
    chosen = [row["id"] for row in rows if row["gloss"] not in several or row["id"] in special]
    order = generator(seed, "before").permutation(chosen).tolist()
    halves = []
    for half in (frozenset(order[::2]), frozenset(order[1::2])):
        halves.append(probes.subset(probes.source_frames(_chosen(lexicon, half), special), MOST_FRAMES))
    return probes.balanced_accuracy(*halves)


def _seam(train: list[Clip], test: list[Clip]) -> dict[str, float]:
    frames = [probes.seam_frames(clips) for clips in (train, test)]
    wide = [probes.seam_frames(clips, window=3) for clips in (train, test)]
    return {
        "auc": probes.auc(*frames),
        "auc_boosted": probes.auc(*frames, boosted=True),
        "auc_seven_frames": probes.auc(*wide),
        "auc_seven_frames_boosted": probes.auc(*wide, boosted=True),
        "share_of_frames": float(frames[1].labels.mean()),
    }


def _templates(corpus: Corpus, lexicon: Lexicon, seed: int) -> dict[str, Any]:
    """Word error rate of matching the lexicon's exemplars; the penalty is chosen on dev."""
    rng = generator(seed, "templates")
    chosen: list[Exemplar] = []
    for word in lexicon.words:
        held = lexicon.recordings(word, "train")
        chosen += [held[i] for i in rng.permutation(len(held))[:TEMPLATES_A_WORD]]
    glosses = {sign["word"]: gloss for gloss, sign in corpus.info.made["signs"].items()}
    templates = tuple(hand_features(_plain(e.motion, lexicon.relaxed), 1.0) for e in chosen)
    recogniser = Recogniser(templates, tuple(glosses[e.word] for e in chosen))
    dev, test = (_signing(corpus, split, most, seed) for split, most in (("dev", TUNING_CLIPS), ("test", TEST_CLIPS)))
    tuned = recogniser.tune([f for f, _ in dev], [g for _, g in dev])
    heard = [recogniser.recognise(features, tuned.penalty, tuned.filler) for features, _ in test]
    said = [g for _, g in test]
    shares = {
        kind: [(r, h) for r, h in zip(said, heard, strict=True) if all(_own(corpus, g) is own for g in r)]
        for kind, own in (("of_own_recordings", True), ("of_shared_recordings", False))
    }
    parts = {
        f"wer_{kind}": wer([r for r, _ in pairs], [h for _, h in pairs]) for kind, pairs in shares.items() if pairs
    }
    counts = {"penalty": tuned.penalty, "filler": tuned.filler, "clips": len(test), "templates": len(chosen)}
    return {"wer": wer(said, heard), **(parts if len(parts) > 1 else {}), **counts}


def _own(corpus: Corpus, gloss: str) -> bool:
    """Whether test signs a gloss from recordings that training does not have."""
    return not corpus.info.made["signs"][gloss]["shared"]


def _plain(motion: Motion, relaxed: np.ndarray) -> np.ndarray:
    """An exemplar as a signer of middling build would show it, a hand that takes no part hanging down."""
    wrists, shapes = motion.wrists.copy(), motion.shapes.copy()
    for hand in (LEFT, RIGHT):
        if not uses(motion, hand):
            wrists[:, hand], shapes[:, hand] = REST[hand], relaxed[hand]
    there = np.ones((len(motion), 2), bool)
    return to_poses(Motion(wrists, shapes, there), np.full((len(motion), 2), (0.5, 0.27)), 0.05)


def _signing(corpus: Corpus, split: str, most: int, seed: int) -> list[tuple[np.ndarray, list[str]]]:
    """Features and glosses of clips; those of left-handed signers mirrored, as the lexicon is right-handed."""
    words = {gloss: sign["word"] for gloss, sign in corpus.info.made["signs"].items()}
    glosses = {word: gloss for gloss, word in words.items()}
    found = []
    for clip in _some(corpus, split, most, seed):
        motion = from_poses(clip.poses)
        mirrored = motion is not None and left_handed(motion)
        poses = _mirrored(clip.poses) if mirrored else clip.poses
        found.append((hand_features(poses, 1.0), [glosses[words[g]] for g in clip.glosses or ()]))
    return found


def _mirrored(poses: np.ndarray) -> np.ndarray:
    return mirror(poses - np.array([0.5, 0, 0], np.float32)) + np.array([0.5, 0, 0], np.float32)


def open_shortcuts(found: dict[str, Any]) -> list[str]:
    """One line for each probe that misses its limit: to be named beside every result on the corpus."""
    limits, lines = found["limits"], []
    source, frames = found["source"], found["frames"]
    if source and source["after"] > limits["source"]:
        lines.append(f"a single frame tells the source of a sign: balanced accuracy {source['after']:.2f}")
    if found["seam"]["auc"] > limits["seam"]:
        lines.append(f"seams show in velocity and jerk: AUC {found['seam']['auc']:.2f}")
    if frames and frames["within_a_tenth"] < 1:
        lines.append(f"only {frames['within_a_tenth']:.0%} of the clips last as long as the originals")
    if found["template"]["wer"] < limits["template_wer"]:
        lines.append(f"template matching without learning has a WER of {found['template']['wer']:.0%}")
    return lines


def save(corpus: Corpus, found: dict[str, Any]) -> None:
    """Beside corpus.json, for everything that reports results on the corpus."""
    store, root = filesystem(corpus.path)
    with store.open_output_stream(f"{root}/{FILE}") as stream:
        stream.write((json.dumps(found, indent=2) + "\n").encode())


def load(corpus: Corpus) -> dict[str, Any] | None:
    """What :func:`save` wrote for this very corpus, or None."""
    try:
        found: dict[str, Any] = json.loads(read_bytes(f"{corpus.path}/{FILE}"))
    except (FileNotFoundError, ValueError):
        return None
    return found if found.get("fingerprint") == corpus.info.fingerprint else None


def as_text(found: dict[str, Any]) -> str:
    """The report, for people."""
    limits, lines = found["limits"], []
    if source := found["source"]:
        random = source["after_for_random_words"]
        lines.append(
            f"source of a sign, single frames: balanced accuracy {source['before']:.3f} before, {source['after']:.3f} "
            f"after (limit {limits['source']}); random words after: {min(random):.3f}-{max(random):.3f}"
        )
    else:
        lines.append("source of a sign: all signs are of one kind, nothing to tell apart")
    seam = found["seam"]
    lines += [
        f"seams, velocity and jerk: AUC {seam['auc']:.3f} (limit {limits['seam']}); boosted trees "
        f"{seam['auc_boosted']:.3f}; over seven frames {seam['auc_seven_frames']:.3f}, boosted "
        f"{seam['auc_seven_frames_boosted']:.3f}",
    ]
    if frames := found["frames"]:
        lines.append(
            f"frames: {frames['within_a_tenth']:.1%} within a tenth of the originals, median ratio "
            f"{frames['median_ratio']:.3f}; exemplars joined as they are "
            f"{frames['plain_concatenation_median_ratio']:.2f}"
        )
    template = found["template"]
    kinds = [f"{name.removeprefix('wer_').replace('_', ' ')} {rate:.1%}" for name, rate in template.items()
             if name.startswith("wer_")]  # fmt: skip
    lines.append(
        f"template matching, no learning: WER {template['wer']:.1%} (at least {limits['template_wer']:.0%}; "
        + "".join(f"{kind}; " for kind in kinds)
        + f"{template['clips']} test clips, {template['templates']} templates)"
    )
    lines += [f"OPEN SHORTCUT: {line}" for line in found["open"]] or ["no open shortcut"]
    return "\n".join(lines)
