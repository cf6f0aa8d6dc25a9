"""A search's space: what may be drawn, its names, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.search.section import Search
from memx.search.space import Choice, Node, Number, Scalar, Space
from memx.search.strategy import draw, grid_order, make_sampler

SPACE = {
    "model.memory": {
        "choice": [
            "linear",
            {"type": "gated_delta", "heads": {"int": [1, 8], "log": True}},
            {"type": "softmax", "capacity": {"int": [2, 6], "step": 2}},
        ]
    },
    "model.sensory": {"choice": [None, "gru"]},
    "train.learning_rate": {"float": [1e-4, 1e-2], "log": True},
}

_scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3)
_numbers = st.integers(-8, 8).flatmap(
    lambda low: st.builds(lambda more: {"int": [low, low + more]}, st.integers(0, 5))
) | st.builds(lambda low, more: {"float": [low, low + more]}, st.floats(-4, 4), st.floats(0, 4))


def _choices(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    components = st.builds(lambda kind, option: {"type": kind, "option": option}, st.sampled_from("pqr"), inner)
    return st.lists(inner | components, min_size=1, max_size=3, unique_by=str).map(lambda items: {"choice": items})


trees = st.recursive(_scalars | _numbers, _choices, max_leaves=6)


def parsed(data: dict[str, Any]) -> Space | None:
    """None where there is nothing to draw, or two labels are equal in Python (1 and true)."""
    try:
        return Space.parse(data)
    except ValueError as error:
        if "nothing to draw" not in str(error) and "twice" not in str(error):
            raise
        return None


@given(tree=trees)
@settings(deadline=None, max_examples=100)
def test_every_combination_is_there_once_and_is_plain_data(tree: Any) -> None:
    space = parsed({"a.b": tree})
    if space is None:
        return
    combinations = list(itertools.islice(space.combinations(), 200))
    assert len(combinations) == min(space.size(), 200)
    assert len({repr(sorted(item.items(), key=repr)) for item in combinations}) == len(combinations)
    names = [node.name for node in space.nodes()]
    assert len(set(names)) == len(names)
    for item in combinations:
        met: dict[str, Scalar] = {}

        def decide(node: Node, item: dict[str, Scalar] = item, met: dict[str, Scalar] = met) -> Scalar:
            met[node.name] = item[node.name]
            return item[node.name]

        (value,) = space.resolve(decide).values()
        assert met == item  # no parameter is asked for that this combination lacks, and none is left over
        assert not any(isinstance(part, Choice | Number) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(part for item in inner for part in _parts(item))]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_trial_draws_within_the_space_and_only_what_exists(sampler: str) -> None:
    space = Space.parse(SPACE)
    study = optuna.create_study()
    search = Search.model_validate({"space": SPACE, "sampler": sampler, "startup": 4})
    for number in range(12):
        study.sampler = make_sampler(search, number)
        trial = study.ask()
        values = draw(trial, space)
        memory = values["model.memory"]
        params = trial.params
        if memory == "linear":
            assert set(params) == {"model.memory", "model.sensory", "train.learning_rate"}
        elif memory["type"] == "gated_delta":  # type: ignore[index]
            assert memory == {"type": "gated_delta", "heads": params["model.memory[gated_delta].heads"]}
            assert params["model.memory[gated_delta].heads"] in range(1, 9)
        else:
            assert params["model.memory[softmax].capacity"] in (2, 4, 6)
        assert 1e-4 <= params["train.learning_rate"] <= 1e-2
        study.tell(trial, float(number))


def test_names_labels_and_sizes() -> None:
    space = Space.parse(SPACE)
    assert [node.name for node in space.nodes()] == [
        "model.memory",
        "model.memory[gated_delta].heads",
        "model.memory[softmax].capacity",
        "model.sensory",
        "train.learning_rate",
    ]
    assert space.size() == (1 + 8 + 3) * 2 * 3  # a logarithmic range counts as its ends and its middle
    alike = Space.parse({"m": {"choice": [{"type": "a", "x": 1}, {"type": "a", "x": 2}, [1, 2]]}})
    (choice,) = alike.nodes()
    assert isinstance(choice, Choice)
    assert choice.labels() == ["{type: a, x: 1}", "{type: a, x: 2}", "[1, 2]"]


def test_a_grid_counts_every_value() -> None:
    grid = {"a": {"int": [1, 100]}, "b": {"float": [0.0, 1.0], "step": 0.1}, "c": {"choice": ["x", "y"]}}
    assert Space.parse(grid).grid_size() == 100 * 11 * 2
    with pytest.raises(ValueError, match=r"train\.learning_rate is a range without a step"):
        Space.parse(SPACE).grid_size()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": {"choice": []}}, r"a: choice is a list of at least one thing"),
        ({"a": {"choice": ["x", "x"]}}, r"a: 'x' stands in the choice twice"),
        ({"a": {"int": [4, 1]}}, r"a: int runs from 4 down to 1; write \[1, 4\]"),
        ({"a": {"int": [1]}}, r"a: int is \[low, high\], two numbers"),
        ({"a": {"int": [1.5, 3]}}, r"a: int takes whole numbers"),
        ({"a": {"float": [0, 1], "log": True}}, r"a: a logarithmic range begins above 0"),
        ({"a": {"float": [1, 2], "log": True, "step": 1}}, r"a: a range is logarithmic or has a step, not both"),
        ({"a": {"float": [0, 1], "step": 0.3}}, r"a: steps of 0.3 from 0 do not meet 1"),
        ({"a": {"float": [0, 1], "step": 0}}, r"a: step is a number above 0"),
        ({"a": {"int": [1, 2], "steps": 1}}, r"a: int takes no 'steps'; it has int, log, step"),
        ({"a": {"choice": [{"type": "p", "n": {"int": [2, 1]}}]}}, r"a\[p\]\.n: int runs from 2 down to 1"),
        ({"a": 3}, r"has nothing to draw"),
        ({"a": {"choice": ["x"]}, "a.b": {"int": [1, 2]}}, r"a\.b lies within a, which is drawn whole"),
        ({"seed": {"int": [1, 2]}}, r"are the same for all trials"),
    ],
)
def test_what_cannot_be_drawn_is_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space.parse(data)


def test_a_grid_has_every_point_once_and_first_ones_first() -> None:
    space = {
        "a": {"choice": ["x", {"type": "y", "n": {"int": [2, 6], "step": 2}}]},
        "b": {"float": [0.1, 0.4], "step": 0.1},
    }
    wanted = {(a, n, b) for a, n in [("x", None), ("y", 2), ("y", 4), ("y", 6)] for b in range(4)}
    first = [{"b": 0.4}, {"a": "y", "a[y].n": 4}, {"b": 0.4, "a": "x"}]
    orders = []
    for seed in (0, 1):
        search = Search.model_validate({"space": space, "sampler": "grid", "first": first, "seed": seed})
        order = grid_order(search)
        points = [(one["a"], one.get("a[y].n"), round((float(one["b"] or 0) - 0.1) * 10)) for one in order]
        assert len(points) == len(set(points)) == Space.parse(space).grid_size() == 16
        assert set(points) == wanted
        assert order[0]["b"] == 0.4
        assert (order[1]["a"], order[1]["a[y].n"]) == ("y", 4)
        assert all(type(one["a[y].n"]) is int for one in order if "a[y].n" in one)
        orders.append(points)
    assert orders[0] != orders[1]


def test_what_hangs_on_a_choice_is_conditional() -> None:
    space = Space.parse({"a": {"choice": ["x", {"type": "y", "n": {"int": [2, 6]}}]}, "b": {"choice": [1, 2]}})
    assert space.conditional() == ["a[y].n"]
