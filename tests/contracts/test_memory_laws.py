"""Every registered memory is held to every law, with options and cases drawn from its own schema."""

from __future__ import annotations

import typing
from typing import Any, Literal

import annotated_types
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from memx.errors import RecipeError
from memx.memory.laws import LAWS, Case, NotApplicableError
from memx.registry import Part, memories

CASES = st.builds(
    Case,
    batch=st.integers(1, 2),
    frames=st.integers(1, 5),
    objects=st.integers(1, 3),
    tokens=st.integers(1, 6),
    key_dim=st.sampled_from([1, 3, 4, 8]),
    value_dim=st.sampled_from([8, 6]),
    split=st.integers(0, 4),
    warm=st.booleans(),
    resets=st.booleans(),
    seed=st.integers(0, 99),
)
SETTINGS = settings(deadline=None, max_examples=20, derandomize=True, database=None)


def bounded(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Values that a schema's annotation and bounds allow; integers and floats stay small."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        extra = [m for item in arguments[1:] for m in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return bounded(arguments[0], [*metadata, *extra])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is typing.Union or isinstance(annotation, type(int | None)):
        return st.one_of([bounded(argument, metadata) for argument in arguments])
    if annotation is type(None):
        return st.none()
    if annotation is bool:
        return st.booleans()
    low = max([m.ge for m in metadata if isinstance(m, annotated_types.Ge)], default=None)
    above = max([m.gt for m in metadata if isinstance(m, annotated_types.Gt)], default=None)
    high = min([m.le for m in metadata if isinstance(m, annotated_types.Le)], default=None)
    if annotation is int:
        start = low if low is not None else 0 if above is None else above + 1
        return st.integers(start, start + 3 if high is None else min(high, start + 3))
    if annotation is float:
        start = low if low is not None else 0.0 if above is None else above + 0.05
        return st.floats(start, start + 2 if high is None else high)
    raise TypeError(f"the contract tests do not know how to draw {annotation!r}")


def options(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Option values of a registered memory; an option left out keeps its default."""
    fields = memories[name].options.model_fields
    drawn = {key: bounded(field.annotation, list(field.metadata)) for key, field in fields.items()}
    return st.fixed_dictionaries({}, optional=drawn)


def build(name: str, chosen: dict[str, Any], case: Case) -> Part:
    part = Part("memory", name, chosen)
    try:
        case.memory(part)
    except RecipeError:
        assume(False)
    return part


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", memories.names())
def test_a_memory_keeps_the_law_with_its_defaults(name, law):
    part = Part("memory", name)
    try:
        law(part, Case())
    except NotApplicableError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", memories.names())
def test_a_memory_keeps_the_law_with_drawn_options_and_cases(name, law):
    reasons: list[str] = []
    applied = 0

    @SETTINGS
    @given(options(name), CASES)
    def kept(chosen: dict[str, Any], case: Case) -> None:
        nonlocal applied
        part = build(name, chosen, case)
        try:
            law(part, case)
        except NotApplicableError as reason:
            reasons.append(str(reason))
        else:
            applied += 1

    kept()
    if not applied:
        pytest.skip(reasons[-1])
