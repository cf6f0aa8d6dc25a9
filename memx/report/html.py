"""One self-contained HTML file: it opens offline, loads nothing, and runs no script."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Protocol
from urllib.parse import quote

from memx._version import __version__
from memx.files import write_text


@dataclass(frozen=True)
class Tile:
    """One figure in large type: `label` above, `value`, and `detail` (interval, method, unit) below."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Tiles:
    """The few figures that a reader comes for."""

    title: str
    tiles: Sequence[Tile]
    note: str = ""


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file beside the page: `path` is relative to the page and has forward slashes."""

    text: str
    path: str


@dataclass(frozen=True)
class Table:
    """Cells in words; the first column names the row. A second line within a cell is set small.

    words  set the cells to the left and let them wrap, as suits text; figures stand to the right
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    note: str = ""
    words: bool = False


class Draw(Protocol):
    """A figure that can be drawn for a light and for a dark page."""

    def __call__(self, *, dark: bool) -> bytes: ...


@dataclass(frozen=True)
class Figure:
    """An image (SVG, PNG, JPEG, GIF or WebP) with the words that stand for it.

    dark  replaces it on a dark page
    wide  takes the whole width, as a sheet of frames does, and on a phone scrolls within its box rather than shrink to
          what nobody can read; else two figures that follow each other share a row
    """

    title: str
    image: bytes
    alt: str
    note: str = ""
    dark: bytes | None = None
    wide: bool = False

    @classmethod
    def drawn(cls, title: str, draw: Draw, alt: str, note: str = "") -> Figure:
        """Draw a figure for both pages: `Figure.drawn("Dice", functools.partial(dice_distribution, groups), "…")`."""
        return cls(title, draw(dark=False), alt, note, draw(dark=True))


@dataclass(frozen=True)
class Video:
    """An MP4 or WebM that plays, silent and in a loop; `width` in CSS pixels at most."""

    title: str
    data: bytes
    note: str = ""
    width: int = 640


@dataclass(frozen=True)
class Gallery:
    """Figures and videos side by side, below each other on a phone.

    pairs  two a row, as a clip that plays and its curves
    """

    title: str
    items: Sequence[Figure | Video]
    note: str = ""
    pairs: bool = False


@dataclass(frozen=True)
class Text:
    """Paragraphs, one a line."""

    title: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Code:
    """Text as it stands, such as a recipe; folded away unless `unfolded`."""

    title: str
    text: str
    note: str = ""
    unfolded: bool = False


@dataclass(frozen=True)
class Data:
    """Figures for other programs: JSON in a `<script type="application/json" id=…>` block, not shown."""

    id: str
    value: Any


Section = Tiles | Table | Figure | Video | Gallery | Text | Code | Data


@dataclass(frozen=True)
class Report:
    """A page: a title, a line below it, and the sections that a run, an evaluation or a prediction has to show."""

    title: str
    sections: Sequence[Section]
    subtitle: str = ""


def write_report(path: str | Path, report: Report) -> Path:
    """Write a report as one HTML file, whole or not at all, and return its path."""
    write_text(path, render_report(report))
    return Path(path)


def render_report(report: Report) -> str:
    """A report as one HTML document.

    Everything that is not markup of ours is escaped, images and videos become data URIs, and a content security policy
    in the head forbids the page to load or run anything. Raises ValueError for bytes of no known image or video, for
    NaN in Data, and for an id twice.
    """
    shown = [section for section in report.sections if not isinstance(section, Data)]
    data = [section for section in report.sections if isinstance(section, Data)]
    if len({item.id for item in data}) < len(data):
        raise ValueError("two Data sections have the same id")
    anchors = [f"s{place}-{_slug(section.title)}" for place, section in enumerate(shown, start=1)]
    links = [f'<a href="#{anchor}">{escape(item.title)}</a>' for anchor, item in zip(anchors, shown, strict=True)]
    template = Template((files("memx.report") / "template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(report.title),
        subtitle=f'<p class="subtitle">{escape(report.subtitle)}</p>' if report.subtitle else "",
        navigation="\n".join(links),
        sections="\n".join(_section(item, anchor) for item, anchor in zip(shown, anchors, strict=True)),
        data="\n".join(_data(item) for item in data),
        version=escape(__version__),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _section(section: Section, anchor: str) -> str:
    body = _BODIES[type(section)](section)
    note = f'<p class="note">{escape(section.note)}</p>' if not isinstance(section, Data) and section.note else ""
    title = "" if isinstance(section, Data) else escape(section.title).replace("_", "_<wbr>")  # names of files are long
    kind = ' class="half"' if isinstance(section, Figure) and not section.wide else ""
    return f'<section id="{anchor}"{kind}>\n<h2>{title}</h2>\n{body}\n{note}</section>'


def _tiles(section: Tiles) -> str:
    tiles = (
        f'<div class="tile"><dt>{escape(tile.label)}</dt><dd class="value">{escape(tile.value)}</dd>'
        f'<dd class="detail">{escape(tile.detail)}</dd></div>'
        for tile in section.tiles
    )
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _table(section: Table) -> str:
    for number, row in enumerate(section.rows):
        if len(row) != len(section.columns):
            raise ValueError(f"{section.title}: row {number} has {len(row)} cells for {len(section.columns)} columns")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in section.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])}</tr>'
        for row in section.rows
    )
    kind = ' class="words"' if section.words else ""
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="scroll" tabindex="0"><table{kind}>\n{body}</table></div>'


def _cell(text: str | Link) -> str:
    if isinstance(text, Link):
        if text.path.startswith("/"):
            raise ValueError(f"{text.path}: a link leads to a file beside the page, by a relative path")
        return f'<a href="./{quote(text.path)}">{escape(text.text)}</a>'  # ./: a name with a colon is no scheme
    first, *rest = text.split("\n")
    return escape(first) + "".join(f"<small>{escape(line)}</small>" for line in rest)


def _figure(section: Figure) -> str:
    dark = ""
    if section.dark is not None:
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(section.dark)}">'
    box = ' class="scroll" tabindex="0"' if section.wide else ""
    return f'<picture{box}>{dark}<img src="{data_uri(section.image)}" alt="{escape(section.alt)}"></picture>'


def _video(section: Video) -> str:
    return (
        f'<video controls autoplay muted loop playsinline style="width:min(100%,{int(section.width)}px)" '
        f'aria-label="{escape(section.title)}" src="{data_uri(section.data)}"></video>'
    )


def _gallery(section: Gallery) -> str:
    items = []
    for item in section.items:
        note = f"<small>{escape(item.note)}</small>" if item.note else ""
        body = _figure(item) if isinstance(item, Figure) else _video(item)
        items.append(f"<figure>{body}<figcaption>{escape(item.title)}{note}</figcaption></figure>")
    return f'<div class="gallery{" pairs" if section.pairs else ""}">{"".join(items)}</div>'


def _text(section: Text) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in section.text.splitlines() if line.strip())


def _code(section: Code) -> str:
    lines = section.text.count("\n") + (not section.text.endswith("\n"))
    state = " open" if section.unfolded else ""
    return (
        f"<details{state}><summary>{lines} line{'' if lines == 1 else 's'}</summary>"
        f'<pre class="scroll" tabindex="0"><code>{escape(section.text)}</code></pre></details>'
    )


def _data(section: Data) -> str:
    text = json.dumps(section.value, ensure_ascii=True, allow_nan=False)
    for sign in "<>&":  # so that nothing in it can end the block or open a comment
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{escape(section.id)}">{text}</script>'


_BODIES: dict[type, Callable[[Any], str]] = {
    Tiles: _tiles,
    Table: _table,
    Figure: _figure,
    Video: _video,
    Gallery: _gallery,
    Text: _text,
    Code: _code,
}


def data_uri(data: bytes) -> str:
    """Bytes of an image or video as a data URI; the kind is told from the bytes. Raises ValueError for any other."""
    return f"data:{_mime(data)};base64,{base64.b64encode(data).decode('ascii')}"


def _mime(data: bytes) -> str:
    start = data[:512].lstrip()
    if data[4:8] == b"ftyp":
        return "video/mp4"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for magic, mime in _MAGIC.items():
        if data.startswith(magic):
            return mime
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in data[:2048]):
        return "image/svg+xml"
    raise ValueError(f"bytes that start with {data[:12]!r} are no image or video that a browser shows")


_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"\x1a\x45\xdf\xa3": "video/webm",
}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
