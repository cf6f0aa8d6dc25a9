"""How fast a network is: a clip at once and frame by frame, and which component takes the time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.precision import inference_precision
from memx.profile.peak import peak_bytes
from memx.profile.scopes import WHOLE, watching
from memx.profile.timing import Quantiles, synchronise

Mode = Literal["stream", "clip"]
MODE_WORDS: dict[Mode, str] = {"stream": "frame by frame", "clip": "clip at once"}


@dataclass(frozen=True, eq=False)
class Job:
    """A network in evaluation mode and the frames that it is timed on.

    video      (b, t, c, y, x) in [0, 1]
    precision  fp32, bf16 or fp16: autocast, as the recipe's `train.precision`
    """

    model: VideoModel
    video: Float[Tensor, "b t c y x"]
    objects: int = 1
    precision: str = "fp32"

    @property
    def device(self) -> torch.device:
        return self.video.device

    @torch.no_grad()
    def clip(self) -> object:
        """Segment the clip at once."""
        with inference_precision(str(self.device), self.precision):
            return self.model(self.video, self.objects)

    def start(self) -> State:
        """The state before the first frame."""
        size = (self.video.shape[-2], self.video.shape[-1])
        return self.model.init_state(self.video.shape[0], self.objects, size=size, device=self.device)

    @torch.no_grad()
    def step(self, t: int, state: State) -> State:
        """Segment frame t, whatever came before; returns the next state."""
        with inference_precision(str(self.device), self.precision):
            return self.model.step(self.video[:, t], state)[1]

    def stream(self) -> State:
        """Segment the clip frame by frame; returns the last state."""
        state = self.start()
        for t in range(self.video.shape[1]):
            state = self.step(t, state)
        return state


@dataclass(frozen=True)
class Speed:
    """Times of one network in one mode; every second is of synchronised calls after a warm-up.

    seconds      of a frame (stream), with all clips of the batch, or of a clip (clip)
    first        seconds of the first call, which is in no statistic
    peak_bytes   the most that tensors held at once beyond weights and input, in a frame or a clip
    state_bytes  of the state after the last frame, as large for every clip of the batch
    """

    mode: Mode
    batch: int
    frames: int
    objects: int
    size: tuple[int, int]
    first: float
    seconds: Quantiles
    peak_bytes: int
    state_bytes: int

    @property
    def ms_per_frame(self) -> float:
        """Median milliseconds a frame: in a clip at once, the clip's time divided by its frames."""
        return 1000 * self.seconds.median / (1 if self.mode == "stream" else self.frames)

    @property
    def ms_per_frame_p95(self) -> float:
        """The 95th percentile of the same."""
        return 1000 * self.seconds.p95 / (1 if self.mode == "stream" else self.frames)

    @property
    def ms_per_clip(self) -> float:
        """Median milliseconds a clip."""
        return 1000 * self.seconds.median * (self.frames if self.mode == "stream" else 1)

    @property
    def fps(self) -> float:
        """Frames a second, those of all clips of the batch counted."""
        return 1000 * self.batch / self.ms_per_frame


def measure(job: Job, mode: Mode, *, rounds: int = 5, budget: float = 10.0) -> Speed:
    """Time a job: `rounds` clips after a first call that warms up, or as many as begin within `budget` seconds.

    Streaming, every frame is timed by itself, and one frame warms up.
    """
    b, t, _, *size = job.video.shape
    if mode == "clip":
        first, seconds = _times(lambda _: job.clip(), range(rounds), job.device, budget)
        peak = peak_bytes(job.clip, job.device, warm=True)
    else:
        first, seconds = _frame_times(job, rounds, budget)
        state = job.step(0, job.start())
        peak = peak_bytes(lambda: job.step(t - 1, state), job.device, warm=True)
    one = replace(job, video=job.video[:1]).stream().nbytes
    return Speed(mode, b, t, job.objects, (size[0], size[1]), first, Quantiles.of(seconds), peak, b * one)


def _frame_times(job: Job, rounds: int, budget: float) -> tuple[float, list[float]]:
    """Seconds of the first frame of all, and of every frame after it, clip after clip."""
    frames = job.video.shape[1]
    state = job.start()

    def step(i: int) -> None:
        nonlocal state
        if i % frames == 0:
            state = job.start()
        state = job.step(i % frames, state)

    return _times(step, range(rounds * frames), job.device, budget)


def _times(
    call: Callable[[int], object], counts: Iterable[int], device: torch.device, budget: float
) -> tuple[float, list[float]]:
    """Seconds of a first call, and of at least one and as many of the others as begin within the budget."""

    def timed(i: int) -> float:
        synchronise(device)
        started = time.perf_counter()
        call(i)
        synchronise(device)
        return time.perf_counter() - started

    first, seconds = timed(0), []
    for i in counts:
        if seconds and sum(seconds) > budget:
            break
        seconds.append(timed(i))
    return first, seconds


def stage_seconds(job: Job, *, rounds: int = 2) -> dict[str, float]:
    """Median seconds a frame that each part of the model takes while it streams; `WHOLE`: what is in no part.

    The device is waited for at every change of part, so that the sum is more than an unwatched frame takes.
    """
    clips = [_stages(job) for _ in range(rounds + 1)][1:]
    frames = job.video.shape[1]
    return {name: median(clip[name] for clip in clips) / frames for name in clips[0]}


def _stages(job: Job) -> dict[str, float]:
    """Seconds of each part in one streamed clip."""
    spent: dict[str, float] = defaultdict(float)
    synchronise(job.device)
    since = time.perf_counter()

    def changed(before: str, after: str) -> None:
        nonlocal since
        synchronise(job.device)
        now = time.perf_counter()
        spent[before] += now - since
        since = time.perf_counter()

    with watching(job.model, changed, depth=1):
        job.stream()
        changed(WHOLE, WHOLE)
    return dict(spent)
