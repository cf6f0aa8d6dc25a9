"""The tables of mechanisms are generated from docstrings and costs: all memories are in them, with all columns."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memx.registry import memories

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """The module that writes the generated pages."""
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("_reference")
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def docstrings(reference: ModuleType) -> ModuleType:
    return sys.modules["_docstrings"]


@pytest.mark.parametrize("name", memories.names())
def test_a_memory_s_docstring_has_a_name_an_equation_and_a_source(docstrings: Any, name: str) -> None:
    doc = memories[name].doc
    assert re.match(r"[^:]+: .+\.$", memories[name].summary), "the first line is `Name: what it does.`"
    lines = docstrings.equation(doc)
    assert any("←" in line or "S_t =" in line for line in lines), f"no line of {lines} says how the state changes"
    assert any(line.lstrip().startswith("read: ") for line in lines), f"no line of {lines} begins with `read: `"
    assert docstrings.source(doc), "the docstring does not end with a source that names an arXiv number or a venue"


def test_every_memory_is_in_both_tables(reference: Any) -> None:
    for table in [part for part in reference.mechanisms() if part.startswith("| memory")]:
        rows = [re.split(r" \| ", row.strip("| ")) for row in table.splitlines()]
        assert [row[0] for row in rows[2:]] == [f"[`{name}`](#{name})" for name in memories.names()]
        assert all(len(row) == len(rows[0]) and all(row) for row in rows)


def test_the_figures_are_those_of_a_frame(reference: Any) -> None:
    """By hand: linear adds n·k·v products and reads as many; its state is k·v numbers. Softmax keeps every frame."""
    takes = reference.mechanisms()[-1]
    assert "| [`linear`](#linear) | recurrent, chunk | 64 KiB | 64 KiB | 8.4 M | " in takes
    assert f"{2 * 256 * 64 * 256 / 1e6:.1f}" == "8.4"
    assert "| [`softmax`](#softmax) | recurrent, parallel | 320 KiB | 3,200 KiB | " in takes


def test_the_equation_is_the_first_indented_block_and_the_source_what_ends_the_docstring(docstrings: Any) -> None:
    doc = """Name: what it does.

        S ← S + k vᵀ
            where v is a value
        read: qᵀ S

    State S.

        another block

    More.
    Raises ValueError for what arXiv 0000.00000 forbids.
    First et al.,
    arXiv 2401.00001. Second, ICCV 2025.
    """
    assert docstrings.equation(doc) == ["S ← S + k vᵀ", "    where v is a value", "read: qᵀ S"]
    assert docstrings.source(doc) == "First et al., arXiv 2401.00001. Second, ICCV 2025."
    assert docstrings.source("Name: it.\n\nSource: the GRU of XMem (ECCV 2022).") == "the GRU of XMem (ECCV 2022)."
    assert docstrings.source("Name: it.\n\nSmith and Doe.") == ""
    assert docstrings.equation("Name: it.\n\nNo block.") == []
    assert docstrings.to_markdown(doc).split("\n\n")[-2:] == [
        "Raises ValueError for what arXiv 0000.00000 forbids.",
        "First et al.,\narXiv 2401.00001. Second, ICCV 2025.",
    ]


def test_arxiv_numbers_become_links_and_bars_no_columns(reference: Any) -> None:
    doc = "Name: it.\n\n    a ← |b|    twice\n      `c`\n\nSee et al., arXiv 2401.00001."
    assert reference._source_cell(doc) == "See et al., [arXiv&nbsp;2401.00001](https://arxiv.org/abs/2401.00001)."
    first, second = "a ← &#124;b&#124;&emsp; twice", "&nbsp;&nbsp;c"
    assert reference._equation_cell(doc) == "".join(f'<code class="equation">{x}</code>' for x in (first, second))


def test_the_readme_is_written_anew_between_its_markers(reference: Any, tmp_path: Path, monkeypatch: Any) -> None:
    page = "# a\n<!-- memories -->\nold\n<!-- /memories -->\nkept\n<!-- components -->\n<!-- /components -->\n"
    (tmp_path / "README.md").write_text(page, encoding="utf-8")
    monkeypatch.setattr(reference, "README", tmp_path / "README.md")
    monkeypatch.setattr(sys, "argv", ["_reference.py", "--readme"])
    reference.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (
        f"# a\n<!-- memories -->\n{reference.memory_table()}\n<!-- /memories -->\nkept\n"
        f"<!-- components -->\n{reference.component_table()}\n<!-- /components -->\n"
    )
    with pytest.raises(ValueError, match="<!-- memories --> … <!-- /memories --> is there 0 times, not once"):
        reference.readme("# a\n")
