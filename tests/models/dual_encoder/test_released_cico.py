"""CiCo's released reading of the dual encoder, against plain code that imports nothing of ours."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import layer_norm, linear, normalize

from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.similarity import Tokens

WIDTH, HEADS, WINDOWS, FEATURES, TAU = 32, 4, 6, 10, 0.07
LENGTHS = (6, 3, 1)


def released_video_tokens(state: dict[str, torch.Tensor], features: torch.Tensor, lengths) -> torch.Tensor:
    """Return states of [CLS, windows]: as released, no query attends to CLS or to padded windows."""
    x = linear(features, state["project.weight"], state["project.bias"])
    x = torch.cat([state["cls"].expand(len(x), 1, -1), x], 1) + state["positions"][: x.shape[1] + 1]
    x = layer_norm(x, (WIDTH,), state["norm_in.weight"], state["norm_in.bias"])
    is_key = torch.zeros(len(x), x.shape[1], dtype=torch.bool)
    for row, length in enumerate(lengths):
        is_key[row, 1 : 1 + length] = True  # position 0 is CLS
    for layer in range(2):
        weights = {
            name.removeprefix(f"encoder.layers.{layer}."): value
            for name, value in state.items()
            if name.startswith(f"encoder.layers.{layer}.")
        }

        def part(name: str, value: torch.Tensor, weights=weights) -> torch.Tensor:
            return linear(value, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def norm(name: str, value: torch.Tensor, weights=weights) -> torch.Tensor:
            return layer_norm(value, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"])

        h = norm("layer_norm1", x)
        q, k, v = (
            part(f"self_attn.{name}_proj", h).view(len(x), -1, HEADS, WIDTH // HEADS).transpose(1, 2) for name in "qkv"
        )
        logits = (q @ k.transpose(-1, -2)) / (WIDTH // HEADS) ** 0.5
        logits = logits.masked_fill(~is_key[:, None, None, :], -torch.inf)
        attended = (logits.softmax(-1) @ v).transpose(1, 2).reshape(len(x), -1, WIDTH)
        x = x + part("self_attn.out_proj", attended)
        h = part("mlp.fc1", norm("layer_norm2", x))
        x = x + part("mlp.fc2", h * torch.sigmoid(1.702 * h))  # CLIP's quick GELU
    return layer_norm(x, (WIDTH,), state["norm_out.weight"], state["norm_out.bias"])


def released_scores(video, video_valid, text, text_valid) -> torch.Tensor:
    """Return b * V2T + (1 - b) * T2V at b = .5; masked tokens are keys, and left out of the outer means only."""
    s = torch.einsum("aid,bjd->abij", normalize(video, dim=-1), normalize(text, dim=-1))
    over_words = (s * (s / TAU).softmax(-1)).sum(-1)  # [A, B, I]
    over_windows = (s * (s / TAU).softmax(-2)).sum(-2)  # [A, B, J]
    to_text = (over_words * video_valid[:, None]).sum(-1) / video_valid.sum(-1)[:, None]
    to_video = (over_windows * text_valid[None]).sum(-1) / text_valid.sum(-1)[None]
    return 0.5 * to_text + 0.5 * to_video


def model_and_features():
    torch.manual_seed(0)
    sizes = {"width": WIDTH, "depth": 2, "heads": HEADS, "feedforward": 48}
    config = DualEncoderConfig.model_validate(
        {
            "sign": {"max_windows": WINDOWS, "mask_cls": True, **sizes},
            "text": {"max_tokens": 8, "width": 32, "depth": 1, "heads": 2, "feedforward": 32},
            "similarity": {"padding": "released", "tau": TAU},
            "embedding": 16,
        }
    )
    model = DualEncoder.build(config, ["regen im norden", "sonne"], FEATURES).eval()
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(3, WINDOWS, FEATURES)).astype(np.float32))
    mask = torch.arange(WINDOWS)[None] < torch.tensor(LENGTHS)[:, None]
    return model, values * mask[..., None], mask


def test_windows_do_not_attend_to_cls_and_cls_is_a_masked_token():
    model, values, mask = model_and_features()
    with torch.no_grad():
        tokens, cls = model.sign(values, mask)
        expected = released_video_tokens(model.sign.state_dict(), values, LENGTHS)
    torch.testing.assert_close(tokens[:, -1], expected[:, 0])
    torch.testing.assert_close(tokens[:, :-1], expected[:, 1:])
    torch.testing.assert_close(cls, expected[:, 0])


def test_cls_and_padding_are_keys_of_the_released_similarity():
    model, values, mask = model_and_features()
    with torch.no_grad():
        sign = model.encode_sign(values, mask)
        text = model.encode_text(*model.tokenize(["regen im norden", "sonne"]))
        scores = model.score(sign, text)
        states = released_video_tokens(model.sign.state_dict(), values, LENGTHS)
        video = linear(states, model.sign_head.weight)
    assert sign.mask.tolist() == [[*row, False] for row in mask.tolist()]
    valid = torch.cat([torch.zeros(3, 1), mask.float()], 1)
    expected = released_scores(video, valid, text.tokens, text.mask.float())
    torch.testing.assert_close(torch.as_tensor(scores), expected, atol=1e-5, rtol=1e-5)
    without = Tokens(sign.tokens[:, :-1], sign.mask[:, :-1], sign.cls)
    assert not torch.allclose(torch.as_tensor(model.score(without, text)), expected, atol=1e-5)
