"""The figures of a profile as tables for other programs: rows of names and values, times in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from memx.profile.run import Profile
from memx.profile.verdicts import Scaling

Rows = Sequence[Mapping[str, Any]]


def profile_tables(found: Profile, scalings: Sequence[Scaling] = ()) -> dict[str, Rows]:
    """File → its rows; what was not measured has none, and what was not reached is None."""
    tables = {
        "arithmetic.csv": _arithmetic(found),
        "speed.csv": _speed(found),
        "stages.csv": [{"component": name or "model", "ms": 1000 * s} for name, s in found.stages.items()],
    }
    if found.fast is not None:
        tables["optimised.csv"] = [
            {
                "mode": match.mode,
                "plain_ms_per_frame": 1000 * match.plain.median,
                "optimised_ms_per_frame": 1000 * match.fast.median,
                "speedup": match.speedup.median,
                "speedup_p10": match.speedup.p10,
                "speedup_p90": match.speedup.p90,
                "rounds": match.speedup.count,
            }
            for match in found.fast.matches
        ]
    for item in scalings:
        tables[f"scaling_{item.axis}.csv"] = [asdict(point) for point in item.memories]
        tables[f"scaling_{item.axis}_networks.csv"] = [asdict(point) for point in item.networks]
    return {name: rows for name, rows in tables.items() if rows}


def _arithmetic(found: Profile) -> Rows:
    """A component a row, every level, of a streamed frame and of a clip."""
    if found.arithmetic is None:
        return []
    clip = {component.path: component.whole for component in found.arithmetic.clip.walk()}
    return [
        {
            "component": item.path or "model",
            "type": item.type,
            "parameters": item.parameters,
            "ran": item.ran,
            "macs": item.whole.macs.total(),
            "elementwise": item.whole.pointwise.total(),
            "flops": item.whole.flops,
            "clip_frames": found.arithmetic.frames,
            "clip_macs": clip[item.path].macs.total(),
            "clip_flops": clip[item.path].flops,
        }
        for item in found.arithmetic.frame.walk()
    ]


def _speed(found: Profile) -> Rows:
    """A mode and batch a row."""
    return [
        {
            "mode": item.mode,
            "batch": item.batch,
            "frames": item.frames,
            "objects": item.objects,
            "ms_per_frame": item.ms_per_frame,
            "ms_per_frame_p95": item.ms_per_frame_p95,
            "ms_per_clip": item.ms_per_clip,
            "fps": item.fps,
            "calls": item.seconds.count,
            "first_ms": 1000 * item.first,
            "peak_bytes": item.peak_bytes,
            "state_bytes": item.state_bytes,
        }
        for item in found.speeds
    ]
