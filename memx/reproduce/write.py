"""A reproduced table for a terminal, as Markdown, as JSON and as a report."""

from __future__ import annotations

import json
from pathlib import Path

from rich.markup import escape
from rich.table import Table as TerminalTable

from memx.engine.manifest import environment
from memx.files import write_text
from memx.report.html import Data, Report, Section, Table, Text, write_report
from memx.report.sections import facts_section
from memx.reproduce.result import Result


def terminal_table(result: Result) -> TerminalTable:
    """The table as it is printed."""
    shown = TerminalTable(title=escape(result.title), caption=escape(result.table.shows), caption_justify="left")
    first, *others = result.columns()
    shown.add_column(escape(first), style="bold")
    for head in others:
        shown.add_column(escape(head), justify="right", no_wrap=False)
    for row in result.rows:
        shown.add_row(*map(escape, result.cells(row)), end_section=any("\n" in cell for cell in result.cells(row)))
    return shown


def words(result: Result) -> str:
    """What stands below the table: where each column is from, notes, and the statement on orders."""
    parts = [f"{head}: {protocol}" for head, protocol in result.protocols()]
    if result.device:
        parts.append(f"measured on {result.device}")
    blocks = [parts, result.notes(), result.statement()]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def markdown(result: Result) -> str:
    """The table as Markdown."""
    heads = ["variant", *result.columns()[1:]]  # a table whose first head is empty is not read alike everywhere
    lines = [
        f"### {result.title}",
        "",
        *([f"**{result.notes()[0]}**", ""] if result.quick else []),
        result.table.shows,
        "",
        "| " + " | ".join(map(_cell, heads)) + " |",
        "| --- |" + " ---: |" * (len(heads) - 1),
        *("| " + " | ".join(map(_cell, result.cells(row))) + " |" for row in result.rows),
        "",
        *(f"- *{head}*: {protocol}" for head, protocol in result.protocols()),
        *([f"- measured on {result.device}"] if result.device else []),
        "",
        *(f"{note}\n" for note in result.notes()),
    ]
    first, *rest = result.statement() or [""]
    lines += [first, "", *(f"- {line}" for line in rest), ""] if first else []
    if result.provenance():
        lines += ["Runs:", "", *(f"- {line}" for line in result.provenance())]
    return "\n".join(lines).rstrip() + "\n"


def write_result(result: Result, folder: Path) -> Path:
    """`table.json`, `table.md` and `report.html` in a folder; returns the report's path."""
    plain = json.dumps(result.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "table.json", plain + "\n")
    write_text(folder / "table.md", markdown(result))
    return write_report(folder / "report.html", Report(result.title, _sections(result), _subtitle(result)))


def _sections(result: Result) -> list[Section]:
    sections: list[Section] = [Text("Read this first", result.notes()[0])] if result.quick else []
    sections.append(
        Table(
            _heading(result.table.title),
            result.columns(),
            [result.cells(row) for row in result.rows],
            result.table.shows,
        )
    )
    sections.append(
        Table("Where the columns are from", ["Column", "Data and protocol"], [list(p) for p in result.protocols()],
              words=True)
    )  # fmt: skip
    if result.notes():
        sections.append(Text("Notes", "\n".join(result.notes())))
    if result.statement():
        sections.append(Text("What is shown", "\n".join(result.statement())))
    if result.runs:
        rows = [
            [run.row, str(run.seed), run.recipe, run.fingerprint[:12], run.code, Path(run.path).name]
            for run in result.runs
        ]
        heads = ["Row", "Seed", "Recipe", "Data", "memx revision", "Run folder"]
        sections.append(Table("Runs", heads, rows, words=True))
    return [*sections, facts_section("Environment", environment()), Data("table", result.as_dict())]


def _heading(text: str) -> str:
    return text[0].upper() + text[1:]


def _subtitle(result: Result) -> str:
    return " · ".join(filter(None, [f"table {result.name}", f"our data: {result.data}", result.device]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
