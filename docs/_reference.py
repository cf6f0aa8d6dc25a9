"""The reference's pages, written from what is registered: signatures, docstrings and option descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import typer.main
from _docstrings import escape, to_markdown
from pydantic import BaseModel

from memx.cli import app
from memx.cli.show import default_text, describe_options, memory_facts, type_text
from memx.memory.base import Shape
from memx.memory.laws import LAWS
from memx.recipe import Recipe
from memx.registry import Entry, registries

PLURALS = {
    "memory": "Memories",
    "fusion": "Fusions",
    "model": "Models",
    "encoder": "Encoders",
    "decoder": "Decoders",
    "refiner": "Refiners",
    "sensory": "Sensory states",
    "loss": "Losses",
    "layout": "Data layouts",
    "transform": "Transforms",
}
WHERE = {
    "memory": "model.memory",
    "encoder": "model.image_encoder",
    "fusion": "model.key_fusion",
    "decoder": "model.decoder",
    "refiner": "model.refiner",
    "sensory": "model.sensory",
    "model": "model",
    "loss": "loss",
    "layout": "data.layout",
    "transform": "data.augment",
}
"""A place in a recipe where a component of the kind may stand."""

KINDS = [*PLURALS, *(kind for kind in registries() if kind not in PLURALS)]
TITLES = {
    "reference/index.md": "All components",
    "reference/commands.md": "Commands",
    "reference/recipe.md": "Recipe",
    **{f"reference/{kind}.md": PLURALS.get(kind, kind) for kind in KINDS},
    "reference/laws.md": "The laws of a memory",
    "reference/python.md": "Python",
}
SIZES = {"key_dim": 64, "value_dim": 256, "feature_dim": 256}
"""The dimensions that state sizes are given for: GDKVM's."""


def pages() -> dict[str, str]:
    """Markdown of every generated page, by its path in docs/."""
    return {
        "reference/index.md": _index(),
        "reference/commands.md": _commands(),
        "reference/recipe.md": _recipe(),
        **{f"reference/{kind}.md": _kind(kind) for kind in KINDS},
        "reference/laws.md": _laws(),
    }


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |"

    head = list(head)
    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)])


def memory_table() -> str:
    """The README's table of memories: what each computes, and how its state grows with the clip."""
    rows = []
    for entry in registries()["memory"]:
        memory = entry.build(SIZES, entry.validate({}))
        states = [memory.cost(Shape(frames=n, tokens=256)).state_bytes / 1024 for n in (1, 10)]
        rows.append((f"`{entry.name}`", escape(entry.summary), *(f"{size:,.0f} KiB" for size in states)))
    return table(("memory", "what it does", "state after 1 frame", "after 10"), rows)


def component_table() -> str:
    """The README's table of everything else that is registered."""
    rows = [
        (kind, ", ".join(f"`{name}`" for name in registry.names()))
        for kind, registry in registries().items()
        if kind != "memory"
    ]
    return table(("kind", "components"), rows)


def _index() -> str:
    parts = [
        "# All components",
        "These pages are generated from what is registered: a component's signature is its schema, and its docstring "
        "is its description. `memx list` and `memx show` print the same in a terminal.",
    ]
    for kind in KINDS:
        rows = [(f"[`{entry.name}`]({kind}.md#{entry.name})", escape(entry.summary)) for entry in registries()[kind]]
        parts += [f"## {PLURALS.get(kind, kind)}", table((kind, "what it does"), rows)]
    return "\n\n".join(parts) + "\n"


def _kind(kind: str) -> str:
    title = PLURALS.get(kind, kind)
    parts = [f"# {title}"]
    if kind == "memory":
        parts.append(
            "What every memory takes, gives and obeys is in [Concepts](../concepts.md#the-memory-contract) and in "
            "[The laws of a memory](laws.md). State and cost below are those of the default options."
        )
    for entry in registries()[kind]:
        parts += _component(entry)
    return "\n\n".join(parts) + "\n"


def _component(entry: Entry) -> Iterator[str]:
    yield f"## {entry.name} {{ #{entry.name} }}"
    yield to_markdown(entry.doc)
    options = describe_options(entry)
    if options:
        rows = [(f"`{name}`", f"`{kind}`", f"`{value}`", escape(text)) for name, kind, value, text in options]
        yield table(("option", "type", "default", "meaning"), rows)
    else:
        yield "No options."
    facts = [("facts", ", ".join(f"`{fact}`" for fact in entry.facts) or "none")]
    if entry.kind == "memory":
        facts += [(name, escape(text)) for name, text in memory_facts(entry).items()]
    place = WHERE.get(entry.kind)
    if place:
        value = f"[{entry.name}]" if entry.kind == "transform" else entry.name
        facts.append(("override", f"`{place}={value}`"))
    facts.append(("source", f"`{entry.factory.__module__.replace('.', '/')}.py`"))
    yield table(("", ""), facts)


def _recipe() -> str:
    parts = [
        "# Recipe",
        "Every key that a recipe may have. Components bring their own options: follow the links to their pages. "
        "`memx show recipe NAME` prints a recipe with all of them filled in, and `memx schema` prints a JSON schema "
        "for editors.",
        "## Top level",
        _fields(Recipe),
        "`base` (not in the table, because it is gone when a recipe is filled) names one recipe file that this one "
        "changes.",
    ]
    for name, info in Recipe.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            parts += [f"## {name}", escape(inspect.getdoc(section) or ""), _fields(section)]
    return "\n\n".join(parts) + "\n"


def _fields(model: type[BaseModel]) -> str:
    rows = []
    for name, info in model.model_fields.items():
        kind = type_text(info.annotation, info.metadata)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            rows.append((f"[`{name}`](#{name})", "section", "", escape(info.description or "")))
            continue
        shown = f"[{kind}]({kind}.md)" if kind in KINDS else f"`{kind}`"
        rows.append((f"`{name}`", shown, f"`{default_text(info)}`", escape(info.description or "")))
    return table(("key", "type", "default", "meaning"), rows)


def _laws() -> str:
    parts = [
        "# The laws of a memory",
        "Every registered memory is held to these laws by `tests/contracts/`, with its defaults and with options and "
        "sizes drawn at random. The laws are plain functions in `memx.memory.laws`, so that "
        "[a memory of yours](../tutorial.md#write-your-own-memory) can be held to them too.",
        table(("law", "what it states"), [(f"`{law.__name__}`", escape(inspect.getdoc(law) or "")) for law in LAWS]),
    ]
    return "\n\n".join(parts) + "\n"


def _commands() -> str:
    parts = [
        "# Commands",
        "`memx COMMAND --help` prints the same. A mistake of yours gives one message and exit status 2; `--debug` "
        "shows the traceback as well.",
    ]
    for name, command in _walk(typer.main.get_command(app), "memx"):
        parts += [f"## {name}", to_markdown(command.help or "")]
        rows = []
        for parameter in command.params:
            argument = parameter.param_type_name == "argument"
            label = (parameter.metavar or parameter.name.upper()) if argument else ", ".join(parameter.opts)
            default = "required" if parameter.required else "" if parameter.default is None else str(parameter.default)
            rows.append((f"`{label}`", f"`{default}`" if default else "", escape(parameter.help or "")))
        if rows:
            parts.append(table(("argument", "default", "meaning"), rows))
    return "\n\n".join(parts) + "\n"


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _walk(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command
