"""limit_parameter under every ZeRO stage, which has a master copy of the parameter."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, sys
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": sys.argv[1]}
os.environ["MASTER_ADDR"] = "127.0.0.1"
import torch
import torch.distributed as dist
from torch import nn

from signatlas.recipe import OptimizerConfig
from trainers.distributed import limit_parameter
from trainers.loop import start_engine

dist.init_process_group("gloo", rank=0, world_size=1)

class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.tensor([1.0])), nn.Linear(4, 4)

    def forward(self, x):
        return self.scale * self.layer(x)

results = {}
for zero, precision in ((0, "fp32"), (1, "fp32"), (2, "bf16"), (3, "bf16")):
    torch.manual_seed(0)
    config = OptimizerConfig(lr=0.4, weight_decay=0, zero_stage=zero, precision=precision)
    engine = start_engine(Scale(), config, 2)
    values = []
    for sign in [-1] * 4 + [1] * 12:
        x = torch.ones(2, 4, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
        output = engine(x).float()
        values.append(float((output / engine.module.layer(x).float()).mean()))
        engine.backward(sign * (output / engine.module.layer(x).float().detach()).mean())
        engine.step()
        limit_parameter(engine.module.scale, 1.5)
    results[zero] = values
print(json.dumps(results))
"""


def test_the_limit_holds_and_the_parameter_can_decrease_again():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(port)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for zero, values in json.loads(done.stdout.strip().splitlines()[-1]).items():
        assert max(values) <= 1.51, (zero, values)
        assert max(values) >= 1.49, (zero, "it reached the limit", values)
        assert values[-1] < 1.4, (zero, "it decreased again", values)
