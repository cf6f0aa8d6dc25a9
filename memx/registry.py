"""Components and their registries.

A component is a plain class or function. Its signature is its schema: what stands before the `*` are *facts* that the
model supplies (dimensions), what stands after it are the *options* that a recipe may say.

    @memories.register("leaky")
    class Leaky(Memory):
        def __init__(self, key_dim: int, value_dim: int, *, decay: Annotated[float, Field(gt=0, le=1)] = 0.9): ...

`memories.describe("leaky")` knows its options from there, and pydantic validates them. A component that takes other
components declares a slot (`Annotated[Callable[..., nn.Module], Slot("memory")]`) and is given a callable that wants
the facts: a validated `Part` when it comes from a recipe, or any class, `functools.partial` or lambda in Python.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic_core import PydanticCustomError, core_schema

from memx.errors import RecipeError, unknown

T = TypeVar("T", bound=Callable[..., Any])
PLUGIN_GROUP = "memx.components"


@dataclass(frozen=True)
class Entry:
    """One registered component: what it is called, what builds it, and what its signature says."""

    kind: str
    name: str
    factory: Callable[..., Any]

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.factory).parameters.values())

    @property
    def facts(self) -> tuple[str, ...]:
        """Names that the model supplies: the parameters before the `*`."""
        return tuple(p.name for p in self._parameters if p.kind is p.POSITIONAL_OR_KEYWORD)

    @property
    def required_facts(self) -> tuple[str, ...]:
        return tuple(
            p.name
            for p in self._parameters
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is inspect.Parameter.empty
        )

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.factory) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.split("\n", 1)[0]

    @cached_property
    def options(self) -> type[pydantic.BaseModel]:
        """A pydantic model of the options: the parameters after the `*`."""
        target = self.factory.__init__ if inspect.isclass(self.factory) else self.factory
        hints = typing.get_type_hints(target, include_extras=True)
        fields: dict[str, Any] = {}
        for p in self._parameters:
            if p.kind is p.KEYWORD_ONLY:
                default = ... if p.default is inspect.Parameter.empty else p.default
                hint = hints.get(p.name, Any)
                if isinstance(default, Part):
                    hint = Annotated[hint, refines(default)]
                fields[p.name] = (hint, default)
        config = pydantic.ConfigDict(extra="forbid", validate_default=True, arbitrary_types_allowed=True, frozen=True)
        return pydantic.create_model(f"{self.kind}:{self.name}", __config__=config, **fields)

    def validate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options checked and filled with their defaults; raises pydantic's ValidationError with all that is wrong."""
        model = self.options.model_validate(dict(options))
        return {name: getattr(model, name) for name in type(model).model_fields}

    def build(self, facts: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """Call the component with those of the offered facts that it names, and with its options."""
        missing = [name for name in self.required_facts if name not in facts]
        if missing:
            raise RecipeError(
                f"{self.kind} {self.name!r} needs {', '.join(missing)}, which this place in the model does not supply; "
                f"it supplies {', '.join(facts) or 'nothing'}"
            )
        try:
            return self.factory(**{name: facts[name] for name in self.facts if name in facts}, **options)
        except ValueError as error:
            raise RecipeError(f"{self.kind} {self.name!r}: {error}") from error


@dataclass(frozen=True)
class Part:
    """A component chosen by name with its options: call it with the facts of its place and it is built."""

    kind: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **facts: Any) -> Any:
        entry = registry(self.kind)[self.type]
        try:
            options = entry.validate(self.options)
        except pydantic.ValidationError as error:
            raise RecipeError(f"{self.kind} {self.type!r}: {error}") from None
        return entry.build(facts, options)

    def dump(self, *, neutral: bool = True) -> dict[str, Any]:
        """The part as plain data, `{type: …, option: …}`, with every default written out.

        Without `neutral`, options at their `Neutral` value are left out, here and in the parts within.
        """
        entry = registry(self.kind)[self.type]
        filled = entry.options.model_validate(dict(self.options))
        data = filled.model_dump(mode="json", context={"neutral": neutral})
        if not neutral:
            for name in neutral_options(filled):
                del data[name]
        return {"type": self.type, **data}


@dataclass(frozen=True)
class Neutral:
    """Marks an option that was added when recipes had been run without it: at `value` it changes nothing.

    `Annotated[float, Field(ge=0), Neutral(0.0)]`: the hash of a recipe leaves it out there, so that the runs of before
    keep their identity.
    """

    value: Any


def neutral_options(filled: pydantic.BaseModel) -> list[str]:
    """The options of a component, or of a section of a recipe, that are at their `Neutral` value."""
    return [
        name
        for name, info in type(filled).model_fields.items()
        if any(isinstance(mark, Neutral) and mark.value == getattr(filled, name) for mark in info.metadata)
    ]


class Slot:
    """Marks an annotation as a place for a component of one kind: `Annotated[Callable[..., Any], Slot("memory")]`.

    A recipe fills it with a name (`memory: linear`) or a mapping (`memory: {type: linear, normalize: true}`).
    """

    def __init__(self, kind: str):
        self.kind = kind

    def validate(self, value: Any) -> Part | Callable[..., Any]:
        if isinstance(value, Part):
            value = {"type": value.type, **value.options}
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("slot", "wants a {kind}: a name, or a mapping with `type`", {"kind": self.kind})
        if "type" not in value:
            names = ", ".join(registry(self.kind).names())
            raise PydanticCustomError(
                "slot", "`type` is missing; a {kind} is one of: {names}", {"kind": self.kind, "names": names}
            )
        options = {key: item for key, item in value.items() if key != "type"}
        name = str(value["type"])
        if name not in registry(self.kind):
            message = unknown(self.kind, name, registry(self.kind).names())
            raise PydanticCustomError("slot", "{message}", {"message": message})
        return Part(self.kind, name, registry(self.kind)[name].validate(options))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump_part, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        entries = list(registry(self.kind))
        choices: list[dict[str, Any]] = [{"enum": [entry.name for entry in entries]}]
        for entry in entries:
            options = handler.resolve_ref_schema(handler(entry.options.__pydantic_core_schema__))
            properties = {"type": {"const": entry.name}, **options.get("properties", {})}
            choices.append(
                {
                    "type": "object",
                    "description": entry.summary,
                    "properties": properties,
                    "required": ["type", *options.get("required", [])],
                    "additionalProperties": False,
                }
            )
        return {"anyOf": choices}


class refines:
    """Lets a mapping without `type` stand for changes to the slot's default: `memory: {heads: 4}`."""

    def __init__(self, default: Part):
        self.default = default

    def fill(self, value: Any) -> Any:
        if isinstance(value, Mapping) and "type" not in value:
            return {"type": self.default.type, **self.default.options, **value}
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.fill, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        slot = handler(schema)
        choices = slot["anyOf"]
        (named,) = [c for c in choices if c.get("properties", {}).get("type") == {"const": self.default.type}]
        given = set(self.default.options) | {"type"}
        refined = {**named, "required": [name for name in named["required"] if name not in given]}
        return {"anyOf": [*choices, refined]}


def _dump_part(value: Any, info: pydantic.SerializationInfo) -> Any:
    if not isinstance(value, Part):
        raise ValueError(
            f"{value!r} was composed in Python and cannot be written into a recipe: register it and name it"
        )
    return value.dump(neutral=(info.context or {}).get("neutral", True))


def build_part(part: Callable[..., Any], **facts: Any) -> Any:
    """Fill a slot: call a Part, class, partial or lambda with those of the facts that its signature names.

    Raises RecipeError when it needs a fact that is not supplied.
    """
    if isinstance(part, Part):
        return part(**facts)
    if not callable(part) or (hasattr(part, "forward") and not inspect.isclass(part)):
        raise TypeError(
            f"a slot takes a class, a partial or a lambda that is called with {', '.join(facts)}, or a "
            f"Part(kind, name, options); not {type(part).__name__} {part if isinstance(part, str) else ''}".strip()
        )
    parameters = inspect.signature(part).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    missing = [
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty and p.name not in facts
    ]
    if missing:
        label = getattr(part, "__name__", repr(part))
        raise RecipeError(f"{label} needs {', '.join(missing)}; this place in the model supplies {', '.join(facts)}")
    return part(**{name: value for name, value in facts.items() if name in named})


class Registry:
    """The components of one kind, by name. Its package is imported at the first look-up, which registers them."""

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self.package = package
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Class or function decorator that registers a component under `name`."""

        def add(factory: T) -> T:
            for p in inspect.signature(factory).parameters.values():
                if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                    raise TypeError(f"{self.kind} {name!r}: a component spells its options out; it may not take {p}")
            known = self._entries.get(name)
            if known and _origin(known.factory) != _origin(factory) and not _gives_way(known.factory, factory):
                raise RecipeError(f"{self.kind} {name!r} is already registered by {_origin(known.factory)}")
            self._entries[name] = Entry(self.kind, name, factory)
            return factory

        return add

    def put(self, entry: Entry) -> None:
        """Make an entry that was registered before the current one of its name."""
        self._entries[entry.name] = entry

    def known(self) -> list[Entry]:
        """What is registered so far, without importing anything."""
        return list(self._entries.values())

    def _load(self) -> None:
        importlib.import_module(self.package)
        load_installed_plugins()

    def names(self) -> list[str]:
        self._load()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[Entry]:
        return iter([self._entries[name] for name in self.names()])

    def __getitem__(self, name: str) -> Entry:
        if name not in self:
            raise RecipeError(unknown(self.kind, name, self._entries))
        return self._entries[name]

    describe = __getitem__

    def build(self, name: str, facts: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Validate options and call the component: `memories.build("linear", {"key_dim": 64, "value_dim": 64})`."""
        return Part(self.kind, name, options)(**(facts or {}))


def _origin(factory: Callable[..., Any]) -> str:
    """Module file and qualified name: the same source registered twice (a plug-in loaded again) is no clash."""
    module = sys.modules.get(factory.__module__)
    return f"{getattr(module, '__file__', factory.__module__)}:{factory.__qualname__}"


def _gives_way(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """Whether the new component may take the old one's name: a plug-in file, named last, is the current one.

    What memx itself registers never gives way.
    """
    outside = [not f.__module__.startswith("memx.") for f in (known, new)]
    return all(outside) and any(f.__module__.startswith("memx_plugin_") for f in (known, new))


memories = Registry("memory", "memx.memory")
fusions = Registry("fusion", "memx.fusion")
encoders = Registry("encoder", "memx.encoders")
decoders = Registry("decoder", "memx.decoders")
refiners = Registry("refiner", "memx.refiners")
sensories = Registry("sensory", "memx.sensory")
models = Registry("model", "memx.models")
losses = Registry("loss", "memx.losses")
layouts = Registry("layout", "memx.data")
transforms = Registry("transform", "memx.data")

_ALL = (models, memories, fusions, encoders, decoders, refiners, sensories, losses, layouts, transforms)


def registries() -> dict[str, Registry]:
    """All registries by kind."""
    return {r.kind: r for r in _ALL}


def registry(kind: str) -> Registry:
    """The registry of one kind, e.g. `registry("memory")`."""
    if kind not in registries():
        raise RecipeError(unknown("kind of component", kind, registries()))
    return registries()[kind]


_loaded: set[str] = set()


@cache
def installed_plugins() -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points that installed packages declare under the group `memx.components`, by name."""
    return {point.name: point for point in importlib.metadata.entry_points(group=PLUGIN_GROUP)}


def load_installed(point: importlib.metadata.EntryPoint) -> None:
    """Import one entry point, once. Raises RecipeError naming the package when it fails."""
    if point.value in _loaded:
        return
    try:
        point.load()
    except Exception as error:
        package = point.dist.name if point.dist else "an installed package"
        raise RecipeError(
            f"the plug-in {point.name!r} of {package} ({point.value}) fails: {type(error).__name__}: {error}; "
            f"mend or uninstall it"
        ) from error
    _loaded.add(point.value)


def load_installed_plugins() -> None:
    """Import what installed packages declare under the entry-point group `memx.components`."""
    for point in installed_plugins().values():
        load_installed(point)
