"""Token features of a reference run's checkpoints with Ray Data: snapshots and clips in, trajectories on disk out."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signatlas.errors import FeatureError, UserError
from signatlas.files import absolute, sha256_file
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.translator.config import BackboneConfig
from signatlas.sampling.trajectories import store as store
from signatlas.sampling.trajectories.similarities import Trajectories, check_checkpoints, similarity_moments
from trainers.run_folder import KEPT_CHECKPOINTS

if TYPE_CHECKING:
    from trainers.tasks.translation.data import TranslationData

CLIPS = "clips.parquet"  # what the actors are to encode, while they do
BATCH = 64  # clips that an actor encodes at a time
Progress = Callable[[int, int], Any]  # epoch of the snapshot, clips of it that are done


class TokenEncoder:
    """What each Ray Data actor holds: inputs and texts of all clips, and the snapshot that it is at."""

    def __init__(self, backbone: dict[str, Any], paths: dict[str, str | None], clips: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.backbone, self.paths = BackboneConfig(**backbone), paths
        self.clips = pq.read_table(clips)
        self.inputs: Any = None
        self.model: Any = None
        self.at: str | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return rows of `problem` and the bytes of :class:`store.EncodedClips` of rows `model`, `first`, `last`."""
        rows: list[dict[str, Any]] = []
        for row in table.to_pylist():
            try:
                rows.append({"problem": None} | _as_bytes(self._encoded(**row)))
            except (UserError, ValueError) as error:
                # An exception would lose its cause on the way through Ray Data, and its line among Ray's reports.
                rows.append({"problem": f"{row['model']}: {error}"} | dict.fromkeys(store.EncodedClips._fields, b""))
        columns: list[tuple[str, Any]] = [(name, pa.large_binary()) for name in store.EncodedClips._fields]
        return pa.Table.from_pylist(rows, schema=pa.schema([("problem", pa.string()), *columns]))

    def _encoded(self, model: str, first: int, last: int) -> store.EncodedClips:
        import torch

        self._prepare(model)
        clips = self.clips.slice(first, last - first)
        visual = self.model.visual_tokens(*self.inputs.batch(clips["id"].to_pylist()))
        text = self.model.text_tokens(clips["text"].to_pylist())
        parts: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for side, tokens in (("visual", visual), ("text", text)):
                unit = torch.nn.functional.normalize(tokens.tokens.float(), dim=-1)
                parts[side] = unit[tokens.mask].numpy().astype(np.float16)
                parts[f"{side}_counts"] = tokens.mask.sum(1).numpy().astype(np.int64)
                parts[f"{side}_pooled"] = pooled(tokens, self.model.config.similarity).numpy().astype(np.float16)
        return store.EncodedClips(**parts)

    def _prepare(self, model: str) -> None:
        import torch

        from signatlas.corpus.format import Corpus
        from signatlas.models.translator.inputs import SignInputs
        from signatlas.models.translator.translator import Translator

        if self.inputs is None:
            corpus = Corpus.open(str(self.paths["corpus"]))
            self.inputs = SignInputs.open(
                self.backbone, corpus, features=self.paths["features"], frames=self.paths["frames"]
            )
        if self.at != model:
            self.model, self.at = Translator.from_pretrained(model), model
            if torch.cuda.is_available():
                self.model.cuda()


def pooled(tokens: Any, similarity: SimilarityConfig) -> Any:
    """The one vector [B, D] that stands for each row: the CLS, or the mean of the tokens, each of length one.

    They are of length one where they are what is compared; for ``fine_grained`` their product is the mean of all
    cosines.
    """
    import torch

    from signatlas.similarity import mean_pooled

    vectors = tokens.cls if similarity.kind == "cls" else mean_pooled(tokens.tokens.float(), tokens.mask)
    return vectors if similarity.kind == "fine_grained" else torch.nn.functional.normalize(vectors.float(), dim=-1)


def _as_bytes(encoded: store.EncodedClips) -> dict[str, bytes]:
    return {name: getattr(encoded, name).tobytes() for name in encoded._fields}


def _from_bytes(row: dict[str, bytes], width: int) -> store.EncodedClips:
    parts = {}
    for name in store.EncodedClips._fields:
        counts = name.endswith("_counts")
        parts[name] = np.frombuffer(row[name], np.int64 if counts else np.float16)
        parts[name] = parts[name] if counts else parts[name].reshape(-1, width)
    return store.EncodedClips(**parts)


def cache(
    reference: str | os.PathLike[str],
    data: TranslationData,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    gpus: float = 0,
    quiet: bool = False,
) -> Trajectories:
    """Write the token features of the training clips under every snapshot of a reference run; what is there stays.

    Needs an initialized Ray. ``workers`` actors, by default as many as train. Where the recipe selects batches, what
    its selection needs is computed too. Raises UserError; a snapshot is whole on disk or not there.
    """
    with _alone(Path(out)):
        return _cached(Path(reference), data, Path(out), workers, gpus, quiet)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process at a time: another run over the same reference waits, and finds everything there."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given up by the system when the process ends
        yield


def _cached(
    reference: Path, data: TranslationData, out: Path, workers: int | None, gpus: float, quiet: bool
) -> Trajectories:
    snapshots = _snapshots(reference)
    missing, info = _wanted(snapshots, data, out)
    if missing is not None:
        (out / store.INFO).unlink(missing_ok=True)
        # Beside the features, since actors on other machines read it, and read it again where one is restarted.
        clips = out.absolute() / CLIPS
        pq.write_table(pa.table({"id": data.ids, "text": data.texts}), clips)
        started, told = time.monotonic(), _teller(quiet)
        rows = _encoded({epoch: snapshots[epoch] for epoch in missing}, data, clips, workers, gpus)
        for made in missing.values():
            store.write_token_cache(out, made, data.ids, data.groups, _parts(rows, made, len(data.ids), told))
        clips.unlink()
        _finish(out, info)
        if not quiet and missing:
            seconds = time.monotonic() - started
            print(f"{out}: {len(missing)} checkpoints, {len(data.ids):,} clips, {seconds:.0f} s", file=sys.stderr)
    return _computed(Trajectories.open(out), data, quiet)


def _snapshots(reference: Path) -> dict[int, Path]:
    """Model folders by the epochs that were done. Raises FeatureError for fewer than two."""
    found = {int(path.name.removeprefix("epoch_")): path for path in (reference / KEPT_CHECKPOINTS).glob("epoch_*")}
    check_checkpoints(len(found), reference / KEPT_CHECKPOINTS)
    return dict(sorted(found.items()))


def _wanted(
    snapshots: dict[int, Path], data: TranslationData, out: Path
) -> tuple[dict[int, store.TokenCacheInfo] | None, store.TrajectoriesInfo]:
    """What there is to encode, None when everything is there; and what trajectories.json is to say."""
    from pyarrow.fs import LocalFileSystem

    from signatlas.models import folder
    from signatlas.models.translator.translator import Translator

    clips = store.digest(value for pair in zip(data.ids, data.texts, strict=True) for value in pair)
    infos, similarity = {}, None
    for epoch, path in snapshots.items():
        model = Translator.from_pretrained(path)
        if similarity not in (None, model.config.similarity):
            raise FeatureError(f"{path} compares otherwise than the snapshots before it: not of one run")
        similarity = model.config.similarity
        if similarity != data.recipe.model.similarity:
            raise FeatureError(f"{path} compares otherwise than the recipe (model.similarity): name another reference")
        made = {
            "model": sha256_file(LocalFileSystem(), str(path / folder.WEIGHTS))[:16],
            "settings": store.digest([(path / "config.json").read_text(encoding="utf-8")]),
            "clips": clips, "corpus": data.info.fingerprint, "inputs": data.inputs.fingerprint,
        }  # fmt: skip
        width = model.config.projection or model.language.config.d_model
        infos[epoch] = store.TokenCacheInfo(epoch=epoch, width=width, sources=made)
    info = store.TrajectoriesInfo(
        epochs=tuple(infos), similarity=similarity or SimilarityConfig(), corpus=data.info.name,
        sources=tuple(i.sources for i in infos.values()),
    )  # fmt: skip
    missing = {epoch: i for epoch, i in infos.items() if not store.is_cached(out, i)}
    try:
        said = store.read_info(out)
    except FeatureError:
        return missing, info
    return (missing if missing or said.model_copy(update={"moments": {}}) != info else None), info


def _encoded(
    snapshots: dict[int, Path], data: TranslationData, clips: Path, workers: int | None, gpus: float
) -> Iterator[dict]:
    """What the actors make of every snapshot and batch, in order."""
    if not snapshots:
        return
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    recipe = data.recipe
    backbone = _absolute_backbone(recipe.model.sign.backbone)
    paths = {name: value and absolute(value) for name, value in recipe.data.model_dump().items() if name in _PATHS}
    firsts = range(0, len(data.ids), BATCH)
    blocks = [
        pa.table({"model": [str(path.absolute())], "first": [first], "last": [min(first + BATCH, len(data.ids))]})
        for path in snapshots.values()
        for first in firsts
    ]
    found = ray.data.from_arrow(blocks).map_batches(
        TokenEncoder,
        fn_constructor_args=(backbone, paths, str(clips), recipe.scaling.threads),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers or recipe.scaling.workers),
        num_cpus=recipe.scaling.cpus_per_worker,
        num_gpus=gpus,
    )
    batch: Any  # a pyarrow table; Ray's hint says what other formats would give
    for batch in found.iter_batches(batch_size=None, batch_format="pyarrow"):
        for problem in batch["problem"].drop_null().to_pylist():
            raise FeatureError(problem)
        yield from batch.to_pylist()


_PATHS = ("corpus", "features", "frames")


def _absolute_backbone(backbone: BackboneConfig) -> dict[str, Any]:
    found = backbone.model_dump(mode="json")
    if backbone.pretrained and os.path.isdir(backbone.pretrained):
        found["pretrained"] = os.path.abspath(backbone.pretrained)
    return found


def _parts(
    rows: Iterator[dict], made: store.TokenCacheInfo, clips: int, told: Progress
) -> Iterator[store.EncodedClips]:
    """The rows of one snapshot."""
    done = 0
    while done < clips:
        part = _from_bytes(next(rows), made.width)
        done += len(part.visual_counts)
        told(made.epoch, done)
        yield part


def _finish(out: Path, info: store.TrajectoriesInfo) -> None:
    """Write trajectories.json, last; take away what belongs to no checkpoint of it."""
    kept = {store.folder_name(epoch) for epoch in info.epochs}
    for path in out.glob("epoch_*"):
        if path.name not in kept:
            shutil.rmtree(path)
    for path in out.glob("delta-*.npy"):
        path.unlink()
    found = [similarity_moments(store.TokenCache.open(out / store.folder_name(epoch)), info) for epoch in info.epochs]
    info = info.model_copy(update={"moments": {name: tuple(f[name] for f in found) for name in found[0]}})
    store.write_info(out, info)


def _computed(trajectories: Trajectories, data: TranslationData, quiet: bool) -> Trajectories:
    """What the recipe's selection needs is computed now, once, before any worker asks for it."""
    settings = data.recipe.negative_selection
    if settings is not None:
        told = _teller(quiet, "changes of similarity: ")
        trajectories.source(
            trajectory=settings.trajectory, zscore=settings.zscore, low_rank=settings.low_rank, pool=settings.pool_size,
            progress=lambda done: told(trajectories.epochs[-1], done),
        )  # fmt: skip
    return trajectories


def _teller(quiet: bool, what: str = "token features: ") -> Progress:
    """Says on stderr how far it is, every ten seconds."""
    last = time.monotonic()

    def told(epoch: int, done: int) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"{what}epoch {epoch}, {done:,} clips", file=sys.stderr, flush=True)

    return told
