"""Every kind of report in a browser: laws of a page, whatever it holds, on a desktop and a phone, light and dark.

A law gives what breaks it, in words; pages with a fault planted show that each law can be broken.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memx.report.html import Code, Figure, Report, Table, Text, Tile, Tiles, render_report

LONGER = [
    "model.refiner=null",
    "train.iterations=24",
    "train.learning_rate=0.005",
    "train.validate_every=12",
    "train.checkpoint_every=12",
    "evaluate.bootstrap=50",
    "evaluate.split=train",
]
"""Enough steps for masks that are not empty, so that the reports hold contours, curves and ejection fractions."""

PATIENCE = 8000
"""Milliseconds that a video may take to show its first picture, and as many to show the second."""

LOOKS = {
    "desktop-light": (1280, 900, False),
    "desktop-dark": (1280, 900, True),
    "phone-light": (360, 740, False),
    "phone-dark": (360, 740, True),
}


# What a page has to keep to.


def fetched(visit: Any) -> list[str]:
    """The page asks for itself, once, and for nothing else that it does not hold."""
    own, *others = visit.requests
    assert own == visit.evaluate("location.href.split('#')[0]")
    return [url for url in others if not url.startswith("data:")]


def complaints(visit: Any) -> list[str]:
    """The browser has nothing to say against the page."""
    return [f"{item.level}: {item.text}" for item in visit.messages if item.level in ("warning", "error")]


def unrendered(visit: Any) -> list[str]:
    """Title, heading, sections and images are there to be seen, and an image has words that stand for it."""
    return visit.evaluate(
        """(() => {
          const faults = []
          if (!document.title.trim()) faults.push('no title')
          if (!(document.querySelector('h1')?.offsetHeight > 0)) faults.push('no heading')
          const sections = [...document.querySelectorAll('section')]
          if (!sections.length) faults.push('no section')
          for (const item of sections) {
            const heading = item.querySelector('h2')
            if (!(heading?.offsetHeight > 0) || !heading.innerText.trim()) faults.push(`section ${item.id}: no heading`)
            else if (![...item.children].some(x => x !== heading && x.offsetHeight > 0))
              faults.push(`section ${item.id}: empty`)
          }
          for (const item of document.images) {
            const name = item.alt || item.src.slice(0, 40)
            if (!item.alt.trim()) faults.push(`image ${name}: no words for it`)
            if (!(item.complete && item.naturalWidth > 0)) faults.push(`image ${name}: not decoded`)
            else if (!(item.offsetWidth > 0 && item.offsetHeight > 0)) faults.push(`image ${name}: not shown`)
          }
          return faults
        })()"""
    )


def stuck(visit: Any) -> list[str]:
    """Every video has pictures and plays when it is in view."""
    return visit.evaluate(
        """(async patience => {
          const faults = []
          const soon = async (condition) => {
            const end = performance.now() + patience
            while (!condition() && performance.now() < end) await new Promise(done => setTimeout(done, 20))
            return condition()
          }
          for (const item of document.querySelectorAll('video')) {
            const name = `video ${item.getAttribute('aria-label')}`
            item.scrollIntoView({behavior: 'instant', block: 'center'})
            item.play().catch(() => {})
            await soon(() => item.error || item.readyState >= 2 || item.networkState === item.NETWORK_EMPTY)
            const start = item.currentTime
            if (item.error) faults.push(`${name}: ${item.error.message}`)
            else if (!(item.readyState >= 2 && item.videoWidth > 0)) faults.push(`${name}: no picture`)
            else if (!(item.offsetWidth > 0 && item.offsetHeight > 0)) faults.push(`${name}: not shown`)
            else if (!await soon(() => item.currentTime !== start)) faults.push(`${name}: does not play`)
          }
          scrollTo({top: 0, behavior: 'instant'})
          return faults
        })"""
        f"({PATIENCE})"
    )


def overwide(visit: Any) -> list[str]:
    """Nothing stands out of the window or spills out of its box, unless a box around it scrolls."""
    return visit.evaluate(
        """(width => {
          const faults = []
          const name = item => `${item.localName} ${(item.innerText || item.alt || '').trim().slice(0, 40)}`
          const root = document.documentElement
          if (root.scrollWidth > width) faults.push(`the page is ${root.scrollWidth} px wide in ${width}`)
          for (const item of document.querySelectorAll('body, body *')) {
            if (item.parentElement.closest('.in-a-scroll-box') || !item.checkVisibility()) continue
            const scrolls = /auto|scroll/.test(getComputedStyle(item).overflowX)
            if (scrolls) item.classList.add('in-a-scroll-box')
            const {left, right} = item.getBoundingClientRect()
            if (left < -0.5 || right > width + 0.5) faults.push(`${name(item)}: from ${left} to ${right}`)
            else if (!scrolls && item.clientWidth && item.scrollWidth > item.clientWidth + 1)
              faults.push(`${name(item)}: ${item.scrollWidth} px in ${item.clientWidth}`)
          }
          for (const item of document.querySelectorAll('.in-a-scroll-box')) item.classList.remove('in-a-scroll-box')
          return faults
        })"""
        f"({visit.width})"
    )


def unreachable(visit: Any) -> list[str]:
    """A box that is too narrow for what it holds scrolls, by keyboard too."""
    return visit.evaluate(
        """(() => {
          const faults = []
          for (const item of document.querySelectorAll('body *')) {
            if (!/auto|scroll/.test(getComputedStyle(item).overflowX) || item.scrollWidth <= item.clientWidth) continue
            const name = `${item.localName} ${item.innerText.trim().slice(0, 40)}`
            if (item.tabIndex < 0) faults.push(`${name}: not reached by keyboard`)
            item.scrollLeft = item.scrollWidth
            if (item.scrollLeft + item.clientWidth < item.scrollWidth - 1) faults.push(`${name}: does not scroll`)
            item.scrollLeft = 0
          }
          return faults
        })()"""
    )


TEXTS = """
  const texts = []
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), range = document.createRange()
    range.selectNodeContents(walker.currentNode)
    if (text && range.getClientRects().length) texts.push([text.slice(0, 40), walker.currentNode.parentElement])
  }
"""


def small(visit: Any) -> list[str]:
    """No text below 11 CSS pixels."""
    return visit.evaluate(
        "(() => {" + TEXTS + """
          const size = item => parseFloat(getComputedStyle(item).fontSize)
          return texts.filter(([, item]) => size(item) < 11).map(([text, item]) => `${text}: ${size(item)} px`)
        })()"""
    )  # fmt: skip


def faint(visit: Any) -> list[str]:
    """Text has a contrast of 4.5 to its ground, WCAG 2's AA."""
    return visit.evaluate(
        "(() => {" + TEXTS + """
          const colour = text => text.match(/[\\d.]+/g).map(Number)
          const linear = x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4
          const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255)
          const ground = item => {
            for (; item; item = item.parentElement) {
              const found = colour(getComputedStyle(item).backgroundColor)
              if (found.length === 3 || found[3] === 1) return found
            }
            return [255, 255, 255]
          }
          const contrast = item => {
            const [a, b] = [light(colour(getComputedStyle(item).color)), light(ground(item))]
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
          }
          return texts.filter(([, item]) => contrast(item) < 4.5)
            .map(([text, item]) => `${text}: ${contrast(item).toFixed(2)}`)
        })()"""
    )  # fmt: skip


def astray(visit: Any) -> list[str]:
    """Links within the page lead to what is there, every section has one, and no id stands twice."""
    return visit.evaluate(
        """(() => {
          const faults = []
          const links = [...document.querySelectorAll('a[href^="#"]')].map(item => item.getAttribute('href').slice(1))
          for (const id of links)
            if (!(document.getElementById(id)?.offsetHeight > 0)) faults.push(`#${id}: leads nowhere`)
          for (const item of document.querySelectorAll('section'))
            if (!links.includes(item.id)) faults.push(`section ${item.id}: no link to it`)
          const ids = [...document.querySelectorAll('[id]')].map(item => item.id)
          return [...faults, ...ids.filter((id, i) => ids.indexOf(id) < i).map(id => `#${id}: twice`)]
        })()"""
    )


def off_colour(visit: Any) -> list[str]:
    """The page is drawn, dark where a dark one is wanted and light where not, and so are figures that come in both."""
    image = Image.open(io.BytesIO(visit.screenshot())).convert("L")
    pixels = np.asarray(image)
    faults = ["the window shows one colour"] if pixels.min() == pixels.max() else []
    brightness = float(np.median(pixels[: pixels.shape[0] // 4, :4]))  # the margin at the left of the heading
    if (brightness < 128) != visit.dark:
        faults.append(f"brightness {brightness} on a {'dark' if visit.dark else 'light'} page")
    return faults + visit.evaluate(
        """(() => {
          const pairs = [...document.querySelectorAll('picture:has(source[media*="dark"])')]
          const wanted = item => visit_dark ? item.querySelector('source').srcset : item.querySelector('img').src
          return pairs.filter(item => item.querySelector('img').currentSrc !== wanted(item))
            .map(item => `image ${item.querySelector('img').alt}: not of this page's colours`)
        })()""".replace("visit_dark", "true" if visit.dark else "false")
    )


LAWS: tuple[Callable[[Any], list[str]], ...] = (
    unrendered,
    stuck,
    overwide,
    unreachable,
    small,
    faint,
    astray,
    off_colour,
    fetched,  # the last two, so that what comes late is heard too
    complaints,
)


def unfold(visit: Any) -> None:
    """Open what is folded away and walk down the page, so that all is laid out and what is late is asked for."""
    visit.evaluate(
        """(async () => {
          for (const item of document.querySelectorAll('details')) item.open = true
          const frame = () => new Promise(f => requestAnimationFrame(f))
          for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
            scrollTo({top: y, behavior: 'instant'})
            await frame()
          }
          scrollTo({top: 0, behavior: 'instant'})
          await frame(), await frame()
        })()"""
    )


def broken_laws(visit: Any) -> dict[str, list[str]]:
    """The laws that a page breaks, with how."""
    unfold(visit)
    found = {law.__name__: law(visit) for law in LAWS}
    return {name: faults for name, faults in found.items() if faults}


# The reports, each by the code that a user's command runs.


@pytest.fixture(scope="module")
def report(
    tiny: Callable[..., Any], phantom_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The report of a kind, made once, all of one training."""
    clip = sorted(phantom_root.glob("database_nifti/*/*_4CH_half_sequence.nii.gz"))[0]

    @cache
    def run() -> Any:
        from memx.cli.training import run_training

        return run_training(tiny(phantom_root, *LONGER), out=tmp_path_factory.mktemp("browser") / "run")

    @cache
    def make(kind: str) -> Path:
        from memx.cli.evaluation import run_evaluation
        from memx.cli.inspection import run_inspection
        from memx.cli.prediction import run_prediction

        out = tmp_path_factory.mktemp("browser") / kind
        if kind == "training":
            return run().path / "report.html"
        if kind == "evaluation":
            return run_evaluation(run(), [], None, "cpu")[1]
        if kind == "prediction":
            return run_prediction(run().path, [str(clip)], out, [], True, "cpu")[1]
        if kind == "inspection":
            return run_inspection(run().path, clip, out, [], True, 0, False, "cpu")[1]
        if kind == "profile":
            return profiled(run(), out)
        if kind == "search":
            return searched(out)
        assert kind == "reproduction"
        return reproduction(out)

    return make


def profiled(run: Any, out: Path) -> Path:
    """The profile of a run, with every part and an axis."""
    from memx.cli.profiling import run_profile
    from memx.profile.run import PARTS

    run_profile(
        [str(run.path)],
        parts=PARTS,
        scaling=["frames"],
        beside=["softmax"],
        places=[2, 4, 10**6],
        budget=0.3,
        frames=2,
        batches=[1, 2],
        rounds=1,
        depth=1,
        device="cpu",
        precision=None,
        card="rtx_3090",
        compile=False,
        json=False,
        out=out,
    )
    return out / "report.html"


def searched(out: Path) -> Path:
    """A search that nobody ran, with every section, links to runs and a reason that is long."""
    from memx.search.report import write_search_report

    path = Path(__file__).parents[1] / "search" / "shown" / "made_up.py"
    spec = importlib.util.spec_from_file_location("made_up_search", path)
    assert spec is not None
    assert spec.loader is not None
    made_up = importlib.util.module_from_spec(spec)
    sys.modules["made_up_search"] = made_up
    spec.loader.exec_module(made_up)
    standing = made_up.study(runs=out / "runs")
    shares = {goal.measure: {"model.memory": 0.7, "model.value_dim": 0.3} for goal in standing.goals}
    facts = {"storage": f"sqlite:///{'long/' * 30}study.db", "seed": "0", "workers": "2"}
    return write_search_report(out / "report.html", standing, shares, facts=facts, recipe_yaml="search: {}\n" * 40)


def reproduction(out: Path) -> Path:
    """The widest table of a system that travels with memx, with made-up scores."""
    from memx.reproduce.result import Result, RunRecord
    from memx.reproduce.scores import PatientScores
    from memx.reproduce.table import accuracy_rows
    from memx.reproduce.write import write_result
    from memx.zoo import find_system

    system = find_system("gdkvm")
    table = system.table("main")
    ours = next(row.label for row in table.rows if "GDKVM" in row.label)
    random = np.random.default_rng(0)
    names = [f"p{i:02}" for i in range(12)]
    dice = {name: float(random.uniform(0.8, 0.95)) for name in names}
    values = {"dice": dice, "iou": {name: value / (2 - value) for name, value in dice.items()}}
    values |= {metric: {name: 10 * (1 - value) for name, value in dice.items()} for metric in ("hd", "hd95", "asd")}
    scores = PatientScores("lv", "memx-1", values, "mm", {}, "Simpson biplane", missed=0)
    runs = [RunRecord(ours, 0, "runs/made_up", "0" * 12, "d" * 64, "abcdef0123", dirty=False)]
    rows = accuracy_rows(table, {ours: {0: scores}}, {ours: 1})
    out.mkdir()
    return write_result(Result(system, "main", table, "phantom", "made up", False, rows, runs=runs), out)


# What the laws are about is there: a law about videos says nothing on a page without one.
HOLDS = {
    "training": "document.querySelector('picture source') && document.querySelector('video')",
    "evaluation": "document.querySelectorAll('video').length > 1 && document.images.length > 3",
    "prediction": "document.querySelector('video')",
    "inspection": "document.querySelectorAll('picture.scroll').length > 2",
    "profile": "document.querySelectorAll('picture:not(.scroll) source').length > 2 && "
    "document.querySelectorAll('picture.scroll').length > 2",
    "search": "document.querySelectorAll('picture.scroll source').length === 6 && "
    "document.querySelectorAll('td a, th a').length > 64",
    "reproduction": "[...document.querySelectorAll('.scroll')].some(x => x.scrollWidth > x.clientWidth)",
}


@pytest.mark.parametrize("kind", HOLDS)
def test_a_report_keeps_every_law(chromium: Any, report: Callable[[str], Path], kind: str) -> None:
    for look, (width, height, dark) in LOOKS.items():
        with chromium.open(report(kind), width, height, dark=dark) as visit:
            assert visit.evaluate(f"Boolean({HOLDS[kind]})")
            found = broken_laws(visit)
            assert not found, f"{kind}, {look}: {found}"


# Pages that break a law.


POLICY = '<meta http-equiv="Content-Security-Policy"'
SQUARE = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9" fill="teal"/></svg>'
ELSEWHERE = "http://memx.invalid/figure.png"


def page(planted: str = "", *, policy: bool = True) -> str:
    """A page as memx writes it, with something planted at the end of what it shows."""
    sections = [
        Tiles("Figures", [Tile("Dice", "0.913", "95% interval 0.90–0.92")]),
        Table("Scores", [f"column {i}" for i in range(12)], [["row"] + ["0.913"] * 11]),
        Figure("Square", SQUARE, "a square", dark=SQUARE.replace(b"teal", b"gold")),
        Text("Words", "A line of text that is long enough to be set in more than one line on a phone."),
        Code("Recipe", f"model:\n  name: {'long' * 40}\n"),
    ]
    html = render_report(Report("A sound page", sections))
    assert POLICY in html
    assert "</main>" in html
    html = html.replace("</main>", f"{planted}</main>")
    return html if policy else html.replace(POLICY, '<meta name="none"')


@pytest.mark.parametrize("look", LOOKS)
def test_a_sound_page_keeps_every_law(chromium: Any, tmp_path: Path, look: str) -> None:
    (tmp_path / "page.html").write_text(page(), encoding="utf-8")
    width, height, dark = LOOKS[look]
    with chromium.open(tmp_path / "page.html", width, height, dark=dark) as visit:
        assert broken_laws(visit) == {}


# What is planted in one page, and by law the words that say it was noticed.
FAULTS = {
    "loads under the policy": (
        True,
        f'<img src="{ELSEWHERE}" alt="a"><script>document.title = "mine"</script>',
        {
            "fetched": [ELSEWHERE],
            "complaints": ["Loading the image", "inline script"],
            "unrendered": ["image a: not decoded"],
        },
    ),
    "loads": (
        False,
        f'<img src="{ELSEWHERE}?now" alt="now"><img src="{ELSEWHERE}?late" alt="late" loading="lazy">'
        f'<link rel="stylesheet" href="style.css"><p style="background: url({ELSEWHERE}?ground)">a</p>',
        {
            "fetched": ["?now", "?late", "/style.css", "?ground"],
            "complaints": ["ERR_NAME_NOT_RESOLVED", "ERR_FILE_NOT_FOUND"],
            "unrendered": ["image now: not decoded", "image late: not decoded"],
        },
    ),
    "scripts": (
        False,
        "<script>console.error('out of', 'reach'); console.warn('beware'); Promise.reject(new Error('later'))</script>"
        "<script>undefined.size</script>",
        {"complaints": ["error: out of reach", "warning: beware", "later", "TypeError"]},
    ),
    "media": (
        True,
        '<img src="data:image/png;base64,iVBORw0KGgo=" alt="half"><section id="a"><h2>Nothing</h2></section>'
        '<video muted aria-label="clip" src="data:video/mp4;base64,AAAAGGZ0eXBpc29t"></video>',
        {
            "unrendered": ["image half: not decoded", "section a: empty"],
            "stuck": ["video clip"],
            "astray": ["section a: no link"],
        },
    ),
    "a video of nothing": (
        True,
        '<video muted aria-label="none"></video>',
        {"stuck": ["video none: no picture"]},
    ),
    "width": (
        True,
        '<div style="flex: none; width: 1400px">wide</div>'
        '<div style="width: 90px"><pre>a line that is too long</pre></div>',
        {"overwide": ["the page is 14", "div wide: from 14 to 1414", "px in 90"]},
    ),
    "scrolling": (
        True,
        '<div style="overflow: auto; width: 90px"><b style="padding: 99px">far</b></div>',
        {"unreachable": ["div far: not reached by keyboard"]},
    ),
    "text": (
        True,
        '<p style="font-size: 10.9px">fine print</p><p style="color: #9aa6b4">hardly</p>',
        {"small": ["fine print: 10.9 px"], "faint": ["hardly: 2."]},
    ),
    "links": (
        True,
        '<p id="a"><a href="#nowhere">there</a></p><p id="a">two</p>',
        {"astray": ["#nowhere: leads nowhere", "#a: twice"]},
    ),
    "dark": (
        True,
        "<style>body { background: #222 }</style>",
        {"off_colour": ["on a light page"], "faint": ["A sound page: 1."]},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(chromium: Any, tmp_path: Path, fault: str) -> None:
    policy, planted, noticed = FAULTS[fault]
    (tmp_path / "page.html").write_text(page(planted, policy=policy), encoding="utf-8")
    with chromium.open(tmp_path / "page.html", 360, 740) as visit:
        found = broken_laws(visit)
    assert set(found) == set(noticed), found
    for law, words in noticed.items():
        for word in words:
            assert any(word in said for said in found[law]), (law, word, found[law])


def test_a_page_of_one_colour_is_noticed(chromium: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!doctype html><title>nothing</title>", encoding="utf-8")
    with chromium.open(tmp_path / "page.html", 360, 740) as visit:
        assert "the window shows one colour" in off_colour(visit)
        assert {"no heading", "no section"} <= set(unrendered(visit))
