"""Evaluation: a model's masks on the patients of a split, scored at the truth's own size and spacing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from memx.data.clip import Clip
from memx.data.dataset import with_channels
from memx.data.resample import resize_clip
from memx.data.sampling import sample_frames
from memx.engine.datasets import find_cases
from memx.engine.segment import label_map
from memx.engine.worst_clips import WorstClips
from memx.metrics.overlap import dice
from memx.metrics.protocol import Pair, Protocol
from memx.metrics.scores import Scores
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.models.precision import inference_precision
from memx.recipe import Recipe
from memx.report.shown_clip import ShownClip


@dataclass(frozen=True)
class Evaluation:
    """Scores, and the clips of the lowest Dice with their masks, the worst first.

    mean_dice  mean Dice of whole masks over all structures, None when there is nothing to score. It chooses the best
               weights of a run, and so is the same whatever protocol the scores are by.
    """

    scores: Scores
    worst: tuple[ShownClip, ...]
    mean_dice: float | None


@torch.no_grad()
def evaluate(
    model: VideoModel,
    recipe: Recipe,
    split: str,
    *,
    device: str = "cpu",
    examples: int = 6,
    on_case: Callable[[int, int], Any] = lambda done, total: None,
) -> Evaluation:
    """Score a model on a split.

    Each clip is sampled (`evaluate.frames`) and resized as the recipe says, run through the model, and the masks are
    brought back to the clip's own size, where the protocol that the recipe names scores them: the first and the last
    labelled frame, or all (`evaluate.masks`). A frame that was sampled several times is scored once.

    The `examples` clips of the lowest mean Dice are kept with their frames. Raises DataError when the split is empty or
    holds no labels.
    """
    layout, cases = find_cases(recipe, split)
    protocol = Protocol(
        ef_structure=next(iter(recipe.data.structures)), draws=recipe.evaluate.bootstrap, name=recipe.evaluate.protocol
    )
    worst = WorstClips(examples, recipe.data.structures)
    whole: list[float] = []

    def pairs() -> Iterator[Pair]:
        for number, case in enumerate(cases):
            clip, output = _segment(model, recipe, layout.load(case), device)
            found: dict[int, list[float]] = {}
            for pair in _pairs(recipe, clip, output):
                if (overlap := dice(pair.prediction, pair.truth)) is not None:
                    whole.append(overlap)
                if (score := protocol.convention.dice(pair.prediction, pair.truth)) is not None:
                    found.setdefault(pair.frame, []).append(score)
                yield pair
            worst.offer(clip, output, {t: float(np.mean(scores)) for t, scores in found.items()})
            on_case(number + 1, len(cases))

    was_training = model.training
    model.eval()
    try:
        scores = protocol.score(pairs())
    finally:
        model.train(was_training)
    return Evaluation(scores, worst.clips, float(np.mean(whole)) if whole else None)


def _segment(model: VideoModel, recipe: Recipe, clip: Clip, device: str) -> tuple[Clip, Output]:
    """The frames that the recipe samples of a clip, at their own size, and what the model makes of them."""
    data = recipe.data
    sampling = "all" if recipe.evaluate.frames == "all" else data.sampling
    sampled = sample_frames(clip, data.frames, sampling, np.random.default_rng(recipe.seed))
    small = resize_clip(sampled, data.size)
    video = with_channels(small.video, data.channels)[None].to(device)
    with inference_precision(device, recipe.train.precision):
        return sampled, model(video, objects=recipe.objects)


def _pairs(recipe: Recipe, clip: Clip, output: Output) -> Iterator[Pair]:
    """A pair for every structure of every frame that is scored."""
    if clip.labels is None:
        return
    for t in scored_frames(clip, recipe):
        predicted = label_map(output.logits[0, t : t + 1], clip.size)[0].cpu().numpy()
        truth = clip.labels[t].numpy()
        phase = "ED" if t == clip.ed else "ES" if t == clip.es else "other"
        for number, (name, values) in enumerate(recipe.data.structures.items(), start=1):
            yield Pair(
                predicted == number,
                np.isin(truth, values),
                clip.spacing,
                clip.patient,
                clip.view,
                name,
                phase,
                t,
                clip.extra["frames"][t],
            )


def scored_frames(clip: Clip, recipe: Recipe) -> list[int]:
    """The frames of a sampled clip that are scored, each frame of the clip on disk once: at ED or ES, else at first."""
    if clip.labelled is None:
        return []
    on_disk = clip.extra["frames"]
    places: dict[int, int] = {}
    for t in clip.labelled.nonzero().flatten().tolist():
        if t == clip.ed or t == clip.es:
            places[on_disk[t]] = t
        else:
            places.setdefault(on_disk[t], t)
    found = sorted(places.values())
    masks = recipe.data.supervision if recipe.evaluate.masks == "as_trained" else recipe.evaluate.masks
    return found if masks == "all" else sorted({*found[:1], *found[-1:]})
