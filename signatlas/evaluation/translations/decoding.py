"""Decode a corpus: what a worker needs, batches of clips, and partial results on disk for resuming."""

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

EMBEDDING_FACTOR = 4  # batches of clips that are embedded but not translated are this many times larger


@dataclass(frozen=True)
class Decoding:
    """Settings of beam search."""

    beams: int = 8
    max_new_tokens: int = 60
    length_penalty: float = 1.0


@dataclass(frozen=True)
class DecodingJob:
    """Everything that a worker needs, as plain values; only clips of ``splits`` are read."""

    model: str
    corpus: str
    splits: tuple[str, ...]
    features: str | None
    frames: str | None
    decoding: Decoding
    threads: int | None = None


class Batch(NamedTuple):
    """Clips that are encoded together, and whether they are translated or only embedded."""

    ids: list[str]
    translate: bool


class Decoded(NamedTuple):
    """The results of a batch: texts (none where only embedded) and unit vectors float32 [B, E]."""

    ids: list[str]
    texts: list[str]
    vectors: np.ndarray


class Decoder:
    """A translator with its inputs, in this process. Raises UserError for inputs that do not fit the model."""

    def __init__(self, job: DecodingJob):
        import torch

        from signatlas.corpus.format import Corpus
        from signatlas.models.translator.inputs import SignInputs
        from signatlas.models.translator.translator import Translator

        if job.threads is not None:
            torch.set_num_threads(job.threads)
        self.job, self.model = job, Translator.from_pretrained(job.model)
        if torch.cuda.is_available():
            self.model.cuda()
        corpus = Corpus.open(job.corpus)
        part = corpus.where(lambda row: row["split"] in job.splits)
        self.inputs = SignInputs.open(self.model.config.sign.backbone, part, features=job.features, frames=job.frames)

    def lengths(self) -> dict[str, int]:
        """Return the number of frames or windows of each clip that has inputs."""
        return dict(zip(self.inputs.ids, (int(n) for n in self.inputs.lengths), strict=True))

    def __call__(self, batch: Batch) -> Decoded:
        x, mask = self.inputs.batch(batch.ids)
        texts: list[str] = []
        if batch.translate:
            texts = self.model.translate([(x, mask)], **asdict(self.job.decoding))
        return Decoded(batch.ids, texts, clip_vectors(self.model, x, mask))


def clip_vectors(model: Any, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the normalized mean of each clip's unit visual tokens, float32 [B, E]."""
    from torch.nn.functional import normalize

    from signatlas.similarity import mean_pooled

    visual = model.visual_tokens(x, mask)
    pooled: np.ndarray = normalize(mean_pooled(visual.tokens, visual.mask).float(), dim=-1).numpy()
    return pooled


def make_batches(
    lengths: Mapping[str, int], translated: Sequence[str], embedded: Sequence[str], size: int
) -> list[Batch]:
    """Return batches of clips of similar length, the longest first, so that too little memory shows at once.

    ``translated`` clips are decoded, ``embedded`` ones only embedded. Batches do not depend on the number of workers.
    """
    batches = []
    for ids, translate, count in ((translated, True, size), (embedded, False, size * EMBEDDING_FACTOR)):
        order = sorted(dict.fromkeys(ids), key=lambda id: (-lengths[id], id))
        batches += [Batch(order[i : i + count], translate) for i in range(0, len(order), count)]
    return batches


class PartialResults:
    """Finished batches in a folder next to the evaluation's, kept until it is complete, so that it can resume.

    ``key`` holds everything that results depend on; partial results of other keys are removed.
    """

    def __init__(self, target: Path, key: Mapping[str, Any]):
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = target.parent / f".{target.name}.parts-{digest}"
        for other in target.parent.glob(f".{target.name}.parts-*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def missing(self, batches: Iterable[Batch]) -> list[Batch]:
        """Return the batches that have no result yet."""
        return [batch for batch in batches if not self._file(batch).is_file()]

    def write(self, batch: Batch, result: Decoded) -> None:
        """Write the result of a batch, atomically."""
        vectors = np.asarray(result.vectors, np.float32)
        document = {"texts": result.texts, "width": vectors.shape[1], "vectors": b64encode(vectors.tobytes()).decode()}
        write_text_atomically(self._file(batch), json.dumps(document))

    def read(self, batch: Batch) -> Decoded:
        """Return the result of a batch."""
        document = json.loads(self._file(batch).read_text("utf-8"))
        values = np.frombuffer(b64decode(document["vectors"]), np.float32)
        return Decoded(batch.ids, document["texts"], values.reshape(-1, document["width"]))

    def collect(self, batches: Sequence[Batch]) -> tuple[dict[str, str], dict[str, np.ndarray]]:
        """Return texts and vectors by clip id; every batch must have a result."""
        texts: dict[str, str] = {}
        vectors: dict[str, np.ndarray] = {}
        for batch in batches:
            result = self.read(batch)
            texts |= dict(zip(result.ids, result.texts, strict=False)) if batch.translate else {}
            vectors |= dict(zip(result.ids, result.vectors, strict=True))
        return texts, vectors

    def remove(self) -> None:
        """Remove all partial results."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, batch: Batch) -> Path:
        name = hashlib.sha256("\n".join([*batch.ids, str(batch.translate)]).encode()).hexdigest()[:24]
        return self.folder / f"{name}.json"


def decode_locally(batches: Sequence[Batch], decoder: Decoder) -> Iterator[tuple[Batch, Decoded]]:
    """Decode in this process, without Ray."""
    for batch in batches:
        yield batch, decoder(batch)


def absolute_name(name: str) -> str:
    """Return a model folder as an absolute path, or a Hub name unchanged."""
    return os.path.abspath(name) if os.path.isdir(name) else name
