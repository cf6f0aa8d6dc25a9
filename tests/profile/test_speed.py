"""Times are of what they say: a frame, a clip, a part; and a profile is whole."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.profile.scopes import WHOLE
from memx.profile.speed import Job, measure, stage_seconds


class Sleeper(nn.Module):
    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


class Slow(VideoModel):
    """Sleeps 2 ms in one part and 6 ms in another, every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.long = Sleeper(0.002), Sleeper(0.006)

    def init_state(self, batch: int = 1, objects: int = 1, **options: object) -> State:
        return State(count=torch.zeros(batch, 1000))

    def step(self, frame: Tensor, state: State, *, auxiliary: bool | None = None) -> tuple[Output, State]:
        found = self.long(self.short(frame))
        return Output(found, found), state.replace(count=state.count + 1)

    def forward(self, video: Tensor, objects: int = 1, *, auxiliary: bool | None = None) -> Output:
        state = self.init_state(video.shape[0])
        for t in range(video.shape[1]):
            output, state = self.step(video[:, t], state)
        return output


@pytest.fixture
def job() -> Job:
    return Job(Slow(), torch.rand(2, 3, 1, 4, 4))


def test_a_frame_and_a_clip_are_told_apart(job: Job) -> None:
    """Sleeping takes at least as long as it is told to, whatever else the machine does."""
    stream, clip = measure(job, "stream", rounds=2), measure(job, "clip", rounds=2)
    assert stream.seconds.count == 2 * 3
    assert clip.seconds.count == 2
    for found in (stream, clip):
        assert (found.batch, found.frames) == (2, 3)
        assert found.ms_per_frame >= 8
        assert found.ms_per_clip == pytest.approx(3 * found.ms_per_frame)
        assert found.fps == pytest.approx(2 * 1000 / found.ms_per_frame), "both clips of the batch count"
        assert found.state_bytes == 2 * 1000 * 4
        assert found.seconds.p95 >= found.seconds.median
    assert stream.peak_bytes >= 2 * 1000 * 4, "the next state"


def test_every_part_has_its_own_time(job: Job) -> None:
    found = stage_seconds(job, rounds=2)
    assert set(found) == {WHOLE, "short", "long"}
    assert found["short"] >= 0.002
    assert found["long"] >= 0.006
