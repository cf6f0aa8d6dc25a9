"""Time a frame of each row's network as it streams: `model.step` from an empty memory, one clip after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from memx.models.build import build
from memx.profile.timing import Quantiles, in_turns
from memx.recipe import Recipe


@dataclass(frozen=True)
class FrameTime:
    """Milliseconds a frame of clips of `frames` frames: a clip's time divided by its frames.

    clips  one value a round; those of two rows in the same round were taken one after the other
    """

    clips: tuple[float, ...]
    frames: int
    size: tuple[int, int]

    @property
    def shown(self) -> Quantiles:
        """Quantiles over the clips."""
        return Quantiles.of(self.clips)

    @property
    def fps(self) -> float:
        """Frames a second at the median."""
        return 1000 / self.shown.median


def time_frames(recipes: Mapping[str, Recipe], *, device: str, rounds: int) -> dict[str, FrameTime]:
    """Time every recipe's network, in turns, batch 1, one clip a round, on random weights and random frames.

    Evaluation mode, no gradients, float32; two clips warm up. Weights are drawn anew from each recipe's seed, which the
    time does not depend on.
    """
    with torch.inference_mode():
        clips = {label: _clip(recipe, device) for label, recipe in recipes.items()}
        samples = in_turns(clips, rounds, device=device)
    found: dict[str, FrameTime] = {}
    for label, recipe in recipes.items():
        frames = recipe.data.frames
        clips_ms = tuple(1000 * seconds / frames for seconds in samples[label].seconds)
        found[label] = FrameTime(clips_ms, frames, recipe.data.size)
    return found


def _clip(recipe: Recipe, device: str) -> Callable[[], object]:
    torch.manual_seed(recipe.seed)
    model = build(recipe).to(device).eval()
    video = torch.rand(recipe.data.frames, 1, recipe.data.channels, *recipe.data.size, device=device)

    def stream() -> object:
        state = model.init_state(batch=1, objects=recipe.objects)
        output = None
        for frame in video:
            output, state = model.step(frame, state)
        return output

    return stream
