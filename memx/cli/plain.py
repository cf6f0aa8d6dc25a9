"""Tables and figures as every measuring command prints them."""

from __future__ import annotations

from rich.table import Table

from memx.report.words import mib

__all__ = ["mib", "plain_table"]


def plain_table(title: str) -> Table:
    """A table without lines under a title."""
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
