import json
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console

from memx.errors import RecipeError
from memx.metrics import Pair, Protocol, row_wise_dice, row_wise_iou
from memx.metrics.conventions import CONVENTIONS
from memx.recipe import Evaluate, Recipe
from memx.report.html import Report, render_report
from memx.report.sections import score_sections

RELEASE = "gdkvm-release-2025"
TRUTH = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], bool)
GUESS = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]], bool)


def test_by_hand():
    """Rows: both empty 1; one of two found, Dice 2/3 and IoU 1/2; equal 1; found where nothing is, 0."""
    assert row_wise_dice(GUESS, TRUTH) == pytest.approx((1 + 2 / 3 + 1 + 0) / 4, abs=1e-5)
    assert row_wise_iou(GUESS, TRUTH) == pytest.approx((1 + 1 / 2 + 1 + 0) / 4, abs=1e-5)
    smooth = 1e-5
    exact = (1 + (2 + smooth) / (3 + smooth) + 1 + smooth / (1 + smooth)) / 4
    assert row_wise_dice(GUESS, TRUTH) == pytest.approx(exact, abs=1e-15)


def test_an_empty_prediction_scores_the_share_of_rows_without_the_structure():
    """A ventricle through 55% of the rows: nothing found scores 0.45, where the Dice of the mask is 0."""
    y, x = np.mgrid[:200, :160]
    truth = ((y - 100) / 55) ** 2 + ((x - 80) / 30) ** 2 < 1
    share = 1 - truth.any(1).mean()
    assert share == pytest.approx(0.45, abs=0.01)
    nothing = np.zeros_like(truth)
    assert row_wise_dice(nothing, truth) == pytest.approx(share, abs=1e-5)
    assert row_wise_iou(nothing, truth) == pytest.approx(share, abs=1e-5)
    assert row_wise_dice(nothing, nothing) == row_wise_iou(nothing, nothing) == 1


@given(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(lambda s: st.tuples(*2 * [hnp.arrays(bool, s)])))
@settings(deadline=None, max_examples=60)
def test_agrees_with_a_walk_over_the_rows(pair):
    dices, ious = [], []
    for p, t in zip(*(mask.tolist() for mask in pair), strict=True):
        both = sum(a and b for a, b in zip(p, t, strict=True))
        dices.append((2 * both + 1e-5) / (sum(p) + sum(t) + 1e-5))
        ious.append((both + 1e-5) / (sum(a or b for a, b in zip(p, t, strict=True)) + 1e-5))
    assert row_wise_dice(*pair) == pytest.approx(sum(dices) / len(dices), abs=1e-12)
    assert row_wise_iou(*pair) == pytest.approx(sum(ious) / len(ious), abs=1e-12)


def test_refuses_what_has_no_rows():
    with pytest.raises(ValueError, match="with at least one row"):
        row_wise_dice(TRUTH[None], TRUTH[None])
    with pytest.raises(TypeError, match="wants a boolean mask"):
        row_wise_iou(TRUTH.astype(int), TRUTH)


def pairs():
    nothing = np.zeros_like(TRUTH)
    for number, (guess, truth) in enumerate([(GUESS, TRUTH), (nothing, TRUTH), (nothing, nothing)]):
        yield Pair(guess, truth, (1.0, 1.0), f"p{number}", "4CH", "LV", "ED")


def test_the_protocol_differs_in_overlap_alone():
    ours, release = Protocol(draws=50).score(pairs()), Protocol(draws=50, name=RELEASE).score(pairs())
    assert [row.dice for row in release.rows] == pytest.approx([2 / 3, 0.5, 1], abs=1e-5)
    assert [row.dice for row in ours.rows] == [pytest.approx(8 / 10), 0, None]
    for first, second in zip(ours.rows, release.rows, strict=True):
        assert (first.hd, first.hd95, first.asd, first.outcome) == (second.hd, second.hd95, second.asd, second.outcome)
    found = {item.metric: item for item in release.overall}
    assert (found["dice"].n, found["dice"].n_both_empty, found["dice"].n_one_empty, found["hd"].n) == (3, 1, 1, 2)


def test_every_figure_is_labelled(tmp_path):
    scores = Protocol(draws=50, name=RELEASE).score(pairs())
    console = Console(width=160, record=True, file=StringIO())
    console.print(scores.table())
    shown = console.export_text()
    scores.write(tmp_path)
    for text in (shown, render_report(Report("r", score_sections(scores)))):
        for words in ("Row-wise Dice", "Row-wise IoU", RELEASE, "about 0.45", "2025 release"):
            assert words in text
    data = json.loads((tmp_path / "scores.json").read_text())
    assert data["protocol"]["name"] == RELEASE
    assert "row-wise" in data["protocol"]["description"]
    assert (data["titles"]["dice"], data["titles"]["iou"]) == ("Row-wise Dice", "Row-wise IoU")
    tables = sorted(tmp_path.glob("*.csv"))
    assert [path.stem for path in tables] == ["agreement", "clips", "ef", "scores", "summaries"]
    for path in tables:
        head, *lines = path.read_text().splitlines()
        assert head.startswith("protocol,")
        assert all(line.startswith(f"{RELEASE},") for line in lines)


def test_a_recipe_names_it_and_its_hash_stays():
    plain, other = Recipe.load("gdkvm_phantom"), Recipe.load("gdkvm_phantom", [f"evaluate.protocol={RELEASE}"])
    assert plain.evaluate.protocol == "memx-1" == Protocol().name
    assert other.evaluate.protocol == RELEASE
    assert plain.hash == other.hash
    choices = Evaluate.model_json_schema()["properties"]["protocol"]["enum"]
    assert choices == list(CONVENTIONS)
    with pytest.raises(RecipeError, match=r"evaluate\.protocol"):
        Recipe.load("gdkvm_phantom", ["evaluate.protocol=paper"])
    with pytest.raises(ValueError, match="there is no protocol 'paper'; there are: memx-1, gdkvm-release-2025"):
        Protocol(name="paper")
