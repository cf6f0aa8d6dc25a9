"""A search's folder: the recipe with its space, the study, a run folder a trial, and what came out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memx.errors import UserError
from memx.files import PART, cannot_write, write_text
from memx.recipe import Recipe

NAME = "search.yaml"


@dataclass(frozen=True)
class SearchFolder:
    """`search.yaml` (the filled recipe with its `search:`), `study.db` (where no other storage was named),
    `trials/0000`, `trials/0001` … (run folders), `best.yaml` or `pareto/`, `report.html` and `trials.csv`."""

    path: Path

    @classmethod
    def default(cls, recipe: Recipe, digest: str) -> SearchFolder:
        """`searches/<name>_<digest>`: the same search finds its folder again."""
        return cls(Path("searches") / f"{recipe.name}_{digest[:6]}")

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    @property
    def pareto(self) -> Path:
        return self.path / "pareto"

    @property
    def best(self) -> Path:
        return self.path / "best.yaml"

    @property
    def begun(self) -> bool:
        """Whether a search lies here."""
        return (self.path / NAME).is_file()

    def refuse_taken(self) -> None:
        """Raise UserError when something else than a search lies there."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; --out is a folder")
        names = {item.name for item in self.path.iterdir()} if self.path.is_dir() else set()
        # Another process may be making the same search's folder: its recipe comes last.
        others = [name for name in names if name != self.trials.name and not name.startswith(("study.db", PART))]
        if others and not (self.path / NAME).is_file():
            raise UserError(f"{self.path}: is not empty and no search; choose another --out")

    def make(self) -> None:
        """Make the folder where it is not there yet."""
        try:
            self.trials.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def write(self, recipe: Recipe) -> None:
        """Put the search's recipe down."""
        write_text(self.path / NAME, recipe.to_yaml())

    def discard(self) -> None:
        """Remove a folder that nothing was put into, by this process or another that has come to it since."""
        with suppress(OSError):
            self.trials.rmdir()
            self.path.rmdir()

    @classmethod
    def open(cls, path: Path) -> SearchFolder:
        """An existing one."""
        if not (path / NAME).is_file():
            raise UserError(
                f"{path}: not a search's folder: it has no {NAME}; `memx search` writes them under searches/"
            )
        return cls(path)

    def recipe(self) -> Recipe:
        """The search's recipe."""
        return Recipe.load(self.path / NAME)
