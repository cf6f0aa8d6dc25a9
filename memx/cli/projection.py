"""A card that is not here, on the terminal and as a figure: what `memx profile --fps --card` adds."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from memx.cli.plain import plain_table
from memx.profile.cards import LAUNCH_SECONDS, LAUNCH_SOURCE, Peaks
from memx.profile.projection import Here, Projection
from memx.profile.roofline import Bound, StageBound


def projection_pieces(found: Projection) -> Iterator[str | Table]:
    """The bound on the card, and the bound beside what was measured on the device at hand."""
    yield ""
    if found.bound is None:
        yield f"{found.card.title} is the device at hand: the speed above is measured on it, and nothing is projected."
    else:
        yield bound_table(found.bound, f"{found.card.title}, projected")
        yield from _said(found, found.bound)
    yield ""
    yield here_table(found.here)
    yield from _validated(found.here)


def bound_table(found: Bound, title: str) -> Table:
    """A stage a row: what it calculates and moves, and the time that takes at the least."""
    table = plain_table(title)
    table.add_column("component", no_wrap=True)
    for column in ("calls", "M FLOPs", "MiB", "FLOPs/B"):
        table.add_column(column, justify="right")
    table.add_column("bound by")
    for column in ("µs at least", "share"):
        table.add_column(column, justify="right")
    stages = sorted(found.stages, key=lambda stage: -stage.seconds)
    for name, stage in [*((stage.stage or "(between them)", stage) for stage in stages), ("whole", found.whole)]:
        table.add_row(name, *_cells(stage), f"{stage.seconds / found.seconds:.1%}")
    return table


def _cells(stage: StageBound) -> tuple[str, ...]:
    return (
        f"{stage.calls:,}",
        f"{stage.flops / 1e6:,.1f}",
        f"{stage.bytes / 2**20:,.1f}",
        f"{stage.intensity:,.1f}",
        stage.bound_by,
        f"{1e6 * stage.seconds:,.1f}",
    )


def _said(found: Projection, bound: Bound) -> Iterator[str]:
    binding = bound.binding
    yield (
        f"A streamed frame in {found.precision}, batch 1, projected: at least {_time(bound.seconds, 'at most ')}; "
        f"{binding.stage or 'what is in no component'} takes most, bound by {binding.bound_by}.\n"
        "Every operator reads its inputs from the card's memory and writes its result there, one after another, at the "
        f"peaks:\n  {_peaks(found.card.peaks)}\n  ({found.card.source})"
    )
    if found.at_share is not None:
        yield (
            f"At the share of its bound that {found.here.device} reaches, {found.here.share:.0%}, projected: "
            f"{_time(found.at_share)}."
        )
    if found.launches is not None:
        yield (
            f"Its {bound.whole.calls:,} operators at {1e6 * LAUNCH_SECONDS:g} µs a launch, projected: about "
            f"{_time(found.launches, 'about ')}, unless a graph launches them at once.\n  ({LAUNCH_SOURCE})"
        )


def here_table(found: Here) -> Table:
    """A stage a row: the bound from measured peaks beside the measured time."""
    table = plain_table(f"{found.device}, bound and measured")
    table.add_column("component", no_wrap=True)
    table.add_column("bound by")
    for column in ("ms at least", "ms measured", "of the bound"):
        table.add_column(column, justify="right")
    for stage in sorted(found.bound.stages, key=lambda stage: -stage.seconds):
        share, seconds = found.stage_share(stage.stage), found.stages.get(stage.stage)
        table.add_row(
            stage.stage or "(between them)",
            stage.bound_by,
            f"{1000 * stage.seconds:,.3f}",
            "" if seconds is None else f"{1000 * seconds:,.3f}",
            "" if share is None else f"{share:.0%}",
        )
    whole = found.bound.whole
    times = (f"{1000 * found.bound.seconds:,.3f}", f"{1000 * found.seconds:,.3f}", f"{found.share:.0%}")
    table.add_row("whole, unwatched", whole.bound_by, *times)
    return table


def _validated(found: Here) -> Iterator[str]:
    calls, launch = found.bound.whole.calls, found.measured.launch
    yield (
        f"Peaks measured here: {_peaks(found.measured.peaks)}\nNot in the bound: {calls:,} operators at "
        f"{1e6 * launch:,.1f} µs each, whatever they do, {1000 * calls * launch:,.2f} ms."
    )
    if any((found.stage_share(stage.stage) or 0) > 1 for stage in found.bound.stages):
        yield "More than 100%: what a cache kept did not come from memory."


def _time(seconds: float, most: str = "") -> str:
    length = f"{1000 * seconds:,.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:,.1f} µs"
    return f"{length} a frame ({most}{1 / seconds:,.0f} frames a second)"


def _peaks(peaks: Peaks) -> str:
    products = ", ".join(f"{name} {rate / 1e12:,.4g}" for name, rate in peaks.products.items())
    return (
        f"products {products} TFLOP/s, elementwise {peaks.vector / 1e12:,.4g} TFLOP/s, "
        f"memory {peaks.bandwidth / 1e9:,.4g} GB/s"
    )
