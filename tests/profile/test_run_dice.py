"""A run's Dice is the one that its own files have, of the network that is asked for, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memx.engine.run import RunFolder
from memx.errors import CheckpointError
from memx.metrics.rows import Row
from memx.metrics.scores import Scores
from memx.profile.run_dice import Dice, NoDice, read_dice
from memx.recipe import Recipe

TINY = ["data.size=32", "data.frames=2"]


def row(patient: str, structure: str, dice: float | None) -> Row:
    outcome = "both_empty" if dice is None else "scored"
    return Row(patient, "2CH", 0, 0, "ED", structure, outcome, dice, dice, None, None, None, "mm")


def scores(*structures: str, draws: int = 200) -> Scores:
    rows = [
        row(f"p{patient}", structure, 0.7 + 0.05 * patient - 0.2 * number)
        for patient in range(4)
        for number, structure in enumerate(structures)
    ]
    return Scores("memx-1", "", (*rows, row("p0", structures[0], None)), draws=draws)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A trained run that was not evaluated."""
    recipe = Recipe.load("gdkvm_phantom", TINY)
    run = RunFolder.create(recipe, tmp_path / "run")
    run.write_json("manifest.json", manifest(recipe.hash, "seen"))
    run.write_json("metrics.json", {"validation_dice": {"30": 0.81, "60": 0.84, "90": 0.79}})
    return run


def manifest(recipe_hash: str, data: str) -> dict[str, object]:
    return {"recipe_hash": recipe_hash, "data": {"fingerprint": data}}


def evaluate(run: RunFolder, split: str, found: Scores, recipe_hash: str | None = None) -> None:
    run.write_json(f"eval/{split}/manifest.json", manifest(recipe_hash or run.recipe.hash, "unseen"))
    found.write(run.path / "eval" / split)


def test_training_alone_gives_its_best_validation_without_an_interval(run: RunFolder) -> None:
    found = read_dice(run, run.recipe)
    assert found == Dice(0.84, "val", "Dice", "metrics.json", data="seen")


def test_test_patients_come_first(run: RunFolder) -> None:
    evaluate(run, "val", scores("lv", "la"))
    found = read_dice(run, run.recipe)
    assert isinstance(found, Dice)
    assert (found.split, found.file) == ("val", "eval/val/scores.json")
    evaluate(run, "test", scores("lv"))
    found = read_dice(run, run.recipe)
    assert isinstance(found, Dice)
    assert (found.split, found.patients, found.level, found.data) == ("test", 4, 0.95, "unseen")


def test_of_one_structure_it_is_the_summary_of_the_file(run: RunFolder) -> None:
    evaluate(run, "test", scores("lv"))
    summary = json.loads((run.path / "eval/test/scores.json").read_text())["summaries"][0]
    found = read_dice(run, run.recipe)
    assert isinstance(found, Dice)
    assert summary["metric"] == "dice"
    assert found.mean == pytest.approx(summary["mean"])
    assert found.interval == pytest.approx(tuple(summary["interval"]))


def test_of_several_structures_it_is_the_mean_over_all_masks(run: RunFolder) -> None:
    evaluate(run, "test", scores("lv", "la", draws=0))
    found = read_dice(run, run.recipe)
    assert isinstance(found, Dice)
    assert found.mean == pytest.approx((0.775 + 0.575) / 2)
    assert found.interval is None


def test_what_was_scored_with_other_options_is_not_this_networks(run: RunFolder) -> None:
    evaluate(run, "test", scores("lv"))
    other = Recipe.load(run.path / "recipe.yaml", ["model.memory=softmax"])
    found = read_dice(run, other)
    assert isinstance(found, NoDice)
    assert run.recipe.hash in found.reason
    assert other.hash in found.reason


def test_an_evaluation_with_other_options_is_passed_over(run: RunFolder) -> None:
    evaluate(run, "test", scores("lv"), recipe_hash="0123456789ab")
    found = read_dice(run, run.recipe)
    assert isinstance(found, Dice)
    assert found.file == "metrics.json"
    (run.path / "metrics.json").unlink()
    found = read_dice(run, run.recipe)
    assert found == NoDice(f"eval/test was scored as recipe 0123456789ab; this is {run.recipe.hash}")


def test_nothing_scored_at_all(run: RunFolder) -> None:
    (run.path / "metrics.json").unlink()
    assert read_dice(run, run.recipe) == NoDice("not scored")


def test_damaged_scores_are_an_error_that_names_the_file(run: RunFolder) -> None:
    evaluate(run, "test", scores("lv"))
    (run.path / "eval/test/scores.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"scores\.json: not what memx wrote there \(KeyError: 'rows'\)"):
        read_dice(run, run.recipe)
