"""The run's diary: one row an optimiser step."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memx.files import atomic


@dataclass
class History:
    """Rows of iteration, loss and its parts, learning rate, seconds and, where it was measured, validation Dice."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, iteration: int, **values: float | None) -> None:
        self.rows.append({"iteration": iteration, **values})

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Iterations and values of one column, where it has a value."""
        known = [(row["iteration"], row[name]) for row in self.rows if row.get(name) is not None]
        return [i for i, _ in known], [v for _, v in known]

    def write(self, path: Path) -> None:
        """Write as CSV."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
