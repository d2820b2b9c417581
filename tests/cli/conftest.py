"""Run a signatlas command inside the test process."""

from __future__ import annotations

from typing import Protocol

import pytest

from cli.main import main


class Run(Protocol):
    """Runs a command; returns its exit code, stdout and stderr."""

    def __call__(self, *arguments: object) -> tuple[int, str, str]: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call
