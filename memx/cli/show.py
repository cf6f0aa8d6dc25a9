"""`memx show <kind> <name>`: what a component computes and what may be said to it."""

from __future__ import annotations

import textwrap
import typing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memx.cli.common import Overrides, Plugins

if TYPE_CHECKING:
    from memx.registry import Entry


def show(
    kind: Annotated[
        str, typer.Argument(help="memory, fusion, encoder, decoder, model, layout, transform, loss … or recipe")
    ],
    name: Annotated[str | None, typer.Argument(help="Its name, as `memx list` prints it.", show_default=False)] = None,
    overrides: Overrides = None,
    plugin: Plugins = None,
) -> None:
    """Show a component (equation, options with defaults and meaning, state, forms, source) or a filled recipe."""
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    from memx.cli.common import load_plugins
    from memx.errors import UserError
    from memx.recipe import Recipe
    from memx.registry import registry

    load_plugins(plugin)
    console = Console(highlight=False)
    if name is None:
        raise UserError(_meant(kind))
    if kind == "recipe":
        text = Recipe.load(name, overrides or []).to_yaml()
        if console.is_terminal:
            console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
        else:  # so that it can be piped into a file
            typer.echo(text, nl=False)
        return
    if overrides:
        raise UserError(f"overrides change recipes; {kind} {name} is a component")
    entry = registry(kind)[name]
    console.print(Text.assemble((f"{entry.kind} ", "dim"), (entry.name, "bold cyan")))
    console.print(Text(hanging(reflow(entry.doc), console.width)))
    console.print()
    if entry.options.model_fields:
        table = Table(title="options", title_justify="left", box=None, pad_edge=False, title_style="bold")
        for column in ("option", "type", "default", "meaning"):
            table.add_column(column, style="cyan" if column == "option" else "", no_wrap=column == "option")
        for option in describe_options(entry):
            table.add_row(*map(Text, option))
        console.print(table)
    else:
        console.print("no options")
    console.print()
    console.print(Text.assemble(("facts  ", "bold"), ", ".join(entry.facts) or "none"))
    if kind == "memory":
        for label, value in memory_facts(entry).items():
            console.print(Text.assemble((f"{label:5}  ", "bold"), value))


def _meant(word: str) -> str:
    """What to say to one word, where a kind and a name are wanted."""
    from memx.registry import registries

    if word in registries() or word == "recipe":
        return f"name the {word}, as `memx list {word}` prints it: memx show {word} NAME"
    kinds = [kind for kind, components in registries().items() if word in components]
    if kinds:
        return "say the kind, too: " + " or ".join(f"`memx show {kind} {word}`" for kind in kinds)
    return f"no component is called {word!r}; say a kind and a name that `memx list` prints: `memx show memory linear`"


def hanging(doc: str, width: int) -> str:
    """Indented lines that are wider than the terminal go on under themselves, further in."""
    lines: list[str] = []
    for line in doc.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        long = line.startswith(" ") and len(line) > width
        lines += textwrap.wrap(line, width, subsequent_indent=indent) if long else [line]
    return "\n".join(lines)


def reflow(doc: str) -> str:
    """A docstring whose paragraphs are one line each, for the terminal to break; indented lines stay as they are."""
    lines: list[str] = []
    for line in doc.splitlines():
        joins = bool(lines) and bool(line.strip()) and bool(lines[-1].strip()) and not line.startswith(" ")
        if joins and not lines[-1].startswith(" "):
            lines[-1] += " " + line
        else:
            lines.append(line)
    return "\n".join(lines)


def describe_options(entry: Entry) -> list[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each option of a component."""
    return [
        (name, type_text(info.annotation, info.metadata), default_text(info), info.description or "")
        for name, info in entry.options.model_fields.items()
    ]


def type_text(annotation: Any, metadata: Any = ()) -> str:
    """A type as a reader of recipes would say it: `relu | elu`, `int ≥ 1`, `memory`."""
    from memx.registry import Slot

    for item in metadata:
        if isinstance(item, Slot):
            return item.kind
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_text(args[0], args[1:])
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if annotation is type(None):
        return "null"
    if origin in (list, tuple, dict):
        return f"{origin.__name__} of {', '.join(dict.fromkeys(type_text(a) for a in args if a is not Ellipsis))}"
    if args:
        return " | ".join(type_text(a, metadata if a in (int, float) else ()) for a in args)
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of"}
    bounds = [
        f"{sign} {getattr(m, key)}"
        for m in metadata
        for key, sign in words.items()
        if getattr(m, key, None) is not None
    ]
    return " ".join([getattr(annotation, "__name__", str(annotation)), ", ".join(bounds)]).strip()


def default_text(info: Any) -> str:
    """A default as a recipe would write it."""
    from memx.registry import Part

    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, Part):
        options = "".join(f", {k}: {v}" for k, v in value.options.items())
        return f"{{type: {value.type}{options}}}" if options else value.type
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def memory_facts(entry: Entry) -> dict[str, str]:
    """Forms, reading order and state size of a memory at GDKVM's dimensions."""
    import pydantic

    from memx.errors import RecipeError
    from memx.memory.base import Shape

    try:
        memory = entry.build({"key_dim": 64, "value_dim": 256, "feature_dim": 256}, entry.validate({}))
    except (RecipeError, pydantic.ValidationError):
        return {"forms": "known once its required options are given"}
    forms = dict.fromkeys(["recurrent", *memory.forms])
    facts = {"forms": ", ".join(forms), "reads": memory.reads.replace("_", " ")}
    try:
        after = {n: memory.cost(Shape(frames=n, tokens=256)) for n in (1, 10)}
    except NotImplementedError:
        return {**facts, "state": "not declared: the memory has no `cost`"}
    return {
        **facts,
        "sizes": "key 64, value 256, 256 tokens a frame, 1 object, for the figures below",
        "state": f"{after[1].state_bytes:,} bytes after 1 frame, {after[10].state_bytes:,} after 10",
        "cost": f"{(after[10].macs + after[10].uncounted_macs) / 10 / 1e6:,.1f} M multiply-accumulates a frame",
    }
