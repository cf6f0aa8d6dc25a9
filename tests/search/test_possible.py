"""Combinations that cannot be built or trained are found before any trial, with the reason and the guilty values."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.errors import UserError
from memx.recipe import Recipe
from memx.search.possible import MOST, check_space, combinations_to_try, refuse_impossible, why_impossible
from memx.search.space import Space

BASE = Recipe.load("gdkvm_phantom")


def check(space: dict[str, Any], *, skip: bool = False) -> str:
    parsed = Space.parse(space)
    return refuse_impossible(check_space(BASE, parsed, combinations_to_try(parsed)), skip=skip)


def test_heads_that_do_not_divide_the_values_are_refused_with_the_values_that_clash() -> None:
    heads = {"choice": ["linear", {"type": "gated_delta", "heads": {"int": [1, 4]}}]}
    space = {"model.memory": heads, "model.value_dim": {"choice": [16, 18]}}
    with pytest.raises(UserError) as caught:
        check(space)
    message = str(caught.value)
    assert "2 of 10 combinations tried are impossible" in message
    assert "model.memory[gated_delta].heads=3, model.value_dim=16 (1 combination): " in message
    assert "model.memory[gated_delta].heads=4, model.value_dim=18 (1 combination): " in message
    assert "heads must divide the value channels: 4 does not divide 18" in message
    assert "No trial was begun" in message
    assert "2 of 10 combinations tried are impossible and are left out" in check(space, skip=True)


def test_an_unknown_option_or_component_is_found_too() -> None:
    with pytest.raises(UserError, match=r"model\.memory=lineal .*unknown memory 'lineal'; did you mean 'linear'"):
        check({"model.memory": {"choice": ["linear", "lineal"]}})
    with pytest.raises(UserError, match=r"model\.memory\.head: unknown option"):
        check({"model.memory": {"choice": ["linear", {"type": "gated_delta", "head": 2}]}})


def test_a_space_of_which_nothing_is_possible_is_refused_even_where_such_are_skipped() -> None:
    with pytest.raises(UserError, match="Nothing is possible"):
        check({"model.memry": {"choice": ["linear", "softmax"]}}, skip=True)


def test_what_builds_and_cannot_be_trained_is_found_too() -> None:
    message = r"train\.accumulate=3 \(1 combination\): train\.batch=4 cannot be dealt out evenly to 3 micro-batches"
    with pytest.raises(UserError, match=message):
        check({"train.accumulate": {"int": [1, 4]}})
    with pytest.raises(UserError, match=r"train\.precision=fp16 \(1 combination\): .* needs a GPU"):
        check({"train.precision": {"choice": ["fp32", "bf16", "fp16"]}})


def test_a_good_space_has_no_remark() -> None:
    assert check({"model.memory": {"choice": ["linear", "softmax"]}}) == ""


@given(sizes=st.lists(st.integers(2, 9), min_size=3, max_size=6))
@settings(deadline=None, max_examples=20)
def test_a_large_space_is_tried_for_every_pair_of_values(sizes: list[int]) -> None:
    data: dict[str, Any] = {f"p{i}": {"choice": list(range(size))} for i, size in enumerate(sizes)}
    data["q"] = {"choice": ["none", {"type": "some", "x": {"int": [1, 3]}}]}
    space = Space.parse(data)
    tried = combinations_to_try(space)
    if space.size() <= MOST:
        assert len(tried) == space.size()
        return
    met = {pair for item in tried for pair in itertools.combinations(sorted(item.items(), key=str), 2)}
    for (i, a), (j, b) in itertools.combinations(enumerate(sizes), 2):
        for x, y in itertools.product(range(a), range(b)):
            assert tuple(sorted([(f"p{i}", x), (f"p{j}", y)], key=str)) in met
    for x in (1, 2, 3):
        for i, a in enumerate(sizes):
            for y in range(a):
                assert tuple(sorted([("q[some].x", x), (f"p{i}", y)], key=str)) in met
    assert len(tried) < space.size()


def test_the_reason_leaves_out_what_says_nothing() -> None:
    reason = why_impossible(BASE, {"model.key_dim": 0})
    assert "model.key_dim" in reason
    assert "mistake" not in reason
