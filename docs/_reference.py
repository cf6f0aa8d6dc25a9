"""The reference's pages, written from what is registered: signatures, docstrings and option descriptions.

`python docs/_reference.py --readme` writes the README's tables anew.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from _docstrings import equation, escape, source, to_markdown
from pydantic import BaseModel

from memx.cli import app
from memx.cli.show import default_text, describe_options, memory_facts, type_text
from memx.files import write_text
from memx.memory.base import Cost, Memory, Shape
from memx.memory.laws import LAWS
from memx.recipe import Recipe
from memx.registry import Entry, registries
from memx.zoo import System, systems

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
TOKENS = 256
"""The dimensions, and the tokens of a frame, that state sizes and costs are given for: GDKVM's."""
README = Path(__file__).resolve().parent.parent / "README.md"


def pages() -> dict[str, str]:
    """Markdown of every generated page, by its path in docs/."""
    return {
        "reference/index.md": _index(),
        "reference/commands.md": _commands(),
        "reference/recipe.md": _recipe(),
        **{f"reference/{kind}.md": _kind(kind) for kind in KINDS},
        "reference/laws.md": _laws(),
        **{f"zoo/{name}.md": _card(system) for name, system in systems().items()},
    }


def table(head: Iterable[str], rows: Iterable[Iterable[str]], *, right: int = 0) -> str:
    """A Markdown table, its last `right` columns aligned to the right."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |"

    head = list(head)
    rule = "|" + " --- |" * (len(head) - right) + " ---: |" * right
    return "\n".join([line(head), rule, *map(line, rows)])


def memory_table() -> str:
    """The README's table of memories: what each computes, and how its state grows with the clip."""
    rows = [
        (f"`{entry.name}`", escape(entry.summary), *(kibibytes(cost) for cost in costs(built(entry))))
        for entry in registries()["memory"]
    ]
    return table(("memory", "what it does", "state after 1 frame", "after 10"), rows)


def component_table() -> str:
    """The README's table of everything else that is registered."""
    rows = [
        (kind, ", ".join(f"`{name}`" for name in registry.names()))
        for kind, registry in registries().items()
        if kind != "memory"
    ]
    return table(("kind", "components"), rows)


def readme(text: str) -> str:
    """The README with its tables written anew, each between `<!-- name -->` and `<!-- /name -->`."""
    for name, rows in (("memories", memory_table()), ("components", component_table())):
        found = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        text, count = found.subn(lambda _, rows=rows: rows + "\n", text)
        if count != 1:
            raise ValueError(f"README.md: <!-- {name} --> … <!-- /{name} --> is there {count} times, not once")
    return text


def mechanisms() -> list[str]:
    """What every memory computes and what it takes, as two tables with what stands above them."""
    computes, takes = [], []
    for entry in registries()["memory"]:
        memory, link = built(entry), f"[`{entry.name}`](#{entry.name})"
        short, long = costs(memory)
        forms = ", ".join(dict.fromkeys(["recurrent", *memory.forms]))
        figures = [f"{figure / 10 / 1e6:,.1f} M" for figure in (long.macs + long.uncounted_macs, long.flops)]
        computes.append((link, _equation_cell(entry.doc), _source_cell(entry.doc)))
        takes.append((link, forms, kibibytes(short), kibibytes(long), *figures))
    sizes = f"{SIZES['key_dim']} key and {SIZES['value_dim']} value channels, {TOKENS} tokens a frame, one object"
    return [
        "## What they compute",
        "n runs over the tokens of a frame, k, q and v are their keys, queries and values, and every token reads the "
        "state after its whole frame. Each memory's own section says what the other letters are.",
        table(("memory", "equation", "source"), computes),
        "## What they take",
        f"For {sizes}, default options. The state is float32. MACs (multiply-accumulates, triangular solves and "
        "eigenvalues among them) and FLOPs (two a MAC and one an elementwise operation) are those of the recurrent "
        "form, the mean of the first ten frames.",
        table(("memory", "forms", "state after 1 frame", "after 10", "MACs a frame", "FLOPs a frame"), takes, right=4),
    ]


def built(entry: Entry) -> Memory:
    """A memory at GDKVM's dimensions with its default options."""
    return entry.build(SIZES, entry.validate({}))


def costs(memory: Memory) -> tuple[Cost, Cost]:
    """The cost of one frame and of ten."""
    one, ten = (memory.cost(Shape(frames=frames, tokens=TOKENS)) for frames in (1, 10))
    return one, ten


def kibibytes(cost: Cost) -> str:
    return f"{cost.state_bytes / 1024:,.0f} KiB"


def _equation_cell(doc: str) -> str:
    """Lines of code in one cell of a table, each a block of its own (style.css); leading spaces stay."""
    lines = [line.replace("`", "") for line in equation(doc)]
    return "".join(
        f'<code class="equation">{"&nbsp;" * (len(line) - len(line.lstrip()))}'
        f"{escape(re.sub(' {2,}', '&emsp; ', line.strip()))}</code>"
        for line in lines
    )


def _source_cell(doc: str) -> str:
    """The source with arXiv numbers as links."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv&nbsp;\1](https://arxiv.org/abs/\1)", escape(source(doc)))


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
            "[The laws of a memory](laws.md)."
        )
        parts += mechanisms()
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
        "[a memory of yours](../check.md) can be held to them too: `memx check my_memory.py` draws the cases.",
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


def _card(system: System) -> str:
    """A system's card, its links as they are in the documentation."""
    return system.card.read_text(encoding="utf-8").replace("](../../docs/", "](../")


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{prefix} {name}", command
            yield from _walk(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def main() -> None:
    parser = argparse.ArgumentParser(description="What the documentation generates from the registry.")
    parser.add_argument("--readme", action="store_true", required=True, help="write the README's tables anew")
    parser.parse_args()
    write_text(README, readme(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
