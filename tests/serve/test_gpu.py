"""Parts of the service that are given a GPU: what they do without one. Where Ray places them: test_faults.py."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from serve.config import ComputeOptions
from signatlas.errors import ModelError


@pytest.mark.parametrize(
    ("options", "available", "expected"),
    [
        ({}, True, False),
        ({"ray_actor_options": {"num_gpus": 0.5}}, True, True),
        ({"ray_actor_options": {"num_gpus": 0.5}}, False, False),
        ({"ray_actor_options": {"num_gpus": 0.5}, "device": "cpu"}, True, False),
        ({"device": "gpu"}, True, True),
    ],
)
def test_a_part_computes_on_a_gpu_where_one_is_wanted_and_there(
    options: dict[str, Any], available: bool, expected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ray.serve"):
        assert ComputeOptions(**options).choose_gpu("encoder of signs", available) is expected
    wanted = bool(options) and options.get("device") != "cpu"
    assert ("encoder of signs: no GPU can be used here" in caplog.text) is (wanted and not available)


def test_device_gpu_insists_on_a_gpu() -> None:
    with pytest.raises(ModelError, match="encoder of signs: device is gpu, but no GPU can be used here: set device to"):
        ComputeOptions(device="gpu").choose_gpu("encoder of signs", False)
