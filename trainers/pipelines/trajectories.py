"""Cache token features of the kept checkpoints of a reference run with Ray Data."""

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

CLIPS = "clips.parquet"  # ids and texts for the actors, deleted at the end
BATCH = 64  # clips per batch of an actor
Progress = Callable[[int, int], Any]  # epoch of the checkpoint, number of encoded clips


class TokenEncoder:
    """Ray Data actor that encodes batches of clips with one checkpoint at a time."""

    def __init__(self, backbone: dict[str, Any], paths: dict[str, str | None], clips: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.backbone, self.paths = BackboneConfig(**backbone), paths
        self.clips = pq.read_table(clips)
        self.inputs: Any = None
        self.model: Any = None
        self.model_path: str | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return `problem` and the arrays of :class:`store.EncodedClips` as bytes per row `model`, `first`, `last`."""
        rows: list[dict[str, Any]] = []
        for row in table.to_pylist():
            try:
                rows.append({"problem": None} | _as_bytes(self._encode(**row)))
            except (UserError, ValueError) as error:
                # Errors are returned as values, since Ray Data would wrap an exception and bury its message.
                rows.append({"problem": f"{row['model']}: {error}"} | dict.fromkeys(store.EncodedClips._fields, b""))
        columns: list[tuple[str, Any]] = [(name, pa.large_binary()) for name in store.EncodedClips._fields]
        return pa.Table.from_pylist(rows, schema=pa.schema([("problem", pa.string()), *columns]))

    def _encode(self, model: str, first: int, last: int) -> store.EncodedClips:
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
        if self.model_path != model:
            self.model, self.model_path = Translator.from_pretrained(model), model
            if torch.cuda.is_available():
                self.model.cuda()


def pooled(tokens: Any, similarity: SimilarityConfig) -> Any:
    """Return one vector [B, D] per row: the CLS token, or the mean of the normalized tokens.

    Vectors are normalized unless the similarity is ``fine_grained``, where their product is the mean of all cosines.
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
    """Write the token features of the training clips for every kept checkpoint of a reference run.

    Existing token caches are reused, and each is written atomically. Also computes the similarity changes that the
    recipe's negative selection needs. Needs an initialized Ray; ``workers`` defaults to the training workers. Raises
    UserError.
    """
    with _exclusive_lock(Path(out)):
        return _cache_missing(Path(reference), data, Path(out), workers, gpus, quiet)


@contextlib.contextmanager
def _exclusive_lock(out: Path) -> Iterator[None]:
    """Lock ``out``, so that a second run with the same reference waits and then reuses the caches."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process ends
        yield


def _cache_missing(
    reference: Path, data: TranslationData, out: Path, workers: int | None, gpus: float, quiet: bool
) -> Trajectories:
    checkpoints = _kept_checkpoints(reference)
    missing, info = _plan(checkpoints, data, out)
    if missing is not None:
        (out / store.INFO).unlink(missing_ok=True)
        # In the shared folder, since actors on other machines read it, also after a restart.
        clips = out.absolute() / CLIPS
        pq.write_table(pa.table({"id": data.ids, "text": data.texts}), clips)
        started, progress = time.monotonic(), _progress_printer(quiet)
        rows = _encode_checkpoints({epoch: checkpoints[epoch] for epoch in missing}, data, clips, workers, gpus)
        for cache_info in missing.values():
            parts = _checkpoint_parts(rows, cache_info, len(data.ids), progress)
            store.write_token_cache(out, cache_info, data.ids, data.groups, parts)
        clips.unlink()
        _finish(out, info)
        if not quiet and missing:
            seconds = time.monotonic() - started
            print(f"{out}: {len(missing)} checkpoints, {len(data.ids):,} clips, {seconds:.0f} s", file=sys.stderr)
    return _precompute_selection(Trajectories.open(out), data, quiet)


def _kept_checkpoints(reference: Path) -> dict[int, Path]:
    """Return model folders by epoch. Raises FeatureError for fewer than two."""
    checkpoints = {
        int(path.name.removeprefix("epoch_")): path for path in (reference / KEPT_CHECKPOINTS).glob("epoch_*")
    }
    check_checkpoints(len(checkpoints), reference / KEPT_CHECKPOINTS)
    return dict(sorted(checkpoints.items()))


def _plan(
    checkpoints: dict[int, Path], data: TranslationData, out: Path
) -> tuple[dict[int, store.TokenCacheInfo] | None, store.TrajectoriesInfo]:
    """Return the token caches to write (None if all exist and trajectories.json is current) and its new content."""
    from pyarrow.fs import LocalFileSystem

    from signatlas.models import folder
    from signatlas.models.translator.translator import Translator

    clips = store.digest(value for pair in zip(data.ids, data.texts, strict=True) for value in pair)
    infos, similarity = {}, None
    for epoch, path in checkpoints.items():
        model = Translator.from_pretrained(path)
        if similarity not in (None, model.config.similarity):
            raise FeatureError(f"{path} has another similarity than earlier checkpoints: they are not from one run")
        similarity = model.config.similarity
        if similarity != data.recipe.model.similarity:
            raise FeatureError(f"{path} has another model.similarity than the recipe: choose another reference")
        sources = {
            "model": sha256_file(LocalFileSystem(), str(path / folder.WEIGHTS))[:16],
            "settings": store.digest([(path / "config.json").read_text(encoding="utf-8")]),
            "clips": clips, "corpus": data.info.fingerprint, "inputs": data.inputs.fingerprint,
        }  # fmt: skip
        width = model.config.projection or model.language.config.d_model
        infos[epoch] = store.TokenCacheInfo(epoch=epoch, width=width, sources=sources)
    info = store.TrajectoriesInfo(
        epochs=tuple(infos), similarity=similarity or SimilarityConfig(), corpus=data.info.name,
        sources=tuple(i.sources for i in infos.values()),
    )  # fmt: skip
    missing = {epoch: i for epoch, i in infos.items() if not store.is_cached(out, i)}
    try:
        previous = store.read_info(out)
    except FeatureError:
        return missing, info
    return (missing if missing or previous.model_copy(update={"moments": {}}) != info else None), info


def _encode_checkpoints(
    checkpoints: dict[int, Path], data: TranslationData, clips: Path, workers: int | None, gpus: float
) -> Iterator[dict]:
    """Yield the encoded batches of every checkpoint, in order."""
    if not checkpoints:
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
        for path in checkpoints.values()
        for first in firsts
    ]
    results = ray.data.from_arrow(blocks).map_batches(
        TokenEncoder,
        fn_constructor_args=(backbone, paths, str(clips), recipe.scaling.threads),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers or recipe.scaling.workers),
        num_cpus=recipe.scaling.cpus_per_worker,
        num_gpus=gpus,
    )
    batch: Any  # a pyarrow table; Ray's type hint covers other formats too
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        for problem in batch["problem"].drop_null().to_pylist():
            raise FeatureError(problem)
        yield from batch.to_pylist()


_PATHS = ("corpus", "features", "frames")


def _absolute_backbone(backbone: BackboneConfig) -> dict[str, Any]:
    settings = backbone.model_dump(mode="json")
    if backbone.pretrained and os.path.isdir(backbone.pretrained):
        settings["pretrained"] = os.path.abspath(backbone.pretrained)
    return settings


def _checkpoint_parts(
    rows: Iterator[dict], info: store.TokenCacheInfo, clips: int, progress: Progress
) -> Iterator[store.EncodedClips]:
    """Yield the encoded batches of one checkpoint."""
    done = 0
    while done < clips:
        part = _from_bytes(next(rows), info.width)
        done += len(part.visual_counts)
        progress(info.epoch, done)
        yield part


def _finish(out: Path, info: store.TrajectoriesInfo) -> None:
    """Write trajectories.json as the last file and delete caches of other checkpoints."""
    current = {store.folder_name(epoch) for epoch in info.epochs}
    for path in out.glob("epoch_*"):
        if path.name not in current:
            shutil.rmtree(path)
    for path in out.glob("delta-*.npy"):
        path.unlink()
    moments = [similarity_moments(store.TokenCache.open(out / store.folder_name(epoch)), info) for epoch in info.epochs]
    info = info.model_copy(update={"moments": {name: tuple(m[name] for m in moments) for name in moments[0]}})
    store.write_info(out, info)


def _precompute_selection(trajectories: Trajectories, data: TranslationData, quiet: bool) -> Trajectories:
    """Compute what the recipe's negative selection needs, before workers read it."""
    settings = data.recipe.negative_selection
    if settings is not None:
        progress = _progress_printer(quiet, "changes of similarity: ")
        trajectories.source(
            trajectory=settings.trajectory, zscore=settings.zscore, low_rank=settings.low_rank, pool=settings.pool_size,
            progress=lambda done: progress(trajectories.epochs[-1], done),
        )  # fmt: skip
    return trajectories


def _progress_printer(quiet: bool, prefix: str = "token features: ") -> Progress:
    """Return a function that prints progress on stderr every ten seconds."""
    last = time.monotonic()

    def report(epoch: int, done: int) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"{prefix}epoch {epoch}, {done:,} clips", file=sys.stderr, flush=True)

    return report
