"""The logit scale in bf16 training: exact at the start, as exact as the optimizer's fp32 master copy after steps."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from signatlas.models.logit_scale import LogitScale
from signatlas.recipe import OptimizerConfig
from trainers.loop import parameter_groups

SCRIPT = """
import json, os, sys
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": sys.argv[1]}
os.environ["MASTER_ADDR"] = "127.0.0.1"
import torch
import torch.distributed as dist
from torch import nn

from signatlas.models.logit_scale import LogitScale
from signatlas.recipe import OptimizerConfig
from trainers.distributed import limit_logit_scale
from trainers.loop import full_state, start_engine

dist.init_process_group("gloo", rank=0, world_size=1)

class Model(LogitScale):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.init_logit_scale(100.0)

    def forward(self, x):
        return self.layer(x), self.logit_scale()

results = {}
for zero, precision in ((0, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16")):
    torch.manual_seed(0)
    config = OptimizerConfig(lr=1e-3, weight_decay=0, zero_stage=zero, precision=precision, max_grad_norm=None)
    engine = start_engine(Model(), config, 2)
    values = []
    for _ in range(4):
        x = torch.ones(2, 4, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
        output, scale = engine(x)
        values.append(float(scale))
        engine.backward(output.float().mean() * 0 + scale.float() / 100)
        engine.step()
        limit_logit_scale(engine.module)
    results[f"{zero} {precision}"] = [values, str(scale.dtype), float(full_state(engine)["log_scale"].exp())]
print(json.dumps(results))
"""


def test_bf16_training_moves_the_scale_as_fp32_training_does() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(port)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.strip().splitlines()[-1])
    expected, _, saved = results["0 fp32"]
    assert expected[0] == torch.tensor(math.log(100.0)).exp().item()
    assert 99.5 < expected[-1] < 99.8 and 99.5 < saved < 99.7  # Adam makes steps of 1e-3
    for name, (values, dtype, state) in results.items():
        assert dtype == "torch.float32", name
        torch.testing.assert_close(values, expected, atol=1e-3, rtol=0, msg=name)
        assert abs(state - saved) < 1e-3, name


def test_gradients_reach_the_parameter_in_bf16() -> None:
    model = LogitScale()
    model.init_logit_scale(50.0)
    model.log_scale.data = model.log_scale.data.bfloat16()
    model.logit_scale().backward()
    assert model.log_scale.grad is not None
    assert abs(float(model.log_scale.grad) - 50.0) < 0.2  # d exp(x) / dx, rounded to bf16
    assert abs(float(model.logit_scale()) - 50.0) < 1e-4
    assert list(model.state_dict()) == ["log_scale"]


def test_loaded_weights_bring_their_scale() -> None:
    """A stage starts from the weights of another: its scale is that of the file, not the initial one."""

    class Model(LogitScale):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.init_logit_scale(scale)

    trained, model = Model(33.3), nn.ModuleDict({"inner": Model(14.0)})
    inner = model["inner"]
    assert isinstance(inner, Model)
    model.load_state_dict({"inner.log_scale": trained.log_scale.detach()})
    assert torch.equal(inner.log_scale_fp32, trained.log_scale)
    inner.to(torch.bfloat16)
    inner.log_scale_fp32 = inner.log_scale_fp32.float().copy_(trained.log_scale)
    inner.load_state_dict({"log_scale": trained.log_scale.detach().bfloat16()})
    assert torch.equal(inner.log_scale_fp32, trained.log_scale), "a rounded copy does not replace the exact value"


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 2), nn.LayerNorm(2)
        self.cls = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)


def names_without_decay(setting: str) -> tuple[set[str], set[str]]:
    model = Small()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    config = OptimizerConfig.model_validate({"weight_decay": 0.3, "no_weight_decay": setting})
    decayed: set[str] = set()
    spared: set[str] = set()
    for group in parameter_groups(model, config):
        assert group["weight_decay"] in (0.0, 0.3)
        (decayed if group["weight_decay"] else spared).update(names[id(p)] for p in group["params"])
    return decayed, spared


def test_weight_decay_spares_what_the_recipe_says() -> None:
    everything = {"layer.weight", "layer.bias", "norm.weight", "norm.bias", "cls"}
    assert names_without_decay("none") == (everything, set())
    assert names_without_decay("biases") == (everything - {"layer.bias", "norm.bias"}, {"layer.bias", "norm.bias"})
    assert names_without_decay("one_dimensional") == ({"layer.weight"}, everything - {"layer.weight"})
