"""Accuracy of an encoder trained on isolated signs at recognizing the signs inside composed clips.

Each gloss span of the test split is cut out, embedded, and classified as the word of its nearest training recording.
This is the positive control for 'signatlas corpus doctor --probes'. Run:

    python -m benchmarks.span_recognition --model runs/dgs_gesture_0/model --corpus data/multi-composed
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np

from signatlas.corpus.format import Clip, Corpus
from signatlas.models.sign_encoder import SignEncoder
from signatlas.synthetic.composition.lexicon import build_lexicon


def spans(corpus: Corpus) -> tuple[list[Clip], list[str]]:
    """Return a clip for each gloss span with a visible hand, and its word in the lexicon."""
    words = {gloss: sign["word"] for gloss, sign in corpus.info.made["signs"].items()}
    clips, labels = [], []
    for clip in corpus:
        for gloss, (first, end) in zip(clip.glosses or (), clip.gloss_spans or (), strict=True):
            poses = clip.poses[first:end]
            if np.isfinite(poses[:, 33:, 0]).any():
                clips.append(replace(clip, id=f"{clip.id}@{first}", poses=poses, glosses=None, gloss_spans=None,
                                     gloss_kinds=None, exemplars=None))  # fmt: skip
                labels.append(words[gloss])
    return clips, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="sign encoder trained on isolated signs")
    parser.add_argument("--corpus", default="data/multi-composed")
    parser.add_argument("--lexicon", default="data/dgs")
    arguments = parser.parse_args()
    corpus, encoder = Corpus.open(arguments.corpus), SignEncoder.from_pretrained(arguments.model)
    used = {sign["word"] for sign in corpus.info.made["signs"].values() if not sign["shared"]}
    lexicon = Corpus.open(arguments.lexicon)
    exemplars = {exemplar.id for exemplar in build_lexicon(lexicon).exemplars}
    gallery = list(lexicon.split("train").where(lambda row: row["gloss"] in used and row["id"] in exemplars))
    clips, labels = spans(corpus.split("test"))
    chosen = [i for i, label in enumerate(labels) if label in used]
    nearest = encoder.embed_clips([clips[i] for i in chosen]) @ encoder.embed_clips(gallery).T
    predicted = np.array([clip.gloss for clip in gallery])[nearest.argmax(1)]
    true = np.array([labels[i] for i in chosen])
    share = {word: float((true == word).mean()) for word in used}
    result = {
        "benchmark": "span_recognition", "corpus": corpus.info.name, "fingerprint": corpus.info.fingerprint[:12],
        "model": arguments.model, "spans": len(chosen), "words": len(used), "gallery": len(gallery),
        "accuracy": round(float((predicted == true).mean()), 4), "most_frequent_word": round(max(share.values()), 4),
    }  # fmt: skip
    print(f"{len(chosen)} spans of {len(used)} words: accuracy {result['accuracy']:.1%}, "
          f"majority class {result['most_frequent_word']:.1%}")  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
