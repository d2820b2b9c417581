"""Storage paths of runs: local folders and URIs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.storage import StorageError, resolve


def test_a_relative_folder_is_created_and_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("runs/dgs") == str(tmp_path / "runs" / "dgs")
    assert (tmp_path / "runs" / "dgs").is_dir()
    assert list((tmp_path / "runs" / "dgs").iterdir()) == []


def test_home_and_file_uris_are_local_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/runs") == str(tmp_path / "runs")
    assert resolve(f"file://{tmp_path}/my%20runs") == str(tmp_path / "my runs")


def test_an_object_store_stays_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert resolve("s3://bucket/runs/?region=eu-central-1&endpoint_override=127.0.0.1:1").startswith("s3://bucket/runs")


@pytest.mark.parametrize(
    ("path", "message"),
    [("", "is empty"), ("  ", "is empty"), ("gopher://host/runs", "gopher:// is not supported here")],
)
def test_an_empty_or_unsupported_path_is_a_user_error(path: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        resolve(path)


def test_a_path_below_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write to .*file/runs"):
        resolve(tmp_path / "file" / "runs")


def test_an_unwritable_folder_is_a_user_error() -> None:
    folder = Path("/proc/self") if os.geteuid() == 0 else Path("/")  # root can write anywhere else
    with pytest.raises(StorageError, match="cannot write to"):
        resolve(folder)
