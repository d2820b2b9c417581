"""signatlas evaluate, for dual encoders: text to video and video to text on a corpus of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import FeatureError, ModelError

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus
    from signatlas.evaluation.sentences.sentence_set import SentenceSet
    from signatlas.features.store import FeatureStore
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.similarity import Tokens

BLOCK = 128  # videos and texts that are compared at a time
TOLD = 0.01  # the share of unknown tokens from which they are told of


def evaluate_sentences(
    model: str,
    corpus: str,
    *,
    features: Path | None,
    split: str,
    languages: Sequence[str],
    out: Path | None,
    pictures: bool,
    json: bool,
    seed: int,
) -> None:
    """Encode, score, rank in both directions, write the folder and print its tables."""
    from rich.console import Console

    from cli.evaluate.command import default_folder, describe_corpus, describe_model
    from signatlas.corpus.format import Corpus
    from signatlas.evaluation.sentences import report as sheets
    from signatlas.evaluation.sentences.sentence_set import sentence_set, subsets
    from signatlas.evaluation.signs import report
    from signatlas.models.dual_encoder.encoder import DualEncoder

    opened, encoder = Corpus.open(corpus), DualEncoder.from_pretrained(model)
    target = report.check_target(out or default_folder(model, opened, "sentences", split, "-".join(languages) or "all"))
    rows = opened.split(split).metadata()
    codes = _languages(languages, encoder, rows)
    asked = sentence_set(rows, codes, f"{opened.path}, split {split},")
    store = open_features(features, encoder, opened)
    scores = score(encoder, store, asked)
    train = [] if "train" not in opened.info.counts or split == "train" else opened.split("train").metadata()
    masks = subsets(asked, train) if train else {}
    found = sheets.evaluated(asked, scores)
    document: dict[str, Any] = {
        "protocol": "sentences",
        "split": split,
        "languages": list(asked.texts),
        "seed": seed,
        "notes": notes(encoder, opened, store, asked) + _whole(masks),
        "corpus": describe_corpus(opened),
        "features": {"path": str(store.path), "fingerprint": store.fingerprint, **store.info.model_dump(mode="json")},
        "model": describe_model(model, encoder),
        "videos": len(asked.rows),
        "sentences": len(asked.sentence_ids),
        "left_out": asked.left_out,
        "subsets": {name: int(mask.sum()) for name, mask in masks.items()},
        "results": sheets.results_of(found, masks, seed),
        "across": sheets.across_languages(asked, scores),
        "worst": sheets.worst(found),
    }
    sheets.write(target, document, found)
    if pictures:
        _draw(found, target, opened)
    if json:
        print((target / "report.json").read_text("utf-8"), end="")
        return
    console = Console(highlight=False)
    console.print("\n".join(report.summary(document)), markup=False)
    for sheet in sheets.sheets(document):
        console.print(sheets.table(sheet))
    console.print(f"written to {target}", markup=False)


def _languages(wanted: Sequence[str], encoder: DualEncoder, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those asked for, those the model was trained on, or all that every clip has."""
    trained = encoder.record.get("languages", ())
    if codes := list(dict.fromkeys(wanted or trained)):
        return codes
    held = [{text["language"] for text in row["texts"] or ()} for row in rows]
    return sorted(set.intersection(*held)) if held else []


def open_features(path: Path | None, encoder: DualEncoder, corpus: Corpus) -> FeatureStore:
    """The clip features to evaluate on. Raises FeatureError for another corpus, another width, or none at all."""
    from signatlas.features.store import FeatureStore

    if path is None:
        named = encoder.record.get("features")
        if not named or not Path(named).is_dir():
            reason = f"those of its training, {named}, are not there" if named else "its record names none"
            raise FeatureError(f"pass --features FOLDER: the model has no clip features of its own, {reason}")
        path = Path(named)
    store = FeatureStore.open(path)
    if store.info.corpus_fingerprint != corpus.info.fingerprint:
        raise FeatureError(
            f"{path} holds features of {store.info.corpus} (fingerprint {store.info.corpus_fingerprint[:12]}), not of "
            f"{corpus.path} ({corpus.info.fingerprint[:12]}): pass --features made from this corpus"
        )
    if store.info.width != encoder.features:
        raise FeatureError(
            f"{path} has features of width {store.info.width}, the model takes {encoder.features}: "
            "pass --features made by the sign encoders of its training"
        )
    return store


def score(encoder: DualEncoder, store: FeatureStore, asked: SentenceSet) -> dict[str, np.ndarray]:
    """float32 [V, T] by language: encode every video and text, compare in blocks. Raises ModelError for NaN."""
    from cli.shared import bars

    sign = encoder.config.sign
    positions = store.positions(asked.video_ids)
    with bars() as progress:
        starts = progress.track(range(0, len(positions), BLOCK), description="videos")
        batches = (store.batch(positions[i : i + BLOCK], alpha=sign.alpha, limit=sign.max_clips) for i in starts)
        videos = encoder.embed_features(batches)
        found = {}
        for code, texts in asked.texts.items():
            words = encoder.embed_texts(texts)
            starts = progress.track(range(0, len(positions), BLOCK), description=f"scores, {code}")
            found[code] = np.concatenate([_compared(encoder, videos.rows(slice(i, i + BLOCK)), words) for i in starts])
            if (broken := int(np.isnan(found[code]).any(1).sum())) > 0:
                raise ModelError(f"{broken} of {len(positions)} clips have NaN scores in {code}: train the model again")
    return found


def _compared(encoder: DualEncoder, videos: Tokens, texts: Tokens) -> np.ndarray:
    """Scores float32 [videos, T], block after block."""
    import torch

    with torch.no_grad():
        parts = [encoder.score(videos, texts.rows(slice(j, j + BLOCK))) for j in range(0, len(texts.tokens), BLOCK)]
        return torch.cat(parts, dim=1).float().cpu().numpy()


def notes(encoder: DualEncoder, corpus: Corpus, store: FeatureStore, asked: SentenceSet) -> list[str]:
    """What a reader of the figures must know."""
    from cli.evaluate.command import notes as general

    record = encoder.record
    found = general(record, corpus, "sentences")
    if record.get("shuffle_pairs"):
        found.insert(0, "note: CONTROL: trained on shuffled pairs, so that it can have learned nothing of meaning")
    if store.info.kind == "glosses":
        found.insert(0, "note: ORACLE: the features are the true glosses, not signing")
    made = record.get("features_fingerprint")
    if made and made != store.fingerprint and record.get("corpus_fingerprint") == corpus.info.fingerprint:
        found.append("note: these are not the clip features that the model was trained on")
    if asked.left_out:
        found.append(f"note: left out {asked.left_out} clips without a text in each of {', '.join(asked.texts)}")
    for code, texts in asked.texts.items():
        if again := len(texts) - len(set(asked.same(code).tolist())):
            found.append(
                f"note: {code}: {again} of {len(texts)} texts are the same as an earlier one: errors when strict"
            )
        if long := encoder.text.long_rate(texts):
            most = encoder.config.text.max_tokens
            found.append(f"note: {code}: {long:.1%} of the texts have more than {most} tokens: subsampled evenly")
        if (unknown := encoder.text.unknown_rate(texts)) >= TOLD:
            found.append(f"note: {code}: {unknown:.1%} of the tokens are unknown to the model")
    return found


def _whole(masks: dict[str, np.ndarray]) -> list[str]:
    """One line that names the subsets which are everybody: their figures are those of all."""
    names = [name for name, mask in masks.items() if mask.all()]
    return [f"every clip asked for is: {', '.join(names)}"] if names else []


def _draw(found: Any, target: Path, corpus: Corpus) -> None:
    from signatlas.plots.retrieval import Curve, recall

    curves = []
    for code in found.sentences.texts:
        for direction, asked in found.asked(code, "strict").items():
            ranks = asked.ranks()
            curves.append(Curve(direction, code, ranks[ranks > 0], asked.relevant.shape[1]))
    kind = " (synthetic signing)" if corpus.info.synthetic else ""
    recall(curves, target / "recall.png", title=f"{corpus.info.name}{kind}: sentences found, strict")
