import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from memx.errors import UserError
from memx.metrics import Pair, Protocol
from memx.metrics.rows import Row
from memx.metrics.scores import Scores
from memx.report.curve_figures import Curve
from memx.report.html import (
    Code,
    Data,
    Figure,
    Gallery,
    Report,
    Table,
    Text,
    Tile,
    Tiles,
    Video,
    data_uri,
    render_report,
    write_report,
)
from memx.report.sections import (
    facts_section,
    learning_section,
    overlay_gallery,
    recipe_section,
    score_sections,
)

VOID = {"meta", "link", "img", "source", "br", "wbr", "input", "hr"}
MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(40)


class Page(HTMLParser):
    """What a page is made of: every element with its attributes, the text by element, and whether it is well nested."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, *tags):
        return "".join(text for tag, text in self.texts if not tags or tag in tags)


def png(size=(4, 4)):
    out = io.BytesIO()
    Image.new("RGB", size, "navy").save(out, "png")
    return out.getvalue()


def loads(html):
    """All that a browser would fetch: the values of the attributes and CSS functions that load."""
    found = [
        value
        for _, attributes in Page(html).elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "poster", "data", "action") and value
    ]
    return found + re.findall(r"url\(([^)]*)\)", html) + re.findall(r"@import[^;]*", html)


def evaluation():
    y, x = np.mgrid[:96, :96]
    pairs = []
    for number in range(6):
        for view in ("2CH", "4CH"):
            for frame, (phase, squeeze) in enumerate((("ED", 1.0), ("ES", 0.75))):
                truth = ((80 - y) / (60 * squeeze)) ** 2 + ((x - 48) / (22 * squeeze)) ** 2 <= 1
                truth &= y <= 80
                pairs.append(
                    Pair(np.roll(truth, number % 3, 1), truth, (1.0, 1.0), f"p{number}", view, "LV", phase, frame)
                )
    return Protocol().score(pairs)


def full_report():
    return Report(
        "GDKVM on the phantom",
        [
            *score_sections(evaluation()),
            learning_section([1, 2, 3], [1.0, 0.5, 0.4], [2, 3], [0.7, 0.9]),
            overlay_gallery(MP4, [Curve("LV area", "cm²", [3.0, 2.0, 1.0, 2.0])], fps=25.0, ed=0, es=2, note="by hand"),
            Gallery("Overlays", [Video("p0 4CH", MP4), Figure("p1", png(), "overlay of p1")]),
            recipe_section("model:\n  type: mask_propagator\n"),
            facts_section("Environment", {"python": "3.11", "cuda": None, "libraries": {"torch": "2.13.0"}}),
        ],
        "six patients",
    )


def test_the_whole_page_loads_nothing(tmp_path):
    path = write_report(tmp_path / "report.html", full_report())
    html = path.read_text(encoding="utf-8")
    found = loads(html)
    assert sum(value.startswith("data:") for value in found) > 10
    assert all(value.startswith(("data:", "#")) for value in found)
    assert "default-src 'none'" in html
    assert [attributes.get("type") for tag, attributes in Page(html).elements if tag == "script"] == [
        "application/json"
    ]
    assert len(html) < 2_000_000
    assert sorted(item.name for item in tmp_path.iterdir()) == ["report.html"]


def test_drawings_inside_the_page_load_nothing_either():
    for uri in loads(render_report(full_report())):
        if uri.startswith("data:image/svg+xml;base64,"):
            svg = base64.b64decode(uri.split(",", 1)[1]).decode()
            assert re.findall(r"""(?:href|src)\s*=\s*["'](?!#|data:)""", svg) == []
            assert re.findall(r"url\((?!#|['\"]#)", svg) == []
            assert "<script" not in svg


def test_says_what_an_evaluation_found():
    scores = evaluation()
    page = Page(render_report(full_report()))
    text = page.text()
    dice = next(item for item in scores.summaries() if item.metric == "dice")
    assert f"{dice.mean:.3f}" in text
    for words in (
        "Simpson biplane",
        "95% interval",
        "points",
        "The worst masks first",
        "p2 2CH ES",
        "torch",
        "mask_propagator",
    ):
        assert words in text
    for line in scores.description.splitlines():
        assert line in text
    assert "cuda" not in page.text("th", "td")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    assert len(set(ids)) == len(ids)
    assert set(links) <= set(ids)


def test_the_worst_case_comes_first():
    scores = evaluation()
    table = next(
        item for item in score_sections(scores) if isinstance(item, Table) and item.title == "The worst masks first"
    )
    shown = [float(row[2]) for row in table.rows]
    assert shown == sorted(shown)
    assert shown[0] == pytest.approx(min(row.dice or 0.0 for row in scores.rows), abs=5e-4)


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable() and "\n" not in text))
@settings(deadline=None, max_examples=40)
def test_no_text_becomes_markup(text):
    text = f"<img src=x onerror=1>\"&'{text}</script><!--"
    report = Report(
        text,
        [
            Tiles(text, [Tile(text, text, text)], text),
            Table(text, [text, text], [[text, text]], text),
            Figure(text, png(), text, text, dark=png()),
            Gallery(text, [Video(text, MP4, text)], text),
            Video(text, MP4, text),
            Text(text, text, text),
            Code(text, text, text),
            Data("data", {text: [text]}),
        ],
        text,
    )
    html = render_report(report)
    page = Page(html)
    assert [attributes.get("onerror") for _, attributes in page.elements if "onerror" in attributes] == []
    assert all(value.startswith(("data:", "#")) for value in loads(html))
    assert page.text("h1") == text
    assert page.text("code") == text
    assert json.loads(page.text("script")) == {text: [text]}
    assert next(attributes["alt"] for tag, attributes in page.elements if tag == "img") == text


def test_clips_with_every_frame_scored_show_dice_over_time_and_drift():
    """A Dice that falls by 0.02 a frame, and jagged predictions of a smooth truth."""
    first = Row("p0", "4CH", 0, 4, "other", "LV", "scored", 0.95, 0.9, 1.0, 1.0, 1.0, "mm", 90.0, 99.0)
    rows = [
        replace(
            first,
            patient=f"p{p}",
            frame=t,
            clip_frame=4 + t,
            dice=0.95 - 0.02 * t,
            area_prediction=90.0 + t % 2,
            area_truth=99.0 - t,
        )
        for p in range(3)
        for t in range(5)
    ]
    sections = {
        item.title: item
        for item in score_sections(Scores("memx-1", "words", tuple(rows)))
        if not isinstance(item, Data)
    }
    table = sections["Drift and roughness"]
    assert isinstance(table, Table)
    assert [cell.split("\n")[0] for cell in table.rows[0]] == ["LV", "−0.0200", "2.000", "0.000"]
    course = sections["Dice over time"]
    assert isinstance(course, Figure)
    assert "3 clips" in course.note
    worst = sections["The worst masks first"]
    assert isinstance(worst, Table)
    assert worst.rows[0][0] == "p0 4CH frame 9", "counted from 1 in the clip on disk"


def test_a_dark_page_gets_its_own_figure():
    light, dark = png((4, 4)), png((5, 5))
    page = Page(render_report(Report("r", [Figure("f", light, "words", dark=dark)])))
    source = next(attributes for tag, attributes in page.elements if tag == "source")
    image = next(attributes for tag, attributes in page.elements if tag == "img")
    assert source == {"media": "(prefers-color-scheme: dark)", "srcset": data_uri(dark)}
    assert image == {"src": data_uri(light), "alt": "words"}


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (png(), "image/png"),
        (MP4, "video/mp4"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
    ],
)
def test_the_kind_is_told_from_the_bytes(data, mime):
    uri = data_uri(data)
    assert uri.startswith(f"data:{mime};base64,")
    assert base64.b64decode(uri.split(",", 1)[1]) == data


def test_refuses_what_it_cannot_show(tmp_path):
    with pytest.raises(ValueError, match="no image or video that a browser shows"):
        render_report(Report("r", [Figure("f", b"<html>", "words")]))
    with pytest.raises(ValueError, match="Scores: row 1 has 1 cells for 2 columns"):
        render_report(Report("r", [Table("Scores", ["a", "b"], [["1", "2"], ["1"]])]))
    with pytest.raises(ValueError, match="same id"):
        render_report(Report("r", [Data("d", 1), Data("d", 2)]))
    with pytest.raises(ValueError, match="Out of range float"):
        write_report(tmp_path / "report.html", Report("r", [Data("d", float("nan"))]))
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError):
        write_report(tmp_path / "file" / "report.html", Report("r", []))
    assert (tmp_path / "file").read_text() == "in the way"


def test_scores_without_a_single_figure_still_make_a_page():
    nothing = np.zeros((8, 8), bool)
    scores = Protocol().score([Pair(nothing, nothing, None, "p", "4CH", "LA", "ED")])
    text = Page(render_report(Report("r", score_sections(scores)))).text()
    assert "nothing to score" in text
