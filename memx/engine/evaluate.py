"""Evaluation: a model's masks on the patients of a split, scored at the truth's own size and spacing."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from memx.data.clip import Clip
from memx.data.dataset import with_channels
from memx.data.resample import resize_clip
from memx.data.sampling import sample_frames
from memx.engine.datasets import find_cases
from memx.engine.segment import inference_precision, label_map
from memx.metrics.overlap import dice
from memx.metrics.protocol import Pair, Protocol
from memx.metrics.scores import Scores
from memx.models.base import VideoModel
from memx.recipe import Recipe


@dataclass(frozen=True, order=True)
class Example:
    """One scored frame, kept for the report, with its Dice as the protocol takes it.

    Label maps hold 0 for background and 1 … for the structures in order.
    """

    dice: float
    title: str
    frame: np.ndarray = field(compare=False)
    prediction: np.ndarray = field(compare=False)
    truth: np.ndarray = field(compare=False)
    spacing: tuple[float, float] | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Evaluation:
    """Scores, and the worst frames with their masks, worst first.

    mean_dice  mean Dice of whole masks over all structures, None when there is nothing to score. It chooses the best
               weights of a run, and so is the same whatever protocol the scores are by.
    """

    scores: Scores
    worst: tuple[Example, ...]
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

    Each clip is sampled and resized as the recipe says, run through the model, and the masks are brought back to the
    clip's own size, where the protocol that the recipe names scores them. With `supervision: ends` the first and last
    labelled frame are scored, else every labelled one. Raises DataError when the split is empty or holds no labels.
    """
    layout, cases = find_cases(recipe, split)
    protocol = Protocol(
        ef_structure=next(iter(recipe.data.structures)), draws=recipe.evaluate.bootstrap, name=recipe.evaluate.protocol
    )
    worst: list[tuple[float, int, Example]] = []
    whole: list[float] = []

    def pairs() -> Iterator[Pair]:
        for number, case in enumerate(cases):
            for pair, frame in _case_pairs(model, recipe, layout.load(case), device):
                if (overlap := dice(pair.prediction, pair.truth)) is not None:
                    whole.append(overlap)
                score = protocol.convention.dice(pair.prediction, pair.truth)
                if examples and score is not None:
                    example = Example(
                        score,
                        f"{pair.patient} {pair.view} {pair.structure}, frame {pair.frame + 1}",
                        frame,
                        pair.prediction.astype(np.uint8),
                        pair.truth.astype(np.uint8),
                        pair.spacing,
                    )
                    heapq.heappush(worst, (-score, len(worst) + number * 10_000, example))
                    if len(worst) > examples:
                        heapq.heappop(worst)
                yield pair
            on_case(number + 1, len(cases))

    was_training = model.training
    model.eval()
    try:
        scores = protocol.score(pairs())
    finally:
        model.train(was_training)
    return Evaluation(scores, tuple(sorted(item[2] for item in worst)), float(np.mean(whole)) if whole else None)


def _case_pairs(model: VideoModel, recipe: Recipe, clip: Clip, device: str) -> Iterator[tuple[Pair, np.ndarray]]:
    data = recipe.data
    sampled = sample_frames(clip, data.frames, data.sampling, np.random.default_rng(recipe.seed))
    small = resize_clip(sampled, data.size)
    video = with_channels(small.video, data.channels)[None].to(device)
    with inference_precision(device, recipe.train.precision):
        output = model(video, objects=recipe.objects)
    if sampled.labels is None or sampled.labelled is None:
        return
    labelled = sampled.labelled.nonzero().flatten().tolist()
    scored = labelled if data.supervision == "all" else sorted({*labelled[:1], *labelled[-1:]})
    for t in scored:
        predicted = label_map(output.logits[0, t : t + 1], sampled.size)[0].cpu().numpy()
        truth = sampled.labels[t].numpy()
        frame = sampled.video[t].mean(dim=0).numpy()
        phase = "ED" if t == sampled.ed else "ES" if t == sampled.es else "other"
        for number, (name, values) in enumerate(data.structures.items(), start=1):
            yield (
                Pair(
                    predicted == number,
                    np.isin(truth, values),
                    sampled.spacing,
                    clip.patient,
                    clip.view,
                    name,
                    phase,
                    t,
                    sampled.extra["frames"][t],
                ),
                frame,
            )
