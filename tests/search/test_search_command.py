"""`memx search`: trials are run folders, winners are recipes, and what is refused is refused before any trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

import memx
from memx.engine.manifest import device_words
from memx.engine.run import RunFolder
from memx.recipe import Recipe
from memx.search.folder import SearchFolder, StudyPlace
from memx.search.rows import Standing
from memx.search.study import asks, recipe_of, standing


@pytest.fixture(scope="module")
def write(write_recipe: Callable[..., Path]) -> Callable[..., Path]:
    """`write(path, **search)`: a recipe that trains in a second, with a search by TPE."""
    words = ["model.sensory=null", "data.augment=[]", "train.iterations=4", "train.validate_every=2"]
    return lambda path, **search: write_recipe(path, *words, **{"sampler": "tpe", "startup": 2} | search)


def read(folder: Path) -> Standing:
    recipe = SearchFolder.open(folder).recipe()
    (name,) = optuna.get_all_study_names(f"sqlite:///{folder / 'study.db'}")
    study = optuna.load_study(storage=f"sqlite:///{folder / 'study.db'}", study_name=name)
    return standing(study, recipe, folder)


@pytest.fixture(scope="module")
def searched(write: Any, search_space: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search for Dice and parameters, of which one trial is refused."""
    from memx.cli.searching import run_search

    folder = tmp_path_factory.mktemp("search")
    path = write(
        folder / "tiny.yaml",
        objectives=["dice", "state_bytes"],
        constraints=["state_bytes < 5000"],
        space=search_space | {"model.value_dim": {"choice": [16, 64]}},
        first=[{"model.value_dim": 64}, {"model.value_dim": 16}],
    )
    out = folder / "out"
    run_search(Recipe.load(path), out=out, workers=1, storage=None, study=None, heartbeat=20, device="cpu")
    return out


def test_every_trial_is_a_run_folder(searched: Path) -> None:
    trained = [trial for trial in read(searched).trials if trial.state == "complete"]
    assert trained
    for trial in trained:
        assert trial.run is not None
        run = RunFolder.open(trial.run)
        assert (run.path / "report.html").is_file()
        assert json.loads((run.path / "metrics.json").read_text())["steps"] == 4
        assert run.recipe.search is None
        assert run.recipe.train.learning_rate == trial.parameters["train.learning_rate"]
        masks = memx.load(run.path)(torch.rand(1, 2, 1, 32, 32)).masks  # type: ignore[attr-defined]
        assert masks.shape == (1, 2, 1, 32, 32)
        validated = json.loads((run.path / "metrics.json").read_text())["validation_dice"]
        assert trial.measures["dice"] == max(validated.values())
        assert dict(trial.curve) == {int(step): dice for step, dice in validated.items()}


def test_a_trial_that_breaks_a_constraint_is_not_trained(searched: Path) -> None:
    refused = [trial for trial in read(searched).trials if trial.state == "refused"]
    assert [trial.parameters["model.value_dim"] for trial in refused][:1] == [64]
    assert all(trial.reason.startswith("state_bytes is ") and trial.run is None for trial in refused)
    assert all(trial.feasible is False for trial in refused)


def test_every_winner_is_a_recipe_that_describes_its_run(searched: Path) -> None:
    best = read(searched).best()
    assert best
    files = sorted((searched / "pareto").glob("*.yaml"))
    assert [path.stem for path in files] == sorted(f"trial_{trial.number:04d}" for trial in best)
    for trial in best:
        recipe = Recipe.load(searched / "pareto" / f"trial_{trial.number:04d}.yaml")
        assert trial.run is not None
        assert recipe.hash == RunFolder.open(trial.run).recipe.hash


def test_a_finished_search_is_shown_and_gone_on_with(searched: Path, command: Any) -> None:
    before = len(read(searched).trials)
    status, out, _ = command("search", "--show", searched)
    assert status == 0
    assert f"{before} of 3 trials ended" in out
    for trial in read(searched).best():
        assert f"{trial.measures['dice']:.4f}" in out
        assert str(trial.parameters["model.memory"]) in out
    recipe = searched.parent / "tiny.yaml"
    status, _, err = command("search", recipe, "--out", searched)  # the budget is spent
    assert status == 0, err
    assert len(read(searched).trials) == before
    status, _, err = command("search", recipe, "search.trials=4", "--out", searched)
    assert status == 0, err
    assert len(read(searched).trials) == before + 1


@pytest.mark.parametrize("word", ["train.batch=2", "train.validate_every=1"])
def test_another_question_does_not_join(word: str, searched: Path, command: Any) -> None:
    recipe = searched.parent / "tiny.yaml"
    status, _, err = command("search", recipe, word, "--out", searched, "--study", read(searched).name)
    assert status == 2
    assert f"asks something else; it differs in recipe.{word.partition('=')[0]}" in err


def test_who_joins_a_search_does_not_look_through_its_space_again(
    searched: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*words: Any, **named: Any) -> None:
        raise AssertionError("the space is looked through again")

    monkeypatch.setattr("memx.cli.searching.check_space", again)
    status, _, err = command("search", searched.parent / "tiny.yaml", "--out", searched)
    assert status == 0, err


def test_another_search_does_not_take_a_folder(searched: Path, command: Any) -> None:
    before, study = (searched / "search.yaml").read_bytes(), read(searched).name
    status, _, err = command("search", searched.parent / "tiny.yaml", "search.seed=5", "--out", searched)
    assert status == 2
    assert f"the search in {searched} asks something else; it differs in search.seed" in " ".join(err.split())
    assert (searched / "search.yaml").read_bytes() == before
    assert optuna.get_all_study_names(f"sqlite:///{searched / 'study.db'}") == [study]


def test_a_folder_has_one_study(searched: Path, command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trials of two would lie in one folder under the same numbers."""
    words = ["search", searched.parent / "tiny.yaml", "--out", searched]
    name, own = read(searched).name, {path.name for path in (searched / "trials").iterdir()}
    status, _, err = command(*words, "--study", "another")
    assert status == 2
    assert f"the study of {searched} is {name}, not another; leave --study away" in " ".join(err.split())
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("OPTUNA_STORAGE", elsewhere)
    status, _, err = command(*words)
    assert status == 2
    assert f"lies in its study.db, not in {elsewhere}; leave --storage away" in " ".join(err.split())
    assert {path.name for path in (searched / "trials").iterdir()} == own
    assert not (tmp_path / "elsewhere.db").exists()
    status, out, err = command("search", "--show", searched)  # its own, whatever the shell exports
    assert status == 0, err
    assert name in out


@pytest.mark.usefixtures("no_reports")
def test_a_folder_finds_its_study_in_its_storage_only(
    write: Any, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, other = (f"sqlite:///{tmp_path / name}" for name in ("there.db", "other.db"))
    words = ["search", write(tmp_path / "r.yaml", trials=1), "train.iterations=1"]
    for out, url in (("out", there), ("twin", other)):
        status, _, err = command(*words, "--out", tmp_path / out, "--storage", url)
        assert status == 0, err
    shown = ("search", "--show", tmp_path / "out")
    status, _, err = command(*shown)
    assert status == 2
    assert f"lies in {there}; give that as --storage, or export OPTUNA_STORAGE" in " ".join(err.split())
    status, _, err = command(*shown, "--storage", other)  # which has a study of that name and question
    assert status == 2
    assert "has another study" in err
    status, _, err = command(*words, "--out", tmp_path / "out", "--storage", other)
    assert status == 2
    assert "has another study" in err
    status, out, err = command(*shown, "--storage", there)
    assert status == 0, err
    assert "1 of 1 trials ended" in out


@pytest.mark.usefixtures("no_reports")
def test_a_study_that_was_left_behind_is_missed(
    write_recipe: Any, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["search", write_recipe(tmp_path / "r.yaml", "train.iterations=1", trials=1), "--out", "out"]
    assert command(*words)[0] == 0
    assert command(*words, "--storage", "sqlite:///out/study.db")[0] == 0, "it is the folder's own"
    (tmp_path / "out/study.db").rename(tmp_path / "away")
    for asked in (["search", "--show", "out"], words):
        status, _, err = command(*asked)
        assert status == 2
        assert "out/study.db: is not there, and the study of the trials beside it lies in it; put it back" in err
        assert not (tmp_path / "out/study.db").exists()
    (tmp_path / "out/study.json").write_text("{")
    status, _, err = command("search", "--show", "out")
    assert status == 2
    assert "study.json: cannot be read" in err
    assert "put it back, or search anew with another --out" in " ".join(err.split())


def test_of_two_that_begin_a_folder_the_first_has_it(write_recipe: Any, tmp_path: Path) -> None:
    recipe = Recipe.load(write_recipe(tmp_path / "r.yaml"))
    folder = SearchFolder(tmp_path / "out")
    folder.make()
    folder.write(recipe, StudyPlace("one", "1", "study.db"))
    with pytest.raises(memx.errors.UserError, match="another process has begun study one in study"):  # type: ignore[attr-defined]
        folder.write(recipe, StudyPlace("two", "2", "journal:two"))
    folder.write(recipe, StudyPlace("one", "1", "study.db"))
    assert folder.study() == StudyPlace("one", "1", "study.db")
    assert {path.name for path in folder.path.iterdir()} == {"study.json", "search.yaml", "trials"}


def test_a_machine_that_can_train_nothing_begins_no_trial(
    write_recipe: Any, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe(tmp_path / "r.yaml", trials=1)
    for word, said in (
        ("train.precision=fp16", "train.precision=fp16 needs a GPU"),
        ("train.trackers=[wandb]", "train.trackers: wandb is not installed"),
    ):
        status, _, err = command("search", path, word, "--out", tmp_path / "out")
        assert status == 2
        assert said in err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("word", ["search_memory", "--out=x", "--study=x", "--workers=2"])
def test_show_takes_nothing_else(word: str, searched: Path, command: Any) -> None:
    status, _, err = command("search", word, "--show", searched)
    assert status == 2
    assert "nothing else; leave" in " ".join(err.split())
    assert word.removeprefix("--").replace("=", " ") in err


def test_no_code_that_a_data_base_names_is_run(tmp_path: Path, command: Any) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="trap")
    study.set_user_attr("memx_recipe", json.dumps({"name": "trap", "plugins": [str(plugin)]}))
    status, _, err = command("search", "--show", "trap", "--storage", url)
    assert status == 2
    assert "no code that a data base names is run" in " ".join(err.split())
    assert not (tmp_path / "ran").exists()


def test_torchrun_starts_no_search(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = command("search", "search_memory")
    assert status == 2
    assert "start `memx search --workers N` without it" in " ".join(err.split())


def test_the_report_says_who_took_the_trials_and_on_what(searched: Path) -> None:
    page = (searched / "report.html").read_text()
    assert device_words("cpu") in page
    assert "tpe, seed 0" in page
    assert read(searched).name in page


def test_what_is_refused_leaves_nothing_behind(write: Any, tmp_path: Path, command: Any) -> None:
    space = {"model.memory": {"choice": ["linear", {"type": "gated_delta", "heads": {"int": [1, 3]}}]}}
    path = write(tmp_path / "r.yaml", space=space)
    status, _, err = command("search", path, "--out", tmp_path / "out")
    assert status == 2
    assert "heads must divide the value channels: 3 does not divide 16" in err
    assert not (tmp_path / "out").exists()
    for storage, message in (
        ("nothing", "is no storage; write an RDB's URL"),
        ("postgresql+nodriver://me:secret@host/db", "is no storage"),
    ):
        good = write(tmp_path / "good.yaml")
        status, _, err = command("search", good, "--out", tmp_path / "out", "--storage", storage)
        assert status == 2
        assert message in err
        assert "secret" not in err
        assert not (tmp_path / "out").exists()


def test_a_recipe_without_a_search_is_told_how_to_write_one(command: Any) -> None:
    status, _, err = command("search", "gdkvm_phantom")
    assert status == 2
    assert "has no `search:`" in err
    assert "model.memory: {choice: [linear, gated_delta, softmax]}" in err


@pytest.mark.parametrize("show", ["nowhere", "."])
def test_show_needs_a_search(show: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = command("search", "--show", show)
    assert status == 2
    assert "not a search's folder" in err


@pytest.mark.usefixtures("no_reports")
def test_impossible_combinations_are_left_out_where_they_are_to_be(write: Any, tmp_path: Path, command: Any) -> None:
    space = {"model.memory": {"choice": ["linear", {"type": "gated_delta", "heads": {"choice": [1, 3]}}]}}
    first = [{"model.memory": "gated_delta", "model.memory[gated_delta].heads": 3}, {"model.memory": "linear"}]
    path = write(tmp_path / "r.yaml", space=space, impossible="skip", first=first, trials=2)
    status, _, err = command("search", path, "--out", tmp_path / "out")
    assert status == 0, err
    assert "1 of 3 combinations tried are impossible and are left out" in err
    refused, complete = read(tmp_path / "out").trials
    assert refused.state == "refused"
    assert "3 does not divide 16" in refused.reason
    assert complete.state == "complete"
    assert (tmp_path / "out" / "best.yaml").is_file()


def test_the_pruner_ends_a_trial_by_its_validation_dice(write: Any, tmp_path: Path, command: Any) -> None:
    """The median pruner, told of good trials before, must end one that cannot learn."""
    space = {"train.learning_rate": {"choice": [3e-3, 1e-9]}}
    first = [{"train.learning_rate": 3e-3}, {"train.learning_rate": 1e-9}]
    path = write(tmp_path / "r.yaml", space=space, pruner="median", startup=1, first=first, trials=2)
    words = ["train.iterations=24", "train.validate_every=8", "train.checkpoint_every=100", "train.batch=2"]
    status, _, err = command("search", path, *words, "--out", tmp_path / "out")
    assert status == 0, err
    good, bad = read(tmp_path / "out").trials
    assert good.state == "complete"
    assert bad.state == "pruned"
    assert bad.run is not None
    run = RunFolder.open(bad.run)  # whole, and can be gone on with
    assert run.training_state.is_file()
    assert (run.path / "report.html").is_file()
    assert max(dict(bad.curve)) < 24


@pytest.mark.usefixtures("no_reports")
def test_a_grid_visits_every_combination_once_and_ends(write: Any, tmp_path: Path, command: Any) -> None:
    space = {"model.memory": {"choice": ["linear", {"type": "softmax", "capacity": {"int": [1, 2]}}]}}
    path = write(tmp_path / "r.yaml", space=space, sampler="grid", trials=50)
    status, _, err = command("search", path, "train.iterations=1", "--out", tmp_path / "out")
    assert status == 0, err
    found = [tuple(sorted(trial.parameters.items())) for trial in read(tmp_path / "out").trials]
    assert len(found) == len(set(found)) == 3


def test_a_study_knows_its_recipe(searched: Path) -> None:
    url = f"sqlite:///{searched / 'study.db'}"
    study = optuna.load_study(storage=url, study_name=read(searched).name)
    assert asks(recipe_of(study)) == asks(SearchFolder.open(searched).recipe())
    other = optuna.create_study(storage=url, study_name="stranger")
    with pytest.raises(memx.errors.UserError, match="'stranger' is not one of memx"):  # type: ignore[attr-defined]
        recipe_of(other)
    optuna.delete_study(storage=url, study_name="stranger")
