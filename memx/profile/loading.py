"""How many clips a second a recipe's data give to a training step that does nothing."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from memx.data.dataset import ClipDataset, collate
from memx.engine.datasets import training_set
from memx.engine.manifest import environment
from memx.profile.timing import Quantiles, synchronise
from memx.recipe import Recipe


@dataclass(frozen=True)
class Rate:
    """Clips that arrived in so many seconds, one batch after the other.

    workers    processes that load; 0: the one that trains
    augmented  whether the recipe's augmentation was on
    """

    workers: int
    augmented: bool
    clips: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Clips a second."""
        return self.clips / self.seconds


@dataclass(frozen=True)
class Loading:
    """What was measured.

    batch    clips a batch
    decoded  clips a second from their files: read, checked and resized, as happens once with a cache
    step     seconds of the step that does nothing, on a batch that is there already
    rates    clips a second from the cache, each batch met by that step
    """

    batch: int
    decoded: float
    step: Quantiles
    rates: tuple[Rate, ...]

    def record(self, recipe: Recipe, device: torch.device | str) -> dict[str, Any]:
        """The figures with recipe, machine and load average, for JSON."""
        return {
            "recipe": recipe.name,
            "recipe_hash": recipe.hash,
            "device": str(device),
            "batch": self.batch,
            "decoded_clips_per_second": self.decoded,
            "step_seconds": asdict(self.step),
            "rates": [{**asdict(rate), "clips_per_second": rate.per_second} for rate in self.rates],
            "load_average": list(os.getloadavg()),
            "environment": environment(),
        }


def measure(recipe: Recipe, *, workers: Sequence[int], batches: int, device: torch.device | str) -> Loading:
    """Time the recipe's training data: from files, then from the cache with and without augmentation.

    From the cache, `batches` batches count after those that workers make ahead while the first is waited for. The
    training step moves its batch to the device and takes an optimiser step on one weight.
    """
    clips = training_set(recipe)
    cached = len(clips.cases)
    decoded = _decoded(recipe, min(cached, batches))
    for case in range(cached):
        clips.prepare(case)
    step = _Nothing(device)
    rates = tuple(
        _rate(clips, recipe.train.batch, count, batches, augmented, step)
        for augmented in ((True, False) if clips.augment else (False,))
        for count in workers
    )
    return Loading(recipe.train.batch, decoded, _alone(clips, recipe.train.batch, step), rates)


class _Nothing:
    """A training step with one weight: y = w · mean(video), L = (y − mean(masks))²."""

    def __init__(self, device: torch.device | str):
        self.device = device
        self.weight = torch.zeros((), device=device, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)

    def __call__(self, batch: dict[str, Tensor]) -> None:
        video, masks = (batch[name].to(self.device, non_blocking=True) for name in ("video", "masks"))
        self.optimizer.zero_grad()
        (self.weight * video.mean() - masks.mean()).square().backward()
        self.optimizer.step()
        synchronise(self.device)


def _decoded(recipe: Recipe, cases: int) -> float:
    plain = training_set(recipe.model_copy(update={"data": recipe.data.model_copy(update={"cache": False})}))
    started = time.perf_counter()
    for case in range(cases):
        plain.prepare(case)
    return cases / (time.perf_counter() - started)


def _rate(clips: ClipDataset, batch: int, workers: int, batches: int, augmented: bool, step: _Nothing) -> Rate:
    ahead = 1 + 2 * workers  # what DataLoader prepares before it is asked
    chosen = copy.copy(clips)
    chosen.draws = (ahead + batches) * batch
    if not augmented:
        chosen.augment = ()
    arriving = iter(
        DataLoader(chosen, batch, collate_fn=collate, num_workers=workers, pin_memory=str(step.device) != "cpu")
    )
    for _ in range(ahead):
        step(next(arriving))
    started = time.perf_counter()
    for item in arriving:
        step(item)
    return Rate(workers, augmented, batches * batch, time.perf_counter() - started)


def _alone(clips: ClipDataset, batch: int, step: _Nothing) -> Quantiles:
    item = collate([clips[i] for i in range(min(batch, len(clips)))])
    times = []
    for _ in range(12):
        started = time.perf_counter()
        step(item)
        times.append(time.perf_counter() - started)
    return Quantiles.of(times[2:])
