"""The model card, README.md of a model folder: what it is for, on what it was trained, under which license, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from signatlas.corpus.format import CorpusInfo
from signatlas.recipe import dump

SYNTHETIC = "Trained on synthetic signing: not for learning to sign, and no result on real signing."


def card(
    recipe: BaseModel,
    about: str,
    info: CorpusInfo,
    metrics: Mapping[str, float],
    *,
    languages: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """``about`` says in one sentence what the model is. ``languages`` are those of texts, beside the sign languages."""
    codes = "".join(f"- {code}\n" for code in (*info.sign_languages, *languages))
    said = "".join(f"{note}\n\n" for note in (*((SYNTHETIC,) if info.synthetic else ()), *notes))
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    return (
        f"---\nlibrary_name: signatlas\nlicense: other\nlicense_name: {json.dumps(info.license)}\n"
        f"language:\n{codes}tags:\n- sign-language\n---\n"
        f"# {getattr(recipe, 'name', 'model')}\n\n{said}{about}\n\n"
        f"Trained on {info.name} {info.version} (fingerprint `{info.fingerprint}`, {info.source}).\n"
        f"License of the corpus: {info.license}.\n\n## Figures on dev\n\n| | |\n|---|---|\n{figures}\n\n"
        f"## Recipe\n\n```yaml\n{dump(recipe)}```\n"
    )
