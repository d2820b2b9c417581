"""Index snapshots: `<root>/<version>/` with manifest, shards and model; `<root>/CURRENT` names the live version."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

import signatlas
from signatlas.corpus.format import SCHEMA
from signatlas.errors import SnapshotError
from signatlas.files import filesystem, folder_atomically, sha256_file, write_text_atomically
from signatlas.models import folder as model_folder
from signatlas.retrieval import faiss_index as faiss_index
from signatlas.retrieval.confidence import Confidence, calibrate
from signatlas.retrieval.manifest import CorpusPart, FeaturesPart, Manifest, ModelPart, ShardPart
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.tokens import SEGMENT_FOLDER, TokenTable

if TYPE_CHECKING:
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.models.sign_encoder import SignEncoder

CURRENT = "CURRENT"
MODEL_FILES = ("config.json", model_folder.WEIGHTS, "README.md")
MODEL_FOLDERS = ("text", "sign_encoders")  # of a dual encoder: its tokenizer, and what its features were made with
UNCALIBRATED = Confidence(rule="none: scores of sentences are not put into words")
ROW_COLUMNS = ("id", "gloss", "sign_language", "source", "split", "texts", "num_frames", "fps", "width", "height",
               "signer_kind")  # fmt: skip
ROW_SCHEMA = pa.schema([SCHEMA.field(name) for name in ROW_COLUMNS])


def shard_of(id: str, shards: int) -> int:
    """The shard of a clip: by hash of its id alone, so that it never depends on the other clips."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") % shards


def write(
    root: str | os.PathLike[str],
    vectors: np.ndarray,
    rows: pa.Table,
    *,
    model: str | os.PathLike[str],
    corpus: CorpusPart,
    factory: str = "Flat",
    shards: int = 1,
    version: str | None = None,
    absent: np.ndarray | None = None,
    kind: Literal["signs", "clips", "texts"] = "signs",
    tokens: TokenTable | None = None,
    features: FeaturesPart | None = None,
) -> Snapshot:
    """Write one version: unit ``vectors`` float32 [N, E] with ``rows`` [N] of ``ROW_SCHEMA``; whole or not at all.

    ``tokens`` [N] of clips or texts are compared with a query's, after the vectors have chosen candidates.
    ``absent`` [M, E] are embeddings of signs that the index lacks, for the words of confidence (see ``calibrate``).
    ``version`` defaults to the time and a hash of the content. Raises SnapshotError when the version exists, the
    factory does not fit or there is nothing to index.
    """
    if len(rows) == 0:
        raise SnapshotError(f"nothing to index: no clip of {corpus.path} was chosen; see --source and --split")
    if not 1 <= shards <= len(rows):
        raise SnapshotError(
            f"cannot cut {len(rows)} {'texts' if kind == 'texts' else 'clips'} into {shards} shards; "
            f"choose --shards 1 to {len(rows)}"
        )
    # Sorted by id: within a shard equal scores then come in the order of ids.
    order = np.argsort(np.array(rows["id"].to_pylist(), dtype=object))
    rows, vectors = rows.take(pa.array(order)).combine_chunks(), vectors[order]
    now = datetime.now(UTC)
    version = _check_name(version or f"{now:%Y%m%d-%H%M%S}-{_content_hash(vectors, rows, factory, shards)}")
    try:
        with folder_atomically(Path(root) / version) as partial:
            _copy_model(model_folder.locate(model), partial / "model")
            parts = _write_shards(partial, vectors, rows, factory, shards, tokens, order)
            files = _checksums(partial)
            manifest = Manifest(
                format=1 if kind == "signs" else 2,
                kind=kind,
                version=version,
                created=now.isoformat(timespec="seconds"),
                signatlas=signatlas.__version__,
                model=ModelPart(name=os.fspath(model), sha256=files[f"model/{model_folder.WEIGHTS}"]),
                corpus=corpus,
                features=features,
                languages=_languages(rows) if kind == "texts" else (),
                tokens=0 if tokens is None else len(tokens.tokens),
                factory=factory,
                dims=vectors.shape[1],
                count=len(rows),
                shards=parts,
                confidence=calibrate(vectors, rows["gloss"].to_pylist(), absent) if kind == "signs" else UNCALIBRATED,
                files=files,
            )
            (partial / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise SnapshotError(f"{error}: versions are never changed; choose another --version") from error
    return Snapshot(Path(root), manifest)


def _copy_model(source: Path, target: Path) -> None:
    target.mkdir()
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for name in MODEL_FOLDERS:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)


def _languages(rows: pa.Table) -> tuple[str, ...]:
    return tuple(sorted({text["language"] for texts in rows["texts"].to_pylist() for text in texts or []}))


def _write_shards(
    folder: Path,
    vectors: np.ndarray,
    rows: pa.Table,
    factory: str,
    shards: int,
    tokens: TokenTable | None,
    order: np.ndarray,
) -> tuple[ShardPart, ...]:
    """``order`` are the places that the sorted rows have in ``tokens``."""
    segments = None if tokens is None else tokens.segments()
    home = np.array([shard_of(id, shards) for id in rows["id"].to_pylist()])
    parts = []
    for number in range(shards):
        name = f"shard-{number:03d}"
        chosen = np.flatnonzero(home == number)
        (folder / name).mkdir()
        faiss_index.write(faiss_index.build(vectors[chosen], factory), folder / name / "index.faiss")
        pq.write_table(rows.take(pa.array(chosen)), folder / name / "ids.parquet", compression="zstd")
        if tokens is not None and segments is not None:
            tokens.write(folder / name, order[chosen])
            (folder / name / SEGMENT_FOLDER).mkdir()
            segments.write(folder / name / SEGMENT_FOLDER, order[chosen])
        parts.append(ShardPart(name=name, count=len(chosen)))
    return tuple(parts)


def _content_hash(vectors: np.ndarray, rows: pa.Table, factory: str, shards: int) -> str:
    digest = hashlib.sha256(json.dumps([factory, shards, rows["id"].to_pylist()]).encode())
    digest.update(np.ascontiguousarray(vectors, "<f4").tobytes())
    return digest.hexdigest()[:8]


def _checksums(folder: Path) -> dict[str, str]:
    store, inner = filesystem(folder)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {name: sha256_file(store, f"{inner}/{name}") for name in names}


def _check_name(version: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", version) or version == CURRENT:
        raise SnapshotError(f"'{version}' cannot name a version: use letters, digits, '.', '_' and '-'")
    return version


def versions(root: str | os.PathLike[str]) -> list[str]:
    """The versions in an index folder, oldest name first."""
    return sorted(p.parent.name for p in Path(root).glob("*/manifest.json") if not p.parent.name.startswith("."))


def current(root: str | os.PathLike[str]) -> str:
    """The live version. Raises SnapshotError when none was activated."""
    path = Path(root) / CURRENT
    if path.is_file():
        return _check_name(path.read_text(encoding="utf-8").strip())
    found = versions(root)
    if found:
        raise SnapshotError(f"{path} is missing; run 'signatlas index activate {root} {found[-1]}'")
    raise SnapshotError(f"no index at {root}: build one with 'signatlas index build MODEL CORPUS --out {root}'")


def activate(root: str | os.PathLike[str], version: str) -> Snapshot:
    """Make ``version`` the live one, after every file of it was checked; until then the old one stays live."""
    snapshot = Snapshot.open(root, version, verify=True)
    write_text_atomically(Path(root) / CURRENT, version + "\n")
    return snapshot


class Snapshot:
    """One version of an index on a local disk. Open with :meth:`open`; it is never changed once written."""

    def __init__(self, root: Path, manifest: Manifest):
        self.root, self.manifest, self.version = root, manifest, manifest.version
        self.path = root / manifest.version

    @classmethod
    def open(cls, root: str | os.PathLike[str], version: str | None = None, *, verify: bool = True) -> Snapshot:
        """Open the live version or a named one. ``verify`` compares the sha256 of every file.

        Raises SnapshotError when it is missing or damaged; the message names the shard.
        """
        name = current(root) if version is None else _check_name(version)
        path = Path(root) / name / "manifest.json"
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            have = ", ".join(versions(root)) or "none"
            raise SnapshotError(f"no version '{name}' in {root}; there is: {have}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SnapshotError(f"{path} is damaged ({where} {first['msg']}); build the index again") from error
        if manifest.version != name:
            raise SnapshotError(f"{path} says it is version '{manifest.version}'; a version folder cannot be renamed")
        snapshot = cls(Path(root), manifest)
        if verify:
            snapshot.verify()
        return snapshot

    def verify(self, part: str | None = None) -> None:
        """Compare every file, or those of one part such as ``shard-000`` or ``model``, with its checksum."""
        for name, expected in self.manifest.files.items():
            home = name.split("/")[0]
            if part in (None, home):
                self._verify_file(name, home, expected)

    def _verify_file(self, name: str, part: str, expected: str) -> None:
        store, inner = filesystem(self.path / name)
        try:
            found = sha256_file(store, inner)
        except FileNotFoundError:
            raise SnapshotError(f"{part} of {self.path} is refused: {name} is missing; build the index again") from None
        if found != expected:
            raise SnapshotError(
                f"{part} of {self.path} is refused: {name} does not match its checksum; build the index again"
            )

    def shard(self, number: int, *, verify: bool = False) -> Shard:
        """Load one shard into memory. Raises SnapshotError with its name."""
        name = self.manifest.shards[number].name
        if verify:
            self.verify(name)
        return Shard.load(self.path / name)

    def encoder(self, *, verify: bool = False) -> SignEncoder:
        """The model that made the vectors, from the snapshot's own copy. Raises SnapshotError for clips and texts."""
        from signatlas.models.sign_encoder import SignEncoder

        self.require_signs()
        if verify:
            self.verify("model")
        return SignEncoder.from_pretrained(self.path / "model")

    def dual_encoder(self) -> DualEncoder:
        """The model that made vectors and tokens of clips or texts, from the snapshot's own copy."""
        from signatlas.models.dual_encoder.encoder import DualEncoder

        return DualEncoder.from_pretrained(self.path / "model")

    def require_signs(self) -> None:
        """Raises SnapshotError unless the entries are recordings of single signs, which alone can be served so far."""
        if self.manifest.kind != "signs":
            raise SnapshotError(
                f"{self.path} is an index of {self.manifest.kind}, searched with 'signatlas search "
                f"{'--text' if self.manifest.kind == 'clips' else '--clip or --pose'}' only, not served yet"
            )

    def rows(self) -> pa.Table:
        """One row of ``ROW_SCHEMA`` a recording, shard after shard."""
        return pa.concat_tables([pq.read_table(self.path / s.name / "ids.parquet") for s in self.manifest.shards])


def as_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of at least the columns of ``ROW_SCHEMA`` as one table of exactly these."""
    return pa.concat_tables([t.select(ROW_COLUMNS).cast(ROW_SCHEMA) for t in tables]).combine_chunks()
