"""Fetching: interrupted downloads, mirrors, verification, no partial corpora."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from signatlas.corpus import Corpus
from signatlas.corpus.sources import archive, dgs
from signatlas.corpus.sources.archive import download
from signatlas.corpus.sources.base import Download
from signatlas.corpus.sources.fetch import fetch, open_existing
from signatlas.errors import CorpusError


class Server(ThreadingHTTPServer):
    """Serves one body, with or without Range; closes the connection after ``cut`` bytes, ``breaks`` times."""

    body = b""
    cut, breaks, ranges, status = 0, 0, True, 200
    requests: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        requested = self.headers.get("Range")
        self.server.requests.append(requested)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and self.server.ranges else 0
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
    http = Server(("127.0.0.1", 0), Handler)
    http.requests = []
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/archive.zip"


def publish(monkeypatch: pytest.MonkeyPatch, url: str, digest: str) -> None:
    monkeypatch.setattr(dgs, "RELEASE", replace(dgs.RELEASE, download=Download(url, digest, dgs.find_mirror)))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, server: Server, dgs_zip: Path) -> Server:
    """The small archive as the download of dgs."""
    server.body = dgs_zip.read_bytes()
    publish(monkeypatch, url(server), dgs.read(dgs_zip).digest)
    return server


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.body, server.cut, server.breaks = bytes(range(256)) * 4000, 300_000, 2
    reports: list[tuple[int, int | None]] = []
    target = download(url(server), tmp_path / "a.zip", report=lambda done, total: reports.append((done, total)))
    assert target.read_bytes() == server.body
    assert server.requests == [None, "bytes=300000-", "bytes=600000-"]
    assert reports[-1] == (len(server.body), len(server.body)) and [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_second_call_resumes_the_partial_download_of_the_first(server: Server, tmp_path: Path) -> None:
    server.body, server.cut, server.breaks = b"x" * 1_000_000, 100_000, 4
    with pytest.raises(CorpusError, match="400000 bytes kept: run the command again"):
        download(url(server), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    assert download(url(server), tmp_path / "a.zip").read_bytes() == server.body
    assert server.requests[-1] == "bytes=400000-"


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.body, server.cut, server.breaks, server.ranges = b"abc" * 100_000, 50_000, 1, False
    assert download(url(server), tmp_path / "a.zip").read_bytes() == server.body


def test_an_unreachable_server_is_one_line(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/a.zip"
    with pytest.raises(CorpusError, match=r"cannot reach .*--mirror PATH.*compose --kind procedural"):
        download(closed, tmp_path / "a.zip")
    server.status = 404
    with pytest.raises(CorpusError, match=r"answered 404 .*--mirror PATH"):
        download(url(server), tmp_path / "a.zip")
    monkeypatch.setattr(archive, "TIMEOUT_SECONDS", 0.3)
    with socket.socket() as unresponsive:  # accepts, but does not answer
        unresponsive.bind(("127.0.0.1", 0))
        unresponsive.listen()
        began = time.monotonic()
        with pytest.raises(CorpusError, match="cannot reach"):
            download(f"http://127.0.0.1:{unresponsive.getsockname()[1]}/a.zip", tmp_path / "a.zip")
        assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == [tmp_path / "mirror"] or not any(tmp_path.glob("a.zip*"))


def test_the_timeout_is_short() -> None:
    assert archive.TIMEOUT_SECONDS <= 10


def test_fetch_from_the_download(published: Server, tmp_path: Path) -> None:
    published.cut, published.breaks = 5_000, 1
    out = tmp_path / "data" / "dgs"
    corpus = fetch("dgs", out)
    assert len(corpus) == 28 and dgs.RELEASE.download is not None
    assert corpus.info.made["content_digest"] == dgs.RELEASE.download.digest
    assert published.requests == [None, "bytes=5000-"]
    assert [p.name for p in out.parent.iterdir()] == ["dgs"]  # the archive is not kept
    existing = open_existing("dgs", out)
    assert existing is not None and existing.info.fingerprint == corpus.info.fingerprint


def test_other_content_is_rejected_and_leaves_no_files(
    published: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, url(published), "0" * 64)
    with pytest.raises(
        CorpusError, match=r"not have the content of dgs d6358d5 \(digest \w{12}, expected 000000000000"
    ):
        fetch("dgs", tmp_path / "data" / "dgs")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_download_that_is_not_a_zip_is_rejected(published: Server, tmp_path: Path) -> None:
    published.body = b"<html>try again later</html>"
    for _ in range(2):  # the second run downloads again
        with pytest.raises(CorpusError, match="not a readable zip"):
            fetch("dgs", tmp_path / "data" / "dgs")
    assert published.requests == [None, None] and list((tmp_path / "data").iterdir()) == []


def test_mirrors_and_download_give_the_same_corpus(
    published: Server, tmp_path: Path, dgs_zip: Path, dgs_folder: Path
) -> None:
    fingerprints = {
        fetch("dgs", tmp_path / f"out{i}", mirror=mirror).info.fingerprint
        for i, mirror in enumerate((dgs_zip, dgs_zip.parent, dgs_folder, dgs_folder / "SignLanguageRecognition", None))
    }
    assert len(fingerprints) == 1


def test_a_mirror_without_the_corpus_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=rf"{re.escape(str(tmp_path))} contains no dgs: pass --mirror"):
        fetch("dgs", tmp_path / "dgs", mirror=tmp_path)
    with pytest.raises(CorpusError, match="no mirror at"):
        fetch("dgs", tmp_path / "dgs", mirror=tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="unknown corpus 'dsg'"):
        fetch("dsg", tmp_path / "dgs")


def test_an_existing_corpus_is_checked(published: Server, tmp_path: Path) -> None:
    out = tmp_path / "dgs"
    assert open_existing("dgs", out) is None
    corpus = fetch("dgs", out)
    with pytest.raises(CorpusError, match="contains the corpus 'dgs', not 'asl33'"):
        open_existing("asl33", out)
    Path(corpus.files[0]).write_bytes(b"")
    with pytest.raises(CorpusError, match="pass --overwrite"):
        open_existing("dgs", out)
    fetch("dgs", out, overwrite=True)
    assert Corpus.open(out, verify=True).info.fingerprint == corpus.info.fingerprint
