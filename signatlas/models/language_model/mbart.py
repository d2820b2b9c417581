"""mBART: pretrained and trimmed, or of any size; saved as transformers reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from signatlas.errors import ModelError
from signatlas.files import folder_atomically
from signatlas.models.language_model.config import LanguageConfig
from signatlas.text.vocabulary.trimming import trim_model, trim_vocabulary
from signatlas.text.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import MBartForConditionalGeneration

# Keys of the model's config that record whether its weights were trained: LoRA over random ones is noise. The decoder
# has a key of its own, since GFSLT-VLP initializes it randomly.
TRAINED, DECODER_TRAINED = "signatlas_trained", "signatlas_decoder_trained"


class LanguageModel(NamedTuple):
    """An mBART with the vocabulary of its embeddings."""

    model: MBartForConditionalGeneration
    vocabulary: Vocabulary

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> LanguageModel:
        """Load from a folder or the Hub, in evaluation mode. Raises ModelError."""
        return load(name)


def build(config: LanguageConfig, texts: Sequence[str], languages: Sequence[str]) -> LanguageModel:
    """Build the model and vocabulary of a configuration, over the training ``texts`` in BCP 47 ``languages``.

    Random weights come from torch's global generator: seed it first. Raises ModelError, TextError.
    """
    if config.pretrained is not None:
        model, vocabulary = load(config.pretrained, dropout=config.dropout)
        for language in languages:
            vocabulary.language_id(language)  # raises for a language it does not have
        if config.trim:
            trimmed = trim_vocabulary(vocabulary, texts, languages)
            trim_model(model, trimmed.kept)
            vocabulary = trimmed.vocabulary
    else:
        vocabulary = Vocabulary.train(texts, config.vocabulary, languages)
        model = _build_model(config, vocabulary)
    _shape_decoder(model, config)
    return LanguageModel(model, vocabulary)


def load(name: str | os.PathLike[str], *, dropout: float | None = None) -> LanguageModel:
    """Load an mBART and its vocabulary, from a folder or the Hub. ``dropout`` replaces its own. Raises ModelError."""
    from transformers import AutoConfig

    from signatlas.text.encoders.hub import load_from_hub

    path = os.fspath(name)
    if not Path(path).is_dir() and (path.startswith((".", "/", "~")) or path.count("/") != 1):
        raise ModelError(f"no language model at {path}: train one with 'signatlas train recipes/mbart_*.yaml'")
    sizes = load_from_hub(path, "language model", lambda: AutoConfig.from_pretrained(path, trust_remote_code=False))
    if sizes.model_type != "mbart":
        raise ModelError(f"{path} is a model of type '{sizes.model_type}': give an mBART")
    model, info = load_from_hub(path, "mBART", lambda: _load_weights(path, dropout))
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{path} is damaged: {len(missing)} weights of mBART are missing, such as {missing[0]}")
    vocabulary = Vocabulary.pretrained(path)
    if vocabulary.size > model.config.vocab_size:
        raise ModelError(
            f"{path} is damaged: {model.config.vocab_size} embeddings do not fit a vocabulary of {vocabulary.size}"
        )
    for key in (TRAINED, DECODER_TRAINED):
        setattr(model.config, key, bool(getattr(sizes, key, True)))
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = vocabulary.eos
    return LanguageModel(model, vocabulary)


def save(
    model: MBartForConditionalGeneration,
    vocabulary: Vocabulary,
    folder: str | os.PathLike[str],
    card: str,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Write a folder that :func:`load` and transformers read, atomically. ``state`` replaces the weights."""
    from transformers.utils import logging

    weights = model.state_dict() if state is None else state
    logging.disable_progress_bar()
    with folder_atomically(folder, overwrite=True) as partial:
        model.save_pretrained(partial, state_dict={name: t.detach().float().cpu() for name, t in weights.items()})
        vocabulary.save(partial)
        (partial / "README.md").write_text(card, encoding="utf-8")


def is_trained(model: MBartForConditionalGeneration, part: str = "encoder") -> bool:
    """Return whether the weights of ``encoder`` or ``decoder`` were ever trained."""
    return bool(getattr(model.config, TRAINED if part == "encoder" else DECODER_TRAINED, False))


def mark_trained(model: MBartForConditionalGeneration) -> None:
    """Record in a model's config that all its weights have been trained."""
    setattr(model.config, TRAINED, True)
    setattr(model.config, DECODER_TRAINED, True)


def architecture(model: MBartForConditionalGeneration) -> dict[str, Any]:
    """Return the sizes of an mBART and its training marks as JSON values, for :func:`from_architecture`."""
    values: dict[str, Any] = model.config.to_diff_dict()
    skipped = ("dtype", "transformers_version", "_name_or_path")
    return {key: value for key, value in values.items() if key not in skipped}


def from_architecture(values: dict[str, Any]) -> MBartForConditionalGeneration:
    """Build an mBART of these sizes, whose weights are still to be loaded. Raises ModelError for invalid sizes."""
    from transformers import MBartConfig, MBartForConditionalGeneration

    if values.get("model_type") != "mbart":
        raise ModelError(
            f"the language model is of type '{values.get('model_type')}', not mBART: train the model again"
        )
    try:
        config = MBartConfig(**values)
        config._attn_implementation = "sdpa"
        return MBartForConditionalGeneration(config)
    except Exception as error:  # transformers checks types and sizes, each with an exception of its own
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"the sizes of the language model are damaged ({reason}): train the model again") from error


def _load_weights(path: str, dropout: float | None) -> Any:
    from safetensors import SafetensorError
    from transformers import MBartForConditionalGeneration

    changes: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    try:
        return MBartForConditionalGeneration.from_pretrained(
            path, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True, **changes
        )
    except SafetensorError as error:
        raise OSError(f"its weights are damaged, {error}") from error


def _build_model(config: LanguageConfig, vocabulary: Vocabulary) -> MBartForConditionalGeneration:
    """Return an mBART with its usual random weights, normal with standard deviation 0.02."""
    from transformers import MBartConfig, MBartForConditionalGeneration

    sizes = MBartConfig(
        vocab_size=vocabulary.size,
        d_model=config.width,
        encoder_layers=config.layers,
        decoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.feedforward,
        decoder_ffn_dim=config.feedforward,
        dropout=0.1 if config.dropout is None else config.dropout,
        max_position_embeddings=config.positions,
        scale_embedding=True,
        bos_token_id=vocabulary.bos,
        pad_token_id=vocabulary.pad,
        eos_token_id=vocabulary.eos,
        forced_eos_token_id=vocabulary.eos,
        decoder_start_token_id=vocabulary.eos,
    )
    setattr(sizes, TRAINED, False)
    setattr(sizes, DECODER_TRAINED, False)
    sizes._attn_implementation = "sdpa"
    return MBartForConditionalGeneration(sizes)


def _shape_decoder(model: MBartForConditionalGeneration, config: LanguageConfig) -> None:
    """Keep the decoder's first layers, or initialize its layers randomly; embeddings stay.

    Raises ModelError if it has fewer layers than configured.
    """
    decoder = model.model.decoder
    if config.decoder_layers is not None:
        if config.decoder_layers > len(decoder.layers):
            raise ModelError(
                f"model.language.decoder_layers is {config.decoder_layers}, the decoder has {len(decoder.layers)}"
            )
        decoder.layers = decoder.layers[: config.decoder_layers]
        model.config.decoder_layers = config.decoder_layers
    if config.random_decoder:
        from transformers import MBartConfig, MBartForConditionalGeneration

        # A model of the same layers with hardly any vocabulary: its decoder has mBART's initial values.
        small = {"vocab_size": 4, "encoder_layers": 1}
        random_decoder = MBartForConditionalGeneration(MBartConfig(**{**model.config.to_dict(), **small})).model.decoder
        for part in ("layers", "layernorm_embedding", "layer_norm"):
            getattr(decoder, part).load_state_dict(getattr(random_decoder, part).state_dict())
        setattr(model.config, DECODER_TRAINED, False)
