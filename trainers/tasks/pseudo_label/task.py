"""The task of the domain-aware encoder: spot signs with a classifier, fine-tune it on the segments (CiCo)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.evaluation.pseudo_labels import class_of_gloss, span_windows, true_spans
from signatlas.features import pseudo_labels
from signatlas.features.views import SegmentViews
from signatlas.features.windows import take
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PreparedClips
from signatlas.recipe import PseudoLabelRecipe
from trainers.distributed import local_slice, world
from trainers.loop import Task
from trainers.model_card import model_card, training_record
from trainers.pipelines.spot import read_report, spot
from trainers.tasks.sign_classifier.task import ABOUT, accuracies, cross_entropy, shuffled

Windows = tuple[np.ndarray, np.ndarray, np.ndarray]  # points [N, F, P, 3], presence, labels


class PseudoLabelTask(Task):
    """Fine-tuning on a window of each pseudo-labeled segment; see :class:`trainers.loop.Task`.

    Without ``data.segments`` only the recipe is checked and the task has no steps: :func:`prepare` spots them first.
    """

    def __init__(self, recipe: PseudoLabelRecipe):
        self.recipe = recipe
        corpus = Corpus.open(recipe.data.corpus)
        self.info = corpus.info
        self.corpus_fingerprint = corpus.info.fingerprint
        for split in ("train", "dev"):
            corpus.split(split)  # raises where there is none
        first = SignClassifier.from_pretrained(recipe.data.model).train()
        self.config, self.classes, self.first_record = first.config, first.classes, first.record
        self.model: nn.Module = first
        self.batch_size, self.steps_per_epoch = recipe.batch_size, 0
        if recipe.data.segments is None or recipe.data.dev_segments is None:
            return
        self.clips, self.segments, self.labels = self._load(corpus, recipe.data.segments)
        self.views = SegmentViews(recipe.augment, self.config.points, self.config.frames, recipe.seed)
        self.dev, self.dev_spans = self._dev(corpus, recipe.data.dev_segments)
        passes = -(-len(self.labels) // recipe.batch_size)
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or passes

    def _load(self, corpus: Corpus, folder: str) -> tuple[PreparedClips, np.ndarray, np.ndarray]:
        """Return the clips that have segments, the segments (clip, start, end) [N, 3] and their classes [N]."""
        if read_report(folder)["corpus_fingerprint"] != self.corpus_fingerprint:
            raise FeatureError(
                f"{folder} holds segments of another corpus than {corpus.path}: run 'signatlas spot' again"
            )
        spotted = pseudo_labels.read(folder)
        number = {name: i for i, name in enumerate(self.classes)}
        unknown = next((s.name for s in spotted if s.name not in number), None)
        if unknown is not None:
            raise FeatureError(
                f"{folder} holds class '{unknown}', which the model does not have: run 'signatlas spot' with this model"
            )
        ids = {s.id for s in spotted}
        clips = corpus.where(lambda row: row["id"] in ids)
        index = {row["id"]: i for i, row in enumerate(clips.metadata())}
        bank = PreparedClips.from_clips(clips, self.config.points, self.config.aspect)
        segments = np.array([(index[s.id], s.start, s.end) for s in spotted], np.int64)
        return bank, segments, np.array([number[s.name] for s in spotted])

    def _dev(self, corpus: Corpus, folder: str) -> tuple[Windows, Windows | None]:
        """Return dev windows labeled by the first model's segments, and by true spans where the corpus has them."""
        frames = self.config.frames
        bank, segments, labels = self._load(corpus, folder)
        first = np.maximum(0, (segments[:, 1] + segments[:, 2] - frames) // 2)
        pseudo: Windows = (*take(bank, segments[:, 0], first, frames, frames), labels)
        dev = corpus.split("dev")
        rows = dev.metadata()
        spans = true_spans(rows, class_of_gloss(corpus))
        if not spans:
            return pseudo, None
        bank = PreparedClips.from_clips(dev, self.config.points, self.config.aspect)
        which, first, labels = span_windows(spans, [r["id"] for r in rows], bank.lengths, frames, self.classes)
        return pseudo, (*take(bank, which, first, frames, frames), labels) if len(labels) else None

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = shuffled(len(self.labels), self.batch_size, self.steps_per_epoch, self.recipe.seed, epoch, pool=0)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rows = local_slice(np.arange(self.batch_size), *world())
        device = next(engine.parameters()).device
        batch = self.order[step]
        views = self.views.of(self.clips, self.segments[batch[rows]], self.epoch, step * self.batch_size + rows)
        logits = engine(*(torch.from_numpy(view).to(device) for view in views))
        return cross_entropy(logits, self.labels[batch], self.recipe.label_smoothing)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return agreement with the first model's segments, which is the score, and accuracy on true spans."""
        metrics = accuracies(model, *self.dev)
        score = metrics[f"dev_{self.recipe.checkpoint_selection.metric}"]
        if self.dev_spans is not None:
            metrics |= {name.replace("dev_", "dev_span_"): v for name, v in accuracies(model, *self.dev_spans).items()}
        return metrics | {"score": score}

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        record = training_record(self.recipe, self.info) | {"from": self.first_record}
        model = SignClassifier(self.config, self.classes, record)
        model.load_state_dict(state)
        model.save_pretrained(folder, model_card(self.user_recipe or self.recipe, ABOUT, self.info, metrics))


def prepare(recipe: PseudoLabelRecipe, folder: Path, quiet: bool) -> PseudoLabelRecipe:
    """Spot the segments of train and dev into the run's ``folder``, once; needs a connected Ray."""
    segments = {}
    corpus = Corpus.open(recipe.data.corpus)
    for split, field in (("train", "segments"), ("dev", "dev_segments")):
        target = folder / field
        if (named := getattr(recipe.data, field)) is not None:
            segments[field] = str(Path(named).absolute())
            continue
        if not target.exists():
            if not quiet:
                print(f"spotting signs in {split} of {corpus.path}", file=sys.stderr, flush=True)
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
        segments[field] = str(target)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=segments)})


def summary(split: str, folder: Path) -> str:
    """Return one line on the segments of a split."""
    report = read_report(folder)
    line = f"{split}: {report['segments']:,} segments of {report['classes']:,} classes in {report['clips']:,} clips"
    if judged := report["judged"]:
        line += f"; precision {judged['precision']:.1%} (chance {judged['chance']:.1%})"
        line += f", recall {judged['recall']:.1%}" if judged["recall"] is not None else ""
    return line
