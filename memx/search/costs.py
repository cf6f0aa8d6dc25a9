"""What a recipe costs, by the profiler: known before it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from statistics import median

import torch

from memx.memory.state import State
from memx.models.build import build
from memx.profile.components import UncountedError
from memx.profile.projection import count_frame
from memx.profile.speed import Job, measure
from memx.profile.timing import in_turns, paired_ratios
from memx.recipe import Recipe
from memx.search.measures import MEASURES

_ROUNDS, _TURNS, _BUDGET = 10, 60, 6.0


def measure_costs(
    recipe: Recipe, names: Iterable[str], *, base: Recipe, device: str = "cpu", extra: Iterable[str] = ()
) -> dict[str, float]:
    """Measure name → value, for those that need no training; `base` is what a ratio is over.

    One of `extra` that cannot be counted is left out.

    Of the recipe's network with fresh weights, in evaluation mode, at its own size and precision, batch 1, streaming
    random frames: neither times nor counts depend on weights or frames. `latency_ms` is the median over the frames of
    ten clips, or of as many as begin within six seconds. For `latency_ratio` the last frame of a clip is timed in turns
    with that of `base`, so that what else the machine does slows both, and the median over rounds is taken.

    Raises UncountedError where the arithmetic cannot be counted, and RecipeError where the network cannot be built.
    """
    job = _job(recipe, device)
    counted = cache(lambda: count_frame(job, 1).whole)
    ways: Mapping[str, Callable[[], float]] = {
        "latency_ms": lambda: measure(job, "stream", rounds=_ROUNDS, budget=_BUDGET).ms_per_frame,
        "latency_ratio": lambda: _ratio(job, _job(base, device)),
        "macs": lambda: counted().macs.total(),
        "flops": lambda: counted().flops,
        "parameters": lambda: sum(parameter.numel() for parameter in job.model.parameters()),
        "state_bytes": lambda: job.stream().nbytes,
    }
    found = {name: float(ways[name]()) for name in names if not MEASURES[name].trained}
    for name in extra:
        with suppress(UncountedError):
            found.setdefault(name, float(ways[name]()))
    return found


def _job(recipe: Recipe, device: str) -> Job:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build(recipe).to(device).eval()
    frames = max(recipe.data.frames, 2)
    video = torch.rand(1, frames, recipe.data.channels, *recipe.data.size, generator=torch.Generator().manual_seed(0))
    return Job(model, video.to(device), recipe.objects, recipe.train.precision)


def _ratio(job: Job, base: Job) -> float:
    times = in_turns({"base": _last_frame(base), "this": _last_frame(job)}, _TURNS, device=job.device, budget=_BUDGET)
    ratios = paired_ratios(times["this"].seconds, times["base"].seconds)
    if not ratios:
        raise UncountedError(f"a streamed frame takes longer than {_BUDGET:g} s, so that no round could be timed")
    return median(ratios)


def _last_frame(job: Job) -> Callable[[], State]:
    """The last frame of a clip, always from the same state."""
    last = job.video.shape[1] - 1
    state = job.start()
    for t in range(last):
        state = job.step(t, state)
    return lambda: job.step(last, state)
