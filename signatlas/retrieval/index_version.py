"""Index versions: `<root>/<version>/` with manifest, shards and model; `<root>/CURRENT` names the live version."""

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
from signatlas.config import Strict
from signatlas.corpus.format import SCHEMA
from signatlas.errors import IndexVersionError
from signatlas.files import filesystem, folder_atomically, sha256_file, write_text_atomically
from signatlas.models import folder as model_folder
from signatlas.models import registry
from signatlas.pose.attributes import PoseAttributes
from signatlas.retrieval import faiss_index
from signatlas.retrieval.clusters import CLUSTER_FOLDER, ClusterTable
from signatlas.retrieval.confidence import Confidence, Recordings, calibrate
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.tokens import TokenTable

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.models.sign_encoder import SignEncoder

CURRENT, MANIFEST = "CURRENT", "manifest.json"
MODEL_FILES = ("config.json", model_folder.WEIGHTS, "README.md")
MODEL_FOLDERS = ("text", "sign_encoders")  # of a dual encoder: its tokenizer, and the models behind its features
UNCALIBRATED = Confidence(rule="none: scores of sentences are not calibrated")
ROW_COLUMNS = ("id", "gloss", "sign_language", "source", "split", "texts", "num_frames", "fps", "width", "height",
               "signer_kind")  # fmt: skip
# Null where unknown, and in versions that were written before there were such columns.
FILTER_FIELDS = (SCHEMA.field("signer"), pa.field("corpus", pa.string()), pa.field("hands", pa.int8()),
                 pa.field("movement", pa.string()), pa.field("location", pa.string()))  # fmt: skip
ROW_SCHEMA = pa.schema([*(SCHEMA.field(name) for name in ROW_COLUMNS), *FILTER_FIELDS])

Kind = Literal["signs", "clips", "texts"]


class ModelPart(Strict):
    """The model that encoded the entries: its name as given to the build, and the sha256 of model.safetensors."""

    name: str
    sha256: str


class CorpusPart(Strict):
    """The corpus that was indexed; ``sources`` and ``splits`` are None where all of them were."""

    name: str
    path: str
    fingerprint: str
    license: str
    sign_languages: tuple[str, ...]
    synthetic: bool
    sources: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, corpus: Corpus, sources: tuple[str, ...] | None = None, splits: tuple[str, ...] | None = None
    ) -> CorpusPart:
        """Return the entry of a corpus, or of some sources and splits of it."""
        return cls(
            name=corpus.info.name,
            path=corpus.path if "://" in corpus.path else str(Path(corpus.path).absolute()),
            fingerprint=corpus.info.fingerprint,
            license=corpus.info.license,
            sign_languages=corpus.info.sign_languages,
            synthetic=corpus.info.synthetic,
            sources=sources,
            splits=splits,
        )


class ShardPart(Strict):
    """A shard's folder and its number of entries."""

    name: str
    count: int


class FeaturesPart(Strict):
    """The clip features that the entries were encoded from."""

    path: str
    fingerprint: str
    kind: str


class Manifest(Strict):
    """Content, origin and checksums of an index version.

    ``kind`` says what an entry is: a recording of one sign, embedded by a sign encoder; a clip or a text, encoded by a
    dual encoder, with tokens as well where its similarity compares tokens.
    """

    format: int = 1
    kind: Kind = "signs"
    version: str
    created: str  # ISO 8601, UTC
    signatlas: str
    model: ModelPart
    corpus: CorpusPart
    features: FeaturesPart | None = None
    languages: tuple[str, ...] = ()  # of the texts, for entries that are texts
    tokens: int = 0  # of all entries
    log_position: int = 0  # operations of the index's log up to this one are folded in
    factory: str
    metric: str = "inner_product"
    dims: int
    count: int
    shards: tuple[ShardPart, ...]
    confidence: Confidence
    files: dict[str, str]  # path within the version folder -> sha256

    def describe(self) -> str:
        """Return content and size in one line."""
        origin = "synthetic" if self.corpus.synthetic else "real"
        entries = {
            "signs": f"{origin} recordings",
            "clips": f"{origin} clips of sentences",
            "texts": f"texts ({', '.join(self.languages)})",
        }[self.kind]
        tokens = f"{self.tokens:,} tokens, " if self.tokens else ""
        return (
            f"{self.count:,} {entries} of {self.corpus.name}, {tokens}{self.dims} dimensions, "
            f"{len(self.shards)} shards, {self.factory}"
        )


class IndexVersion:
    """One version of an index on a local disk. Open with :meth:`open`; it never changes once written."""

    def __init__(self, root: Path, manifest: Manifest):
        self.root, self.manifest, self.version = root, manifest, manifest.version
        self.path = root / manifest.version

    @classmethod
    def open(cls, root: str | os.PathLike[str], version: str | None = None, *, verify: bool = True) -> IndexVersion:
        """Open the live version or a named one. ``verify`` compares the sha256 of every file.

        Raises IndexVersionError when it is missing or damaged; the message names the shard.
        """
        name = current(root) if version is None else _check_name(version)
        index_version = cls(Path(root), _read_manifest(Path(root), name))
        if verify:
            index_version.verify()
        return index_version

    def verify(self, part: str | None = None) -> None:
        """Compare every file, or those of one part such as ``shard-000`` or ``model``, with its checksum."""
        for name, expected in self.manifest.files.items():
            file_part = name.split("/")[0]
            if part in (None, file_part):
                self._verify_file(name, file_part, expected)

    def _verify_file(self, name: str, part: str, expected: str) -> None:
        store, path = filesystem(self.path / name)
        try:
            checksum = sha256_file(store, path)
        except FileNotFoundError:
            raise IndexVersionError(
                f"{part} of {self.path} is refused: {name} is missing; build the index again"
            ) from None
        if checksum != expected:
            raise IndexVersionError(
                f"{part} of {self.path} is refused: {name} does not match its checksum; build the index again"
            )

    def shard(self, number: int, *, verify: bool = False) -> Shard:
        """Load one shard. Raises IndexVersionError with its name."""
        name = self.manifest.shards[number].name
        if verify:
            self.verify(name)
        return Shard.load(self.path / name)

    def encoder(self, *, verify: bool = False) -> SignEncoder:
        """Load the index's copy of the model that embedded its signs. Raises IndexVersionError for clips and texts."""
        from signatlas.models.sign_encoder import SignEncoder

        self.require_signs()
        if verify:
            self.verify("model")
        return registry.load(self.path / "model", SignEncoder)

    def dual_encoder(self) -> DualEncoder:
        """Load the index's copy of the model that encoded its clips or texts."""
        from signatlas.models.dual_encoder.encoder import DualEncoder

        return registry.load(self.path / "model", DualEncoder)

    def require_signs(self) -> None:
        """Raise IndexVersionError unless the entries are recordings of single signs."""
        if self.manifest.kind != "signs":
            raise IndexVersionError(
                f"{self.path} is an index of {self.manifest.kind}, not of single signs: search it with "
                f"{'--text' if self.manifest.kind == 'clips' else '--clip or --pose'}"
            )

    def rows(self) -> pa.Table:
        """Return one row of ``ROW_SCHEMA`` per entry, shard after shard."""
        return self.shard_rows([s.name for s in self.manifest.shards])

    def shard_rows(self, names: Sequence[str]) -> pa.Table:
        """Return the rows of the shards with these names, one shard after another, in one chunk."""
        tables = [pq.read_table(self.path / name / "ids.parquet") for name in names]
        return with_corpus(as_rows(tables), self.manifest.corpus.name)


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
    calibration: Recordings | None = None,
    kind: Kind = "signs",
    tokens: TokenTable | None = None,
    features: FeaturesPart | None = None,
    log_position: int = 0,
) -> IndexVersion:
    """Write one version, completely or not at all: unit ``vectors`` float32 [N, E], ``rows`` [N] of ``ROW_SCHEMA``.

    Rows that name no corpus are of ``corpus``.
    ``tokens`` [N] of clips or texts are compared with a query's after the vectors have chosen candidates.
    ``calibration`` are recordings to calibrate the confidence of signs with (see ``calibrate``).
    ``version`` defaults to the time and a hash of the content. Raises IndexVersionError when the version exists, the
    factory does not fit or there is nothing to index.
    """
    if len(rows) == 0:
        raise IndexVersionError(f"nothing to index: no clip of {corpus.path} was selected; see --source and --split")
    if not 1 <= shards <= len(rows):
        raise IndexVersionError(
            f"cannot split {len(rows)} {'texts' if kind == 'texts' else 'clips'} into {shards} shards; "
            f"choose --shards 1 to {len(rows)}"
        )
    # Sorted by id, equal scores within a shard are in the order of ids.
    order = np.argsort(np.array(rows["id"].to_pylist(), dtype=object))
    rows, vectors = with_corpus(as_rows([rows.take(pa.array(order))]), corpus.name), vectors[order]
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
                log_position=log_position,
                factory=factory,
                dims=vectors.shape[1],
                count=len(rows),
                shards=parts,
                confidence=(
                    calibrate(vectors, rows["gloss"].to_pylist(), calibration) if kind == "signs" else UNCALIBRATED
                ),
                files=files,
            )
            (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise IndexVersionError(f"{error}: versions never change; choose another --version") from error
    return IndexVersion(Path(root), manifest)


def versions(root: str | os.PathLike[str]) -> list[str]:
    """Return the sorted version names in an index folder: default names start with a time, so the oldest is first."""
    return sorted(p.parent.name for p in Path(root).glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))


def current(root: str | os.PathLike[str]) -> str:
    """Return the name of the live version. Raises IndexVersionError when none was activated."""
    path = Path(root) / CURRENT
    if path.is_file():
        return _check_name(path.read_text(encoding="utf-8").strip())
    names = versions(root)
    if names:
        raise IndexVersionError(f"{path} is missing; run 'signatlas index activate {root} {names[-1]}'")
    raise IndexVersionError(f"no index at {root}: build one with 'signatlas index build MODEL CORPUS --out {root}'")


def activate(root: str | os.PathLike[str], version: str) -> IndexVersion:
    """Make ``version`` the live one after verifying all of its files; until then the previous one stays live."""
    index_version = IndexVersion.open(root, version, verify=True)
    write_text_atomically(Path(root) / CURRENT, version + "\n")
    return index_version


def as_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables with at least ``ROW_COLUMNS`` into one of ``ROW_SCHEMA``; missing other columns are null."""
    return pa.concat_tables([_complete(t) for t in tables] or [ROW_SCHEMA.empty_table()]).combine_chunks()


def _complete(table: pa.Table) -> pa.Table:
    for field in FILTER_FIELDS:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(ROW_SCHEMA.names).cast(ROW_SCHEMA)


def with_corpus(rows: pa.Table, name: str) -> pa.Table:
    """Return rows of ``ROW_SCHEMA`` in which those without a corpus are of the one with this name."""
    column = rows.schema.get_field_index("corpus")
    return rows.set_column(column, ROW_SCHEMA.field("corpus"), rows["corpus"].fill_null(name)).combine_chunks()


def with_attributes(rows: pa.Table, attributes: Sequence[PoseAttributes]) -> pa.Table:
    """Return rows of ``ROW_SCHEMA`` [N] with hands, movement and location of their recordings [N].

    Movement and location describe a single sign: they are null for a recording without a gloss of its own.
    """
    single = rows["gloss"].is_valid().to_pylist()
    columns = {
        "hands": [a.hands for a in attributes],
        "movement": [a.movement if one else None for a, one in zip(attributes, single, strict=True)],
        "location": [a.location if one else None for a, one in zip(attributes, single, strict=True)],
    }
    for name, values in columns.items():
        field = ROW_SCHEMA.field(name)
        rows = rows.set_column(ROW_SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    return rows.combine_chunks()


def shard_of(id: str, shards: int) -> int:
    """Return the number of an entry's shard, a hash of its id alone, which no other entry influences."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") % shards


def _read_manifest(root: Path, version: str) -> Manifest:
    path = root / version / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        available = ", ".join(versions(root)) or "none"
        raise IndexVersionError(f"no version '{version}' in {root}; available: {available}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("missing", "extra_forbidden"):  # the keys of another version of signatlas
            state = f"was written by another version of signatlas ({key}: {first['msg'].lower()})"
        else:
            state = f"is damaged ({key}: {first['msg']})" if key else f"is damaged ({first['msg']})"
        raise IndexVersionError(f"{path} {state}: build the index again with 'signatlas index build'") from error
    if manifest.version != version:
        raise IndexVersionError(f"{path} is of version '{manifest.version}': a version folder cannot be renamed")
    return manifest


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
    """Write sorted vectors and rows by shard; ``order`` are the rows' positions in ``tokens``."""
    clusters = None if tokens is None else ClusterTable.build(tokens)  # the same centroids for any number of shards
    shard_numbers = np.array([shard_of(id, shards) for id in rows["id"].to_pylist()])
    parts = []
    for number in range(shards):
        name = f"shard-{number:03d}"
        positions = np.flatnonzero(shard_numbers == number)
        (folder / name).mkdir()
        faiss_index.write(faiss_index.build(vectors[positions], factory), folder / name / "index.faiss")
        pq.write_table(rows.take(pa.array(positions)), folder / name / "ids.parquet", compression="zstd")
        if tokens is not None and clusters is not None:
            tokens.write(folder / name, order[positions])
            (folder / name / CLUSTER_FOLDER).mkdir()
            clusters.write(folder / name / CLUSTER_FOLDER, order[positions])
        parts.append(ShardPart(name=name, count=len(positions)))
    return tuple(parts)


def _content_hash(vectors: np.ndarray, rows: pa.Table, factory: str, shards: int) -> str:
    digest = hashlib.sha256(json.dumps([factory, shards, rows["id"].to_pylist()]).encode())
    digest.update(np.ascontiguousarray(vectors, "<f4").tobytes())
    return digest.hexdigest()[:8]


def _checksums(folder: Path) -> dict[str, str]:
    store, root = filesystem(folder)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {name: sha256_file(store, f"{root}/{name}") for name in names}


def _check_name(version: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", version) or version == CURRENT:
        raise IndexVersionError(f"'{version}' is not a valid version name: use letters, digits, '.', '_' and '-'")
    return version
