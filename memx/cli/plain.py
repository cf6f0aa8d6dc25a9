"""Tables and figures as every measuring command prints them."""

from __future__ import annotations

from rich.table import Table


def plain_table(title: str) -> Table:
    """A table without lines under a title."""
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def mib(count: int) -> str:
    """Bytes in MiB, or in KiB where they are fewer than a hundredth of one."""
    return f"{count / 2**20:,.2f} MiB" if count >= 2**20 / 100 else f"{count / 2**10:,.2f} KiB"
