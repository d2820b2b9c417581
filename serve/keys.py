"""API keys: a file of named keys at a path or URI, of which only sha256 digests are stored, and the keys in memory."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from signatlas.config import Strict
from signatlas.errors import UserError
from signatlas.files import filesystem, write_text_atomically

if TYPE_CHECKING:
    pass

Role = Literal["read", "write"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9@._-]{0,62}$"
PREFIX = "sig_"  # lets secret scanners recognize a key
MAX_FILE_BYTES = 4 << 20
logger = logging.getLogger("ray.serve")


class Key(Strict):
    """A key without its secret: ``sha256`` is that of the key a client sends. Keys with role write may also read."""

    name: str = Field(pattern=NAME)
    role: Role = "read"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str = Field("", pattern=r"^(\d{4}-\d\d-\d\dT[0-9:.]{5,15}(Z|\+00:00))?$", description="ISO 8601, UTC")


class KeyFile(Strict):
    """The content of a file of keys."""

    keys: tuple[Key, ...] = ()


def digest(secret: str) -> str:
    """Return the sha256 under which the key ``secret`` is stored.

    A fast hash is safe here, unlike for passwords: keys are 256 random bits, which nobody can try out.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def generate(name: str, role: Role = "read") -> tuple[Key, str]:
    """Return a new key, and the secret that is shown once and never stored. Raises UserError for an unusable name."""
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"{name[:80]!r} cannot be the name of a key: use up to 63 letters, digits and @._-, a letter or digit first"
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Key(name=name, role=role, sha256=digest(secret), created=created), secret


def read(path: str) -> tuple[Key, ...]:
    """Return the keys in the file at a path or URI. Raises FileNotFoundError; UserError if it is unusable."""
    shown = without_credentials(path)
    try:
        store, inner = filesystem(path)
        with store.open_input_stream(inner) as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no key file {shown}") from None
    # pyarrow raises ValueError for a URI that it cannot parse, and for an unknown scheme.
    except (OSError, ValueError) as error:
        raise UserError(f"the key file {shown} cannot be read: {_reason(error, path)}") from None
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{shown} is not a key file: it has more than {MAX_FILE_BYTES:,} bytes")
    try:
        keys = KeyFile.model_validate_json(content).keys
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"{field}: {first['msg']}" if field else first["msg"]
        raise UserError(f"{shown} is not a valid key file: {message}") from None
    names = [key.name for key in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{shown} is not a valid key file: two keys are called {twice[0]}")
    return keys


def add(path: str, name: str, role: Role = "read") -> str:
    """Add a new key to the file at ``path``, which is created if missing, and return the secret.

    Raises UserError for a name that is taken or unusable, and if the file cannot be read or written.
    """
    key, secret = generate(name, role)
    with _locked(path):
        keys = _read_or_empty(path)
        if any(other.name == name for other in keys):
            raise UserError(
                f"{without_credentials(path)} already has a key {name}: choose another name, or revoke it first"
            )
        _write(path, (*keys, key))
    return secret


def revoke(path: str, name: str) -> Key:
    """Remove a key from the file at ``path`` and return it. Raises UserError if there is none of this name."""
    with _locked(path):
        keys = listed(path)
        for key in keys:
            if key.name == name:
                _write(path, tuple(other for other in keys if other is not key))
                return key
    names = ", ".join(key.name for key in keys[:20]) or "none"
    raise UserError(f"{without_credentials(path)} has no key {name[:80]!r}; its keys: {names}")


def listed(path: str) -> tuple[Key, ...]:
    """Return the keys in the file at ``path``. Raises UserError if it is missing or unusable."""
    try:
        return read(path)
    except FileNotFoundError as error:
        raise UserError(f"{error}: make it with 'signatlas keys add NAME --keys FILE'") from None


def _read_or_empty(path: str) -> tuple[Key, ...]:
    try:
        return read(path)
    except FileNotFoundError:
        return ()


def _write(path: str, keys: tuple[Key, ...]) -> None:
    text = KeyFile(keys=keys).model_dump_json(indent=1) + "\n"
    try:
        store, inner = filesystem(path)
        if store.type_name == "local":
            write_text_atomically(inner, text, mode=0o600)
            return
        # In an object store an object appears, complete, when its stream is closed.
        with store.open_output_stream(inner) as stream:
            stream.write(text.encode())
    except (OSError, ValueError) as error:
        raise UserError(f"the key file {without_credentials(path)} cannot be written: {_reason(error, path)}") from None


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep other commands from changing a local file between our reading and writing it.

    Object stores have no such lock: of two commands at the same moment the later one wins.
    """
    import fcntl

    folder = _local_folder(path)
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked: the file is replaced, and a file for the lock alone would be left behind.
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"the key file {path} cannot be written: {error.strerror}") from None
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _local_folder(path: str) -> Path | None:
    try:
        store, inner = filesystem(path)
    except (OSError, ValueError) as error:
        raise UserError(f"the key file {without_credentials(path)} cannot be read: {_reason(error, path)}") from None
    return Path(inner).parent if store.type_name == "local" else None


def without_credentials(path: str) -> str:
    """Return a path or URI for a message: without user, password and options, which can hold credentials."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return path
    location = rest.partition("?")[0]
    host, slash, inner = location.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{inner}"


def _reason(error: Exception, path: str) -> str:
    """Return one line that says why, without the credentials that a URI can hold."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.replace(path, without_credentials(path)).split())[:300]


class KeyRing:
    """The keys of a running service. ``check`` and ``refresh`` may run in different threads."""

    def __init__(self, keys: tuple[Key, ...] = (), path: str | None = None, *, allow_anonymous: bool = False):
        self.keys = keys
        self.path = path
        self.allow_anonymous = allow_anonymous
        self._signature: tuple[int, ...] | None = None  # of the local file that was read
        self._failure: str | None = None  # that was logged last

    @classmethod
    def open(cls, path: str) -> KeyRing:
        """Return the keys in the file at a path or URI. Raises UserError if it is missing or unusable."""
        ring = cls(path=path)
        signature = ring._stat()  # before reading: a change in between is then seen by the next refresh
        ring.keys = listed(path)
        ring._signature = signature
        return ring

    @classmethod
    def ephemeral(cls) -> tuple[KeyRing, str]:
        """Return a ring with one new key, with role write, for one run of a service, and its secret."""
        key, secret = generate("run", "write")
        return cls((key,)), secret

    @classmethod
    def anonymous(cls) -> KeyRing:
        """Return a ring that accepts everyone, with role write."""
        return cls(allow_anonymous=True)

    def check(self, presented: str) -> Key | None:
        """Return the key whose secret is ``presented``, else None.

        The time does not depend on which key matches or on how much of a digest does: all are compared in full.
        """
        if self.allow_anonymous:
            return ANONYMOUS
        expected = digest(presented)
        match = None
        for key in self.keys:
            if hmac.compare_digest(expected, key.sha256):
                match = key
        return match

    def refresh(self) -> bool:
        """Read the file again if it changed, or always at a URI, and return whether the keys are other ones now.

        When the file is missing, unreadable or damaged, the present keys stay valid and the reason is logged once.
        Blocking: call it in a thread.
        """
        if self.path is None:
            return False
        signature = self._stat()
        if signature is not None and signature == self._signature:
            return False
        try:
            keys = read(self.path)
        except (UserError, FileNotFoundError) as error:
            self._log(str(error))
            return False
        except Exception as error:
            # Whatever a storage client raises, the service keeps running.
            self._log(f"the key file {without_credentials(self.path)} cannot be read: {_reason(error, self.path)}")
            return False
        if self._failure is not None:
            logger.info("the key file %s can be read again", without_credentials(self.path))
        self._signature, self._failure = signature, None
        changed = keys != self.keys
        self.keys = keys
        return changed

    def _stat(self) -> tuple[int, ...] | None:
        """Return what changes when the local file does; None at a URI, or when the file cannot be examined."""
        if self.path is None or "://" in self.path:
            return None
        try:
            status = os.stat(os.path.expanduser(self.path))
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

    def _log(self, failure: str) -> None:
        if failure != self._failure:
            number = len(self.keys)
            logger.error("%s; the %d %s read before stay valid", failure, number, "key" if number == 1 else "keys")
        # Without a signature the file is read at every refresh, until that succeeds.
        self._failure, self._signature = failure, None


ANONYMOUS = Key(name="anonymous", role="write", sha256="0" * 64, created="1970-01-01T00:00:00+00:00")


def presented_key(headers: Mapping[str, str]) -> str:
    """Return the key in ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``, "" if there is none.

    ``headers`` are those of a starlette request, or any mapping with names in lower case.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
