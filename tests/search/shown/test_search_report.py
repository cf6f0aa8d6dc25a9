"""The page and the table that a search leaves, and the importances on it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import optuna
import pytest

from memx.report.html import Link, Report, Table, render_report
from memx.search.importance import FEWEST, best_share, importances
from memx.search.report import trials_csv, write_search_report
from memx.search.rows import Goal

FACTS = {"storage": "sqlite:///study.db", "workers": "2"}
GOALS = (Goal("dice", "maximize"), Goal("latency_ms", "minimize", "ms"))


def study_of(trials: int, *, flat: bool = False) -> optuna.Study:
    """`x` makes Dice, `kind` makes latency, `noise` neither; `heads` is there for one kind alone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        trial.suggest_float("noise", 0, 1)
        kind = trial.suggest_categorical("kind", ["a", "b", "c"])
        if kind == "a":
            trial.suggest_int("kind[a].heads", 1, 8)
        return (0.0, 0.0) if flat else (1 - (x - 0.3) ** 2, {"a": 3.0, "b": 2.0, "c": 1.0}[kind])

    study.optimize(objective, n_trials=trials)
    return study


@pytest.mark.filterwarnings("error")
def test_what_makes_a_goal_is_its_most_important_parameter() -> None:
    study = study_of(80)
    found = importances(study, GOALS)
    assert list(found) == ["dice", "latency_ms"]
    assert next(iter(found["dice"])) == "x"
    assert next(iter(found["latency_ms"])) == "kind"
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert "kind[a].heads" in shares, "conditional parameters are assessed"
    assert found == importances(study, GOALS)


def test_too_few_trials_and_flat_goals_have_none() -> None:
    assert importances(study_of(FEWEST - 1), GOALS) == {}
    flat = importances(study_of(FEWEST, flat=True), GOALS)
    assert all(len(set(shares.values())) > 1 for shares in flat.values())
    assert [best_share(n) for n in (5, 20, 50, 500)] == [0.5, 0.25, 0.1, 0.1]


def written(folder: Path, made_up: ModuleType, trials: int, **changes: object) -> str:
    standing = made_up.study(trials, goals=(made_up.DICE,), runs=folder / "runs")
    path = write_search_report(
        folder / "report.html", replace(standing, **changes), {}, facts=FACTS, recipe_yaml="search: <all>\n"
    )
    return path.read_text(encoding="utf-8")


def test_the_page_has_every_trial_with_a_relative_link(made_up: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "runs" / "trial-0003").mkdir(parents=True)
    (tmp_path / "runs" / "trial-0003" / "report.html").write_text("a run's")
    page = written(tmp_path, made_up, 9)
    links = re.findall(r'<a href="\./([^"]*)">(\d+)</a>', page)
    assert {number for _, number in links} == set(map(str, range(9)))
    assert {number: path for path, number in links} == {
        str(n): f"runs/trial-{n:04}" + ("/report.html" if n == 3 else "") for n in range(9)
    }
    assert str(tmp_path) not in page
    assert "search: &lt;all&gt;" in page
    assert "too few to tell" in page
    data = json.loads(page.partition('id="search">')[2].partition("</script>")[0])
    assert [trial["number"] for trial in data["trials"]] == list(range(9))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["report.html", "runs", "trials.csv"]


def test_a_study_without_a_trial_makes_a_page_too(made_up: ModuleType, tmp_path: Path) -> None:
    page = written(tmp_path, made_up, 0, budget=None, constraints=())
    assert "No trial has begun." in page
    assert "no complete trial keeps all constraints" in page
    assert "<img" not in page


def test_the_table_has_every_parameter_and_measure(made_up: ModuleType) -> None:
    standing = made_up.study(16)
    nothing = replace(standing.trials[0], parameters={**standing.trials[0].parameters, "model.refiner": None})
    standing = replace(standing, trials=(nothing, *standing.trials[1:]))
    rows = list(csv.DictReader(trials_csv(standing).splitlines()))
    assert [int(row["number"]) for row in rows] == list(range(16))
    assert [row["model.refiner"] for row in rows] == ["null"] + [""] * 15
    for row, trial in zip(rows, standing.trials, strict=True):
        assert row["state"] == trial.state
        assert {name: float(row[name]) for name in trial.measures} == trial.measures
        rate = trial.parameters["train.learning_rate"]
        assert isinstance(rate, float)
        assert np.float64(row["train.learning_rate"]) == rate


def test_a_link_leads_to_a_file_beside_the_page() -> None:
    def page(path: str) -> str:
        return render_report(Report("r", [Table("t", ["a"], [[Link("<x>", path)]])]))

    assert '<a href="./runs/a%20b%22%3Cc">&lt;x&gt;</a>' in page('runs/a b"<c')
    assert '<a href="./javascript%3Aalert%281%29">' in page("javascript:alert(1)")
    with pytest.raises(ValueError, match="relative path"):
        page("/etc/passwd")
