"""Docstrings as Markdown: equations stay as they are typed, aligned lists become lists."""

from __future__ import annotations

import inspect
import itertools
import re
from typing import Any

import griffe

_ENTRY = re.compile(r"^(?P<name>\S.*?)\s{2,}(?P<text>\S.*)$")
_CODE = re.compile(r"(`+[^`]*`+)")
_CITED = re.compile(r"arXiv \d{4}\.\d{4,5}|\b[A-Z][A-Za-z]+ (?:19|20)\d\d\b")
"""An arXiv number, or a venue with its year."""
_SPECIAL = re.compile(r"[*<\[\]|]|(?<!\w)_|_(?!\w)")  # a_b is no emphasis


def to_markdown(doc: str) -> str:
    """A docstring as Markdown.

    An indented paragraph (an equation, an example) becomes a code block. A paragraph of `name   meaning` lines, aligned
    by two spaces or more, becomes a list. Tables and fenced blocks are Markdown already. In running text, `*`, `_`,
    `<` and the like are letters.
    """
    *blocks, last = re.split(r"\n\s*\n", inspect.cleandoc(doc))
    lines = last.splitlines()
    at = _source_start(lines)
    blocks += ["\n".join(part) for part in (lines[:at], lines[at:]) if part]
    out: list[str] = []
    for block in blocks:
        lines = block.splitlines()
        if all(line.startswith("    ") for line in lines):
            text = inspect.cleandoc("\n" + block)
            if out and out[-1].startswith("```text") and out[-1].endswith("```"):  # one equation with a gap in it
                out[-1] = out[-1].removesuffix("```") + f"\n{text}\n```"
            else:
                out.append(f"```text\n{text}\n```")
        elif lines[0].lstrip().startswith(("|", "```")):
            out.append(block)
        elif _ENTRY.match(lines[0]) and len(lines) > 1:
            out.append(_as_list(lines))
        else:
            out.append(_with_equations(lines))
    return "\n\n".join(out)


def equation(doc: str) -> list[str]:
    """The lines of a docstring's first indented block; none where there is no such block."""
    lines = inspect.cleandoc(doc).splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("    ")), len(lines))
    block = itertools.takewhile(lambda line: line.startswith("    "), lines[start:])
    return inspect.cleandoc("\n" + "\n".join(block)).splitlines()


def source(doc: str) -> str:
    """What ends a docstring: its last sentences, as far as each begins a line and names an arXiv number or a venue.

    "" where the last one names neither.
    """
    lines = re.split(r"\n\s*\n", inspect.cleandoc(doc))[-1].splitlines()
    return " ".join(lines[_source_start(lines) :]).removeprefix("Source: ")


def _source_start(paragraph: list[str]) -> int:
    """Where in a docstring's last paragraph the source begins: its first line, or the number of lines without one."""
    start = len(paragraph)
    for i in reversed(range(len(paragraph))):
        begins = not paragraph[i].startswith(" ") and (i == 0 or paragraph[i - 1].endswith("."))
        if begins and (paragraph[i].startswith("Raises ") or not _CITED.search(" ".join(paragraph[i:start]))):
            break
        start = i if begins else start
    return start


def _with_equations(lines: list[str]) -> str:
    """Running text, in which indented lines without a blank line before them are still equations.

    What is raised, and the source, stand in paragraphs of their own.
    """
    parts: list[str] = []
    for line in lines:
        indented = line.startswith("    ")
        joins = parts and parts[-1].startswith("    ") == indented and not line.startswith(("Raises ", "Source: "))
        if joins:
            parts[-1] += "\n" + line
        else:
            parts.append(line)
    return "\n\n".join(
        f"```text\n{inspect.cleandoc(chr(10) + part)}\n```" if part.startswith("    ") else escape(part)
        for part in parts
    )


def _as_list(lines: list[str]) -> str:
    items: list[str] = []
    for line in lines:
        entry = _ENTRY.match(line)
        if entry and not line.startswith(" "):
            name = entry["name"] if "`" in entry["name"] else f"`{entry['name']}`"
            items.append(f"- {name}: {escape(entry['text'])}")
        elif line.startswith(" ") and items:
            items[-1] += " " + escape(line.strip())
        else:  # the list is over and the paragraph goes on
            items.append("\n" + escape(line))
    return "\n".join(items)


def escape(text: str) -> str:
    """Running text with the letters that Markdown would take for its own written as entities; code spans stay."""
    parts = _CODE.split(text)
    return "".join(part if i % 2 else _SPECIAL.sub(lambda m: f"&#{ord(m[0])};", part) for i, part in enumerate(parts))


class Docstrings(griffe.Extension):
    """Hands every docstring that mkdocstrings shows through `to_markdown`."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
