"""The optimised network beside the plain one: held to its masks first, then timed in turns with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from memx.models.optimize import Optimized, optimize
from memx.profile.speed import Job, Mode
from memx.profile.timing import Quantiles, in_turns, paired_ratios

_FRAMES = 4
"""Frames that the optimised network is held to the plain one on."""


@dataclass(frozen=True)
class Match:
    """A clip by the plain network and by the optimised one, in turns.

    plain, fast  seconds a frame
    speedup      plain over fast within a round
    """

    mode: Mode
    plain: Quantiles
    fast: Quantiles
    speedup: Quantiles


@dataclass(frozen=True)
class Fast:
    """What optimising a network brought; no matches where it was refused."""

    optimized: Optimized
    matches: tuple[Match, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain data; times in milliseconds a frame."""
        return {
            "applied": list(self.optimized.applied),
            "remarks": list(self.optimized.remarks),
            "refused": self.optimized.refused or None,
            "difference": self.optimized.difference,
            "allowed": self.optimized.allowed,
            "matches": [
                {
                    "mode": match.mode,
                    "plain_ms_per_frame": _scaled(match.plain, 1000),
                    "optimised_ms_per_frame": _scaled(match.fast, 1000),
                    "speedup": _scaled(match.speedup, 1),
                }
                for match in self.matches
            ],
        }


def compare(job: Job, *, compile: bool = False, rounds: int = 5, budget: float = 10.0) -> Fast:
    """Optimise a job's network, and time both in turns: a clip streamed and a clip at once, `rounds` times.

    A network takes no part in more rounds than begin within `budget` seconds, but in one at least. A compiled or
    recorded step is not in the clip at once, which is then the uncompiled one's.
    """
    optimized = optimize(job.model, job.video[:, :_FRAMES], job.objects, precision=job.precision, compile=compile)
    if optimized.refused:
        return Fast(optimized, ())
    fast, frames = replace(job, model=optimized.model), job.video.shape[1]
    matches = []
    for mode in ("stream", "clip"):
        calls = {
            name: each.stream if mode == "stream" else each.clip for name, each in (("plain", job), ("fast", fast))
        }
        times = in_turns(calls, rounds, device=job.device, warm_up=1, budget=budget)
        if not (times["plain"].seconds and times["fast"].seconds):  # a first call alone was over the budget
            times = in_turns(calls, 1, device=job.device, warm_up=1)
        plain, quick = times["plain"].seconds, times["fast"].seconds
        matches.append(
            Match(
                mode,
                Quantiles.of([seconds / frames for seconds in plain]),
                Quantiles.of([seconds / frames for seconds in quick]),
                Quantiles.of(paired_ratios(plain, quick)),
            )
        )
    return Fast(optimized, tuple(matches))


def _scaled(found: Quantiles, factor: float) -> dict[str, float]:
    return {name: value if name == "count" else factor * value for name, value in asdict(found).items()}
