"""From keypoints of your own to a corpus and a trained sign encoder, in one process, without Ray.

``recordings`` stands for your files: arrays float32 [frames, 75, 3] in image units (33 MediaPipe body points, 21 of
the left hand, 21 of the right; NaN where a point is missing), each with a gloss and a signer. Here they are computed.

    python examples/own_keypoints.py [FOLDER]

FOLDER (default: a temporary one) gets the corpus and the model. On a cluster, train the same corpus with
``signatlas train`` (docs/training.md).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from signatlas.corpus import Clip, Corpus, CorpusInfo, with_splits, write_corpus
from signatlas.losses import supcon
from signatlas.metrics import retrieval_metrics
from signatlas.models import SignEncoder, SignEncoderConfig, load
from signatlas.pose import PreparedClips
from signatlas.sampling import pk_batches
from signatlas.synthetic import make_signer, make_signs, perform


def recordings() -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (gloss, signer, poses): replace this with a loop over your files."""
    for number, sign in enumerate(make_signs(10, seed=3)):
        for signer in range(8):
            yield (
                sign.gloss,
                f"signer-{signer}",
                perform(sign, make_signer(signer, 3), np.random.default_rng([number, signer])),
            )


def build_corpus(folder: Path) -> Corpus:
    """Write the corpus, with train, dev and test split by signer."""
    clips = [
        Clip(
            id=f"own/{gloss}/{signer}", split="train", poses=poses, sign_language="mis", source="own", signer=signer,
            signer_kind="synthetic", gloss=gloss, fps=25.0, width=640, height=480,
        )
        for gloss, signer, poses in recordings()
    ]  # fmt: skip
    info = CorpusInfo(
        name="own", version="1", license="Apache-2.0", source="computed", sign_languages=("mis",), fps=25.0,
        synthetic=True,
    )  # fmt: skip
    return write_corpus(folder, info, with_splits(clips))


def train(corpus: Corpus, folder: Path, epochs: int = 12) -> None:
    """Train a small sign encoder on the training clips and write its folder."""
    torch.manual_seed(0)
    config = SignEncoderConfig(frames=16, width=32, depth=1, heads=2, feedforward=64, dropout=0.0, embedding=32)
    model, clips = SignEncoder(config), list(corpus.split("train"))
    prepared = PreparedClips.from_clips(clips, config.points, config.aspect)
    _, labels = np.unique([clip.gloss or "" for clip in clips], return_inverse=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(epochs):
        for batch in pk_batches(labels, 8, 4, seed=0, epoch=epoch):
            points, present = prepared.at(batch, prepared.even_times(batch, config.frames))
            loss = supcon(model(torch.from_numpy(points), torch.from_numpy(present)), torch.from_numpy(labels[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.save_pretrained(folder)


def main(folder: Path) -> None:
    corpus = build_corpus(folder / "corpus")
    print(f"corpus: {len(corpus)} clips, {corpus.info.counts}")
    train(corpus, folder / "model")
    model = load(folder / "model", SignEncoder)
    gallery = list(corpus.split("train"))
    queries = [*corpus.split("dev"), *corpus.split("test")]
    scores = model.embed_clips(queries) @ model.embed_clips(gallery).T
    relevant = np.array([[query.gloss == clip.gloss for clip in gallery] for query in queries])
    print(f"R@1 of {len(queries)} queries by other signers: {retrieval_metrics(scores, relevant)['R@1']:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
