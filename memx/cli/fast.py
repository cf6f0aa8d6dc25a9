"""The optimised network beside the plain one, on the terminal: what `memx profile --fps` adds."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from memx.cli.plain import plain_table
from memx.profile.fast import Fast
from memx.profile.speed import MODE_WORDS


def fast_pieces(found: Fast) -> Iterator[str | Table]:
    """A table of both, and what was done and held to what."""
    yield ""
    if found.matches:
        table = plain_table("optimised beside plain")
        table.add_column("mode", no_wrap=True)
        for column in ("plain, ms", "optimised, ms", "p95", "frames/s", "speed-up", "p10–p90", "n"):
            table.add_column(column, justify="right")
        for match in found.matches:
            table.add_row(
                MODE_WORDS[match.mode],
                f"{1000 * match.plain.median:,.2f}",
                f"{1000 * match.fast.median:,.2f}",
                f"{1000 * match.fast.p95:,.2f}",
                f"{1 / match.fast.median:,.1f}",
                f"{match.speedup.median:,.2f} ×",
                f"{match.speedup.p10:,.2f}–{match.speedup.p90:,.2f}",
                str(match.speedup.count),
            )
        yield table
        yield "Milliseconds a frame, batch 1, clips of both in turns; the speed-up is of clips in the same round."
    if any(match.speedup.median < 1 for match in found.matches):
        yield "Slower than plain where the speed-up is below 1: `memx predict --plain` leaves the network as it is."
    yield from found.optimized.sentences()
