"""Optimiser groups and schedules."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memx import Recipe, build
from memx.engine.optim import make_optimizer, schedule_factor
from memx.recipe import Train


def test_encoders_learn_slower_and_gates_do_not_decay() -> None:
    recipe = Recipe.load("gdkvm_phantom", ["train.encoder_lr_factor=0.1", "train.weight_decay=0.01"])
    model = build(recipe)
    optimizer = make_optimizer(model, recipe.train)
    names = {id(p): name for name, p in model.named_parameters()}
    seen: dict[str, tuple[float, float]] = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            assert id(p) in names
            assert names[id(p)] not in seen
            seen[names[id(p)]] = (group["lr"], group["weight_decay"])
    assert set(seen) == set(names.values())
    assert seen["image_encoder.conv1.weight"] == pytest.approx((1e-4, 0.01))
    assert seen["pixel_proj.weight"] == pytest.approx((1e-3, 0.01))
    for gate in ("memory.A_log", "memory.dt_bias"):
        assert seen[gate] == pytest.approx((1e-3, 0.0))


@given(st.integers(3, 5000), st.integers(0, 50), st.sampled_from(["step", "cosine", "poly", "constant"]))
def test_schedules_start_at_the_full_rate_and_never_rise_after_warm_up(n: int, warmup: int, schedule: str) -> None:
    train = Train.model_validate({"iterations": n, "warmup": min(warmup, n), "schedule": schedule})
    factor = schedule_factor(train)
    values = [factor(step) for step in range(n)]
    rising, falling = values[: train.warmup], values[train.warmup :]
    assert all(a < b for a, b in pairwise(rising))
    assert all(a >= b for a, b in pairwise(falling))
    assert max(values) <= 1
    assert min(values) >= 0


def test_the_step_schedule_falls_at_a_third_and_two_thirds() -> None:
    factor = schedule_factor(Train(iterations=1500))
    assert [factor(s) for s in (0, 499, 500, 999, 1000)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert torch.isfinite(torch.tensor(factor(1500)))


def test_cosine_and_poly_are_their_formulas() -> None:
    """With a warm-up of 10 of 110 steps, halfway is step 60."""
    cosine, poly, constant = (
        schedule_factor(Train(iterations=110, warmup=10, schedule=name)) for name in ("cosine", "poly", "constant")
    )
    for u in (0.0, 0.25, 0.5, 0.99, 1.0):
        step = round(10 + 100 * u)
        assert cosine(step) == pytest.approx((1 + math.cos(math.pi * u)) / 2, abs=1e-12)
        assert poly(step) == pytest.approx((1 - u) ** 0.9, abs=1e-12)
        assert constant(step) == 1
    assert [f(4) for f in (cosine, poly, constant)] == pytest.approx([0.5, 0.5, 0.5])
