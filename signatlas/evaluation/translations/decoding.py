"""Clips to texts: what one worker holds, how clips are cut into batches, and parts of the answer on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signatlas.files import write_text_atomically

EMBEDDED = 4  # clips that are only embedded come in batches so many times as large


@dataclass(frozen=True)
class Decoding:
    """How texts are decoded: beam search."""

    beams: int = 8
    max_new_tokens: int = 60
    length_penalty: float = 1.0


@dataclass(frozen=True)
class Work:
    """What each worker needs; plain values, so that they travel. ``splits`` of the corpus are looked at."""

    model: str
    corpus: str
    splits: tuple[str, ...]
    features: str | None
    frames: str | None
    decoding: Decoding
    threads: int | None = None


class Batch(NamedTuple):
    """Clips that are encoded together; ``translate``: not only embedded."""

    ids: list[str]
    translate: bool


class Decoded(NamedTuple):
    """Of a batch: texts (none where only embedded) and one unit vector a clip, float32 [B, E]."""

    ids: list[str]
    texts: list[str]
    vectors: np.ndarray


class Decoder:
    """A translator with its inputs, in this process. Raises UserError for what does not fit."""

    def __init__(self, work: Work):
        import torch

        from signatlas.corpus.format import Corpus
        from signatlas.models.translator.sign_inputs import SignInputs
        from signatlas.models.translator.translator import Translator

        if work.threads is not None:
            torch.set_num_threads(work.threads)
        self.work, self.model = work, Translator.from_pretrained(work.model)
        if torch.cuda.is_available():
            self.model.cuda()
        corpus = Corpus.open(work.corpus)
        part = corpus.where(lambda row: row["split"] in work.splits)
        self.inputs = SignInputs.open(self.model.config.sign.backbone, part, features=work.features, frames=work.frames)

    def lengths(self) -> dict[str, int]:
        """Frames or windows of each clip that there are inputs of."""
        return dict(zip(self.inputs.ids, (int(n) for n in self.inputs.lengths), strict=True))

    def __call__(self, batch: Batch) -> Decoded:
        x, mask = self.inputs.batch(batch.ids)
        texts: list[str] = []
        if batch.translate:
            texts = self.model.translate([(x, mask)], **asdict(self.work.decoding))
        return Decoded(batch.ids, texts, vectors(self.model, x, mask))


def vectors(model: Any, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of each clip's unit visual tokens, of unit length, float32 [B, E]."""
    from torch.nn.functional import normalize

    from signatlas.similarity import mean_pooled

    found = model.visual_tokens(x, mask)
    pooled: np.ndarray = normalize(mean_pooled(found.tokens, found.mask).float(), dim=-1).numpy()
    return pooled


def batches(lengths: Mapping[str, int], asked: Sequence[str], others: Sequence[str], size: int) -> list[Batch]:
    """Clips of like length together, the longest first: memory that is short shows at once.

    ``asked`` are translated, ``others`` only embedded. The same for any number of workers.
    """
    found = []
    for ids, translate, count in ((asked, True, size), (others, False, size * EMBEDDED)):
        order = sorted(dict.fromkeys(ids), key=lambda id: (-lengths[id], id))
        found += [Batch(order[i : i + count], translate) for i in range(0, len(order), count)]
    return found


class Parts:
    """Answers to batches in a folder beside the evaluation's, kept until it is whole: a stopped run goes on.

    ``key`` is of everything that the answers depend on; parts of another key are of no use and removed.
    """

    def __init__(self, target: Path, key: Mapping[str, Any]):
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = target.parent / f".{target.name}.parts-{digest}"
        for other in target.parent.glob(f".{target.name}.parts-*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def missing(self, wanted: Iterable[Batch]) -> list[Batch]:
        return [batch for batch in wanted if not self._file(batch).is_file()]

    def keep(self, batch: Batch, answer: Decoded) -> None:
        found = np.asarray(answer.vectors, np.float32)
        document = {"texts": answer.texts, "width": found.shape[1], "vectors": b64encode(found.tobytes()).decode()}
        write_text_atomically(self._file(batch), json.dumps(document))

    def read(self, batch: Batch) -> Decoded:
        document = json.loads(self._file(batch).read_text("utf-8"))
        values = np.frombuffer(b64decode(document["vectors"]), np.float32)
        return Decoded(batch.ids, document["texts"], values.reshape(-1, document["width"]))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, batch: Batch) -> Path:
        named = hashlib.sha256("\n".join([*batch.ids, str(batch.translate)]).encode()).hexdigest()[:24]
        return self.folder / f"{named}.json"


def here(work: Work, wanted: Sequence[Batch], decoder: Decoder | None = None) -> Iterator[tuple[Batch, Decoded]]:
    """Decode in this process, without Ray."""
    decoder = decoder or Decoder(work)
    for batch in wanted:
        yield batch, decoder(batch)


def gathered(wanted: Sequence[Batch], parts: Parts) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Texts by clip, and vectors by clip, of parts that are all there."""
    texts: dict[str, str] = {}
    found: dict[str, np.ndarray] = {}
    for batch in wanted:
        answer = parts.read(batch)
        texts |= dict(zip(answer.ids, answer.texts, strict=False)) if batch.translate else {}
        found |= dict(zip(answer.ids, answer.vectors, strict=True))
    return texts, found


def absolute_name(name: str) -> str:
    """A model's folder seen from any place, or its Hub name."""
    return os.path.abspath(name) if os.path.isdir(name) else name
