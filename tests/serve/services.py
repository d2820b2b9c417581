"""What the tests of the service serve: indexes of signs, clips and texts, and a translator, all tiny."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serve.config import ServeConfig, parse
from signatlas.corpus.format import Corpus, clips_to_table
from signatlas.features import store
from signatlas.features.store import FeatureInfo, FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.attributes import attributes
from signatlas.retrieval import entries, index_version
from signatlas.retrieval.index_version import CorpusPart, FeaturesPart
from tests.evaluation.translations.tiny_translator import train
from tests.retrieval.conftest import dual_encoder


@dataclass(frozen=True)
class Services:
    """Folders of everything; ``corpus`` is that of the indexes."""

    corpus: Path
    signs: Path
    clips: Path
    texts: Path
    translator: Path
    translator_corpus: Path


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def corpus_part(corpus: Path) -> CorpusPart:
    """Return the corpus of an index's manifest."""
    info = Corpus.open(corpus).info
    return CorpusPart(name=info.name, path=str(corpus), fingerprint=info.fingerprint, license=info.license,
                      sign_languages=info.sign_languages, synthetic=True)  # fmt: skip


def write_signs(root: Path, model: Path, corpus: Path, version: str, shards: int = 3, activate: bool = True) -> None:
    """Write a version of an index of signs over the whole corpus."""
    clips = list(Corpus.open(corpus))
    vectors = SignEncoder.from_pretrained(model).embed_clips(clips)
    computed = [attributes(clip.poses, clip.width, clip.height) for clip in clips]
    rows = index_version.with_attributes(index_version.as_rows([clips_to_table(clips)]), computed)
    index_version.write(root, vectors, rows, model=model, corpus=corpus_part(corpus), shards=shards, version=version)
    if activate:
        index_version.activate(root, version)


def write_features(folder: Path, corpus: Path) -> FeatureStore:
    """Write random features of the corpus's clips, 1 to 20 windows each."""
    opened = Corpus.open(corpus)
    info = FeatureInfo(kind="windows", streams=("agnostic",), width=24, corpus="small",
                       corpus_fingerprint=opened.info.fingerprint)  # fmt: skip
    ids = [clip.id for clip in opened]
    arrays = [np.random.default_rng(n).normal(0, 1, (1 + n % 20, 24)) for n in range(len(ids))]
    return store.write(folder, info, ids, [len(a) for a in arrays], {"agnostic": arrays})


def write_sentences(
    root: Path, kind: entries.Kind, model: Path, corpus: Path, features: FeatureStore, version: str, shards: int = 2
) -> None:
    """Write and activate a version of an index of clips or texts."""
    metadata = Corpus.open(corpus).metadata()
    rows = entries.recording_rows(Corpus.open(corpus), metadata) if kind == "clips" else entries.text_rows(metadata)
    encoded = entries.encode(DualEncoder.from_pretrained(model), kind, rows, features)
    part = FeaturesPart(path=str(features.path), fingerprint=features.fingerprint, kind="windows")
    index_version.write(root, encoded.vectors, encoded.rows, model=model, corpus=corpus_part(corpus), kind=kind,
                        tokens=encoded.tokens, features=part, shards=shards, version=version)  # fmt: skip
    index_version.activate(root, version)


def write_services(folder: Path, small_corpus: Path, small_model: Path, continuous_corpus: Path) -> Services:
    """Write everything below ``folder``."""
    corpus = folder / "corpus"
    shutil.copytree(small_corpus, corpus)
    services = Services(corpus, folder / "signs", folder / "clips", folder / "texts", folder / "tiny" / "model",
                        continuous_corpus)  # fmt: skip
    write_signs(services.signs, small_model, corpus, "v1")
    dual = dual_encoder(folder / "dual")
    features = write_features(folder / "features", corpus)
    write_sentences(services.clips, "clips", dual, corpus, features, "v1")
    write_sentences(services.texts, "texts", dual, corpus, features, "v1")
    backbone = {"kind": "pose", "points": "nose_hands", "width": 16, "max_frames": 40}
    train(services.translator, Corpus.open(continuous_corpus), backbone, steps=30)
    return services


def configuration(services: Services, *, parts: tuple[str, ...] = ("signs", "clips", "texts", "translator"),
                  colocate: tuple[str, ...] = ("clips", "texts"), **changes: Any) -> ServeConfig:  # fmt: skip
    """Return a configuration that fits two cores; ``changes`` replace its keys ``http`` and ``gateway``."""
    small = {"ray_actor_options": {"num_cpus": 0.1}}
    applications: list[dict[str, Any]] = []
    for name in parts:
        if name == "translator":
            applications.append({"name": name, "model": str(services.translator), "translator": small})
        else:
            applications.append({
                "name": name, "index": str(getattr(services, name)), "colocate": name in colocate,
                "shards": 2,  # of the three shards of signs, one deployment has two
            })  # fmt: skip
    limits = {"k": 60, "frames": 100, "queries": 8, "body_bytes": 2 << 20}
    settings: dict[str, Any] = {
        "http": {"port": free_port()},
        "gateway": {"limits": limits, "authorization": {"allow_anonymous": True}},
        "applications": applications,
    }
    return parse(settings | changes)
