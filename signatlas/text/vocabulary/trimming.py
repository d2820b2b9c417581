"""Trim an mBART to the pieces that a corpus uses, checking that its texts are tokenized as before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from signatlas.errors import ModelError
from signatlas.text.vocabulary.vocabulary import Vocabulary, main_language


@dataclass(frozen=True)
class Trimmed:
    """The trimmed vocabulary and the ids ``kept`` of ``total``."""

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    total: int

    def __str__(self) -> str:
        return f"vocabulary trimmed to {len(self.kept):,} of {self.total:,} pieces"


def trim_vocabulary(vocabulary: Vocabulary, texts: Sequence[str], languages: Sequence[str]) -> Trimmed:
    """Keep special tokens, the codes of ``languages`` (BCP 47), the pieces of ``texts`` and their characters.

    Characters are kept so that unseen words can still be written. Raises ModelError if a text would be tokenized or
    decoded differently, TextError for a language the vocabulary lacks.
    """
    rows = vocabulary.pieces(texts)
    kept = _kept_ids(vocabulary, rows, languages)
    smaller = _reduced(vocabulary, kept, languages)
    _check(vocabulary, smaller, texts, rows)
    return Trimmed(smaller, tuple(kept), vocabulary.size)


@torch.no_grad()
def trim_model(model: Any, kept: Sequence[int]) -> None:
    """Keep only these rows of an mBART's embeddings, output layer and bias, in place; tied weights stay tied.

    Raises ModelError if the model has fewer rows than the vocabulary has ids.
    """
    embedding = model.get_input_embeddings()
    if max(kept) >= embedding.num_embeddings:
        raise ModelError(
            f"the model has {embedding.num_embeddings} embeddings, its vocabulary ids up to {max(kept)}: "
            "the vocabulary belongs to another model"
        )
    ids = torch.tensor(kept, device=embedding.weight.device)
    rows = embedding.weight[ids].clone()
    output = model.get_output_embeddings()
    output_rows = None if output.weight is embedding.weight else output.weight[ids].clone()
    bias = model.final_logits_bias[:, ids].clone()
    model.resize_token_embeddings(len(kept), mean_resizing=False)
    model.get_input_embeddings().weight.copy_(rows)
    if output_rows is not None:
        model.get_output_embeddings().weight.copy_(output_rows)
    model.final_logits_bias.copy_(bias)


def _kept_ids(vocabulary: Vocabulary, rows: Sequence[Sequence[int]], languages: Sequence[str]) -> list[int]:
    used = {id for row in rows for id in row}
    specials = {vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unk, vocabulary.mask}
    codes = {vocabulary.language_id(language) for language in languages}
    characters = {c for token in vocabulary.tokens(sorted(used - {vocabulary.unk})) for c in token}
    single = {i for c in characters for i in _ids(vocabulary, c, "▁" + c)}
    pieces = json.loads(vocabulary.tokenizer.to_str())["model"]["vocab"]
    # The cost of an unknown character depends on the least likely piece: keep it, so that segmentation is unchanged.
    least_likely = min(range(len(pieces)), key=lambda i: (pieces[i][1], i))
    return sorted(used | specials | codes | single | {least_likely})


def _ids(vocabulary: Vocabulary, *tokens: str) -> set[int]:
    ids = (vocabulary.tokenizer.token_to_id(token) for token in tokens)
    return {id for id in ids if id is not None}


def _reduced(vocabulary: Vocabulary, kept: Sequence[int], languages: Sequence[str]) -> Vocabulary:
    from tokenizers import Tokenizer

    document = json.loads(vocabulary.tokenizer.to_str())
    new_ids = {old: new for new, old in enumerate(kept)}
    pieces = document["model"]["vocab"]
    if kept[-1] >= len(pieces):  # special tokens added after the unigrams: move them into the one list
        added = sorted(document["added_tokens"], key=lambda token: token["id"])
        pieces = [*pieces, *([token["content"], 0.0] for token in added if token["id"] >= len(pieces))]
    document["model"]["vocab"] = [pieces[old] for old in kept]
    document["model"]["unk_id"] = new_ids[vocabulary.unk]
    added = [token | {"id": new_ids[token["id"]]} for token in document["added_tokens"] if token["id"] in new_ids]
    document["added_tokens"] = sorted(added, key=lambda token: token["id"])
    codes = {main: vocabulary.codes[main] for main in dict.fromkeys(map(main_language, languages))}
    provenance = vocabulary.made | {"kept": len(kept), "total": vocabulary.size}
    return Vocabulary(Tokenizer.from_str(json.dumps(document)), codes, provenance)


def _check(before: Vocabulary, after: Vocabulary, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    new_rows = after.pieces(texts)
    pairs = zip(texts, rows, new_rows, before.decode(rows), after.decode(new_rows), strict=True)
    for number, (text, old, new, old_text, new_text) in enumerate(pairs, start=1):
        if before.tokens(old) != after.tokens(new) or old_text != new_text:
            excerpt = " ".join(text[:40].split())
            raise ModelError(
                f"trimming would change the tokens of text {number} of {len(texts)} ('{excerpt}'): "
                "set model.language.trim=false"
            )
