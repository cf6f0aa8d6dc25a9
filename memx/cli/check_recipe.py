"""`memx check RECIPE`: does it build, does it run, what does it weigh, and what may go wrong?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memx.errors import UserError
from memx.memory.base import Memory, Shape
from memx.models.base import VideoModel
from memx.models.build import build
from memx.models.padding import padded_size
from memx.recipe import Recipe
from memx.registry import memories


@dataclass(frozen=True)
class RecipeReport:
    """What a recipe that is right builds."""

    recipe: str
    hash: str
    parameters: int
    memory: str | None
    data: str
    cautions: list[str]

    def json(self) -> dict[str, Any]:
        return asdict(self)


def check_recipe(name: str, overrides: list[str]) -> RecipeReport:
    """Load a recipe, build its model and run it on a frame. Raises UserError with all that is wrong."""
    recipe = Recipe.load(name, overrides)
    model = build(recipe)
    _step_once(model, recipe)
    memory = getattr(model, "memory", None)
    return RecipeReport(
        recipe=recipe.name,
        hash=recipe.hash,
        parameters=sum(p.numel() for p in model.parameters()),
        memory=None if memory is None else _name_of(memory),
        data=_describe_data(recipe),
        cautions=_cautions(model, recipe),
    )


def show_recipes(reports: list[RecipeReport], console: Console) -> None:
    """A table with a row a recipe, and the cautions under it."""
    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "hash", "parameters", "memory", "data"):
        table.add_column(column, justify="right" if column == "parameters" else "left", no_wrap=column == "hash")
    for report in reports:
        table.add_row(report.recipe, report.hash, f"{report.parameters:,}", report.memory or "–", report.data)
    console.print(table)
    for report in reports:
        for caution in report.cautions:
            console.print(Text.assemble(("caution: ", "bold yellow"), f"recipe {report.recipe}: {caution}"))


def _name_of(memory: object) -> str:
    """The name that the memory's class is registered under, or the class's own."""
    names = [entry.name for entry in memories.known() if entry.factory is type(memory)]
    return names[0] if names else type(memory).__name__


def _step_once(model: VideoModel, recipe: Recipe) -> None:
    """A component from outside may build and still not run."""
    frame = torch.zeros(1, recipe.data.channels, 64, 64)
    try:
        with torch.no_grad():
            model.eval().step(frame, model.init_state(1, recipe.objects))
    except Exception as error:
        raise UserError(f"recipe {recipe.name} builds but does not run: {type(error).__name__}: {error}") from error


def _describe_data(recipe: Recipe) -> str:
    data = recipe.data
    return f"{recipe.dump()['data']['layout']['type']} {data.size[0]}×{data.size[1]}, {data.frames} frames"


def _cautions(model: VideoModel, recipe: Recipe) -> list[str]:
    """What the memory says of clips of the recipe's size."""
    memory, stride = getattr(model, "memory", None), getattr(model, "stride", None)
    if not isinstance(memory, Memory) or not isinstance(stride, int):
        return []
    rows, columns = (length // stride for length in padded_size(recipe.data.size, stride))
    return memory.cautions(Shape(frames=recipe.data.frames, objects=recipe.objects, tokens=rows * columns))
