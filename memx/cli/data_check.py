"""`memx data check`, `info` and `split`."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memx.cli.common import Plugins

if TYPE_CHECKING:
    from memx.data.check.run import Report
    from memx.data.clip import Layout

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="The data set's folder.")]
Options = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[OPTION=VALUE]…", help="Options of the layout, e.g. mask_values=binary.", show_default=False
    ),
]
LayoutName = Annotated[
    str | None,
    typer.Option("--layout", help="camus, echonet, folder, or one of a plug-in; none: found.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def check(
    root: Root,
    options: Options = None,
    layout: LayoutName = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; none: check/<ROOT's name>.", show_default=False)
    ] = None,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Read a whole data set and report every problem, with a summary and a sheet of thumbnails.

    Written to the folder of results: sheet.png, problems.csv and report.json. The data set is not changed.

    Exit status: 1 when there is an error, that is, when anything would train or score wrongly, or be left out.
    """
    from rich.console import Console

    from memx.cli.data_report import show_problems, show_summary, show_verdict
    from memx.cli.progress import bar
    from memx.data.check.run import check as run_check

    name, reader = _reader(root, layout, options, plugin)
    folder = out or Path("check") / (root.resolve().name or "data")
    _make(folder)
    report = run_check(root, reader, name=name, progress=lambda clips: bar("check", clips, "clips"))
    _write(folder, report, reader)
    if as_json:
        typer.echo(json.dumps(report.json(), indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        show_summary(console, report.root, report.layout, report.summary)
        show_problems(console, report.problems)
        show_verdict(console, report, folder)
    if report.errors:
        raise typer.Exit(1)


def info(
    root: Root, options: Options = None, layout: LayoutName = None, as_json: Json = False, plugin: Plugins = None
) -> None:
    """Sum a data set up from its lists and headers, without reading pixels."""
    from rich.console import Console
    from rich.text import Text

    from memx.cli.data_report import show_summary
    from memx.data.check.run import info as run_info

    name, reader = _reader(root, layout, options, plugin)
    summary, left_out = run_info(root, reader)
    if as_json:
        found = {"root": str(root), "layout": name, "left_out": left_out, "summary": summary.json()}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    show_summary(console, root, name, summary)
    more = f"{left_out} left out or wrong; " if left_out else ""
    console.print(Text(f"{more}pixels were not read: memx data check {root}", style="yellow" if left_out else "dim"))


def split(
    root: Root,
    options: Options = None,
    layout: LayoutName = None,
    train: Annotated[float, typer.Option(min=0, max=1, help="Share of the patients that train.")] = 0.8,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share that validates.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share that tests.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 0,
    by: Annotated[
        str,
        typer.Option(help="What stays together: patient, or a regular expression that finds the patient in a name."),
    ] = "patient",
    force: Annotated[bool, typer.Option("--force", help="Write over lists that are there.")] = False,
    plugin: Plugins = None,
) -> None:
    """Write split lists in the layout's own format; no patient is in two of them."""
    from memx.data.check.assign import patient_of, write_split
    from memx.data.clip import SPLITS

    name, reader = _reader(root, layout, options, plugin)
    shares = {"train": train, "val": val, "test": test}
    assigned, files = write_split(reader, root, shares, seed=seed, by=by, force=force)
    clips = Counter(assigned.values())
    patients = Counter({patient_of(entry, by): part for entry, part in assigned.items()}.values())
    for part in SPLITS:
        apart = f" ({clips[part]} names)" if clips[part] != patients[part] else ""
        typer.echo(f"{part:6} {patients[part]:6} patient{'s' * (patients[part] != 1)}{apart}")
    for file in files:
        typer.echo(f"wrote {file}")
    typer.echo(f"{name}, seed {seed}: {reader.checks().use_split(root)}")


def _reader(root: Path, layout: str | None, options: list[str] | None, plugin: list[Path] | None) -> tuple[str, Layout]:
    """The layout's name, given or found, and its reader with the options."""
    from memx.cli.common import load_plugins
    from memx.data.access import folder_to_read
    from memx.data.check.find import find_layout
    from memx.engine.datasets import make_layout
    from memx.errors import UserError, unknown
    from memx.recipe import Recipe
    from memx.registry import layouts

    load_plugins(plugin)
    folder_to_read(root)
    if layout is not None and layout not in layouts:
        raise UserError(unknown("layout", layout, layouts.names()))
    name = layout or find_layout(root)
    words = options or []
    if strays := [word for word in words if "=" not in word]:
        raise UserError(f"{strays[0]}: write options of the layout as name=value; one data set is named at a time")
    full = [f"data.layout.{word.removeprefix('data.layout.')}" for word in words]
    return name, make_layout(Recipe.from_dict({"data": {"layout": {"type": name}}}, full))


def _make(folder: Path) -> None:
    """The folder of results, and a file in it, before hours of reading that would be lost without."""
    from tempfile import TemporaryFile

    from memx.files import cannot_write

    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise cannot_write(folder, error) from error


def _write(folder: Path, report: Report, reader: Layout) -> None:
    """The sheet, every problem as a line of CSV, and the report as JSON."""
    from PIL import Image

    from memx.data.check.problem import COLUMNS
    from memx.files import atomic, write_text
    from memx.report.check_sheet import sheet

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(problem.json().values() for problem in report.problems)
    write_text(folder / "problems.csv", table.getvalue())
    write_text(folder / "report.json", json.dumps(report.json(), indent=2, ensure_ascii=False) + "\n")
    if not report.thumbnails:
        (folder / "sheet.png").unlink(missing_ok=True)  # an earlier one would be of other data
        return
    summary, shown = report.summary, len(report.thumbnails)
    clips = f"{shown} of {summary.clips} clips"
    if summary.unread:
        clips = f"{summary.clips} of {summary.clips + summary.unread} clips readable, {shown} shown"
    picture = sheet(
        report.thumbnails,
        title=report.root.resolve().name,
        subtitle=f"{report.layout}  ·  {summary.patients} patients  ·  {clips}",
        structures=_structures(report, reader),
    )
    with atomic(folder / "sheet.png") as part:
        Image.fromarray(picture).save(part, optimize=True)


def _structures(report: Report, reader: Layout) -> dict[str, int]:
    """Names and label values that are drawn: the layout's, or those that occur."""
    if reader.labels:
        return {name: value for value, name in reader.labels.items() if value}
    return {f"object {count.value}": count.value for count in report.summary.classes or () if count.value}
