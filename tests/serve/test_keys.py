"""Files of API keys, their command, and the keys of a running service."""

from __future__ import annotations

import hmac
import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from cli.main import main
from serve import keys
from serve.keys import KeyRing
from signatlas.errors import UserError

SECRET = r"sig_[A-Za-z0-9_-]{43}"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "service" / "keys.json")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Messages of the service's log, whatever Ray has made of its logger."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, level = Handler(), keys.logger.level
    keys.logger.addHandler(handler)
    keys.logger.setLevel(logging.INFO)
    yield messages
    keys.logger.removeHandler(handler)
    keys.logger.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["keys", *arguments])
    return int(exit_.value.code or 0), *capsys.readouterr()


def test_the_command_adds_lists_and_revokes(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, secret, note = run(capsys, "add", "alice", "--keys", file)
    assert code == 0 and re.fullmatch(SECRET + "\n", secret) and "alice (read)" in note and secret.strip() not in note
    code, second, _ = run(capsys, "add", "bob@lab", "--keys", file, "--role", "write")
    assert code == 0 and second != secret

    content = Path(file).read_text()
    assert secret.strip() not in content and keys.digest(secret.strip()) in content
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert os.listdir(Path(file).parent) == ["keys.json"]  # no temporary and no lock file

    _, table, _ = run(capsys, "list", "--keys", file)
    assert [line.split()[:2] for line in table.splitlines()] == [
        ["name", "role"],
        ["alice", "read"],
        ["bob@lab", "write"],
    ]
    _, listing, _ = run(capsys, "list", "--keys", file, "--json")
    assert [set(entry) for entry in json.loads(listing)] == [{"name", "role", "created"}] * 2
    assert not re.search(r"[0-9a-f]{64}", table + listing)

    assert run(capsys, "revoke", "alice", "--keys", file)[:2] == (0, f"revoked alice (read) in {file}\n")
    assert [key.name for key in keys.listed(file)] == ["bob@lab"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "alice"), "already has a key alice: choose another name, or revoke it first"),
        (("add", "a b"), "cannot be the name of a key"),
        (("add", "x" * 64), "cannot be the name of a key"),
        (("add", "bob", "--role", "admin"), "Invalid value for '--role'"),
        (("revoke", "carol"), "has no key 'carol'; its keys: alice"),
    ],
)
def test_mistakes_are_one_line(
    file: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    keys.add(file, "alice")
    before = Path(file).read_bytes()
    code, out, error = run(capsys, *arguments, "--keys", file)
    assert code == 2 and not out and error.count("\n") == 1 and message in error
    assert Path(file).read_bytes() == before


def test_a_missing_file_is_an_error_of_list_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("list",), ("revoke", "alice")):
        code, _, error = run(capsys, *arguments, "--keys", str(tmp_path / "none.json"))
        assert code == 2 and "there is no key file" in error and "signatlas keys add NAME --keys FILE" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "Invalid JSON"),
        (b"[", "Invalid JSON"),
        (b"[]", "is not a valid key file"),
        (b'{"keys": [{"name": "a"}]}', "keys.0.sha256: Field required"),
        (b'{"keys": [], "extra": 1}', "extra: Extra inputs are not permitted"),
        (b" " * (keys.MAX_FILE_BYTES + 1), "is not a key file"),
    ],
)
def test_damaged_files_are_never_overwritten(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    for change in (lambda: keys.add(str(path), "alice"), lambda: keys.revoke(str(path), "alice")):
        with pytest.raises(UserError, match=message):
            change()
    assert path.read_bytes() == content


def test_two_keys_of_one_name_are_refused(file: str) -> None:
    keys.add(file, "alice")
    document = json.loads(Path(file).read_text())
    Path(file).write_text(json.dumps({"keys": document["keys"] * 2}))
    with pytest.raises(UserError, match="two keys are called alice"):
        keys.listed(file)


def test_uris_are_files_too(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/keys.json"
    secret = keys.add(uri, "alice")
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    ring = KeyRing.open(uri)
    assert ring.check(secret)
    keys.revoke(str(tmp_path / "keys.json"), "alice")
    assert ring.refresh() and ring.check(secret) is None
    # The message of an unreachable store shows no credentials.
    with pytest.raises(UserError, match=r"s3://bucket/keys\.json cannot be read") as error:
        keys.add("s3://name:secret@bucket/keys.json?scheme=http&endpoint_override=127.0.0.1:9", "alice")
    assert ":secret@" not in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        keys.add("nowhere://x/keys.json", "alice")


def test_keys_added_at_the_same_time_are_all_kept(file: str) -> None:
    names = [f"key{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda name: keys.add(file, name), names))
    ring = KeyRing.open(file)
    assert [key and key.name for key in map(ring.check, secrets)] == names


def test_a_ring_finds_the_key_and_refuses_everything_else(file: str) -> None:
    alice, bob = keys.add(file, "alice"), keys.add(file, "bob", "write")
    ring = KeyRing.open(file)
    found = ring.check(alice), ring.check(bob)
    assert [(key.name, key.role) for key in found if key] == [("alice", "read"), ("bob", "write")]
    for wrong in ("", "sig_", alice[:-1], alice + " ", alice.upper(), keys.digest(alice), "\ud800", "x" * 100_000):
        assert ring.check(wrong) is None


def test_every_key_is_compared_whichever_matches(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [keys.add(file, f"key{number}") for number in range(5)]
    ring = KeyRing.open(file)
    compared: list[str] = []
    compare = hmac.compare_digest

    def record(a: str, b: str) -> bool:
        compared.append(b)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", record)
    for presented in (*secrets, "wrong"):
        compared.clear()
        ring.check(presented)
        assert compared == [key.sha256 for key in ring.keys]


def test_refresh_takes_up_new_and_revoked_keys(file: str) -> None:
    alice = keys.add(file, "alice")
    ring = KeyRing.open(file)
    assert not ring.refresh()
    bob = keys.add(file, "bob")
    assert ring.check(bob) is None
    assert ring.refresh() and ring.check(bob) and not ring.refresh()
    keys.revoke(file, "alice")
    assert ring.refresh() and ring.check(alice) is None and ring.check(bob)


def test_an_unchanged_local_file_is_not_read_again(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(file, "alice")
    ring = KeyRing.open(file)
    monkeypatch.setattr(keys, "read", lambda path: pytest.fail("read again"))
    assert not ring.refresh()


@pytest.mark.parametrize("damage", ["not UTF-8", "not JSON", "a folder", "missing", "no folder"])
def test_the_keys_stay_valid_when_the_file_is_damaged(file: str, damage: str, logged: list[str]) -> None:
    alice = keys.add(file, "alice")
    ring, content, path = KeyRing.open(file), Path(file).read_bytes(), Path(file)
    if damage == "not UTF-8":
        path.write_bytes(b"\xff\xfe\x00")
    elif damage == "not JSON":
        path.write_text('{"keys": [')
    else:
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        elif damage == "no folder":
            path.parent.rmdir()
    for _ in range(3):
        assert not ring.refresh() and ring.check(alice)
    assert len(logged) == 1 and "\n" not in logged[0] and "the 1 key read before stay valid" in logged[0]

    if path.is_dir():
        path.rmdir()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    bob = keys.add(file, "bob")
    assert ring.refresh() and ring.check(bob) and len(logged) == 2 and "can be read again" in logged[1]


def test_the_keys_stay_valid_without_the_right_to_read(file: str, logged: list[str]) -> None:
    alice = keys.add(file, "alice")
    ring = KeyRing.open(file)
    os.chmod(Path(file).parent, 0)
    if superuser := os.geteuid() == 0:
        os.seteuid(65534)  # root may read everything: look as a user without rights
    try:
        for _ in range(2):
            assert not ring.refresh() and ring.check(alice)
    finally:
        if superuser:
            os.seteuid(0)
        os.chmod(Path(file).parent, 0o700)
    assert len(logged) == 1 and "Permission denied" in logged[0]
    assert not ring.refresh() and len(logged) == 2  # readable again, with the same keys


def test_a_ring_needs_a_file_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no key file .*none\.json: make it with 'signatlas keys add"):
        KeyRing.open(str(tmp_path / "none.json"))


def test_rings_without_a_file() -> None:
    ring, secret = KeyRing.ephemeral()
    key = ring.check(secret)
    assert re.fullmatch(SECRET, secret) and key and key.role == "write"
    assert ring.check("") is None and not ring.refresh()
    assert KeyRing.ephemeral()[1] != secret
    everyone = KeyRing.anonymous()
    assert everyone.check("") is everyone.check("anything") is not None and not everyone.refresh()
    assert KeyRing().check("") is None


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"X-API-Key": "abc"}, "abc"),
        ({"Authorization": "Basic dTpw", "X-API-Key": "abc"}, "abc"),  # a proxy's own authorization
        ({"Authorization": "Bearer abc", "X-API-Key": "other"}, "abc"),
        ({"Authorization": "Basic dTpw"}, ""),
        ({"Authorization": "Bearer"}, ""),
        ({}, ""),
    ],
)
def test_the_presented_key(headers: dict[str, str], key: str) -> None:
    assert keys.presented_key(Headers(headers)) == key
