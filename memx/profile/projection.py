"""A card that is not here: the bound of its time for a frame, and how far the device at hand is from its own bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from memx.engine.manifest import device_words
from memx.profile.cards import LAUNCH_SECONDS, LAUNCH_SOURCE, Card, card_of
from memx.profile.components import Component, count
from memx.profile.measured_peaks import Measured, measure_peaks
from memx.profile.roofline import Bound, bound, formats
from memx.profile.speed import Job


@dataclass(frozen=True)
class Here:
    """The device at hand: its bound from measured peaks, and what was measured.

    stages   part of the model → seconds of a streamed frame while parts are watched
    seconds  of a streamed frame, unwatched
    """

    device: str
    measured: Measured
    bound: Bound
    stages: dict[str, float]
    seconds: float

    @property
    def share(self) -> float:
        """Of its bound that the network reaches here: bound / measured."""
        return self.bound.seconds / self.seconds

    def stage_share(self, stage: str) -> float | None:
        """Of a stage's bound that is reached here; None for one that was not timed."""
        found = next((item for item in self.bound.stages if item.stage == stage), None)
        return found.seconds / self.stages[stage] if found and self.stages.get(stage) else None

    def as_dict(self) -> dict[str, Any]:
        """As plain data; times in milliseconds."""
        return {
            "device": self.device,
            "peaks": self.measured.as_dict(),
            "bound_ms": 1000 * self.bound.seconds,
            "measured_ms": 1000 * self.seconds,
            "share_reached": self.share,
            "stages": [
                {
                    **stage.as_dict(),
                    "measured_ms": 1000 * self.stages[stage.stage] if stage.stage in self.stages else None,
                    "share_reached": self.stage_share(stage.stage),
                }
                for stage in self.bound.stages
            ],
        }


@dataclass(frozen=True)
class Projection:
    """What a card that is not here needs for a streamed frame: projected, not measured.

    frame  index of the frame that was counted, in the middle of the clip; batch 1
    bound  on the card; None where the card is the device at hand, and nothing is projected
    """

    card: Card
    precision: str
    frame: int
    bound: Bound | None
    here: Here

    @property
    def at_share(self) -> float | None:
        """Seconds a frame if the card reached the share of its bound that the device at hand reaches of its own."""
        return self.bound.seconds / self.here.share if self.bound else None

    @property
    def launches(self) -> float | None:
        """Seconds that the launches of the frame's operators take on the card at the least, one kernel each."""
        return self.bound.whole.calls * LAUNCH_SECONDS if self.bound else None

    def as_dict(self) -> dict[str, Any]:
        """As plain data; times in milliseconds."""
        data: dict[str, Any] = {
            "card": self.card.name,
            "title": self.card.title,
            "projected": self.bound is not None,
            "precision": self.precision,
            "frame": self.frame,
            "peaks": self.card.peaks.as_dict(),
            "source": self.card.source,
            "here": self.here.as_dict(),
        }
        if self.bound is None or self.at_share is None or self.launches is None:
            return data
        return {
            **data,
            "bound_ms": 1000 * self.bound.seconds,
            "fps_at_most": 1 / self.bound.seconds,
            "ms_at_the_share_reached_here": 1000 * self.at_share,
            "operators": self.bound.whole.calls,
            "launches_ms": 1000 * self.launches,
            "launch_source": LAUNCH_SOURCE,
            "binding": self.bound.binding.stage or "model",
            "stages": [{**stage.as_dict(), "projected": True} for stage in self.bound.stages],
        }


def project(job: Job, card: Card, *, stages: dict[str, float], seconds: float) -> Projection:
    """Project a streamed frame of a job, batch 1, to a card, and to the device at hand.

    stages   part of the model → seconds of a streamed frame here (`stage_seconds`)
    seconds  of a streamed frame here, unwatched

    Raises UncountedError where the count would be untrue, and UserError where a peak that is needed is not known.
    """
    at = job.video.shape[1] // 2
    frame = count_frame(job, at)
    measured = measure_peaks(job.device, formats(frame))
    here = Here(device_words(str(job.device)), measured, bound(frame, measured.peaks), stages, seconds)
    is_here = job.device.type == "cuda" and card_of(torch.cuda.get_device_name(job.device)) is card
    return Projection(card, job.precision, at, None if is_here else bound(frame, card.peaks), here)


def count_frame(job: Job, at: int) -> Component:
    """What frame `at` of a stream calculates and moves, at the job's precision."""
    state = job.start()
    for t in range(at):
        state = job.step(t, state)
    return count(job.model, lambda: job.step(at, state))
