"""`system.yaml`: what a system of the zoo is, what has been published of it, and the tables that can be reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from memx.errors import RecipeError, nearest, unknown
from memx.recipe_source import SYSTEM_FILE, Place, Source, read_yaml

Metric = Literal["dice", "dice_lost", "dice_long", "iou", "hd", "hd95", "asd", "ef", "ef_r", "ef_bias", "ms", "fps"]
DataName = Literal["camus", "phantom", "echonet"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Words = Annotated[str, Field(min_length=1)]


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Paper(Entry):
    """Where a system was published."""

    title: Words = Field(description="the paper's title")
    authors: Words = Field(description="its authors")
    venue: Words = Field(description="conference or journal, with the year")
    arxiv: str | None = Field(default=None, pattern=r"^\d{4}\.\d{4,5}$", description="its number on arXiv")


class Repository(Entry):
    """Public code of a system."""

    repository: Words = Field(description="owner/name on GitHub, or an address")
    holds: Words = Field(description="what it holds")
    licence: Words = Field(description="licence of its code; `unknown` where none was found")


class Weights(Entry):
    """Trained weights that can be had."""

    file: Words = Field(description="name of the file")
    source: Words = Field(description="who offers it, and where")
    licence: Words = Field(description="terms of the weights; `unknown` where none was found")


class Release(Entry):
    """One form of the system, and the recipe that builds it."""

    name: Words = Field(description="what it is called")
    recipe: Words = Field(description="the recipe that builds it, as `memx list recipe` shows it")
    differs: Words = Field(description="what sets it apart, in the recipe's own options")


class Figure(Entry):
    """A published figure; written as a bare number where nothing else was published."""

    value: float = Field(description="the figure, in the metric's published unit")
    low: float | None = Field(default=None, description="lower end of the published 95% interval")
    high: float | None = Field(default=None, description="upper end of the published 95% interval")
    spread: float | None = Field(default=None, ge=0, description="published standard deviation, as in 0.86 ± 13.4")
    unit: str = Field(default="", description="unit, where the source gives one")
    about: bool = Field(default=False, description="read off a figure, so approximate")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _bare_number(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, int | float) and not isinstance(data, bool) else data


Figures = dict[Metric, Figure]


class PublishedSource(Entry):
    """Who published figures, and how they were measured."""

    label: Words = Field(description="a few words for a column's head")
    reference: Words = Field(description="the full reference")
    protocol: Words = Field(description="data and protocol behind the figures; what is not known is said")


class Published(Entry):
    """Figures of the system that one source gives for one data set."""

    source: Name = Field(description="one of `sources`")
    data: Words = Field(description="the data set")
    figures: Annotated[Figures, Field(min_length=1)] = Field(description="metric: figure")
    remark: str = Field(default="", description="what to know before comparing")


class LongClips(Entry):
    """Clips longer than those of training, on which mistakes that are fed back have time to grow."""

    frames: int = Field(ge=2, description="frames of a clip: `data.frames`, and of a phantom made for it")
    quick: int = Field(ge=2, description="the same under --quick")


class Settings(Entry):
    """How a table's runs come about on one data set."""

    recipe: Words = Field(description="the base recipe")
    overrides: list[str] = Field(default_factory=list, description="path.to.key=value, applied to every run")
    quick: list[str] = Field(default_factory=list, description="further overrides under --quick: minutes, no meaning")
    phantom: dict[str, int | float | str | bool | None] | None = Field(
        default=None, description="how the phantom is generated: options of memx.data.phantom.write; null: no phantom"
    )
    quick_phantom: dict[str, int | float | str | bool | None] = Field(
        default_factory=dict, description="generator options under --quick, over those of `phantom`"
    )
    long: LongClips | None = Field(default=None, description="the clips of columns that end in `_long`")
    protocol: Words = Field(description="what our figures on these data are, for the reader of a table")

    @pydantic.model_validator(mode="after")
    def _quick_phantom_has_a_phantom(self) -> Settings:
        if self.quick_phantom and self.phantom is None:
            raise ValueError("quick_phantom changes phantom, which is not given")
        return self


class TableRow(Entry):
    """A row: a variant that is trained or timed here, or, without `overrides`, only what was published."""

    label: Words = Field(description="what the row is called")
    overrides: list[str] | None = Field(
        default=None, description="what it changes in the base recipe; [] nothing; null: published figures only"
    )
    published: dict[Name, Annotated[Figures, Field(min_length=1)]] = Field(
        default_factory=dict, description="source: {metric: figure}"
    )


class Table(Entry):
    """A table of the paper, as it can be reproduced."""

    title: Words = Field(description="one line")
    shows: Words = Field(description="what the table is there to show")
    kind: Literal["accuracy", "speed"] = Field(
        default="accuracy", description="accuracy: rows are trained and scored | speed: rows are timed, untrained"
    )
    data: Annotated[list[DataName], Field(min_length=1)] = Field(description="the data sets that it can be run on")
    columns: Annotated[list[Metric], Field(min_length=1)] = Field(description="metrics, the leading one first")
    reference: str | None = Field(default=None, description="label of the row that the others are compared with")
    rows: Annotated[list[TableRow], Field(min_length=1)] = Field(description="in the paper's order")
    remarks: list[str] = Field(default_factory=list, description="what to know before reading the published figures")

    @pydantic.model_validator(mode="after")
    def _labels(self) -> Table:
        labels = [row.label for row in self.rows]
        if len(set(labels)) < len(labels):
            raise ValueError("two rows have the same label")
        if self.reference is not None and self.reference not in [r.label for r in self.rows if r.overrides is not None]:
            raise ValueError(f"reference: {self.reference!r} is not the label of a row with overrides")
        timed = {"ms", "fps"}
        if self.kind == "accuracy" and timed & set(self.columns):
            raise ValueError("columns: ms and fps are measured by tables of kind: speed only")
        return self

    @property
    def scores_long_clips(self) -> bool:
        """Whether a column is of clips longer than those of training."""
        return any(metric.endswith("_long") for metric in self.columns)


class System(Entry):
    """A whole system: its papers, code, licences, releases, published figures and tables."""

    title: Words = Field(description="what the system is called")
    summary: Words = Field(description="one line")
    paper: Paper = Field(description="where it was published")
    code: list[Repository] = Field(default_factory=list, description="public code")
    weights: list[Weights] = Field(default_factory=list, description="public weights")
    parameters: int = Field(ge=1, description="parameters of the published network")
    parameters_note: str = Field(default="", description="what was counted, where sources differ")
    releases: Annotated[list[Release], Field(min_length=1)] = Field(description="its forms, each with a recipe")
    sources: dict[Name, PublishedSource] = Field(default_factory=dict, description="who published figures")
    published: list[Published] = Field(default_factory=list, description="figures of the system")
    data: dict[DataName, Settings] = Field(default_factory=dict, description="how runs come about on each data set")
    tables: dict[Name, Table] = Field(default_factory=dict, description="what `memx reproduce` can make")

    _folder: Path = pydantic.PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The system's folder, with its card and its recipes."""
        return self._folder

    @property
    def name(self) -> str:
        """What the command line calls it: the folder's name."""
        return self._folder.name

    @property
    def card(self) -> Path:
        """The card, for people."""
        return self._folder / "README.md"

    @property
    def licences(self) -> str:
        """Licences of code and weights in one line."""
        code = dict.fromkeys(item.licence for item in self.code)
        weights = dict.fromkeys(item.licence for item in self.weights)
        return f"code: {', '.join(code) or 'none public'}; weights: {', '.join(weights) or 'none public'}"

    def table(self, name: str) -> Table:
        """One table. Raises RecipeError naming those that there are."""
        if name not in self.tables:
            raise RecipeError(f"{self.folder / SYSTEM_FILE}: {unknown('table', name, self.tables)}")
        return self.tables[name]

    def settings(self, table: str, data: str) -> Settings:
        """How the runs of a table come about on a data set. Raises RecipeError naming the data sets there are."""
        offered = self.table(table).data
        if data not in offered:
            raise RecipeError(f"table {table} is made on {' or '.join(offered)}, not on {data!r}")
        return self.data[data]


def load_system(folder: Path) -> System:
    """Read `system.yaml` of a system's folder. Raises RecipeError with every mistake, its file and its place."""
    path = folder / SYSTEM_FILE
    source = read_yaml(path)
    try:
        system = System.model_validate(source.data)
    except pydantic.ValidationError as error:
        raise _mistakes(path, [_explain(item, source) for item in error.errors()]) from None
    problems = _dangling(system, source)
    if problems:
        raise _mistakes(path, problems)
    system._folder = folder
    return system


def _mistakes(path: Path, lines: list[str]) -> RecipeError:
    return RecipeError("\n".join([f"{len(lines)} mistake{'s' * (len(lines) > 1)} in {path}:", *lines]))


def _dangling(system: System, source: Source) -> list[str]:
    """Names that are used and not defined."""
    problems: list[str] = []

    def check(place: Place, what: str, name: str, known: dict[Any, Any]) -> None:
        if name not in known:
            problems.append(f"  {source.origin(place)}: {_dotted(place)}: {unknown(what, name, known)}")

    for i, item in enumerate(system.published):
        check(("published", i, "source"), "source", item.source, system.sources)
    for name, table in system.tables.items():
        for i, data in enumerate(table.data):
            check(("tables", name, "data", i), "data", data, system.data)
            if table.scores_long_clips and data in system.data and system.data[data].long is None:
                place: Place = ("tables", name, "columns")
                problems.append(f"  {source.origin(place)}: {_dotted(place)}: data.{data}.long does not say how long")
        for i, row in enumerate(table.rows):
            for key in row.published:
                check(("tables", name, "rows", i, "published", key), "source", key, system.sources)
    return problems


def _explain(item: Any, source: Source) -> str:
    """One pydantic error as `file:line: path: what is wrong; what would be right`."""
    place: Place = tuple(key for key in item["loc"] if key != "[key]")
    where = f"  {source.origin(place)}: {_dotted(place)}"
    if item["type"] == "extra_forbidden":
        names = _options(place[:-1])
        guess = nearest(str(place[-1]), names)
        hint = f"; did you mean {guess!r}?" if guess else "."
        return f"{where}: unknown word{hint} There are: {', '.join(names)}"
    if item["type"] == "missing":
        return f"{where}: is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{where}: {message}"
    shown = repr(item["input"])
    return f"{where}: {message[0].lower()}{message[1:]}, not {shown if len(shown) < 80 else shown[:77] + '…'}"


_SECTIONS: dict[str, type[Entry]] = {
    "paper": Paper, "code": Repository, "weights": Weights, "releases": Release, "sources": PublishedSource,
    "published": Published, "figures": Figure, "data": Settings, "long": LongClips, "tables": Table, "rows": TableRow,
}  # fmt: skip


def _options(place: Place) -> list[str]:
    """The words that may stand at a place: those of the innermost section around it."""
    sections = [key for key in place if key in _SECTIONS]
    if sections[-2:] == ["rows", "published"]:
        return sorted(Figure.model_fields)
    return sorted((_SECTIONS[str(sections[-1])] if sections else System).model_fields)


def _dotted(place: Place) -> str:
    return ".".join(map(str, place)) or "the file"
