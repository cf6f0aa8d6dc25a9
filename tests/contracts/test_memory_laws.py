"""Every registered memory is held to every law, with options and cases drawn from its own schema."""

from __future__ import annotations

import itertools
import typing
import zlib
from typing import Any, Literal

import annotated_types
import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from memx.errors import RecipeError
from memx.memory.laws import LAWS, Case, NotApplicableError
from memx.registry import Part, memories

SETTINGS = settings(deadline=None, max_examples=15, database=None, suppress_health_check=[HealthCheck.filter_too_much])
CORNER = Case(frames=4, split=2, resets=True, warm=True)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Mostly clips of two frames and more, which are cut inside."""
    frames = draw(st.sampled_from([2, 3, 4, 5, 1]))
    return Case(
        batch=draw(st.sampled_from([2, 1])),
        frames=frames,
        objects=draw(st.sampled_from([2, 3, 1])),
        tokens=draw(st.integers(1, 6)),
        key_dim=draw(st.sampled_from([4, 3, 1, 8])),
        value_dim=draw(st.sampled_from([8, 6])),
        split=draw(st.integers(1, max(1, frames - 1))),
        warm=draw(st.booleans()),
        resets=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )


def unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """An annotation without its `Annotated`, and the bounds that it is under."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return annotation, metadata
    inner, *items = typing.get_args(annotation)
    extra = [m for item in items for m in (item.metadata if isinstance(item, FieldInfo) else [item])]
    return unwrapped(inner, [*metadata, *extra])


def alternatives(annotation: Any, metadata: list[Any]) -> list[Any]:
    """The members of a union, or the annotation itself."""
    annotation, metadata = unwrapped(annotation, metadata)
    if typing.get_origin(annotation) is typing.Union or isinstance(annotation, type(int | None)):
        return [pair for member in typing.get_args(annotation) for pair in alternatives(member, metadata)]
    return [(annotation, metadata)]


def span(annotation: Any, metadata: list[Any]) -> tuple[Any, Any]:
    """Bounds of a number that a schema allows, kept small."""
    low = max([m.ge for m in metadata if isinstance(m, annotated_types.Ge)], default=None)
    above = max([m.gt for m in metadata if isinstance(m, annotated_types.Gt)], default=None)
    high = min([m.le for m in metadata if isinstance(m, annotated_types.Le)], default=None)
    if annotation is int:
        start = low if low is not None else 0 if above is None else above + 1
        return start, start + 3 if high is None else min(high, start + 3)
    if annotation is float:
        start = low if low is not None else 0.0 if above is None else above + 0.05
        return start, start + 2 if high is None else high
    raise TypeError(f"the contract tests do not know how to draw {annotation!r}")


def drawn(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Values that a schema's annotation and bounds allow."""
    if typing.get_origin(annotation) is Literal:
        return st.sampled_from(typing.get_args(annotation))
    if annotation is type(None):
        return st.none()
    if annotation is bool:
        return st.booleans()
    low, high = span(annotation, metadata)
    return st.integers(low, high) if annotation is int else st.floats(low, high)


def listed(annotation: Any, metadata: list[Any]) -> list[Any]:
    """The values of a Literal, a bool or None; of a number one inside its bounds."""
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    if annotation is type(None):
        return [None]
    if annotation is bool:
        return [False, True]
    low, high = span(annotation, metadata)
    return [low + 1 if annotation is int else (low + high) / 2]


def options(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Every option of a registered memory, at its default or at what its schema allows."""
    fields = memories[name].options.model_fields
    return st.fixed_dictionaries(
        {
            key: st.one_of(
                st.just(field.default), *(drawn(*pair) for pair in alternatives(field.annotation, field.metadata))
            )
            for key, field in fields.items()
        }
    )


def fits(name: str, chosen: dict[str, Any], case: Case) -> bool:
    """Whether the memory takes these options together."""
    try:
        case.memory(Part("memory", name, chosen))
    except RecipeError:
        return False
    return True


def corners(name: str) -> list[dict[str, Any]]:
    """Each value of each option that is not its default, with as few others as the memory needs to take it."""
    fields = memories[name].options.model_fields
    changes = [
        (key, value)
        for key, field in fields.items()
        for pair in alternatives(field.annotation, field.metadata)
        for value in listed(*pair)
        if value != field.default
    ]
    found = []
    for change in changes:
        others = [other for other in changes if other[0] != change[0]]
        sets = itertools.chain.from_iterable(itertools.combinations(others, size) for size in range(3))
        found.append(next(chosen for more in sets if fits(name, chosen := dict([change, *more]), CORNER)))
    return found


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
def test_a_memory_keeps_the_law_with_every_value_of_every_option(name, law):
    reasons, chosen = [], corners(name)
    for options in chosen:
        try:
            law(Part("memory", name, options), CORNER)
        except NotApplicableError as reason:
            reasons.append(str(reason))
    if len(reasons) == len(chosen):
        pytest.skip(reasons[-1])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", memories.names())
def test_a_memory_keeps_the_law_with_drawn_options_and_cases(name, law):
    reasons: list[str] = []
    applied = 0

    @seed(zlib.crc32(f"{name} {law.__name__}".encode()))
    @SETTINGS
    @given(st.one_of(options(name), st.sampled_from(corners(name))), cases())
    def kept(chosen: dict[str, Any], case: Case) -> None:
        nonlocal applied
        assume(fits(name, chosen, case))
        try:
            law(Part("memory", name, chosen), case)
        except NotApplicableError as reason:
            reasons.append(str(reason))
        else:
            applied += 1

    kept()
    if not applied:
        pytest.skip(reasons[-1])
