"""Build an index of signs and search it from Python, without Ray and without a service.

The corpus is procedural (invented signs, computed) and the encoder untrained, so that the script needs no download
and no training. Replace them with your corpus and ``signatlas.models.load("runs/...")``.

    python examples/search_from_python.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from signatlas.corpus import Corpus, clips_to_table, write_corpus
from signatlas.models import SignEncoder, SignEncoderConfig
from signatlas.pose import pose_attributes
from signatlas.retrieval import (
    CorpusPart,
    Filter,
    IndexVersion,
    SignSearch,
    activate,
    as_rows,
    with_attributes,
    write_index_version,
)
from signatlas.synthetic import compose_procedural


def build_corpus(folder: Path) -> Corpus:
    """Write 6 signs, each performed once by 4 synthetic signers."""
    info, clips = compose_procedural(signs=6, signers=4, takes=1, seed=0)
    return write_corpus(folder, info, clips)


def build_model(folder: Path) -> SignEncoder:
    """Write a small sign encoder with random weights."""
    torch.manual_seed(0)
    config = SignEncoderConfig(frames=24, width=32, depth=1, heads=2, feedforward=64, embedding=32)
    model = SignEncoder(config).eval()
    model.save_pretrained(folder)
    return model


def build_index(root: Path, model: SignEncoder, model_folder: Path, corpus: Corpus) -> IndexVersion:
    """Embed all clips, write them as version v1, and make it the live version."""
    clips, info = list(corpus), corpus.info
    # Hands, movement and location of each recording: values to filter by.
    attributes = [pose_attributes(clip.poses, clip.width, clip.height) for clip in clips]
    write_index_version(
        root,
        model.embed_clips(clips),
        with_attributes(as_rows([clips_to_table(clips)]), attributes),
        model=model_folder,
        corpus=CorpusPart(
            name=info.name, path=corpus.path, fingerprint=info.fingerprint, license=info.license,
            sign_languages=info.sign_languages, synthetic=info.synthetic,
        ),
        version="v1",
    )  # fmt: skip
    return activate(root, "v1")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = build_corpus(folder / "corpus")
        model = build_model(folder / "model")
        index = build_index(folder / "index", model, folder / "model", corpus)
        print(f"index {index.version}: {index.manifest.describe()}")

        search, query = SignSearch(index), next(iter(corpus))
        assert query.width and query.height
        for leave_out, filter in ((None, None), (query.id, None), (None, Filter(hands=2))):
            hits = search.search(
                query.poses, aspect=query.width / query.height, k=3, leave_out=leave_out, filter=filter
            )
            print(f"query {query.id}{' without itself' if leave_out else ', two-handed signs' if filter else ''}")
            for hit in hits:
                print(f"{hit.rank}. {hit.score:.3f} {hit.gloss} {hit.id}")


if __name__ == "__main__":
    main()
