"""The translator: sign embedding, mBART's encoder over sign tokens, its decoder, and a text encoder for alignment."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.errors import ModelError
from signatlas.losses.label_smoothing import label_smoothed
from signatlas.models import folder, registry
from signatlas.models.language_model import lora, mbart
from signatlas.models.logit_scale import LogitScale
from signatlas.models.translator.config import TranslatorConfig
from signatlas.models.translator.sign_embedding import SignEmbedding
from signatlas.similarity import Tokens, concatenate, mean_pooled
from signatlas.text.vocabulary.vocabulary import Vocabulary

TEXT = "text"  # the vocabulary's folder inside a model folder
# One matrix under several names, saved once under the first.
SHARED = "language.model.shared.weight"
ALIASES = (
    "language.model.encoder.embed_tokens.weight",
    "language.model.decoder.embed_tokens.weight",
    "language.lm_head.weight",
)


class TranslatorOutput(NamedTuple):
    """Output of a training pass: losses summed over target tokens, and the tokens to contrast."""

    translation: Tensor  # loss
    visual: Tokens | None
    text: Tokens | None
    scale: Tensor  # the logit multiplier
    masked_language: Tensor | None = None  # loss


class Translator(LogitScale):
    """Signing to text (SCL-SLT; GFSLT-VLP). Build one with :meth:`build`, load one with :meth:`from_pretrained`.

    ``language`` is an mBART whose encoder reads sign tokens; ``text_encoder`` is a copy of the encoder as it was
    initially, which reads texts. It is frozen unless the configuration says otherwise, and absent after stage 1.
    """

    def __init__(
        self,
        config: TranslatorConfig,
        language: Any,
        vocabulary: Vocabulary,
        language_code: str,
        features: int | None,
        *,
        with_text: bool = True,
        record: dict[str, Any] | None = None,
        load_pretrained: bool = False,
    ):
        super().__init__()
        self.config, self.vocabulary, self.language_code = config, vocabulary, language_code
        self.features, self.record = features, record or {}
        self.sign = SignEmbedding(config.sign, features, load_pretrained=load_pretrained)
        width = language.config.d_model
        self.bridge = nn.Linear(self.sign.width, width)
        self.cls = nn.Parameter(torch.randn(width) * 0.02) if config.similarity.kind == "cls" else None
        self.text_encoder = copy.deepcopy(language.model.encoder) if with_text else None
        self.language = language
        if config.language.encoder_layers is not None:
            self.language.model.encoder.layers = self.language.model.encoder.layers[: config.language.encoder_layers]
        size = config.projection
        self.heads = nn.ModuleList(nn.Linear(width, size, bias=False) for _ in range(2)) if size and with_text else None
        self.init_logit_scale(config.logit_scale)
        self._set_trainable()

    @classmethod
    def build(
        cls, config: TranslatorConfig, texts: Sequence[str], language_code: str, features: int | None, **options: Any
    ) -> Translator:
        """Build a model to train; its vocabulary is that of ``texts``, the training split's.

        Raises ModelError, TextError.
        """
        language, vocabulary = mbart.build(config.language, texts, [language_code])
        return cls(config, language, vocabulary, language_code, features, load_pretrained=True, **options)

    def _set_trainable(self) -> None:
        """Train adapters, all or nothing of mBART, and the text encoder only where the configuration says so."""
        config, core = self.config, self.language.model
        trained = [mbart.is_trained(self.language, part) for part in ("encoder", "decoder")]
        if config.tuning == "lora":
            for part, was_trained in zip((core.encoder, core.decoder), trained, strict=True):
                lora.add_lora(part, config.lora, trained=was_trained)
        elif config.tuning == "frozen":
            if not (all(trained) or config.lora.force):
                raise ModelError(
                    "tuning 'frozen' over random weights leaves noise: pretrain with recipes/mbart_*.yaml and name "
                    "the model as model.language.pretrained, or --set model.lora.force=true"
                )
            self.language.requires_grad_(False)
        if config.tuning == "lora":
            core.shared.requires_grad_(False)
            self.language.lm_head.requires_grad_(False)
        if self.text_encoder is not None and config.text_encoder == "frozen":
            self.text_encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> Translator:
        super().train(mode)
        if self.text_encoder is not None and self.config.text_encoder == "frozen":
            self.text_encoder.eval()  # a frozen encoder gives the same tokens every time
        return self

    def drop_text_side(self) -> None:
        """Remove the parts that stage 2 does not use: the text encoder and the heads of the alignment."""
        self.text_encoder = self.heads = None
        self.freeze_contrast()

    def freeze_contrast(self) -> None:
        """Freeze all parameters that only a contrastive loss trains."""
        self.log_scale.requires_grad_(False)
        for part in (self.text_encoder, self.heads):
            if part is not None:
                part.requires_grad_(False)

    def forward(
        self,
        x: Tensor,
        mask_BL: Tensor,
        ids_BT: Tensor,
        text_mask_BT: Tensor,
        smoothing: float = 0.0,
        align: bool = False,
        masked_ids_BT: Tensor | None = None,
    ) -> TranslatorOutput:
        """Run a training pass. ``ids_BT`` are [language, pieces..., eos], ``masked_ids_BT`` the same, partly masked."""
        hidden, mask = self.encode(x, mask_BL)
        translation = self._decoder_loss(hidden, mask, ids_BT, text_mask_BT, smoothing)
        masked_language = None
        if masked_ids_BT is not None:
            with torch.no_grad():
                masked_text = self._require_text_encoder()(input_ids=masked_ids_BT, attention_mask=text_mask_BT)
            masked_language = self._decoder_loss(
                masked_text.last_hidden_state, text_mask_BT, ids_BT, text_mask_BT, smoothing
            )
        visual, text = (self._visual(hidden, mask), self._text(ids_BT, text_mask_BT)) if align else (None, None)
        return TranslatorOutput(translation, visual, text, self.logit_scale(), masked_language)

    def encode(self, x: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden states of signs [B, L', D] and their mask; the first is CLS where the similarity uses it."""
        tokens, mask = self.sign(x, mask_BL)
        tokens = self.bridge(tokens)
        if self.cls is not None:
            tokens = torch.cat([self.cls.to(tokens.dtype).expand(len(tokens), 1, -1), tokens], dim=1)
            mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        self._check_positions(tokens.shape[1])
        return self.language.model.encoder(inputs_embeds=tokens, attention_mask=mask).last_hidden_state, mask

    def check_length(self, frames: int) -> None:
        """Raise ModelError when a clip with this many frames or windows has more tokens than mBART has positions."""
        self._check_positions(self.sign.output_length(frames) + (self.cls is not None))

    def _check_positions(self, tokens: int) -> None:
        positions = self.language.config.max_position_embeddings
        if tokens > positions:
            raise ModelError(
                f"{tokens} sign tokens exceed mBART's {positions} positions: lower model.sign.backbone.max_frames"
            )

    @property
    def max_text_tokens(self) -> int:
        """Largest number of pieces of a text, special tokens included; longer texts are truncated."""
        return min(self.config.max_tokens, int(self.language.config.max_position_embeddings))

    def _decoder_loss(self, hidden: Tensor, hidden_mask: Tensor, ids: Tensor, mask: Tensor, smoothing: float) -> Tensor:
        """Return the summed label-smoothed cross-entropy; the decoder starts from eos (mBART-50)."""
        start = torch.full_like(ids[:, :1], self.vocabulary.eos)
        decoder = self.language.model.decoder
        out = decoder(
            input_ids=torch.cat([start, ids[:, :-1]], dim=1), attention_mask=mask, encoder_hidden_states=hidden,
            encoder_attention_mask=hidden_mask, use_cache=False,
        ).last_hidden_state  # fmt: skip
        logits = self.language.lm_head(out) + self.language.final_logits_bias.to(out.dtype)
        return label_smoothed(logits, ids, mask, smoothing)

    def _require_text_encoder(self) -> Any:
        if self.text_encoder is None:
            raise ModelError("this translator has no text encoder: stage 2 drops it")
        return self.text_encoder

    def _visual(self, hidden: Tensor, mask: Tensor) -> Tokens:
        tokens = hidden if self.heads is None else self.heads[0](hidden)
        if self.cls is not None:
            return Tokens(tokens[:, 1:], mask[:, 1:], tokens[:, 0])
        return Tokens(tokens, mask, mean_pooled(tokens, mask))

    def _text(self, ids: Tensor, mask: Tensor) -> Tokens:
        """Return tokens of the words, without language code and eos; the single vector is that at eos."""
        hidden = self._require_text_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        tokens = hidden if self.heads is None else self.heads[1](hidden)
        end = mask.sum(1) - 1
        words = mask.clone()
        words[:, 0] = False
        words[torch.arange(len(ids), device=ids.device), end] = False
        return Tokens(tokens, words, tokens[torch.arange(len(ids), device=ids.device), end])

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    @torch.no_grad()
    def visual_tokens(self, x: np.ndarray, mask: np.ndarray) -> Tokens:
        """Return the tokens of signing that the alignment compares, before normalization; on the CPU, float32."""
        with _evaluation_mode(self):
            tokens = self._visual(*self.encode(*self._inputs(x, mask)))
        return concatenate([tokens])

    @torch.no_grad()
    def text_tokens(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of texts that the alignment compares, before normalization; on the CPU, float32.

        Raises TextError.
        """
        ids, mask = self.vocabulary.encode(texts, self.language_code, self.max_text_tokens)
        with _evaluation_mode(self):
            return concatenate([self._text(ids.to(self.device), mask.to(self.device))])

    def _inputs(self, x: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        if x.ndim == 3 and x.shape[-1] != self.features:  # images have more dimensions
            raise ModelError(f"the clips' inputs have width {x.shape[-1]}, the model takes {self.features}")
        return torch.from_numpy(x).to(self.device), torch.from_numpy(mask).to(self.device)

    @torch.no_grad()
    def translate(
        self,
        batches: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        beams: int = 8,
        max_new_tokens: int = 60,
        length_penalty: float = 1.0,
        best: int = 1,
        on_text: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Return one text per clip by beam search, or the ``best`` alternatives of each clip after one another.

        ``batches`` are inputs of :class:`SignEmbedding` and their masks. ``on_text``, for one clip and one beam, is
        called with the text so far after each token. Raises ModelError.
        """
        from transformers.modeling_outputs import BaseModelOutput

        from signatlas.models.translator.streaming import TextStreamer

        positions = self.language.config.max_position_embeddings
        texts: list[str] = []
        with _evaluation_mode(self):
            for x, mask in batches:
                hidden, hidden_mask = self.encode(*self._inputs(x, mask))
                ids = self.language.generate(
                    encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                    attention_mask=hidden_mask.long(),
                    decoder_start_token_id=self.vocabulary.eos,
                    forced_bos_token_id=self.vocabulary.language_id(self.language_code),
                    num_beams=beams,
                    num_return_sequences=best,
                    max_new_tokens=min(max_new_tokens, positions - 2),
                    length_penalty=length_penalty,
                    early_stopping=True if beams > 1 else None,
                    do_sample=False,
                    # Special tokens that never occur in texts.
                    suppress_tokens=[self.vocabulary.bos, self.vocabulary.pad, self.vocabulary.mask],
                    streamer=None if on_text is None else TextStreamer(self.vocabulary, on_text),
                )
                texts += self.vocabulary.decode(ids)
        return texts

    def save_pretrained(
        self, path: str | os.PathLike[str], card: str = "", state: dict[str, Tensor] | None = None
    ) -> None:
        """Write config.json, model.safetensors, README.md and text/ (the vocabulary)."""
        document = {
            "model_type": registry.TRANSLATOR,
            "language": self.language_code,
            "features": self.features,
            "text_side": self.text_encoder is not None,
            "mbart": mbart.architecture(self.language),
            "record": self.record,
            # With the sizes of a backbone that was loaded by name.
            "translator": self.config.model_copy(update={"sign": self.sign.config}).model_dump(mode="json"),
        }
        weights = self.state_dict() if state is None else state
        folder.save(path, self, document, card, {name: w for name, w in weights.items() if name not in ALIASES})
        (Path(path) / TEXT).mkdir()
        self.vocabulary.save(Path(path) / TEXT)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Translator:
        """Load from a folder or the Hub, in evaluation mode. Raises ModelError."""
        path, raw = registry.read_config(name, registry.TRANSLATOR)
        try:
            config = folder.parse_config(path, TranslatorConfig, raw["translator"])
            # Layers of the sign side are removed after the text side was copied: saved sizes are those before removal.
            model = cls(
                config, mbart.from_architecture(raw["mbart"]), Vocabulary.load(path / TEXT), raw["language"],
                raw["features"], with_text=raw["text_side"], record=raw["record"],
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path}/config.json is damaged ({type(error).__name__}: {reason})") from error
        model._load(path)
        return model.eval()

    def _load(self, path: Path) -> None:
        weights = folder.read_weights(path)
        if SHARED in weights:
            weights |= dict.fromkeys(ALIASES, weights[SHARED])
        folder.fill(path, self, weights)


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set a model to evaluation mode, and back to its previous mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
