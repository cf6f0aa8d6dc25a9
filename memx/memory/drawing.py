"""What the laws are held in: cases, and a memory's own options drawn from its schema (Hypothesis)."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Literal

import annotated_types
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from memx.errors import RecipeError
from memx.memory.laws import Case
from memx.registry import Entry, Part

KEY_DIMS = (1, 2, 3, 4, 8)
VALUE_DIMS = (1, 2, 3, 4, 6, 8, 12, 24)
WIDE = (16, 32, 64)
"""Sizes for memories that take none of the small ones."""
TOKENS = (1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7, 17, 33, 65)
"""Mostly a few; the larger ones cut a frame into chunks, which hold 16 tokens and more."""
FRAMES = (1, 2, 3, 4, 5, 2, 3, 4, 0)
"""Mostly clips that can be cut inside."""

Options = dict[str, Any]
Bounded = tuple[Any, list[Any]]
"""An annotation, and the bounds that it is under."""


@dataclass(frozen=True)
class Space:
    """What can be drawn for one memory."""

    entry: Entry

    def part(self, options: Mapping[str, Any]) -> Part:
        return Part(self.entry.kind, self.entry.name, options)

    def fits(self, options: Mapping[str, Any], case: Case) -> bool:
        """Whether the memory takes these options together at these sizes; one that crashes is left to the laws."""
        try:
            case.memory(self.part(options))
        except RecipeError:
            return False
        except Exception:
            return True
        return True

    @cached_property
    def base(self) -> Options:
        """The options that have no default, each at the first value that its schema allows.

        Raises RecipeError for one whose values cannot be drawn.
        """
        found = {}
        for name, field in self._fields.items():
            if field.is_required():
                values = [value for pair in _alternatives(field) for value in _listed(*pair)]
                if not values:
                    raise RecipeError(
                        f"memory {self.entry.name!r}: option {name!r} has no default, and memx does not know how to "
                        f"draw {', '.join(_kind_name(kind) for kind, _ in _alternatives(field))}: give it a default"
                    )
                found[name] = values[0]
        return found

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(key_dim, value_dim) that the memory takes with its defaults, small ones first.

        Raises RecipeError, with the memory's own words, when it takes none of those that are tried.
        """
        for keys, values in ((KEY_DIMS, VALUE_DIMS), (KEY_DIMS + WIDE, VALUE_DIMS + WIDE)):
            pairs = sorted(itertools.product(keys, values), key=lambda pair: (pair[0] * pair[1], pair))
            taken = tuple((k, v) for k, v in pairs if self.fits(self.base, Case(key_dim=k, value_dim=v)))
            if taken:
                return taken
        try:
            Case().memory(self.part(self.base))
        except RecipeError as error:
            raise RecipeError(f"none of the sizes that are tried can be built, up to 64 channels: {error}") from None
        raise AssertionError("a memory that can be built takes a size")

    @property
    def usual(self) -> Case:
        """A case of which every law says something, where the memory takes its sizes."""
        key, value = (4, 8) if (4, 8) in self.sizes else self.sizes[-1]
        return Case(frames=4, split=2, key_dim=key, value_dim=value, resets=((0, 1), (1, 0), (1, 3)))

    @property
    def large(self) -> tuple[Case, Case]:
        """A long clip of few tokens and a short one of many: larger than any case that is drawn."""
        small = replace(self.usual, objects=1, resets=False)
        return (
            replace(small, frames=33, split=17, tokens=3, resets=((1, 20),)),
            replace(small, batch=1, frames=2, split=1, tokens=300),
        )

    @cached_property
    def corners(self) -> tuple[Options, ...]:
        """Each value of each option that is not its default, with as few others as the memory needs to take it."""
        return tuple(options for _, options in self._corners if options is not None)

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """What is not drawn, a sentence each: options of unknown types, and values that go with no others."""
        held = []
        for name, field in self._fields.items():
            kinds = [(_kind_name(kind), _listed(kind, bounds)) for kind, bounds in _alternatives(field)]
            unknown = ", ".join(kind for kind, values in kinds if not values)
            if unknown and all(not values for _, values in kinds):
                held.append(f"option {name!r} is held at its default: memx does not know how to draw {unknown}")
            elif unknown:
                held.append(f"option {name!r} is drawn without its {unknown}: memx does not know how to draw it")
        alone = [
            f"option {name!r} is not held at {value!r}: the memory refuses it beside every other option that was tried"
            for (name, value), found in self._corners
            if found is None
        ]
        return (*held, *alone)

    def options(self) -> st.SearchStrategy[Options]:
        """Every option at its default or at what its schema allows, or one of the corners."""
        free = {name: self._values(name) for name in self._fields}
        return st.one_of(st.fixed_dictionaries(free), st.sampled_from([self.base, *self.corners])).map(self.changed)

    def changed(self, options: Options) -> Options:
        """The options that are not at their default."""
        fields = self._fields
        return {k: v for k, v in options.items() if fields[k].is_required() or v != fields[k].default}

    def cases(self) -> st.SearchStrategy[Case]:
        """Cases at the sizes that the memory takes; they shrink to one small frame."""
        return _cases(self.sizes)

    @property
    def _fields(self) -> dict[str, FieldInfo]:
        return self.entry.options.model_fields

    def _values(self, name: str) -> st.SearchStrategy[Any]:
        field = self._fields[name]
        default = [] if field.is_required() else [st.just(field.default)]
        return st.one_of(*default, *(values for pair in _alternatives(field) for values in _drawn(*pair)))

    @cached_property
    def _corners(self) -> tuple[tuple[tuple[str, Any], Options | None], ...]:
        changes = [
            (name, value)
            for name, field in self._fields.items()
            for pair in _alternatives(field)
            for value in _listed(*pair)
            if field.is_required() or value != field.default
        ]

        def first_that_fits(change: tuple[str, Any]) -> Options | None:
            others = [other for other in changes if other[0] != change[0]]
            more = itertools.chain.from_iterable(itertools.combinations(others, size) for size in range(3))
            chosen = ({**self.base, **dict([*few, change])} for few in more)
            return next((options for options in chosen if self.fits(options, self.usual)), None)

        return tuple((change, first_that_fits(change)) for change in changes)


@cache
def space_of(entry: Entry) -> Space:
    """The space of a registered memory, which is worked out once."""
    return Space(entry)


@st.composite
def _cases(draw: st.DrawFn, sizes: tuple[tuple[int, int], ...]) -> Case:
    tokens = draw(st.sampled_from(TOKENS))
    frames = min(draw(st.sampled_from(FRAMES)), 2 if tokens > 7 else max(FRAMES))
    batch, objects = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    key_dim, value_dim = draw(st.sampled_from(sizes))
    places = list(itertools.product(range(batch), range(frames)))
    return Case(
        batch=batch,
        frames=frames,
        objects=objects,
        tokens=tokens,
        key_dim=key_dim,
        value_dim=value_dim,
        split=draw(st.integers(1, max(1, frames - 1))),
        warm=draw(st.booleans()),
        resets=draw(_resets(places)),
        seed=draw(st.integers(0, 99)),
    )


def _resets(places: list[tuple[int, int]]) -> st.SearchStrategy[bool | tuple[tuple[int, int], ...]]:
    """None, anywhere, and everywhere."""
    if not places:
        return st.just(False)
    some = st.lists(st.sampled_from(places), min_size=1, unique=True).map(lambda chosen: tuple(sorted(chosen)))
    return st.one_of(st.just(False), some, st.just(tuple(places)))


def _alternatives(field: FieldInfo) -> Iterator[Bounded]:
    """The members of an option's union, or its one annotation, without `Annotated`."""

    def flat(annotation: Any, metadata: list[Any]) -> Iterator[Bounded]:
        if typing.get_origin(annotation) is typing.Annotated:
            inner, *items = typing.get_args(annotation)
            extra = [m for item in items for m in (item.metadata if isinstance(item, FieldInfo) else [item])]
            yield from flat(inner, [*metadata, *extra])
        elif typing.get_origin(annotation) is typing.Union or isinstance(annotation, type(int | None)):
            for member in typing.get_args(annotation):
                yield from flat(member, metadata)
        else:
            yield annotation, metadata

    return flat(field.annotation, field.metadata)


def _kind_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation))


def _span(annotation: type, metadata: list[Any]) -> tuple[Any, Any]:
    """Bounds of a number that a schema allows, kept small."""

    def bounds(kind: type, name: str) -> list[Any]:
        plain = [getattr(m, name) for m in metadata if isinstance(m, kind)]
        return plain + [x for m in metadata if isinstance(m, annotated_types.Interval) and (x := getattr(m, name))]

    low = max(bounds(annotated_types.Ge, "ge"), default=None)
    above = max(bounds(annotated_types.Gt, "gt"), default=None)
    high = min(bounds(annotated_types.Le, "le"), default=None)
    below = min(bounds(annotated_types.Lt, "lt"), default=None)
    if annotation is int:
        low = above + 1 if low is None and above is not None else low
        high = below - 1 if high is None and below is not None else high
        low = low if low is not None else 0 if high is None else min(0, high)
        return low, low + 3 if high is None else min(high, low + 3)
    low = above + 0.05 if low is None and above is not None else low
    high = below - 0.05 if high is None and below is not None else high
    low = low if low is not None else 0.0 if high is None else min(0.0, high)
    return low, low + 2 if high is None else high


def _drawn(annotation: Any, metadata: list[Any]) -> list[st.SearchStrategy[Any]]:
    """Values that an annotation and its bounds allow; nothing where memx does not know how to draw them."""
    if annotation in (int, float):
        low, high = _span(annotation, metadata)
        return [st.integers(low, high) if annotation is int else st.floats(low, high)]
    values = _listed(annotation, metadata)
    return [st.sampled_from(values)] if values else []


def _listed(annotation: Any, metadata: list[Any]) -> list[Any]:
    """The values of a Literal, a bool or None; of a number one inside its bounds; of anything else nothing."""
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    if annotation is type(None):
        return [None]
    if annotation is bool:
        return [False, True]
    if annotation not in (int, float):
        return []
    low, high = _span(annotation, metadata)
    return [min(low + 1, high) if annotation is int else (low + high) / 2]
