"""What a profile's page shows, each section from one part of what was measured; what was not asked for has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from memx.profile.drawing import Drawing
from memx.profile.fast import Fast
from memx.profile.projection import Projection
from memx.profile.projection_figure import roofline
from memx.profile.run import Arithmetic, Profile
from memx.profile.scaling_sections import scaling_sections
from memx.profile.speed import MODE_WORDS
from memx.profile.verdicts import Scaling
from memx.report.html import Section, Table, Text, Tile, Tiles
from memx.report.profile_figures import Cost, Time, bytes_held, component_costs, frame_times, time_shares
from memx.report.words import mib, millions, short_bytes

BETWEEN = "(between them)"


def profile_sections(found: Profile, scalings: Sequence[Scaling] = ()) -> Iterator[Section | Drawing]:
    """All sections, from what a reader comes for to the tables: a part that is new is one more line here."""
    yield glance(found)
    yield from arithmetic_sections(found.arithmetic)
    yield from speed_sections(found)
    yield from fast_sections(found.fast)
    yield from projection_sections(found.projection)
    yield from memory_sections(found)
    for scaling in scalings:
        yield from scaling_sections(scaling)


def glance(found: Profile) -> Tiles:
    """Parameters, arithmetic of a frame, time of a frame and of a clip, peak and state, as far as they are known."""
    tiles = [Tile("Parameters", millions(found.parameters), short_bytes(found.parameter_bytes))]
    if found.arithmetic is not None:
        whole = found.arithmetic.frame.whole
        tiles.append(Tile("FLOPs a frame", millions(whole.flops), f"{millions(whole.macs.total())} MACs"))
    if found.speeds:
        smallest = min(item.batch for item in found.speeds)
        for item in (item for item in found.speeds if item.batch == smallest):
            label = "Frames a second" + f", {_clips(item.batch)}" * (item.batch > 1)
            tiles.append(Tile(label, f"{item.fps:,.1f}", f"{MODE_WORDS[item.mode]}, {item.ms_per_frame:,.2f} ms each"))
        stream = next(item for item in found.speeds if (item.mode, item.batch) == ("stream", smallest))
        tiles.append(Tile("Peak of a frame", short_bytes(stream.peak_bytes), "beyond weights and input"))
        tiles.append(Tile("State", short_bytes(stream.state_bytes), f"after {stream.frames} frames"))
    height, width = found.size
    objects = f"{found.objects} object{'s' * (found.objects > 1)}"
    note = f"Random frames of {height} × {width}, {objects}, {found.precision}, in evaluation mode, on {found.device}."
    return Tiles("At a glance", tiles, note)


def arithmetic_sections(found: Arithmetic | None) -> Iterator[Section | Drawing]:
    """A figure and a table of the network's own parts, and what other counters say."""
    if found is None:
        return
    parts = [part for part in found.frame.parts if part.parameters or part.whole.flops]
    costs = [Cost(p.name, p.whole.macs.total(), p.whole.pointwise.total(), p.parameters) for p in parts]
    own = found.frame.own
    if own.flops:
        costs.append(Cost(BETWEEN, own.macs.total(), own.pointwise.total(), 0))
    whole = found.frame.whole
    most = max(costs, key=lambda cost: 2 * cost.macs + cost.elementwise)
    yield Drawing(
        "arithmetic",
        "Arithmetic and parameters by component",
        partial(component_costs, costs),
        f"Bars: FLOPs of a streamed frame and parameters of {len(costs)} components; {most.name} has most FLOPs",
        "One streamed frame, the second of a clip, batch 1. A multiply-accumulate (MAC) counts two FLOPs, an "
        "elementwise operation one.",
        wide=True,
    )
    clip = {component.path: component.whole for component in found.clip.walk()}
    rows = [
        [
            part.name if part.ran or part.whole.flops else f"{part.name}\nnot used",
            f"{part.parameters:,}",
            *(f"{n / 1e6:,.2f}" for n in (part.whole.macs.total(), part.whole.pointwise.total(), part.whole.flops)),
            f"{part.whole.flops / whole.flops:.1%}",
            f"{clip[part.path].flops / 1e6:,.1f}",
        ]
        for part in (found.frame, *parts)
    ]
    columns = ["Component", "Parameters", "M MACs", "M elementwise", "M FLOPs", "Share", "Clip, M FLOPs"]
    yield Table("Arithmetic", columns, rows, f"Of a streamed frame, and of a clip of {found.frames} frames at once.")
    ours = whole.macs.total()
    others = [["memx", f"{ours / 1e6:,.2f} M\nevery operator, in the component that called it"]]
    for other in found.others:
        difference = f"{(other.macs - ours) / 1e6:+,.2f}".replace("-", "−")
        others.append([other.tool, f"{other.macs / 1e6:,.2f} M ({difference})\n{other.says}"])
    yield Table("What other counters say", ["Tool", "MACs"], others, "Of the same streamed frame.", words=True)


def speed_sections(found: Profile) -> Iterator[Section | Drawing]:
    """Times by mode and batch, and the share of each component."""
    if not found.stages:
        return
    items = [
        Time(f"{MODE_WORDS[s.mode]}\n{_clips(s.batch)}", s.ms_per_frame, s.ms_per_frame_p95, f"{s.fps:,.1f} frames/s")
        for s in found.speeds
    ]
    fastest = max(found.speeds, key=lambda item: item.fps)
    yield Drawing(
        "speed",
        "Time a frame",
        partial(frame_times, items),
        f"Bars: median milliseconds a frame in {len(items)} modes; most frames a second: {fastest.fps:,.1f}",
        "A batch takes all its clips' frames together; frames a second count each.",
    )
    stages = {name or BETWEEN: 1000 * seconds for name, seconds in found.stages.items()}
    slowest = max(stages, key=stages.__getitem__)
    yield Drawing(
        "stages",
        "Where the time goes",
        partial(time_shares, stages),
        f"Bars: milliseconds of each component in a streamed frame; {slowest} takes most",
        f"Medians of a streamed frame, batch 1, together {sum(stages.values()):,.2f} ms while every component is "
        "watched, which takes time itself.",
    )
    rows = [
        [
            MODE_WORDS[s.mode],
            f"{s.batch}",
            f"{s.frames}",
            f"{s.ms_per_frame:,.2f}",
            f"{s.ms_per_frame_p95:,.2f}",
            f"{s.ms_per_clip:,.1f}",
            f"{s.fps:,.1f}",
            f"{s.seconds.count}",
            f"{1000 * s.first:,.1f}",
        ]
        for s in found.speeds
    ]
    columns = ["Mode", "Batch", "Frames", "ms a frame", "p95", "ms a clip", "Frames a second", "n", "First call, ms"]
    note = (
        "Frame by frame, every frame is timed by itself; a clip at once is one call. The device is waited for. "
        "The first call, which warms up, is in no other figure; n calls are."
    )
    yield Table("Speed", columns, rows, note)


def fast_sections(found: Fast | None) -> Iterator[Section | Drawing]:
    """The optimised network beside the plain one."""
    if found is None:
        return
    said = " ".join(f"{item[0].upper()}{item[1:]}." for item in found.optimized.sentences())
    if not found.matches:
        yield Text("Not optimised", said)
        return
    items = [
        Time(f"{MODE_WORDS[match.mode]}\n{name}", 1000 * each.median, 1000 * each.p95, words)
        for match in found.matches
        for name, each, words in (
            ("plain", match.plain, f"{1 / match.plain.median:,.1f} frames/s"),
            ("optimised", match.fast, f"{match.speedup.median:,.2f} × as fast"),
        )
    ]
    streamed = found.matches[0].speedup.median
    yield Drawing(
        "optimised",
        "Optimised beside plain",
        partial(frame_times, items),
        f"Bars: median milliseconds a frame, plain and optimised; streamed {streamed:,.2f} times as fast",
        f"Batch 1, clips of both networks in turns; the speed-up is the median over clips of the same round. {said}",
    )


def projection_sections(found: Projection | None) -> Iterator[Section | Drawing]:
    """A card that is not here: the bound of a streamed frame, beside what the device at hand makes of its own."""
    if found is None:
        return
    if found.bound is None:
        title, alt = "Measured and bound", f"Bars: times of the stages on {found.here.device} and their bounds"
        note = f"{found.card.title} is the device at hand; nothing is projected."
    else:
        least = f"{1000 * found.bound.seconds:,.3g} ms"
        title = f"{found.card.title}, projected"
        alt = f"Bars: stages measured on {found.here.device}, and projected to {found.card.title}: at least {least}"
        note = (
            f"Projected, not measured: a frame takes at least {least} at the card's published peaks "
            f"({found.card.source}), {found.bound.whole.calls:,} launches not counted. The device at hand reaches "
            f"{found.here.share:.0%} of its own bound, from measured peaks."
        )
    yield Drawing("roofline", title, partial(roofline, found), alt, note, wide=True)


def memory_sections(found: Profile) -> Iterator[Section | Drawing]:
    """Bytes of weights, of what a call holds at most, and of the state."""
    if not found.speeds:
        return
    short = {"stream": "a frame", "clip": "a clip"}
    groups = {
        "weights": {"": float(found.parameter_bytes)},
        "peak": {f"{short[s.mode]}, {_clips(s.batch)}": float(s.peak_bytes) for s in found.speeds},
        "state": {_clips(s.batch): float(s.state_bytes) for s in found.speeds if s.mode == "stream"},
    }
    largest = max(found.speeds, key=lambda item: item.peak_bytes)
    yield Drawing(
        "memory",
        "Memory",
        partial(bytes_held, groups),
        f"Dots: bytes of weights, peaks and states; the largest peak is {mib(largest.peak_bytes)}",
        "Peak: the most that tensors held at once beyond input and weights. "
        f"State: after {largest.frames} frames, of all clips of the batch.",
    )


def _clips(batch: int) -> str:
    return f"{batch} clip{'s' * (batch > 1)}"
