"""`system.yaml`: GDKVM's is whole and true to the recipes; every mistake is named with its file and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from memx import Recipe, build
from memx.cli import main
from memx.errors import RecipeError, UserError
from memx.recipe_source import SYSTEM_FILE, shipped_recipes
from memx.zoo import System, find_system, systems
from memx.zoo.metrics import published_words
from memx.zoo.system import Figure, load_system

GOOD = """\
title: X
summary: One line.
paper: {title: T, authors: A, venue: V 2025}
parameters: 10
releases: [{name: paper, recipe: gdkvm_camus, differs: nothing}]
sources: {paper: {label: paper, reference: R, protocol: P}}
data: {phantom: {recipe: gdkvm_phantom, protocol: simulated}}
tables:
  one:
    title: t
    shows: s
    data: [phantom]
    columns: [dice]
    reference: a
    rows:
      - {label: a, overrides: [], published: {paper: {dice: 90.5}}}
      - {label: b, published: {paper: {dice: {value: 91, low: 90, high: 92}}}}
"""


@pytest.fixture(scope="module")
def gdkvm() -> System:
    return find_system("gdkvm")


def load(folder: Path, text: str) -> System:
    (folder / SYSTEM_FILE).write_text(text, encoding="utf-8")
    return load_system(folder)


def test_gdkvm_is_found_with_its_card_and_recipes(gdkvm: System) -> None:
    assert systems()["gdkvm"] == gdkvm
    assert gdkvm.card.is_file()
    assert "system" not in shipped_recipes()
    assert {release.recipe for release in gdkvm.releases} <= set(shipped_recipes())


def test_the_published_network_has_that_many_parameters(gdkvm: System) -> None:
    model = build(Recipe.load(gdkvm.releases[0].recipe))
    assert sum(p.numel() for p in model.parameters()) == gdkvm.parameters


@pytest.mark.parametrize("row", ["GDKVM, paper", "GDKVM, 2025 release", "GDKVM, re-release"])
def test_rows_of_the_releases_are_the_releases_networks(gdkvm: System, row: str) -> None:
    rows = {item.label: item.overrides for item in gdkvm.table("main").rows if item.overrides is not None}
    release = gdkvm.releases[list(rows).index(row)]
    changed = Recipe.load(gdkvm.data["camus"].recipe, rows[row])
    assert changed.dump()["model"] == Recipe.load(release.recipe).dump()["model"]


def test_rows_repeat_the_published_figures(gdkvm: System) -> None:
    """What the tables say of GDKVM as published is what `published` says."""
    known = {item.source: item.figures for item in gdkvm.published}
    checked = 0
    for name, label in (("main", "GDKVM"), ("lvef", "GDKVM"), ("modules", "GDR + KPFF"), ("gates", "both")):
        for row in gdkvm.table(name).rows:
            if row.label.startswith(label):
                for source, figures in row.published.items():
                    assert {metric: known[source][metric] for metric in figures} == figures
                    checked += 1
    assert checked == 8


def test_the_same_variant_has_one_published_figure(gdkvm: System) -> None:
    """Plain accumulation with KPFF stands in three tables, under two names."""
    found = {}
    for name in ("modules", "gates", "speed"):
        for row in gdkvm.table(name).rows:
            if row.overrides is not None and row.published:
                found.setdefault(tuple(row.overrides), set()).add(row.published["iccv2025"]["dice"].value)
    assert all(len(values) == 1 for values in found.values())
    assert len(found) == 7


def test_a_small_file_is_read(tmp_path: Path) -> None:
    system = load(tmp_path / "", GOOD)
    assert system.name == tmp_path.name
    first, second = system.table("one").rows
    assert first.published["paper"]["dice"] == Figure(value=90.5)
    assert second.overrides is None
    assert second.published["paper"]["dice"].high == 92
    assert system.settings("one", "phantom").recipe == "gdkvm_phantom"
    assert system.licences == "code: none public; weights: none public"


@pytest.mark.parametrize(
    ("old", "new", "line", "place", "words"),
    [
        ("summary: One line.", "", 1, "summary", "is missing"),
        ("title: X", "titel: X", 1, "titel", "did you mean 'title'"),
        ("parameters: 10", "parameters: '10'", 4, "parameters", "not '10'"),
        ("parameters: 10", "parameters: 0", 4, "parameters", "greater than or equal to 1"),
        ("columns: [dice]", "columns: [dise]", 13, "tables.one.columns.0", "'dice'"),
        ("columns: [dice]", "columns: [fps]", 9, "tables.one", "kind: speed only"),
        ("reference: a", "reference: b", 9, "tables.one", "'b' is not the label of a row with overrides"),
        ("{label: b,", "{label: a,", 9, "tables.one", "two rows have the same label"),
        ("{label: b,", "{label: b, seeds: 3,", 17, "tables.one.rows.1.seeds", "There are: label, overrides, published"),
        ("{paper: {dice: 90.5", "{papre: {dice: 90.5", 16, "tables.one.rows.0.published.papre", "did you mean 'paper'"),
        ("{paper: {dice: 90.5}}", "{paper: {dice: a}}", 16, "tables.one.rows.0.published.paper.dice", "not 'a'"),
        ("data: [phantom]", "data: [camus]", 12, "tables.one.data.0", "unknown data 'camus'"),
        ("recipe: gdkvm_phantom,", "recipe: gdkvm_phantom, quick_phantom: {size: 64},", 7, "data.phantom", "not given"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(tmp_path: Path, old: str, new: str, line: int, place: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as error:
        load(tmp_path, GOOD.replace(old, new))
    message = str(error.value)
    assert f"{tmp_path / SYSTEM_FILE}:{line}: {place}: " in message, message
    assert words in message, message


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^2 mistakes in ") as error:
        load(tmp_path, GOOD.replace("title: X", "titel: X"))
    assert "title: is missing" in str(error.value)


def test_unknown_names_say_what_there_is(gdkvm: System) -> None:
    with pytest.raises(UserError, match="did you mean 'gdkvm'"):
        find_system("gdkmv")
    with pytest.raises(RecipeError, match="did you mean 'gates'"):
        gdkvm.table("gate")
    with pytest.raises(RecipeError, match=r"is made on .*, not on 'echonet'"):
        gdkvm.settings("gates", "echonet")


def test_figures_are_written_as_published() -> None:
    assert published_words("dice", Figure(value=93.3)) == "93.30"
    assert published_words("dice", Figure(value=93.67, low=93.06, high=94.27)) == "93.67 (93.06 to 94.27)"
    assert published_words("ef_bias", Figure(value=-0.19, spread=11.3)) == "−0.19 ± 11.3 points"
    assert published_words("fps", Figure(value=205, about=True)) == "≈ 205"
    assert published_words("hd95", Figure(value=3.72, unit="mm")) == "3.72 mm"


def test_the_commands_show_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")

    def run(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["memx", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        return capsys.readouterr().out

    listed = run("zoo")
    for word in ("gdkvm", "35,078,282", "gdkvm_rerelease", "CC BY-NC-SA 4.0"):
        assert word in listed
    shown = run("zoo", "show", "gdkvm")
    for word in ("2512.10252", "95.11", "93.67 (93.06 to 94.27)", "gates", "pixel_pairing: previous", "README.md"):
        assert word in shown
