"""Cut an mBART down to the pieces that a corpus uses, and prove that its texts read as they did before."""

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
    """``kept`` of ``total`` ids, and the smaller vocabulary."""

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    total: int

    def __str__(self) -> str:
        return f"vocabulary trimmed to {len(self.kept):,} of {self.total:,} pieces"


def trim_vocabulary(vocabulary: Vocabulary, texts: Sequence[str], languages: Sequence[str]) -> Trimmed:
    """Keep marks, the codes of ``languages`` (BCP 47), the pieces of ``texts`` and every single character of them.

    The characters keep words writable that the texts do not have. Raises ModelError when a text is not read, or not
    given back, as before; TextError for a language that the vocabulary does not have.
    """
    rows = vocabulary.pieces(texts)
    kept = _kept_ids(vocabulary, rows, languages)
    smaller = _reduced(vocabulary, kept, languages)
    _check(vocabulary, smaller, texts, rows)
    return Trimmed(smaller, tuple(kept), vocabulary.size)


@torch.no_grad()
def trim_model(model: Any, kept: Sequence[int]) -> None:
    """Keep only these rows of an mBART's embeddings, its output layer and bias, in place. What is tied stays tied.

    Raises ModelError when the model has fewer rows than the vocabulary has ids.
    """
    embedding = model.get_input_embeddings()
    if max(kept) >= embedding.num_embeddings:
        raise ModelError(
            f"the model has {embedding.num_embeddings} embeddings, its vocabulary ids up to {max(kept)}: "
            "the two do not belong together"
        )
    ids = torch.tensor(kept, device=embedding.weight.device)
    rows = embedding.weight[ids].clone()
    output = model.get_output_embeddings()
    written = None if output.weight is embedding.weight else output.weight[ids].clone()
    bias = model.final_logits_bias[:, ids].clone()
    model.resize_token_embeddings(len(kept), mean_resizing=False)
    model.get_input_embeddings().weight.copy_(rows)
    if written is not None:
        model.get_output_embeddings().weight.copy_(written)
    model.final_logits_bias.copy_(bias)


def _kept_ids(vocabulary: Vocabulary, rows: Sequence[Sequence[int]], languages: Sequence[str]) -> list[int]:
    used = {id for row in rows for id in row}
    marks = {vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unk, vocabulary.mask}
    codes = {vocabulary.language_id(language) for language in languages}
    characters = {c for token in vocabulary.tokens(sorted(used - {vocabulary.unk})) for c in token}
    single = {i for c in characters for i in _ids(vocabulary, c, "▁" + c)}
    pieces = json.loads(vocabulary.tokenizer.to_str())["model"]["vocab"]
    # An unknown character costs 10 more than the least likely piece: with that piece, texts are cut by the same costs.
    least = min(range(len(pieces)), key=lambda i: (pieces[i][1], i))
    return sorted(used | marks | codes | single | {least})


def _ids(vocabulary: Vocabulary, *tokens: str) -> set[int]:
    found = (vocabulary.tokenizer.token_to_id(token) for token in tokens)
    return {id for id in found if id is not None}


def _reduced(vocabulary: Vocabulary, kept: Sequence[int], languages: Sequence[str]) -> Vocabulary:
    from tokenizers import Tokenizer

    parts = json.loads(vocabulary.tokenizer.to_str())
    place = {old: new for new, old in enumerate(kept)}
    pieces = parts["model"]["vocab"]
    if kept[-1] >= len(pieces):  # a mark that was added behind the unigrams: they must stay one list
        pieces = [*pieces, *([token["content"], 0.0] for token in sorted(parts["added_tokens"], key=lambda t: t["id"])
                             if token["id"] >= len(pieces))]  # fmt: skip
    parts["model"]["vocab"] = [pieces[old] for old in kept]
    parts["model"]["unk_id"] = place[vocabulary.unk]
    added = [token | {"id": place[token["id"]]} for token in parts["added_tokens"] if token["id"] in place]
    parts["added_tokens"] = sorted(added, key=lambda token: token["id"])
    codes = {main: vocabulary.codes[main] for main in dict.fromkeys(map(main_language, languages))}
    made = vocabulary.made | {"kept": len(kept), "total": vocabulary.size}
    return Vocabulary(Tokenizer.from_str(json.dumps(parts)), codes, made)


def _check(before: Vocabulary, after: Vocabulary, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    now = after.pieces(texts)
    said = zip(texts, rows, now, before.decode(rows), after.decode(now), strict=True)
    for number, (text, old, new, read, reread) in enumerate(said, start=1):
        if before.tokens(old) != after.tokens(new) or read != reread:
            shown = " ".join(text[:40].split())
            raise ModelError(
                f"trimming would change how text {number} of {len(texts)} is read ('{shown}'): "
                "set model.language.trim=false"
            )
