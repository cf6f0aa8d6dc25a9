"""Cards: their links lead somewhere, and their figures are those of `system.yaml`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from memx.recipe import Recipe
from memx.recipe_source import shipped_recipes
from memx.reproduce.plan import make_plan
from memx.search.space import Space
from memx.search.variant import variant
from memx.zoo import systems
from memx.zoo.metrics import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
CARDS = [ROOT / "zoo" / "README.md", *(system.card for system in systems().values())]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_links_lead_somewhere(card: Path) -> None:
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", card.read_text(encoding="utf-8")) if "://" not in t]
    assert targets
    for target in targets:
        assert (card.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", list(systems()))
def test_a_card_has_the_published_figures_and_the_parameters(name: str) -> None:
    system = systems()[name]
    text = system.card.read_text(encoding="utf-8").replace("−", "-")
    assert f"{system.parameters:,}" in text
    for item in system.published:
        for metric, figure in item.figures.items():
            shown = f"{figure.value:.{COLUMNS[metric].digits}f}"
            assert re.search(rf"\| [^|]*{re.escape(shown)}[^|]* \||bias {re.escape(shown)}", text), (metric, shown)
    for row in (row for table in system.tables.values() for row in table.rows if row.overrides is not None):
        for figures in row.published.values():
            for metric, figure in figures.items():
                shown = "|".join(re.escape(f"{figure.value:{style}}") for style in ("g", ".1f", ".2f"))
                cell = rf"\|[^|\n]*(?<![\d.])({shown})(?![\d.])[^|\n]*\|"
                assert re.search(rf"{shown} FPS" if metric == "fps" else cell, text), (row.label, metric)
    for item in (*system.code, *system.weights):
        assert item.licence.split(",")[0] in text


def search_winners() -> set[str]:
    """Hashes of what was trained again after the search in docs/benchmarks.md: GDKVM and five of the front."""
    again = ["train.iterations=500", "seed=1"]
    base = Recipe.load("search_memory")
    assert base.search is not None
    space = Space.parse(base.search.space)
    trials = json.loads((ROOT / "tests/fixtures/search_winners.json").read_text())["parameters"].values()
    drawn = [variant(base, space.resolve(lambda node, trial=trial: trial[node.name])) for trial in trials]
    winners = {Recipe.from_dict(recipe.dump(), again).hash for recipe in drawn}
    return winners | {Recipe.load("gdkvm_phantom", again[1:]).hash}


@pytest.mark.parametrize("page", [*CARDS[1:], ROOT / "docs" / "benchmarks.md"], ids=lambda page: page.name)
def test_hashes_beside_figures_are_those_of_recipes(page: Path, tmp_path: Path) -> None:
    """A recipe that is changed takes its figures with it."""
    known = {Recipe.load(name).hash for name in shipped_recipes()}
    for system in systems().values():
        for table in system.tables:
            plan = make_plan(system, table, "phantom", out=tmp_path, seeds=3)
            known |= {run.recipe.hash for runs in plan.rows.values() for run in runs}
    known |= search_winners()
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"(?<!data )\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b", text)
    assert shown
    assert set(shown) <= known


@pytest.mark.parametrize("name", list(systems()))
def test_a_card_names_every_release_and_recipe(name: str) -> None:
    system = systems()[name]
    text = system.card.read_text(encoding="utf-8")
    for release in system.releases:
        assert f"`{release.recipe}`" in text
    own = [recipe for recipe, path in shipped_recipes().items() if path.parent == system.folder]
    assert all(f"`{recipe}`" in text for recipe in own)
