"""Tables, links and inline commands of the README and docs are true, and the reference covers what is registered."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from memx.cli import app
from memx.recipe_source import shipped_recipes
from memx.registry import registries

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUPS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMANDS = {
    name if sub is None else f"{name} {sub}"
    for name, command in GROUPS.items()
    for sub in getattr(command, "commands", {None: None})
} | {name for name, command in GROUPS.items() if getattr(command, "invoke_without_command", False)}


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """The module that writes the generated pages."""
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("_reference")
    finally:
        sys.path.remove(str(DOCS))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *(`{3,}).*?^ *\1\s*$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def between(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", README, re.DOTALL)
    assert found, f"README.md: no <!-- {marker} --> … <!-- /{marker} -->"
    return found[1].strip()


def slug(heading: str) -> str:
    """A heading's anchor, as Python-Markdown and GitHub make it for plain words."""
    words = re.sub(r"[^\w\s-]", "", re.sub(r"\{.*\}", "", heading).replace("`", "")).strip().lower()
    return re.sub(r"[\s]+", "-", words)


def test_the_readme_tables_are_what_is_registered(reference: Any) -> None:
    assert reference.readme(README) == README, "`python docs/_reference.py --readme` writes the README's tables anew"
    assert between("memories") == reference.memory_table()
    assert between("components") == reference.component_table()


def test_the_readme_names_every_command_and_recipe() -> None:
    rows = re.findall(r"^\| `memx ([^`]*)` \|", README, re.MULTILINE)
    named = {command for command in COMMANDS for row in rows if f"{row} ".startswith(f"{command} ")}
    assert named == COMMANDS
    assert not {recipe for recipe in shipped_recipes() if f"`{recipe}`" not in README}


def test_the_memory_in_the_readme_is_short() -> None:
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block
    assert "memx.Memory" in block[1]
    assert len(block[1].splitlines()) < 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_running_text_exist(page: Path) -> None:
    for words in re.findall(r"`memx ((?:[a-z]+ ?)+)", prose(page)):
        assert any(f"{words} ".startswith(f"{command} ") for command in COMMANDS), f"{page.name}: memx {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_and_pictures_exist(page: Path, reference: Any) -> None:
    generated = {(DOCS / path).resolve(): text for path, text in reference.pages().items()}
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file in generated or file.exists(), f"{page.name} links to {target}: there is no such file"
        if anchor:
            text = generated.get(file) or file.read_text(encoding="utf-8")
            anchors = {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
            assert anchor in anchors | set(re.findall(r"\{ #(\S+) \}", text)), f"{page.name}: no {target}"


def test_every_component_and_option_is_in_the_reference(reference: Any) -> None:
    pages = reference.pages()
    for kind, registry in registries().items():
        page = pages[f"reference/{kind}.md"]
        assert f"reference/{kind}.md" in reference.TITLES
        for entry in registry:
            assert f"\n## {entry.name} " in page
            section = page.split(f"\n## {entry.name} ")[1].split("\n## ")[0]
            for option in entry.options.model_fields:
                assert f"| `{option}` |" in section, f"{kind} {entry.name}: {option}"


def test_every_option_says_what_it_means() -> None:
    silent = [
        f"{kind} {entry.name}: {name}"
        for kind, registry in registries().items()
        for entry in registry
        for name, info in entry.options.model_fields.items()
        if not info.description
    ]
    assert not silent


def test_docstrings_become_markdown(reference: Any) -> None:
    to_markdown = sys.modules["_docstrings"].to_markdown
    doc = """One line about x_i < 2.

        S ← S + k vᵀ    twice

    name     what it is,
             on two lines
    other    *more*
    """
    assert to_markdown(doc) == (
        "One line about x_i &#60; 2.\n\n"
        "```text\nS ← S + k vᵀ    twice\n```\n\n"
        "- `name`: what it is, on two lines\n- `other`: &#42;more&#42;"
    )
