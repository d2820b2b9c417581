"""Fetching: over HTTP with interruptions, from mirrors, verified, whole or not at all."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from signatlas.corpus import Corpus
from signatlas.corpus.sources import archive as download_module
from signatlas.corpus.sources import dgs
from signatlas.corpus.sources.archive import download
from signatlas.corpus.sources.fetch import existing, fetch
from signatlas.errors import CorpusError


class Server(ThreadingHTTPServer):
    """Serves one body; breaks the connection after ``cut`` bytes, ``breaks`` times; with or without Range."""

    body = b""
    cut, breaks, ranges, status = 0, 0, True, 200
    requests: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        rest = self.server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            rest = rest[: self.server.cut]
        self.wfile.write(rest)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server(("127.0.0.1", 0), Handler)
    made.requests = []
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/archive.zip"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, server: Server, dgs_zip: Path) -> Server:
    """The small archive as the public source of dgs."""
    server.body = dgs_zip.read_bytes()
    monkeypatch.setattr(dgs, "URL", url(server))
    monkeypatch.setattr(dgs, "DIGEST", dgs.read(dgs_zip)[1])
    return server


def test_a_download_is_taken_up_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.body, server.cut, server.breaks = bytes(range(256)) * 4000, 300_000, 2
    seen: list[tuple[int, int | None]] = []
    target = download(url(server), tmp_path / "a.zip", report=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == server.body
    assert server.requests == [None, "bytes=300000-", "bytes=600000-"]
    assert seen[-1] == (len(server.body), len(server.body)) and [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_second_call_resumes_what_the_first_left(server: Server, tmp_path: Path) -> None:
    server.body, server.cut, server.breaks = b"x" * 1_000_000, 100_000, 4
    with pytest.raises(CorpusError, match="400000 bytes are kept: run the command again"):
        download(url(server), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    assert download(url(server), tmp_path / "a.zip").read_bytes() == server.body
    assert server.requests[-1] == "bytes=400000-"


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.body, server.cut, server.breaks, server.ranges = b"abc" * 100_000, 50_000, 1, False
    assert download(url(server), tmp_path / "a.zip").read_bytes() == server.body


def test_an_unreachable_source_says_what_to_do(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/a.zip"
    with pytest.raises(CorpusError, match=r"cannot reach .*--mirror PATH.*compose --kind procedural"):
        download(closed, tmp_path / "a.zip")
    server.status = 404
    with pytest.raises(CorpusError, match=r"answered 404 .*--mirror PATH"):
        download(url(server), tmp_path / "a.zip")
    monkeypatch.setattr(download_module, "TIMEOUT_SECONDS", 0.3)
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(CorpusError, match="cannot reach"):
            download(f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip", tmp_path / "a.zip")
        assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == [tmp_path / "mirror"] or not any(tmp_path.glob("a.zip*"))


def test_the_limit_to_connect_is_short() -> None:
    assert download_module.TIMEOUT_SECONDS <= 10


def test_fetch_from_the_public_source(published: Server, tmp_path: Path) -> None:
    published.cut, published.breaks = 5_000, 1
    out = tmp_path / "data" / "dgs"
    corpus = fetch("dgs", out)
    assert len(corpus) == 28 and corpus.info.made["content_digest"] == dgs.DIGEST
    assert published.requests == [None, "bytes=5000-"]
    assert [p.name for p in out.parent.iterdir()] == ["dgs"]  # the archive is not kept
    there = existing("dgs", out)
    assert there is not None and there.info.fingerprint == corpus.info.fingerprint


def test_other_content_is_refused_and_nothing_left(
    published: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dgs, "DIGEST", "0" * 64)
    with pytest.raises(CorpusError, match=r"not those of dgs at d6358d5 \(digest [0-9a-f]{12}, expected 000000000000"):
        fetch("dgs", tmp_path / "data" / "dgs")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_is_no_zip_is_refused(published: Server, tmp_path: Path) -> None:
    published.body = b"<html>try again later</html>"
    for _ in range(2):  # the second run downloads anew, instead of keeping what is no zip
        with pytest.raises(CorpusError, match="not a zip"):
            fetch("dgs", tmp_path / "data" / "dgs")
    assert published.requests == [None, None] and list((tmp_path / "data").iterdir()) == []


def test_mirrors_give_what_the_source_gives(published: Server, tmp_path: Path, dgs_zip: Path, dgs_folder: Path) -> None:
    prints = {
        fetch("dgs", tmp_path / f"out{i}", mirror=mirror).info.fingerprint
        for i, mirror in enumerate((dgs_zip, dgs_zip.parent, dgs_folder, dgs_folder / "SignLanguageRecognition", None))
    }
    assert len(prints) == 1


def test_a_mirror_without_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=rf"{re.escape(str(tmp_path))} holds no dgs: pass --mirror"):
        fetch("dgs", tmp_path / "dgs", mirror=tmp_path)
    with pytest.raises(CorpusError, match="no mirror at"):
        fetch("dgs", tmp_path / "dgs", mirror=tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="unknown corpus 'dsg'"):
        fetch("dsg", tmp_path / "dgs")


def test_what_is_there_is_checked(published: Server, tmp_path: Path) -> None:
    out = tmp_path / "dgs"
    assert existing("dgs", out) is None
    corpus = fetch("dgs", out)
    with pytest.raises(CorpusError, match="holds the corpus 'dgs', not 'asl33'"):
        existing("asl33", out)
    Path(corpus.files[0]).write_bytes(b"")
    with pytest.raises(CorpusError, match="pass --overwrite"):
        existing("dgs", out)
    fetch("dgs", out, overwrite=True)
    assert Corpus.open(out, verify=True).info.fingerprint == corpus.info.fingerprint
