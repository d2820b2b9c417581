"""Search sentences by text and translate them, with models trained in some minutes, in one process, without Ray.

    python examples/sentence_models.py FOLDER [CORPUS [SOURCE]]

Recordings of isolated signs of CORPUS (only those of SOURCE, if given; default: procedural signs) are joined to
sentences of two or three signs, whose text is their words in order. A sentence for training has training recordings
only, one for the test has test recordings only, and no word sequence is in both. Then, as in the recipes but smaller:

1. A sign classifier learns single signs; slid over a sentence it gives clip features (CiCo).
2. A dual encoder of these features and of texts learns with CiCo's contrastive loss.
3. A translator, features to text, learns with cross-entropy.

FOLDER gets ``corpus``, ``features``, three model folders and ``sentences``, an index of the test clips:

    signatlas serve --index FOLDER/sentences --model FOLDER/translator

The sentences are not sign language: they have no grammar, and the models know 30 words. This demonstrates how the parts
fit together; it is not a result.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from signatlas.corpus import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.corpus.sentences import Sentence
from signatlas.features import store, windows
from signatlas.features.store import FeatureStore
from signatlas.features.views import ViewConfig, WindowViews
from signatlas.losses import ContrastiveLoss
from signatlas.models import DualEncoder, SignClassifier, SignEncoderConfig, Translator
from signatlas.models.dual_encoder import DualEncoderConfig
from signatlas.models.sliding import SIGN_ENCODERS
from signatlas.models.translator import TranslatorConfig
from signatlas.pose import PreparedClips
from signatlas.pose.augment import AugmentConfig
from signatlas.retrieval import entries, index_version
from signatlas.retrieval.index_version import CorpusPart, FeaturesPart
from signatlas.synthetic import Composer, Lexicon, build_lexicon, compose_procedural
from signatlas.synthetic.composition.composer import Settings

SEED, LANGUAGE = 0, "de"
SENTENCES = {"train": 900, "test": 40}
STEPS = {"classifier": 220, "dual_encoder": 250, "translator": 400}
WINDOW, STRIDE, MAX_WINDOWS = 16, 2, 48  # frames, frames, windows
CARD = (
    "# Demonstration model\n\nTrained for some minutes by `examples/sentence_models.py` on synthetic sentences: "
    "isolated signs joined without a grammar. Not for learning to sign, and not a result.\n"
)
CLASSIFIER = SignEncoderConfig(
    points="nose_hands", dims=2, streams=("position", "shape", "velocity", "bones"), frames=WINDOW,
    aspect={"webcam": 1.333}, width=64, depth=2, heads=4, feedforward=128, dropout=0.0,
)  # fmt: skip
AUGMENT = AugmentConfig(rotation=0.15, scale=0.15, hand_scale=0.12, shift=0.15, noise=0.006, mirror=0.12)
DUAL_ENCODER = DualEncoderConfig.model_validate({
    "sign": {"max_windows": MAX_WINDOWS, "width": 64, "depth": 1, "heads": 4, "feedforward": 128},
    "text": {"max_tokens": 16, "width": 64, "depth": 1, "heads": 4, "feedforward": 128},
    "embedding": 64,
})  # fmt: skip
TRANSLATOR = TranslatorConfig.model_validate({
    "sign": {"backbone": {"max_frames": MAX_WINDOWS}, "width": 64, "blocks": 1, "kernel": 5, "pool": 2},
    "language": {"vocabulary": 150, "width": 64, "layers": 1, "heads": 4, "feedforward": 128, "positions": 64,
                 "dropout": 0.0},
    "tuning": "full",
})  # fmt: skip


def draw_sentences(words: list[str]) -> list[Sentence]:
    """Return sentences with two or three different words; no sequence of words occurs twice, in whichever split."""
    rng = np.random.default_rng(SEED)
    drawn: set[tuple[str, ...]] = set()
    sentences: list[Sentence] = []
    for split, count in SENTENCES.items():
        while sum(s.split == split for s in sentences) < count:
            glosses = tuple(str(word) for word in rng.choice(words, int(rng.integers(2, 4)), replace=False))
            if glosses not in drawn:
                drawn.add(glosses)
                text = " ".join(glosses)
                sentences.append(Sentence(f"{split}-{len(drawn):04d}", split, glosses, ((LANGUAGE, text),)))
    return sentences


def write_sentences(folder: Path, recordings: list[Clip], source: CorpusInfo) -> Corpus:
    """Compose the sentences of the recordings and write them as a synthetic corpus."""
    lexicon: Lexicon = build_lexicon(recordings)
    settings = Settings("composed-sentences", source.sign_languages[0], seed=SEED)
    composer, sentences = Composer(lexicon, settings), draw_sentences(sorted(lexicon.words))
    info = CorpusInfo(
        name=settings.name, version="1", license=source.license, source=f"signs: {source.source}",
        sign_languages=source.sign_languages, fps=25.0, synthetic=True,
        made={"command": "examples/sentence_models.py", "seed": SEED, "variation": asdict(settings.variation)},
    )  # fmt: skip
    return write_corpus(folder, info, (composer.compose(sentence) for sentence in sentences), overwrite=True)


def optimize(model: nn.Module, lr: float, steps: int) -> Iterator[tuple[int, torch.optim.Optimizer]]:
    """Yield the number of each step with the optimizer, whose rate rises for a tenth of the steps and then falls."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        yield step, optimizer
        schedule.step()


def update(model: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Take one step down the gradient."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def train_classifier(folder: Path, recordings: list[Clip], batch: int = 96) -> SignClassifier:
    """Train a classifier of windows that look like a sign between its neighbors in a sentence."""
    torch.manual_seed(SEED)
    rng, clips = np.random.default_rng(SEED), [clip for clip in recordings if clip.split == "train"]
    prepared = PreparedClips.from_clips(clips, CLASSIFIER.points, CLASSIFIER.aspect)
    classes, labels = np.unique([clip.gloss or "" for clip in clips], return_inverse=True)
    views = WindowViews(ViewConfig(context=0.6), AUGMENT, CLASSIFIER.points, WINDOW, SEED, others=np.arange(len(clips)))
    model = SignClassifier(CLASSIFIER, tuple(classes))
    for step, optimizer in optimize(model, 3e-3, STEPS["classifier"]):
        rows = rng.integers(len(clips), size=batch)
        points, present, keep = (torch.from_numpy(view) for view in views(prepared, rows, step, np.arange(batch)))
        scores = model(points, present, keep)
        update(model, optimizer, nn.functional.cross_entropy(scores, torch.from_numpy(labels[rows])))
    save(model, folder)
    return model


def write_features(folder: Path, classifier: SignClassifier, corpus: Corpus, clips: list[Clip]) -> FeatureStore:
    """Slide the classifier over the sentences and write the vectors of its windows."""
    prepared = PreparedClips.from_clips(clips, CLASSIFIER.points, CLASSIFIER.aspect)
    indices, starts = windows.all_starts(prepared.lengths, WINDOW, STRIDE, MAX_WINDOWS)
    features = classifier.window_features(prepared, indices, starts)
    parts = np.split(features, np.flatnonzero(np.diff(indices)) + 1)
    info = store.FeatureInfo(
        kind="windows", streams=("agnostic",), width=CLASSIFIER.width, corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, window=WINDOW, stride=STRIDE, limit=MAX_WINDOWS,
    )  # fmt: skip
    return store.write(
        folder, info, [c.id for c in clips], [len(p) for p in parts], {"agnostic": parts}, overwrite=True
    )


def record(corpus: Corpus, features: FeatureStore) -> dict[str, object]:
    """Return what a model keeps of its training, so that the commands find its features and check them."""
    return {
        "recipe": Path(__file__).name, "seed": SEED, "corpus_path": corpus.path, "language": LANGUAGE,
        "corpus_fingerprint": corpus.info.fingerprint, "features": str(features.path.absolute()),
        "features_fingerprint": features.fingerprint,
        "features_made": features.info.model_dump(
            mode="json", include={"kind", "streams", "window", "stride", "limit", "made"}
        ),
    }  # fmt: skip


def train_dual_encoder(
    folder: Path, corpus: Corpus, features: FeatureStore, clips: list[Clip], batch: int = 64
) -> DualEncoder:
    """Train signing and text into one space."""
    torch.manual_seed(SEED)
    rng, texts = np.random.default_rng(SEED), [clip.texts[0][1] for clip in clips]
    positions = features.positions(clip.id for clip in clips)
    model = DualEncoder.build(DUAL_ENCODER, texts, features.info.width, record=record(corpus, features))
    similarity = DUAL_ENCODER.similarity
    contrastive_loss = ContrastiveLoss(kind=similarity.kind, tau=similarity.tau, beta=similarity.beta)
    for _, optimizer in optimize(model, 2e-3, STEPS["dual_encoder"]):
        rows = rng.choice(len(clips), batch, replace=False)
        x, mask = (torch.from_numpy(a) for a in features.batch(positions[rows], alpha=1.0, limit=MAX_WINDOWS))
        video, text, logit_scale = model(x, mask, *model.tokenize([texts[row] for row in rows]))
        update(model, optimizer, contrastive_loss(video, text, logit_scale=logit_scale))
    save(model, folder)
    return model


def train_translator(
    folder: Path, corpus: Corpus, features: FeatureStore, clips: list[Clip], batch: int = 48
) -> Translator:
    """Train a small encoder-decoder from the features to the words."""
    torch.manual_seed(SEED)
    rng, texts = np.random.default_rng(SEED), [clip.texts[0][1] for clip in clips]
    positions = features.positions(clip.id for clip in clips)
    model = Translator.build(TRANSLATOR, texts, LANGUAGE, features.info.width, with_text=False)
    for parameter in model.parameters():
        if parameter.dim() > 1:  # mBART's own weights, normal with .02, are too small for so small a width
            nn.init.xavier_uniform_(parameter)
    model.record = record(corpus, features)
    for _, optimizer in optimize(model, 3e-3, STEPS["translator"]):
        rows = rng.choice(len(clips), batch, replace=False)
        x, mask = (torch.from_numpy(a) for a in features.batch(positions[rows], alpha=1.0, limit=MAX_WINDOWS))
        ids, text_mask = model.vocabulary.encode([texts[row] for row in rows], LANGUAGE, model.max_text_tokens)
        loss = model(x, mask, ids, text_mask, smoothing=0.1).translation / text_mask.sum()
        update(model, optimizer, loss)
    save(model, folder)
    return model


def save(model: SignClassifier | DualEncoder | Translator, folder: Path) -> None:
    """Write a model folder in place of an older one. Models of sentences contain the sign classifier of FOLDER."""
    shutil.rmtree(folder, ignore_errors=True)
    model.eval().save_pretrained(folder, CARD)
    if not isinstance(model, SignClassifier):
        shutil.copytree(folder.parent / "classifier", folder / SIGN_ENCODERS / "agnostic")


def write_index(folder: Path, model: DualEncoder, corpus: Corpus, features: FeatureStore) -> None:
    """Write an index of the test clips, in place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = entries.clip_rows([row for row in corpus.metadata() if row["split"] == "test"])
    encoded = entries.encode(model, "clips", rows, features)
    part = FeaturesPart(path=str(features.path.absolute()), fingerprint=features.fingerprint, kind="windows")
    written = index_version.write(
        folder, encoded.vectors, encoded.rows, model=folder.parent / "dual_encoder", tokens=encoded.tokens,
        corpus=CorpusPart.of(corpus, splits=("test",)), kind="clips", features=part,
    )  # fmt: skip
    index_version.activate(folder, written.version)


def main(folder: Path, signs: Path | None = None, source: str | None = None) -> None:
    started = time.perf_counter()
    if signs is None:
        info, recordings = compose_procedural(signs=20)
    else:
        opened = Corpus.open(signs)
        info, recordings = opened.info, list(opened.source(source) if source else opened)
    corpus = write_sentences(folder / "corpus", recordings, info)
    sentences = list(corpus)
    train, test = ([clip for clip in sentences if clip.split == split] for split in SENTENCES)
    print(f"composed of {'recordings' if signs else 'procedural signs'}: {corpus.info.counts} sentences", flush=True)
    print(f"{time.perf_counter() - started:.0f} s; training a sign classifier", flush=True)
    classifier = train_classifier(folder / "classifier", recordings)
    features = write_features(folder / "features", classifier, corpus, sentences)
    print(f"{time.perf_counter() - started:.0f} s; training a dual encoder", flush=True)
    dual_encoder = train_dual_encoder(folder / "dual_encoder", corpus, features, train)
    print(f"{time.perf_counter() - started:.0f} s; training a translator", flush=True)
    translator = train_translator(folder / "translator", corpus, features, train)
    write_index(folder / "sentences", dual_encoder, corpus, features)
    batch = features.batch(features.positions(clip.id for clip in test), alpha=1.0, limit=MAX_WINDOWS)
    references = [clip.texts[0][1] for clip in test]
    scores = dual_encoder.score(dual_encoder.embed_features([batch]), dual_encoder.embed_texts(references))
    recall = (scores.argmax(0) == torch.arange(len(test))).float().mean()
    texts = translator.translate([batch], beams=4, max_new_tokens=20)
    pairs = [(text.split(), reference.split()) for text, reference in zip(texts, references, strict=True)]
    exact, words = sum(text == reference for text, reference in pairs), sum(len(reference) for _, reference in pairs)
    found = sum((Counter(text) & Counter(reference)).total() for text, reference in pairs)
    print(f"text to video R@1 of {len(test)} test sentences: {recall:.3f} (chance {1 / len(test):.3f})")
    print(f"translated without an error: {exact} of {len(test)} test sentences; {found} of their {words} words found")
    print(f"{time.perf_counter() - started:.0f} s; a demonstration, not a result")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER [CORPUS [SOURCE]]")
    main(Path(sys.argv[1]), *(convert(a) for convert, a in zip((Path, str), sys.argv[2:], strict=False)))
