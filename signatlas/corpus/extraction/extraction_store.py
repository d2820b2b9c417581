"""Store finished clips and rejections of an extraction, each in its own file written atomically, to resume from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from signatlas.corpus.format import Clip, clips_to_table, table_to_clips
from signatlas.corpus.splits import poses_digest
from signatlas.errors import CorpusError, MediaError, PoseError
from signatlas.files import filesystem
from signatlas.pose.media import UnreachableError, display_name

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

DIGEST = b"poses_digest"
RETRY_HINT = "free some space, then run the same command again; finished clips are kept"
# Folder names; stores written by earlier versions have the same.
CLIPS, REJECTED, FAILED, STARTED = "clips", "refused", "failed", "begun"
CLEARED = (FAILED, STARTED)  # at the start of each run, which tries them again


class StoreWriteError(CorpusError):
    """The store cannot be written, for example because the disk is full; no recording is at fault."""


@dataclass(frozen=True)
class ExtractionStore:
    """A folder or URI next to the future corpus, with files named by :func:`..recording.extraction_key`."""

    root: str

    @classmethod
    def for_corpus(cls, out: str | os.PathLike[str]) -> ExtractionStore:
        """Return the store of a corpus: its path with ``.partial`` appended."""
        text = os.fspath(out).rstrip("/")
        return cls((text if "://" in text else os.path.abspath(text)) + ".partial")

    def finished(self) -> set[str]:
        """Return the keys of finished clips."""
        return self._names(CLIPS, ".parquet")

    def rejected(self) -> set[str]:
        """Return the keys of recordings that are unusable and will not be tried again."""
        return self._names(REJECTED, ".json")

    def is_done(self, key: str) -> bool:
        """Return whether a recording is finished, rejected, or failed in this run."""
        store, root = filesystem(self.root)
        names = [f"{root}/{CLIPS}/{key}.parquet", *(f"{root}/{kind}/{key}.json" for kind in (REJECTED, FAILED))]
        return any(file.is_file for file in store.get_file_info(names))

    def commit(self, key: str, clip: Clip) -> None:
        """Store a clip durably, fsynced on a local disk. Raises StoreWriteError if it cannot be written."""
        table = clips_to_table([clip])
        table = table.replace_schema_metadata({DIGEST: poses_digest(clip.poses).hex().encode()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._put(f"{CLIPS}/{key}.parquet", sink.getvalue())

    def reject(self, key: str, reason: str, kind: type[BaseException]) -> None:
        """Store why there is no clip: permanently if the recording is unusable, else for this run only.

        It is unusable if ``kind`` is a MediaError or PoseError other than UnreachableError.
        """
        unusable = issubclass(kind, MediaError | PoseError) and not issubclass(kind, UnreachableError)
        content = json.dumps({"reason": reason, "kind": kind.__name__})
        self._put(f"{REJECTED if unusable else FAILED}/{key}.json", pa.py_buffer(content.encode()))

    def start_attempt(self, key: str) -> int:
        """Record the start of an attempt; return the number of earlier attempts in this run that did not end."""
        store, root = filesystem(self.root)
        number = 0
        while store.get_file_info(f"{root}/{STARTED}/{key}.{number}").is_file:
            number += 1
        self._put(f"{STARTED}/{key}.{number}", pa.py_buffer(b""))
        return number

    def clip(self, key: str) -> Clip:
        """Return a finished clip, without labels. Raises CorpusError if its file is damaged."""
        store, root = filesystem(self.root)
        path = f"{root}/{CLIPS}/{key}.parquet"
        try:
            with store.open_input_file(path) as file:
                return next(table_to_clips(pq.ParquetFile(file).read().combine_chunks()))
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(f"{path} cannot be read ({error}): delete it, then run the same command again") from error

    def digest(self, key: str) -> bytes:
        """Return the :func:`poses_digest` of a finished clip, without reading its poses."""
        store, root = filesystem(self.root)
        with store.open_input_file(f"{root}/{CLIPS}/{key}.parquet") as file:
            return bytes.fromhex(pq.read_schema(file).metadata[DIGEST].decode())

    def reason(self, key: str) -> str:
        """Return why a recording was rejected or failed."""
        store, root = filesystem(self.root)
        names = [f"{root}/{kind}/{key}.json" for kind in (REJECTED, FAILED)]
        paths = [file.path for file in store.get_file_info(names) if file.is_file]
        with store.open_input_stream(paths[0]) as stream:
            return str(json.loads(stream.read())["reason"])

    def remove(self) -> None:
        """Delete the store, once the corpus is written."""
        store, root = filesystem(self.root)
        store.delete_dir(root)

    def prepare(self) -> None:
        """Create the folders for a run, and clear failures of earlier runs so that they are tried again.

        Raises StoreWriteError if that fails.
        """
        store, root = filesystem(self.root)
        try:
            for name in (CLIPS, REJECTED, *CLEARED):
                store.create_dir(f"{root}/{name}", recursive=True)
            for name in CLEARED:
                store.delete_dir_contents(f"{root}/{name}", missing_dir_ok=True)
        except OSError as error:
            raise self._write_error(error) from error

    def _names(self, folder: str, ending: str) -> set[str]:
        from pyarrow.fs import FileSelector

        store, root = filesystem(self.root)
        files = store.get_file_info(FileSelector(f"{root}/{folder}", allow_not_found=True))
        return {f.base_name.removesuffix(ending) for f in files if f.is_file and f.base_name.endswith(ending)}

    def _put(self, name: str, content: pa.Buffer) -> None:
        store, root = filesystem(self.root)
        try:
            _write(store, f"{root}/{name}", content)
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> StoreWriteError:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        return StoreWriteError(f"{display_name(self.root)} cannot be written ({reason}): {RETRY_HINT}")


def _write(store: FileSystem, path: str, content: pa.Buffer) -> None:
    """Write a file atomically. In an object store an object appears when its upload is complete."""
    from pyarrow.fs import LocalFileSystem

    if not isinstance(store, LocalFileSystem):
        with store.open_output_stream(path) as stream:
            stream.write(content)
        return
    folder, name = os.path.split(path)
    partial = f"{folder}/.{name}.{os.getpid()}"
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        if os.path.exists(partial):
            os.unlink(partial)
        raise
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # makes the new name durable too
    finally:
        os.close(handle)
