"""The `search:` block: mistakes in it are found when the recipe is read, and it has no say in the recipe's hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.errors import RecipeError
from memx.recipe import Recipe
from memx.search.measures import MEASURES, Constraint
from memx.search.section import Search, seconds
from memx.search.strategy import at_random

SPACE = {"model.memory": {"choice": ["linear", "softmax"]}}
NESTED = {"model.memory": {"choice": ["linear", {"type": "softmax", "capacity": {"int": [1, 4]}}]}}


def load(tmp_path: Path, **search: Any) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"base": "gdkvm_phantom", "search": {"space": SPACE} | search}))
    return Recipe.load(path)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"space": {"model.memory": {"choice": []}}}, r"r\.yaml:\d+: search\.space: model\.memory: choice is a list"),
        ({"objectives": ["dyce"]}, r"search\.objectives\.0\.measure: unknown measure 'dyce'; did you mean 'dice'\?"),
        ({"objectives": ["macs"]}, r"search: has no objective that training finds \(it has macs\); add dice"),
        ({"objectives": ["dice", "dice"]}, r"search: names an objective twice"),
        ({"objectives": ["dice", "macs"], "pruner": "median"}, r"search: pruner median needs one objective"),
        ({"constraints": ["latency < 3"]}, r"search\.constraints\.0: unknown measure 'latency'; did you mean"),
        ({"constraints": ["macs under 3"]}, r"search\.constraints\.0: 'macs under 3' is no constraint; write"),
        ({"time": "5 weeks"}, r"search\.time: is a number with s, m, h or d"),
        ({"trials": None}, r"search: gives neither trials nor time"),
        ({"first": [{"model.memry": "linear"}]}, r"unknown parameter 'model\.memry'; did you mean 'model\.memory'\?"),
        ({"first": [{"model.memory": "delta"}]}, r"model\.memory is one of linear, softmax, not 'delta'"),
        ({"constraints": ["macs < nan"]}, r"search\.constraints\.0: 'macs < nan' is no constraint; write"),
        (
            {"space": {"model.key_dim": {"int": [8, 16]}}, "first": [{"model.key_dim": 12.5}]},
            r"first: model\.key_dim is a whole number, not 12\.5",
        ),
        (
            {"space": {"model.key_dim": {"int": [8, 16], "step": 4}}, "first": [{"model.key_dim": 9}]},
            r"first: model\.key_dim goes from 8 in steps of 4, not to 9",
        ),
        (
            {"space": NESTED, "first": [{"model.memory": "linear", "model.memory[softmax].capacity": 3}]},
            r"first: model\.memory\[softmax\]\.capacity is there only where model\.memory is softmax; say that, too",
        ),
        (
            {"space": NESTED, "first": [{"model.memory[softmax].capacity": 3}]},
            r"first: model\.memory\[softmax\]\.capacity is there only where model\.memory is softmax; say that, too",
        ),
        (
            {"sampler": "nsga2", "startup": 1},
            r"search: startup is the size of nsga2's generations, which is 2 at least",
        ),
        (
            {"space": {"model.key_dim": {"int": [1, 10**12]}}, "sampler": "grid"},
            r"search: a grid of 1,000,000,000,000 combinations cannot be visited; take sampler tpe or random",
        ),
        ({"trails": 3}, r"search\.trails: unknown option; did you mean 'trials'\?"),
        ({"sampler": "tpee"}, r"search\.sampler: input should be 'tpe', 'random'"),
    ],
)
def test_mistakes_are_named_where_they_stand(tmp_path: Path, search: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, **search)


def test_a_search_is_no_part_of_the_experiment(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert recipe.hash == Recipe.load("gdkvm_phantom").hash
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again.search == recipe.search
    assert again.dump() == recipe.dump()


def test_every_travelling_search_can_be_read_and_written() -> None:
    recipe = Recipe.load("search_memory")
    assert recipe.search is not None
    assert Recipe.from_yaml(recipe.to_yaml()).search == recipe.search


@given(
    name=st.sampled_from(sorted(MEASURES)),
    sign=st.sampled_from(["<", "<=", ">", ">="]),
    bound=st.floats(-1e6, 1e6),
    value=st.floats(-1e6, 1e6) | st.none(),
)
@settings(deadline=None, max_examples=200)
def test_a_constraint_is_broken_exactly_where_it_is_off(
    name: str, sign: str, bound: float, value: float | None
) -> None:
    asked = Search.model_validate({"space": SPACE, "constraints": [f"{name} {sign} {bound!r}"]})
    (constraint,) = Search.model_validate(asked.model_dump(mode="json")).limits  # as a recipe keeps it
    assert constraint.bound == bound
    value = bound if value is None else value
    wanted = {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[sign]
    assert constraint.holds(value) == wanted
    assert (constraint.violation(value) <= 0) == wanted


@pytest.mark.parametrize("bound", ["1048576", "1234567", "2e+06", "20", "0.1", "1e-07"])
def test_a_bound_is_written_short_and_whole(bound: str) -> None:
    assert str(Constraint.parse(f"parameters<{bound}")) == f"parameters < {bound}"
    assert Constraint.parse("parameters < 1234567").broken_by(1234568) == "parameters is 1234568, not < 1234567"


def test_samplers_that_know_no_conditions_say_what_they_draw_at_random() -> None:
    for sampler in ("gp", "nsga2"):
        said = at_random(Search.model_validate({"space": NESTED, "sampler": sampler}))
        assert "always drawn at random: model.memory[softmax].capacity. tpe learns about these" in said
        assert at_random(Search.model_validate({"space": SPACE, "sampler": sampler})) == ""
    for sampler in ("tpe", "random", "grid"):
        assert at_random(Search.model_validate({"space": NESTED, "sampler": sampler})) == ""


@pytest.mark.parametrize(("text", "wanted"), [("90s", 90), ("50m", 3000), ("1.5h", 5400), ("2d", 172800)])
def test_times(text: str, wanted: float) -> None:
    assert seconds(text) == wanted
    assert Search.model_validate({"space": SPACE, "time": text}).seconds == wanted


@pytest.mark.parametrize("text", ["", "0s", "-1m", "5", "h"])
def test_what_is_no_time(text: str) -> None:
    assert seconds(text) is None
