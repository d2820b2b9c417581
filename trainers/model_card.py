"""What a model folder tells of its training: the model card (README.md) and the record in config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from signatlas.corpus.format import CorpusInfo
from signatlas.recipe import RunRecipe, dump

SYNTHETIC = "Trained on synthetic signing: not for learning to sign, and no result on real signing."


def training_record(recipe: RunRecipe, info: CorpusInfo) -> dict[str, Any]:
    """Return the part of a model's ``record`` that every task writes: recipe, seed, corpus, license."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "corpus": info.name,
        "corpus_fingerprint": info.fingerprint,
        "license": info.license,
        "synthetic": info.synthetic,
    }


def model_card(
    recipe: BaseModel,
    about: str,
    info: CorpusInfo,
    metrics: Mapping[str, float],
    *,
    languages: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return a model card with the metadata that the Hub reads.

    ``about`` is one sentence on the model. ``languages`` are those of the texts; the corpus has the sign languages.
    """
    codes = "".join(f"- {code}\n" for code in (*info.sign_languages, *languages))
    paragraphs = "".join(f"{note}\n\n" for note in (*((SYNTHETIC,) if info.synthetic else ()), *notes))
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    return (
        f"---\nlibrary_name: signatlas\nlicense: other\nlicense_name: {json.dumps(info.license)}\n"
        f"language:\n{codes}tags:\n- sign-language\n---\n"
        f"# {getattr(recipe, 'name', 'model')}\n\n{paragraphs}{about}\n\n"
        f"Trained on {info.name} {info.version} (fingerprint `{info.fingerprint}`, {info.source}).\n"
        f"License of the corpus: {info.license}.\n\n## Dev metrics\n\n| | |\n|---|---|\n{rows}\n\n"
        f"## Recipe\n\n```yaml\n{dump(recipe)}```\n"
    )
