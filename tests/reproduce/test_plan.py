"""Plans: which runs a table needs, how they are named, how far they are, and how long the rest may take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memx.cli import main
from memx.data import phantom
from memx.errors import RecipeError, UserError
from memx.reproduce.data import find_data
from memx.reproduce.plan import make_plan, seconds_left, unique
from memx.reproduce.runs import PlacedRun, Scoring
from memx.zoo import System, find_system
from memx.zoo.system import Settings


@pytest.fixture(scope="module")
def gdkvm() -> System:
    return find_system("gdkvm")


def test_every_table_can_be_planned_on_all_its_data(gdkvm: System, tmp_path: Path) -> None:
    """Every override of every row, of every data set and of --quick, is one that the recipe takes."""
    planned = 0
    for name, table in gdkvm.tables.items():
        for data in table.data:
            for quick in (False, True):
                plan = make_plan(gdkvm, name, data, out=tmp_path, quick=quick)
                assert list(plan.rows) == [row.label for row in table.rows if row.overrides is not None]
                planned += 1
    assert planned >= 20


def test_rows_alike_share_a_run_across_tables(gdkvm: System, tmp_path: Path) -> None:
    gates, modules, main_ = (
        make_plan(gdkvm, t, "phantom", out=tmp_path, seeds=2).place("f" * 64) for t in ("gates", "modules", "main")
    )
    assert gates["accumulate"] == modules["KPFF"]
    assert gates["both"] == modules["GDR + KPFF"] == main_["GDKVM, paper"]
    folders = [item.path for runs in (*gates.values(), *modules.values()) for item in runs]
    assert len(set(folders)) == 2 * 8
    assert [item.run.seed for item in unique(gates)] == [0] * 6 + [1] * 6
    first = gates["both"][0]
    every = first.run.recipe.train.validate_every
    assert first.path == tmp_path / "gdkvm" / "phantom" / f"{first.run.recipe.hash}_ffffff_seed0_val{every}"


def test_a_changed_recipe_other_data_or_another_seed_is_another_run(gdkvm: System, tmp_path: Path) -> None:
    def names(digest: str, *overrides: str) -> list[str]:
        plan = make_plan(gdkvm, "gates", "phantom", out=tmp_path, seeds=2, overrides=overrides)
        return [run.name(digest) for run in plan.rows["both"]]

    found = [*names("a" * 64), *names("b" * 64), *names("a" * 64, "train.iterations=7")]
    found += names("a" * 64, "train.validate_every=7")
    assert len(set(found)) == 8


def test_rows_have_the_last_word_and_the_user_the_one_before(gdkvm: System, tmp_path: Path) -> None:
    overrides = ["train.iterations=7", "model.memory.beta=true"]
    plan = make_plan(gdkvm, "gates", "phantom", out=tmp_path, quick=True, overrides=overrides)
    recipe = plan.rows["replace"][0].recipe
    assert recipe.train.iterations == 7
    assert recipe.dump()["model"]["memory"]["beta"] is False
    slow = make_plan(gdkvm, "gates", "phantom", out=tmp_path, overrides=overrides).rows["replace"][0].recipe
    assert recipe.data.size < slow.data.size


def test_seeds_and_bad_overrides_are_refused(gdkvm: System, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seeds"):
        make_plan(gdkvm, "gates", "phantom", out=tmp_path, overrides=["seed=3"])
    with pytest.raises(RecipeError, match=r"table gates, row 'no memory', on gdkvm_phantom: (.|\n)*iterations"):
        make_plan(gdkvm, "gates", "phantom", out=tmp_path, overrides=["train.iteration=3"])
    with pytest.raises(RecipeError, match="table gates is made on phantom or camus, not on 'echonet'"):
        make_plan(gdkvm, "gates", "echonet", out=tmp_path)


def test_the_phantom_is_named_by_its_options_and_the_users_folder_wins(tmp_path: Path) -> None:
    settings = Settings(recipe="gdkvm_phantom", phantom={"patients": 9, "seed": 1}, quick_phantom={"patients": 3},
                        protocol="simulated")  # fmt: skip
    slow, quick = (find_data(settings, tmp_path, [], quick=q) for q in (False, True))
    assert slow.root != quick.root
    assert quick.options == {"layout": "camus", "patients": 3, "seed": 1}
    assert slow.missing
    named = find_data(settings, tmp_path, [f"data.root={tmp_path / 'mine'}"], quick=False)
    assert (named.root, named.options, named.missing) == (tmp_path / "mine", None, False)
    none = find_data(settings.model_copy(update={"phantom": None}), tmp_path, [], quick=False)
    assert none.root is None
    with pytest.raises(RecipeError, match="unknown option 'patient'; did you mean 'patients'"):
        find_data(settings.model_copy(update={"phantom": {"patient": 9}}), tmp_path, [], quick=False)
    with pytest.raises(RecipeError, match="how many patients"):
        find_data(settings.model_copy(update={"phantom": {"seed": 9}}), tmp_path, [], quick=False)
    with pytest.raises(ValueError, match="the user's"):
        named.write()


def test_the_shipped_phantoms_can_be_generated(gdkvm: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options are taken by the generator itself; one patient stands for all."""
    for quick in (False, True):
        found = find_data(gdkvm.data["phantom"], tmp_path, [], quick=quick)
        assert found.options is not None
        options = {**found.options, "patients": 1, "size": 64, "frames": 2}
        assert phantom.write(tmp_path / str(quick), **options)["seed"] == found.options["seed"]


def place(gdkvm: System, tmp_path: Path, *overrides: str) -> PlacedRun:
    plan = make_plan(gdkvm, "gates", "phantom", out=tmp_path, overrides=[f"data.root={tmp_path}", *overrides])
    return plan.place("f" * 64)["replace"][0]


def test_a_run_goes_from_stage_to_stage(gdkvm: System, tmp_path: Path) -> None:
    run = place(gdkvm, tmp_path)
    assert run.stage == "to do"
    train, evaluate = run.commands("cpu")
    assert train[1:5] == ("-m", "memx", "train", "gdkvm_phantom")
    assert {"model.memory.alpha=false", "seed=0", f"data.root={tmp_path}"} <= set(train)
    assert evaluate[3:5] == ("eval", str(run.path))
    (run.path / "last").mkdir(parents=True)
    (run.path / "recipe.yaml").write_text("name: x\n")
    run.clear()
    assert not run.path.exists(), "what never reached a checkpoint is in the way of a new start"
    (run.path / "last").mkdir(parents=True)
    (run.path / "last" / "training_state.pt").touch()
    assert run.stage == "interrupted"
    assert run.commands("cpu")[0][3:6] == ("train", "--resume", str(run.path))
    run.clear()
    assert (run.path / "last" / "training_state.pt").exists()
    (run.path / "metrics.json").touch()
    assert run.stage == "trained"
    assert run.commands("cpu") == (evaluate,)
    (scoring,) = run.scorings
    for protocol, digest, stage in (
        ("memx-1", "a" * 64, "trained"), ("gdkvm-release-2025", "f" * 64, "trained"), ("memx-1", "f" * 64, "scored"),
    ):  # fmt: skip
        score(run, scoring, protocol, digest)
        assert run.stage == stage, "scores of other data, or by another protocol, are not this table's"
    assert run.commands("cpu") == ()


def score(run: PlacedRun, scoring: Scoring, protocol: str = "memx-1", fingerprint: str = "f" * 64) -> None:
    folder = run.scores(scoring).parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"protocol": protocol, "data": {"fingerprint": fingerprint}}))
    run.scores(scoring).touch()


def test_long_clips_are_another_scoring_of_the_same_run(gdkvm: System, tmp_path: Path) -> None:
    plan = make_plan(gdkvm, "plus", "phantom", out=tmp_path)
    assert plan.long is not None
    assert plan.long.options == {**(plan.source.options or {}), "frames": 30}
    assert plan.missing == [plan.source, plan.long]
    run = plan.place("f" * 64)["GDKVM"][0]
    short = make_plan(gdkvm, "gates", "phantom", out=tmp_path).place("f" * 64)["both"][0]
    assert run.path == short.path
    _, first, second = run.commands("cpu")
    assert short.commands("cpu")[1] == first
    assert {f"data.root={plan.long.root}", "data.frames=30", "test_30_frames"} <= set(second)
    for scoring in short.scorings:
        score(run, scoring)
    (run.path / "metrics.json").touch()
    assert (short.stage, run.stage) == ("scored", "trained")
    assert run.commands("cpu") == (second,)
    named = make_plan(gdkvm, "plus", "phantom", out=tmp_path, quick=True, overrides=[f"data.root={tmp_path}"])
    assert named.long == named.source
    assert f"data.root={tmp_path}" in named.scorings[1].overrides
    assert "data.frames=5" in named.scorings[1].overrides


def test_other_seeds_and_overrides_leave_a_table_alone(gdkvm: System, tmp_path: Path) -> None:
    def out(table: str = "gates", **options: Any) -> str:
        return make_plan(gdkvm, table, "phantom", out=tmp_path, **options).out.name

    assert out() == "gates_1_seed"
    assert out(seeds=3, quick=True) == "gates_3_seeds_quick"
    changed = {out(overrides=[text]) for text in ("train.iterations=7", "train.iterations=8")}
    assert len(changed | {out()}) == 3
    assert out("speed", seeds=3) == "speed"


def test_time_is_known_from_runs_alike(gdkvm: System, tmp_path: Path) -> None:
    done = place(gdkvm, tmp_path)
    left = [place(gdkvm, tmp_path, f"train.iterations={n}") for n in (100, 300)]
    folder = done.path.parent
    assert seconds_left(left, folder, 1) is None
    done.path.mkdir(parents=True)
    (done.path / "recipe.yaml").write_text(done.run.recipe.to_yaml(), encoding="utf-8")
    (done.path / "metrics.json").write_text(json.dumps({"seconds": 80.0, "steps": 400}))
    assert seconds_left(left, folder, 1) == pytest.approx(0.2 * 400)
    assert seconds_left(left, folder, 2) == pytest.approx(0.2 * 200)
    assert seconds_left([place(gdkvm, tmp_path, "data.size=96")], folder, 1) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gdkvm"], "--table is missing; GDKVM has: modules, gates"),
        (["gdkvn", "--table", "gates"], "did you mean 'gdkvm'"),
        (["gdkvm", "--table", "gate"], "did you mean 'gates'"),
        (["gdkvm", "--table", "gates", "--data", "echonet"], "--data echonet: table gates is made on phantom or camus"),
        (["gdkvm", "--table", "gates", "--data", "camus"], "data.root is not set"),
    ],
)
def test_mistakes_on_the_command_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["memx", "reproduce", *words, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_plan_is_shown_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["reproduce", "gdkvm", "--table", "modules", "--seeds", "3", "--plan", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["memx", *words])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "the phantom is written first" in shown
    assert "GDR + KPFF" in shown
    assert "0 of 12 runs are there, 12 to do, 1 at a time: the time is known after the first" in shown
    assert not (tmp_path / "out").exists()
