"""The task of the domain-aware encoder: find signs with a classifier, fine-tune it on what was found (CiCo)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError, UserError
from signatlas.evaluation.pseudo_labels import class_of_gloss, span_windows, true_spans
from signatlas.features import pseudo_labels
from signatlas.features.views import SegmentViews
from signatlas.features.windows import take
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PoseBank
from signatlas.recipe import PseudoLabelRecipe
from trainers.card import card
from trainers.distributed import local_slice, world
from trainers.loop import Task
from trainers.pipelines.spot import read_report, spot
from trainers.tasks.sign_classifier.task import ABOUT, accuracies, cross_entropy, provenance, shuffled

Windows = tuple[np.ndarray, np.ndarray, np.ndarray]  # points [N, F, P, 3], presence, labels


class PseudoLabelTask(Task):
    """Segments of continuous signing in memory, a window of each, one global cross-entropy.

    Without ``data.segments`` it is only checked, and has no steps: :func:`prepare` finds the segments first.
    """

    def __init__(self, recipe: PseudoLabelRecipe):
        self.recipe = recipe
        corpus = Corpus.open(recipe.data.corpus)
        self.info = corpus.info
        self.corpus_fingerprint = corpus.info.fingerprint
        for split in ("train", "dev"):
            corpus.split(split)  # raises where there is none
        first = SignClassifier.from_pretrained(recipe.data.model).train()
        self.config, self.classes, self.origin = first.config, first.classes, first.record
        self.model: nn.Module = first
        self.batch_size, self.steps_per_epoch = recipe.batch_size, 0
        if recipe.data.segments is None or recipe.data.dev_segments is None:
            return
        self.bank, self.segments, self.labels = self._load(corpus, recipe.data.segments)
        self.views = SegmentViews(recipe.augment, self.config.points, self.config.frames, recipe.seed)
        self.dev, self.dev_spans = self._dev(corpus, recipe.data.dev_segments)
        passes = -(-len(self.labels) // recipe.batch_size)
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or passes

    def _load(self, corpus: Corpus, folder: str) -> tuple[PoseBank, np.ndarray, np.ndarray]:
        """The clips that have segments, the segments (clip, start, end) [N, 3] and their classes [N]."""
        if read_report(folder)["corpus_fingerprint"] != self.corpus_fingerprint:
            raise FeatureError(f"{folder} holds segments of another corpus than {corpus.path}: make them again")
        found = pseudo_labels.read(folder)
        number = {name: i for i, name in enumerate(self.classes)}
        strange = next((f.name for f in found if f.name not in number), None)
        if strange is not None:
            raise FeatureError(f"{folder} holds class '{strange}', which the model does not know: make it again")
        wanted = {f.id for f in found}
        clips = corpus.where(lambda row: row["id"] in wanted)
        place = {row["id"]: i for i, row in enumerate(clips.metadata())}
        bank = PoseBank.from_clips(clips, self.config.points, self.config.aspect)
        segments = np.array([(place[f.id], f.start, f.end) for f in found], np.int64)
        return bank, segments, np.array([number[f.name] for f in found])

    def _dev(self, corpus: Corpus, folder: str) -> tuple[Windows, Windows | None]:
        """Windows of dev by the first model's segments, and by true spans where they are known."""
        frames = self.config.frames
        bank, segments, labels = self._load(corpus, folder)
        first = np.maximum(0, (segments[:, 1] + segments[:, 2] - frames) // 2)
        judged: Windows = (*take(bank, segments[:, 0], first, frames, frames), labels)
        dev = corpus.split("dev")
        rows = dev.metadata()
        spans = true_spans(rows, class_of_gloss(corpus))
        if not spans:
            return judged, None
        bank = PoseBank.from_clips(dev, self.config.points, self.config.aspect)
        which, first, labels = span_windows(spans, [r["id"] for r in rows], bank.lengths, frames, self.classes)
        return judged, (*take(bank, which, first, frames, frames), labels) if len(labels) else None

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.positions = shuffled(
            len(self.labels), self.batch_size, self.steps_per_epoch, self.recipe.seed, epoch, pool=0
        )

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        mine = local_slice(np.arange(self.batch_size), *world())
        device = next(engine.parameters()).device
        chosen = self.positions[step]
        views = self.views.of(self.bank, self.segments[chosen[mine]], self.epoch, step * self.batch_size + mine)
        scores = engine(*(torch.from_numpy(view).to(device) for view in views))
        return cross_entropy(scores, self.labels[chosen], self.recipe.smoothing)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Agreement with the first model's segments, which chooses; accuracy on true spans is only told."""
        metrics = accuracies(model, *self.dev)
        score = metrics[f"dev_{self.recipe.select.metric}"]
        if self.dev_spans is not None:
            metrics |= {name.replace("dev_", "dev_span_"): v for name, v in accuracies(model, *self.dev_spans).items()}
        return metrics | {"score": score}

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        record = provenance(self.recipe.name, self.recipe.seed, self.info) | {"from": self.origin}
        model = SignClassifier(self.config, self.classes, record)
        model.load_state_dict(state)
        model.save_pretrained(folder, card(self.shown or self.recipe, ABOUT, self.info, metrics))


def prepare(recipe: PseudoLabelRecipe, folder: Path, quiet: bool) -> PseudoLabelRecipe:
    """Find the segments of train and dev, once, in the run's ``folder``; needs an initialized Ray."""
    found = {}
    corpus = Corpus.open(recipe.data.corpus)
    for split, field in (("train", "segments"), ("dev", "dev_segments")):
        target = folder / field
        if (named := getattr(recipe.data, field)) is not None:
            found[field] = str(Path(named).absolute())
            continue
        if not target.exists():
            if not quiet:
                print(f"finding signs in {split} of {corpus.path}", file=sys.stderr, flush=True)
            spot(
                recipe.data.model,
                corpus,
                target,
                splits=(split,),
                settings=recipe.spot,
                gpus=1 if recipe.scaling.gpu else 0,
                threads=recipe.scaling.threads,
            )
        if not quiet:
            print(summary(split, target), file=sys.stderr, flush=True)
        found[field] = str(target)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=found)})


def summary(split: str, folder: Path) -> str:
    """One line of what was found."""
    report = read_report(folder)
    line = f"{split}: {report['segments']:,} segments of {report['classes']:,} classes in {report['clips']:,} clips"
    if judged := report["judged"]:
        line += f"; precision {judged['precision']:.1%} (chance {judged['chance']:.1%})"
        line += f", recall {judged['recall']:.1%}" if judged["recall"] is not None else ""
    return line


def build(recipe: PseudoLabelRecipe) -> PseudoLabelTask:
    """The task of a recipe. Raises UserError for data that cannot train it."""
    if not isinstance(recipe, PseudoLabelRecipe):
        raise UserError(f"recipe '{recipe.name}' is not for pseudo-labels")
    return PseudoLabelTask(recipe)
