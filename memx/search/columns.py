"""A table that fits: which columns are shown where there is not room for all, and how their heads are broken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

GAP = 2
"""Cells between two columns."""
WIDEST, NARROW = 28, 12
"""Cells of a column at most: where there is room, and where there is not."""


@dataclass(frozen=True)
class Column:
    """A name with a cell a row.

    rank   0 stays whatever the width; of the others those of the highest rank go first, of equals the last
    right  figures stand to the right
    """

    name: str
    cells: Sequence[str]
    rank: int = 0
    right: bool = True

    def head(self, widest: int) -> str:
        """The name in as few lines as the cells' width wants, broken after `_`, `.`, `]` and spaces."""
        room = max((cell_len(cell) for cell in self.cells), default=0)
        lines = [""]
        for part in re.findall(r"[^_.\] ]*[_.\] ]|[^_.\] ]+", self.name):
            if lines[-1] and cell_len((lines[-1] + part).rstrip()) > room:
                lines.append("")
            lines[-1] += part
        return "\n".join(cut(line.rstrip(), widest) for line in lines)

    def width(self, widest: int) -> int:
        """How many cells it takes when what is wider is cut."""
        head = max(cell_len(line) for line in self.head(widest).split("\n"))
        return max([head, *(min(cell_len(cell), widest) for cell in self.cells)])


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], int]:
    """The columns that are shown in `width` cells, and the width at which each is cut.

    First the least needed of those of rank above 2 go, then words are cut, then the others of rank above 0 go.
    """
    shown = list(columns)
    for widest, keep in ((WIDEST, 2), (NARROW, 0)):
        while _width(shown, widest) > width and max(column.rank for column in shown) > keep:
            last = max(range(len(shown)), key=lambda place: (shown[place].rank, place))
            del shown[last]
        if _width(shown, widest) <= width:
            return shown, widest
    return shown, NARROW


def plain(columns: Sequence[Column], widest: int, *, bold: Sequence[int] = ()) -> Table:
    """The columns as a table without lines; `bold` are the rows that stand out."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), collapse_padding=True)
    for column in columns:
        justify = "right" if column.right else "left"
        table.add_column(
            Text(column.head(widest)), justify=justify, no_wrap=True, header_style="dim", vertical="bottom"
        )
    for number in range(len(columns[0].cells)):
        cells = (Text(cut(column.cells[number], widest)) for column in columns)
        table.add_row(*cells, style="bold" if number in bold else "")
    return table


def cut(text: str, widest: int) -> str:
    """A text of so many cells at most."""
    return text if cell_len(text) <= widest else set_cell_size(text, widest - 1).rstrip() + "…"


def _width(columns: Sequence[Column], widest: int) -> int:
    return sum(column.width(widest) for column in columns) + GAP * (len(columns) - 1)
