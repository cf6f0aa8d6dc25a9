"""How `memx check FILE.py` looks in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memx.cli.check_memory import MemoryReport, finding, in_words, reproduce
from memx.memory.from_file import line_in
from memx.memory.laws import LAWS, BrokenLawError, Law
from memx.memory.verify import Break, Verdict
from memx.registry import Entry

MARKS = {"kept": ("✓", "green"), "broken": ("✗", "bold red"), "not applicable": ("–", "dim")}
WIDTH = max(len(law.__name__) for law in LAWS)


def _kind(broken: Break, file: Path) -> str:
    """The same for breaks that are one: an exception of the same line, or the same finding in the same case."""
    if isinstance(broken.error, BrokenLawError):
        return f"{broken.says} {broken.options} {broken.case}"
    return f"{type(broken.error)} {line_in(file, broken.error) or broken.says}"


class Report:
    """Prints a memory's report as it comes: a row a law, then what is broken, then what it costs."""

    def __init__(self, console: Console):
        self.console = console

    def head(self, entry: Entry, file: Path) -> None:
        """The memory's name, its file, and what it says of itself."""
        self.console.print(Text.assemble(("memory ", "dim"), (entry.name, "bold cyan"), (f"  {file}", "dim")))
        self.console.print(Text(entry.summary or "(its class has no docstring)"))
        self.console.print()

    @contextmanager
    def progress(self) -> Iterator[Callable[[Law, int], None]]:
        """Gives what is told the law and its cases so far: one live line on a terminal, elsewhere nothing."""
        if not self.console.is_terminal:
            yield lambda law, cases: None
            return
        with self.console.status("") as line:

            def tell(law: Law, cases: int) -> None:
                place = f"law {LAWS.index(law) + 1} of {len(LAWS)}, case {cases}"
                line.update(Text.assemble((f"{law.__name__:{WIDTH}}  ", "bold"), (place, "dim")))

            yield tell

    def row(self, verdict: Verdict) -> None:
        """One law's line."""
        mark, style = MARKS[verdict.outcome]
        cases = f"{verdict.cases} case{'' if verdict.cases == 1 else 's'}"
        says = {"kept": f"kept in {cases}", "broken": "broken", "not applicable": f"not applicable: {verdict.reason}"}
        quiet = "" if verdict.outcome == "kept" else style
        row = Table.grid(padding=(0, 2))
        row.add_column(width=2 + WIDTH)
        row.add_column()
        name = Text.assemble((f"{mark} ", style), (verdict.name, quiet))
        row.add_row(name, Text(says[verdict.outcome], quiet))
        self.console.print(row)

    def breaks(self, report: MemoryReport) -> None:
        """The smallest case of every break; laws that break in the same way stand together."""
        alike: dict[str, list[Verdict]] = {}
        for verdict in report.verdicts:
            if verdict.broken:
                alike.setdefault(_kind(verdict.broken, report.file), []).append(verdict)
        for verdicts in alike.values():
            self.console.print()
            self._break(report, verdicts)

    def _break(self, report: MemoryReport, verdicts: list[Verdict]) -> None:
        first, broken = verdicts[0], verdicts[0].broken
        assert broken is not None
        self.console.print(Text(", ".join(v.name for v in verdicts), style="bold red"))
        if len(verdicts) == 1:
            self.console.print(Text(first.states))
        options = ", ".join(f"{name}: {value}" for name, value in broken.options.items())
        facts = {"found": finding(broken, report.file), "case": in_words(broken.case)}
        facts["options"] = options or "the defaults"
        if not broken.steady:
            facts["but"] = "the same case does not break each time: something in the memory is random"
        self._facts(facts, bold="found")
        lines = reproduce(report, first)
        if len(lines[-1]) > self.console.width:
            lines[-1] = lines[-1].replace("(memory_in(", "(\n    memory_in(", 1).replace("), Case(", "),\n    Case(", 1)
            lines[-1] = f"{lines[-1][:-1]},\n)"
        self.console.print(Text("in Python:", style="dim"))
        self.console.print(Text("\n".join(lines), style="cyan"), soft_wrap=True)

    def facts(self, report: MemoryReport) -> None:
        """State, cost, forms and parameters, and what was not drawn."""
        facts, sizes = report.facts, report.sizes
        at = f"key {sizes.key_dim}, value {sizes.value_dim}, {sizes.tokens} tokens a frame, 1 object, default options"
        shown = {"sizes": at}
        if facts.cost:
            state = [f"{size / 1024:,.4g} KiB after {frames}" for frames, size in facts.state_bytes.items()]
            shown["state"] = ", ".join(state).replace("after 1,", "after 1 frame,")
            macs, flops, moved = (facts.cost[name] for name in ("macs", "flops", "bytes_moved"))
            figures = f"{macs / 1e6:,.3g} M multiply-accumulates, {flops / 1e6:,.3g} MFLOPs"
            shown["cost"] = f"{figures} and {moved / 1024:,.4g} KiB moved a frame"
        else:
            shown["state, cost"] = facts.missing
        if facts.forms:
            shown["forms"] = ", ".join(facts.forms)
        if facts.parameters is not None:
            shown["parameters"] = f"{facts.parameters:,}"
        if report.reached:
            shown["held up to"] = "\n".join(report.reached)
        if report.left_out:
            shown["not drawn"] = "\n".join(report.left_out)
        self.console.print()
        self._facts(shown)

    def total(self, report: MemoryReport) -> None:
        """The last line."""
        counts = {outcome: sum(v.outcome == outcome for v in report.verdicts) for outcome in MARKS}
        parts = [f"{count} {'laws ' if not i else ''}{outcome}" for i, (outcome, count) in enumerate(counts.items())]
        kept = sum(v.cases for v in report.verdicts)
        cases = f"{kept:,} cases, seed {report.seed}" if kept else f"seed {report.seed}"
        mark, style = MARKS["kept" if report.kept else "broken"]
        self.console.print()
        self.console.print(
            Text.assemble((f"{mark} {report.entry.name}: ", style), ", ".join(parts), (f" ({cases})", "dim"))
        )

    def _facts(self, facts: dict[str, str], bold: str = "") -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for name, value in facts.items():
            table.add_row(f"  {name}", Text(value, style="bold" if name == bold else ""))
        self.console.print(table)
