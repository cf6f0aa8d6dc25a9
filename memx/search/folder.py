"""A search's folder: the recipe with its space, the study, a run folder a trial, and what came out."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from memx.errors import UserError, first_line
from memx.files import PART, cannot_write, write_text
from memx.recipe import Recipe

NAME = "search.yaml"
STUDY = "study.json"
OWN = "study.db"
"""The study's file in the folder, where no other storage was named."""


@dataclass(frozen=True)
class StudyPlace:
    """Which study a folder's trials belong to.

    name     its name
    id       what it alone has in any storage
    storage  `study.db`, or a URL without its password
    """

    name: str
    id: str
    storage: str = OWN


@dataclass(frozen=True)
class SearchFolder:
    """`search.yaml` (the filled recipe with its `search:`), `study.json` (which study it is, and where that lies),
    `study.db` (where no other storage was named), `trials/0000`, `trials/0001` … (run folders), `best.yaml` or
    `pareto/`, `report.html` and `trials.csv`."""

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
        others = [name for name in names if name != self.trials.name and not name.startswith((OWN, STUDY, PART))]
        if others and not (self.path / NAME).is_file():
            raise UserError(f"{self.path}: is not empty and no search; choose another --out")

    def make(self) -> None:
        """Make the folder where it is not there yet."""
        try:
            self.trials.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def write(self, recipe: Recipe, study: StudyPlace) -> None:
        """Put down the study and then the search's recipe, which says that a search lies here.

        Raises UserError where another process has put down another study meanwhile.
        """
        part = self.path / f"{PART}{study.id}.json"
        try:
            part.write_text(json.dumps(asdict(study), indent=2) + "\n", encoding="utf-8")
            with suppress(FileExistsError):
                os.link(part, self.path / STUDY)  # of several processes that begin at once the first has it
        except OSError as error:
            raise cannot_write(self.path / STUDY, error) from None
        finally:
            part.unlink(missing_ok=True)
        first = self._study()
        if first.id != study.id:
            raise UserError(
                f"{self.path}: another process has begun study {first.name} in {first.storage} here; join that by "
                "--study and --storage, or choose another --out"
            )
        write_text(self.path / NAME, recipe.to_yaml())

    def study(self) -> StudyPlace | None:
        """Which study it is; None where no search lies here yet. Raises UserError where its file is damaged."""
        return self._study() if self.begun else None

    def _study(self) -> StudyPlace:
        file = self.path / STUDY
        try:
            return StudyPlace(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{file}: cannot be read ({first_line(error)}), and says which study the trials beside it belong to; "
                "put it back, or search anew with another --out"
            ) from None

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
