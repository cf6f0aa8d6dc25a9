"""A profile: the arithmetic, the times and the memory of one network, with where and how they were taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from memx.engine.manifest import device_words, environment
from memx.memory.base import Memory, Shape
from memx.models.base import VideoModel
from memx.models.padding import padded_size
from memx.profile.cards import Card
from memx.profile.components import Component, count
from memx.profile.counters import Other, by_fvcore, by_torch
from memx.profile.fast import Fast, compare
from memx.profile.projection import Projection, count_frame, project
from memx.profile.speed import Job, Mode, Speed, measure, stage_seconds
from memx.recipe import Recipe

Part = Literal["flops", "fps", "memory"]
PARTS: tuple[Part, ...] = ("flops", "fps", "memory")


@dataclass(frozen=True)
class Arithmetic:
    """What is calculated in evaluation mode, batch 1.

    frame   of one streamed frame, the second of a clip
    clip    of a clip of `frames` frames at once
    others  other counters of the same streamed frame
    declared  multiply-accumulates that the memory declares for that frame, products and projections
    """

    frame: Component
    clip: Component
    frames: int
    others: tuple[Other, ...]
    declared: int | None


@dataclass(frozen=True)
class Profile:
    """What was asked for of a network; None and empty for what was not.

    stages  part of the model → median seconds of a streamed frame, batch 1
    """

    recipe: str
    hash: str
    parameters: int
    parameter_bytes: int
    size: tuple[int, int]
    objects: int
    device: str
    precision: str
    arithmetic: Arithmetic | None
    speeds: tuple[Speed, ...]
    stages: dict[str, float]
    projection: Projection | None = None
    fast: Fast | None = None

    def as_dict(self, depth: int | None = None) -> dict[str, Any]:
        """As plain data for JSON; times in milliseconds."""
        return {
            "recipe": {"name": self.recipe, "hash": self.hash},
            "parameters": self.parameters,
            "parameter_bytes": self.parameter_bytes,
            "size": list(self.size),
            "objects": self.objects,
            "device": self.device,
            "precision": self.precision,
            "arithmetic": self.arithmetic
            and {
                "frame": self.arithmetic.frame.as_dict(depth),
                "clip": self.arithmetic.clip.as_dict(depth),
                "clip_frames": self.arithmetic.frames,
                "other_counters": [asdict(item) for item in self.arithmetic.others],
                "memory_declares_macs": self.arithmetic.declared,
            },
            "speed": [_speed(item) for item in self.speeds],
            "stages_ms": {name or "model": 1000 * seconds for name, seconds in self.stages.items()},
            "optimised": self.fast and self.fast.as_dict(),
            "projection": self.projection and self.projection.as_dict(),
            "environment": environment(),
        }


def profile(
    recipe: Recipe,
    model: VideoModel,
    *,
    parts: Collection[Part] = PARTS,
    batches: Sequence[int] = (1,),
    frames: int | None = None,
    rounds: int = 5,
    budget: float = 10.0,
    device: str = "cpu",
    precision: str | None = None,
    card: Card | None = None,
    compile: bool = False,
) -> Profile:
    """Profile a network on random frames of the recipe's size and length, in evaluation mode.

    `rounds` clips are timed, or as many as begin within `budget` seconds, for each batch and mode. Times do not depend
    on what the frames show. `precision` None is the recipe's. With `card` and times, a streamed frame is projected to
    it; `compile` lets the optimised network be compiled. Raises UncountedError where a total of the arithmetic would be
    untrue.
    """
    model = model.to(device).eval()
    precision = precision or recipe.train.precision
    frames = frames or recipe.data.frames
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(max(batches), frames, recipe.data.channels, *recipe.data.size, generator=generator).to(device)
    job = Job(model, video[:1], recipe.objects, precision)
    jobs = [replace(job, video=video[:batch]) for batch in dict.fromkeys(batches)]
    timed = "fps" in parts or "memory" in parts
    modes: tuple[Mode, ...] = ("stream", "clip")
    speeds = [measure(each, mode, rounds=rounds, budget=budget) for each in jobs for mode in modes] if timed else []
    stages = stage_seconds(job) if "fps" in parts else {}
    fast = compare(job, compile=compile, rounds=rounds, budget=budget) if "fps" in parts else None
    return Profile(
        recipe=recipe.name,
        hash=recipe.hash,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parameter_bytes=sum(parameter.nbytes for parameter in model.parameters()),
        size=recipe.data.size,
        objects=recipe.objects,
        device=device_words(device),
        precision=precision,
        arithmetic=_arithmetic(job) if "flops" in parts else None,
        speeds=tuple(speeds),
        stages=stages,
        projection=_projection(job, card, speeds, stages, budget) if card is not None and stages else None,
        fast=fast,
    )


def _projection(job: Job, card: Card, speeds: Sequence[Speed], stages: dict[str, float], budget: float) -> Projection:
    """Of a frame at batch 1, which is timed now if it has not been."""
    streamed = next((item for item in speeds if (item.mode, item.batch) == ("stream", 1)), None)
    streamed = streamed or measure(job, "stream", budget=budget)
    return project(job, card, stages=stages, seconds=streamed.seconds.median)


@torch.no_grad()
def _arithmetic(job: Job) -> Arithmetic:
    state = job.step(0, job.start())
    at = min(1, job.video.shape[1] - 1)
    frame = job.video[:, at]
    return Arithmetic(
        frame=count_frame(job, at),
        clip=count(job.model, job.clip),
        frames=job.video.shape[1],
        others=(by_torch(job.model, frame, state), by_fvcore(job.model, frame, state)),
        declared=_declared(job),
    )


def _declared(job: Job) -> int | None:
    """The memory's own formula for the second frame of a stream; None for a model without such a memory."""
    memory, stride = getattr(job.model, "memory", None), getattr(job.model, "stride", None)
    if not isinstance(memory, Memory) or stride is None:
        return None
    height, width = padded_size((job.video.shape[-2], job.video.shape[-1]), stride)
    tokens = (height // stride) * (width // stride)
    one, two = (memory.cost(Shape(1, frames, job.objects, tokens)) for frames in (1, 2))
    return two.macs - one.macs


def _speed(item: Speed) -> dict[str, Any]:
    return {
        "mode": item.mode,
        "batch": item.batch,
        "frames": item.frames,
        "objects": item.objects,
        "ms_per_frame": item.ms_per_frame,
        "ms_per_clip": item.ms_per_clip,
        "fps": item.fps,
        "first_ms": 1000 * item.first,
        "ms": {name: value if name == "count" else 1000 * value for name, value in asdict(item.seconds).items()},
        "peak_bytes": item.peak_bytes,
        "state_bytes": item.state_bytes,
    }
