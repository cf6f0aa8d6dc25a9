"""No memory: zeros, whatever was written, at no cost."""

from __future__ import annotations

import torch

from memx.memory import Shape, Tokens, memories
from memx.recipe import Recipe


def test_nothing_is_kept_and_nothing_recalled():
    memory = memories.build("none", {"key_dim": 4, "value_dim": 6})
    clip = Tokens(torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 2, 5, 6, dtype=torch.bfloat16))
    out, state = memory.scan(clip)
    assert torch.equal(out, torch.zeros_like(clip.value))
    assert state.S.shape == (2, 2, 0, 6)
    assert (state.nbytes, state.S.dtype) == (0, torch.float32)
    assert not list(memory.parameters())


def test_its_cost_is_the_zeros_that_it_writes():
    cost = memories.build("none", {"key_dim": 4, "value_dim": 6}).cost(Shape(batch=2, frames=3, objects=2, tokens=5))
    assert (cost.flops, cost.state_bytes, cost.bytes_moved) == (0, 0, 4 * 2 * 3 * 2 * 5 * 6)


def test_a_recipe_may_say_none_which_is_not_null():
    recipe = Recipe.load("gdkvm_phantom", overrides=["model.memory=none"])
    assert recipe.model.options["memory"].type == "none"
