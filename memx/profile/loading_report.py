"""What `memx bench data` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from memx.profile.loading import Loading


def render(measured: Loading, record: dict[str, Any]) -> RenderableType:
    """A table of rates, and the lines that say what stands beside it."""
    table = Table(title=f"{record['recipe']}: clips a second, in batches of {measured.batch}")
    table.add_column("workers", justify="right")
    table.add_column("augmented")
    table.add_column("clips a second", justify="right")
    for rate in measured.rates:
        table.add_row(str(rate.workers), "yes" if rate.augmented else "no", f"{rate.per_second:.1f}")
    load = ", ".join(f"{value:.2f}" for value in record["load_average"])
    return Group(
        table,
        f"from files, by one process: {measured.decoded:.1f} clips a second (once, with a cache)",
        f"the step that does nothing, on {record['device']}: {1e3 * measured.step.median:.2f} ms a batch in the median",
        f"load average over 1, 5 and 15 minutes: {load}",
    )
