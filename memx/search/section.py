"""The `search:` block of a recipe."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from memx.search.measures import MEASURES, Constraint, Direction, Measure, find_measure
from memx.search.space import Scalar, Space
from memx.section import Section

LARGEST_GRID = 100_000

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Objective(Section):
    """A measure and where it should go."""

    measure: str = Field(description="; ".join(f"{item.name}: {item.meaning}" for item in MEASURES.values()))
    direction: Direction | None = Field(
        default=None, description="maximize | minimize | null: as is usual for the measure"
    )

    @pydantic.field_validator("measure")
    @classmethod
    def _known(cls, name: str) -> str:
        return find_measure(name).name

    @property
    def found(self) -> Measure:
        return find_measure(self.measure)

    @property
    def where(self) -> Direction:
        return self.direction or self.found.direction


def _objective(value: Any) -> Any:
    return {"measure": value} if isinstance(value, str) else value


_ObjectiveOrName = Annotated[Objective, pydantic.BeforeValidator(_objective, json_schema_input_type=str | Objective)]


def _constraint(text: str) -> str:
    return str(Constraint.parse(text))


def _time(value: str | None) -> str | None:
    if value is not None and seconds(value) is None:
        raise ValueError("is a number with s, m, h or d: 90s, 50m, 2h")
    return value


def seconds(time: str) -> float | None:
    """`50m` as seconds; None where it is no time."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", time)
    return None if found is None or float(found[1]) == 0 else float(found[1]) * _SECONDS[found[2]]


class Search(Section):
    """What `memx search` may change in this recipe, and what it looks for."""

    space: dict[str, Any] = Field(
        min_length=1,
        description="dotted path → {choice: [a, b]} | {int: [low, high], step, log} | {float: [low, high], step, log}; "
        "a choice may be a component whose options are such mappings",
    )
    objectives: list[_ObjectiveOrName] = Field(
        default=[Objective(measure="dice")],
        min_length=1,
        max_length=4,
        description="measures to be made best; several give a Pareto front",
    )
    constraints: list[Annotated[str, pydantic.AfterValidator(_constraint)]] = Field(
        default_factory=list,
        description="`latency_ms < 20`; a recipe that breaks one is not trained, or not kept when only training tells",
    )
    first: list[dict[str, Scalar]] = Field(
        default_factory=list,
        description="combinations that are tried first, by parameter; what one leaves out is drawn",
    )
    impossible: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="combinations that cannot be built or trained: nothing starts before the space is mended | they "
        "are not tried",
    )
    sampler: Literal["tpe", "random", "nsga2", "gp", "grid"] = Field(
        default="tpe",
        description="how Optuna proposes the next trial; nsga2 and gp draw at random what not every trial has",
    )
    startup: int = Field(
        default=10,
        ge=1,
        description="trials drawn at random before the sampler and the pruner go by earlier ones; nsga2: trials of a "
        "generation",
    )
    pruner: Literal["median", "percentile", "halving", "hyperband", "none"] = Field(
        default="none", description="how Optuna stops a trial early, by its validation Dice; only with one objective"
    )
    prune_after: int = Field(default=0, ge=0, description="steps of training before which no trial is pruned")
    trials: int | None = Field(default=40, ge=1, description="trials in all, of all workers; null: time alone limits")
    time: Annotated[str | None, pydantic.AfterValidator(_time)] = Field(
        default=None, description="no process begins a trial after so long, e.g. 50m; null: trials alone limit"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of the sampler")
    retries: int = Field(
        default=3, ge=0, description="times that a trial whose worker died is taken up again by another"
    )

    @pydantic.field_validator("space")
    @classmethod
    def _is_space(cls, value: dict[str, Any]) -> dict[str, Any]:
        Space.parse(value)
        return value

    @pydantic.model_validator(mode="after")
    def _makes_sense(self) -> Search:
        if self.trials is None and self.time is None:
            raise ValueError("gives neither trials nor time; a search needs a budget")
        if self.pruner != "none" and len(self.objectives) > 1:
            raise ValueError(
                f"pruner {self.pruner} needs one objective, and there are {len(self.objectives)}; "
                "take pruner: none, or make the others constraints"
            )
        if self.sampler == "nsga2" and self.startup < 2:
            raise ValueError("startup is the size of nsga2's generations, which is 2 at least")
        names = [objective.measure for objective in self.objectives]
        if not any(objective.found.trained for objective in self.objectives):
            raise ValueError(f"has no objective that training finds (it has {', '.join(names)}); add dice")
        if len(set(names)) < len(names):
            raise ValueError("names an objective twice")
        space = Space.parse(self.space)
        for combination in self.first:
            space.refuse_unknown(combination)
        if self.sampler == "grid" and (size := space.grid_size()) > LARGEST_GRID:
            raise ValueError(f"a grid of {size:,} combinations cannot be visited; take sampler tpe or random")
        return self

    @property
    def limits(self) -> list[Constraint]:
        return [Constraint.parse(text) for text in self.constraints]

    @property
    def seconds(self) -> float | None:
        return None if self.time is None else seconds(self.time)
