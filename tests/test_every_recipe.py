"""Every recipe in the tree builds, steps once and takes one optimiser step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memx import Recipe, build
from memx.engine.optim import make_optimizer
from memx.recipe_source import SYSTEM_FILE
from memx.registry import build_part

ROOT = Path(__file__).resolve().parent.parent
FOUND = [*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "zoo").rglob("*.yaml")]
RECIPES = sorted(path for path in FOUND if path.name != SYSTEM_FILE)


def test_there_are_recipes() -> None:
    assert ROOT / "recipes" / "gdkvm_camus.yaml" in RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_steps_once(path: Path) -> None:
    recipe = Recipe.load(path)
    torch.manual_seed(recipe.seed)
    model = build(recipe)
    loss = build_part(recipe.loss)
    optimizer = make_optimizer(model, recipe.train)
    video = torch.rand(2, 2, recipe.data.channels, 64, 64)
    masks = (torch.rand(2, 2, recipe.objects, 64, 64) > 0.5).float() / recipe.objects
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    total = loss(model(video, objects=recipe.objects), masks, torch.ones(2, 2, dtype=torch.bool))["total"]
    total.backward()
    optimizer.step()
    assert torch.isfinite(total)
    still = [name for name, p in model.named_parameters() if p.grad is None]
    assert not still, f"no gradient reaches {still}"
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())
