"""The work folder of an extraction: each finished clip and each refusal lies in a file of its own, written at once."""

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
AGAIN = "make room there, then run the same command again; finished clips stay"
CLIPS, REFUSED, FAILED, BEGUN = "clips", "refused", "failed", "begun"
OF_ONE_RUN = (FAILED, BEGUN)  # another run tries again


class StoreWriteError(CorpusError):
    """A work folder that takes nothing more: not the fault of any recording."""


@dataclass(frozen=True)
class ExtractionStore:
    """A folder or URI beside the corpus to be. Files are named by :func:`..recording.identity`."""

    root: str

    @classmethod
    def beside(cls, out: str | os.PathLike[str]) -> ExtractionStore:
        """That of a corpus: its path with ``.partial``."""
        text = os.fspath(out).rstrip("/")
        return cls((text if "://" in text else os.path.abspath(text)) + ".partial")

    def finished(self) -> set[str]:
        """Identities whose clip is there."""
        return self._names(CLIPS, ".parquet")

    def refusals(self) -> set[str]:
        """Identities that were refused for good."""
        return self._names(REFUSED, ".json")

    def is_done(self, key: str) -> bool:
        store, root = filesystem(self.root)
        names = [f"{root}/{CLIPS}/{key}.parquet", *(f"{root}/{kind}/{key}.json" for kind in (REFUSED, FAILED))]
        return any(found.is_file for found in store.get_file_info(names))

    def commit(self, key: str, clip: Clip) -> None:
        """Keep a clip: from then on neither a kill nor a power cut loses it. Raises StoreWriteError on a full disk."""
        table = clips_to_table([clip])
        table = table.replace_schema_metadata({DIGEST: poses_digest(clip.poses).hex().encode()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._put(f"{CLIPS}/{key}.parquet", sink.getvalue())

    def refuse(self, key: str, reason: str, kind: type[BaseException]) -> None:
        """Keep the reason why there is no clip: for good where the recording is at fault, else for this run.

        At fault it is when ``kind`` is MediaError or PoseError, unless it is UnreachableError.
        """
        own = issubclass(kind, MediaError | PoseError) and not issubclass(kind, UnreachableError)
        told = json.dumps({"reason": reason, "kind": kind.__name__})
        self._put(f"{REFUSED if own else FAILED}/{key}.json", pa.py_buffer(told.encode()))

    def begin(self, key: str) -> int:
        """Note that the work begins; returns how often it had begun before without an end."""
        store, root = filesystem(self.root)
        number = 0
        while store.get_file_info(f"{root}/{BEGUN}/{key}.{number}").is_file:
            number += 1
        self._put(f"{BEGUN}/{key}.{number}", pa.py_buffer(b""))
        return number

    def clip(self, key: str) -> Clip:
        """A finished clip, without labels. Raises CorpusError when its file is damaged."""
        store, root = filesystem(self.root)
        path = f"{root}/{CLIPS}/{key}.parquet"
        try:
            with store.open_input_file(path) as file:
                return next(table_to_clips(pq.ParquetFile(file).read().combine_chunks()))
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(f"{path} cannot be read ({error}): delete it and run the same command again") from error

    def digest(self, key: str) -> bytes:
        """The :func:`poses_digest` of a finished clip, without reading its poses."""
        store, root = filesystem(self.root)
        with store.open_input_file(f"{root}/{CLIPS}/{key}.parquet") as file:
            return bytes.fromhex(pq.read_schema(file).metadata[DIGEST].decode())

    def reason(self, key: str) -> str:
        """Why an identity was refused."""
        store, root = filesystem(self.root)
        names = [f"{root}/{kind}/{key}.json" for kind in (REFUSED, FAILED)]
        found = [one.path for one in store.get_file_info(names) if one.is_file]
        with store.open_input_stream(found[0]) as stream:
            return str(json.loads(stream.read())["reason"])

    def remove(self) -> None:
        """The corpus is there: nothing of this is needed any more."""
        store, root = filesystem(self.root)
        store.delete_dir(root)

    def prepare(self) -> None:
        """Make the folders for a run, which tries again what failed in earlier ones through no fault of its own.

        Raises StoreWriteError where that cannot be.
        """
        store, root = filesystem(self.root)
        try:
            for name in (CLIPS, REFUSED, *OF_ONE_RUN):
                store.create_dir(f"{root}/{name}", recursive=True)
            for name in OF_ONE_RUN:
                store.delete_dir_contents(f"{root}/{name}", missing_dir_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _names(self, folder: str, ending: str) -> set[str]:
        from pyarrow.fs import FileSelector

        store, root = filesystem(self.root)
        found = store.get_file_info(FileSelector(f"{root}/{folder}", allow_not_found=True))
        return {f.base_name.removesuffix(ending) for f in found if f.is_file and f.base_name.endswith(ending)}

    def _put(self, name: str, content: pa.Buffer) -> None:
        store, root = filesystem(self.root)
        try:
            _write(store, f"{root}/{name}", content)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StoreWriteError:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        return StoreWriteError(f"{display_name(self.root)} cannot be written ({reason}): {AGAIN}")


def _write(store: FileSystem, path: str, content: pa.Buffer) -> None:
    """Whole or not at all. An object store shows an object when its upload is complete."""
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
        os.fsync(handle)  # the name, too, outlives a power cut
    finally:
        os.close(handle)
