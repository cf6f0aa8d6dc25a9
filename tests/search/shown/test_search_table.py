"""The table of a study fits its width, says what it leaves out, and holds whatever a study holds."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from memx.search.columns import NARROW, Column, fit
from memx.search.rows import Goal, Standing, Trial
from memx.search.table import standing_table, trial_line
from memx.search.words import (
    best_first,
    differing,
    duration,
    kind_parameter,
    measure_form,
    measure_title,
    measure_unit,
    short_names,
    value_words,
)


def shown(standing: Standing, width: int, limit: int = 12) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(standing_table(standing, limit=limit))
    return console.file.getvalue().splitlines()


NAMES = st.from_regex(r"[a-z_]{1,20}(\.[a-z_]{1,20}|\[[a-z_]{1,12}\]\.[a-z_]{1,12}){0,3}", fullmatch=True)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C"]), max_size=40),
)
VALUES = st.one_of(st.floats(0, 1), st.floats(-1e6, 1e6), st.integers(0, 10**13).map(float))
GOALS = (
    Goal("dice", "maximize"),
    Goal("latency_ms", "minimize", "ms", "latency"),
    Goal("a_measure_with_a_name_that_is_rather_long", "minimize", "furlongs a fortnight"),
)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    goals = GOALS[: draw(st.integers(1, 3))]
    names = draw(st.lists(NAMES, max_size=9, unique=True))
    trials = []
    for number in range(draw(st.integers(0, 6))):
        state = draw(st.sampled_from(["waiting", "running", "complete", "pruned", "refused", "failed", "taken_over"]))
        parameters = {name: draw(SCALARS) for name in names if draw(st.booleans())}
        measures = {goal.measure: draw(VALUES) for goal in goals if state == "complete" or draw(st.booleans())}
        if draw(st.booleans()):
            measures["state_bytes"] = draw(st.floats(0, 1e12))
        curve = tuple(enumerate(draw(st.lists(st.floats(0, 1), max_size=3)), start=1))
        seconds = draw(st.none() | st.floats(0, 1e7))
        feasible = draw(st.sampled_from([None, True, False])) if state == "complete" else None
        run = Path("runs") / f"trial-{number}" if draw(st.booleans()) else None
        reason = draw(st.text(max_size=120)) if state in ("failed", "refused") else ""
        trials.append(Trial(1000 * number, state, parameters, measures, curve, seconds, feasible, run, reason))
    return Standing("a_study", goals, ("latency_ms < 20",), tuple(trials), draw(st.none() | st.integers(1, 9999)))


@settings(deadline=None, max_examples=40)
@given(standing=standings(), width=st.integers(60, 200))
def test_fits_and_shows_numbers_states_and_goals(standing: Standing, width: int) -> None:
    lines = shown(standing, width)
    assert max(map(cell_len, lines)) <= width
    complete = [trial for trial in standing.trials if trial.state == "complete"]
    front = {trial.number for trial in standing.best()}
    rows = {words[0]: words for line in lines if (words := line.split())}
    for trial in complete:
        words = rows[str(trial.number)]
        front_word = "best" if len(standing.goals) == 1 else "front"
        wanted = front_word if trial.number in front else "infeasible" if trial.feasible is False else "complete"
        assert words[1] == wanted
    for line in (trial_line(standing, trial) for trial in standing.trials):
        assert "\n" not in line


@pytest.mark.parametrize("goals", [1, 2, 3])
def test_what_there_is_no_room_for_is_told(made_up: ModuleType, goals: int) -> None:
    standing = made_up.study(20, goals=(made_up.DICE, made_up.LATENCY, made_up.SIZE)[:goals], running=0)
    wide = shown(standing, 200)
    assert not any("no room" in line for line in wide)
    text = " ".join(shown(standing, 60)).replace("  ", " ")
    gone = text.partition("no room at this width: ")[2]
    for name in ("time", "run", "MACs", "state bytes"):
        assert name in gone, "what says least goes first"
    assert "memory" not in gone


def test_a_wide_terminal_has_it_all(made_up: ModuleType) -> None:
    text = "\n".join(shown(made_up.study(), 200, limit=5))
    for words in ("62 of 80 trials ended", "2 running", "front: Dice", "gated_delta", "trial-0022", "and 27 more"):
        assert words in text
    assert "latency_ms 24.74 is not < 12" in text


def test_the_front_comes_first_and_infeasible_trials_last(made_up: ModuleType) -> None:
    standing = made_up.study()
    front = standing.best()
    order = best_first(standing, front)
    assert order[: len(front)] == front
    feasible = [trial.feasible is not False for trial in order]
    assert feasible == sorted(feasible, reverse=True)
    assert sorted(t.number for t in order) == [t.number for t in standing.trials if t.state == "complete"]


def test_a_study_without_a_trial_and_one_where_all_failed(made_up: ModuleType) -> None:
    assert "no trial has begun" in "\n".join(shown(made_up.study(0), 80))
    trials = tuple(
        replace(trial, state="failed", measures={}, curve=(), reason="out of\nmemory")
        for trial in made_up.study(5).trials
    )
    text = "\n".join(shown(replace(made_up.study(0), trials=trials), 80))
    assert "5 of 80 trials ended" in text
    assert "no complete trial yet" in text
    assert text.count("failed: out of memory") == 3


def test_a_log_has_one_line_a_trial(made_up: ModuleType) -> None:
    standing = made_up.study()
    line = trial_line(standing, standing.trials[22])
    assert line.startswith("trial 22  in the front  Dice 0.9162  latency 9.74 ms  memory=gated_delta heads=")
    assert line.endswith("62 of 80 ended")
    refused = next(trial for trial in standing.trials if trial.state == "refused")
    assert refused.reason in trial_line(standing, refused)
    pruned = next(trial for trial in standing.trials if trial.state == "pruned")
    assert f"Dice {pruned.curve[-1][1]:.4f} at step {pruned.curve[-1][0]}" in trial_line(standing, pruned)


@settings(deadline=None, max_examples=60)
@given(names=st.lists(NAMES, max_size=12, unique=True), taken=st.lists(NAMES, max_size=3))
def test_short_names_are_endings_and_clear(names: list[str], taken: list[str]) -> None:
    found = short_names(names, taken)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    for name, short in found.items():
        assert short == name or name.replace("]", "").endswith(short.replace("]", ""))
        assert short == name or short not in taken


def test_short_names_by_example() -> None:
    memory = ["model.memory", "model.memory[softmax].heads", "model.memory[kda].heads", "train.learning_rate"]
    assert list(short_names(memory).values()) == ["memory", "softmax.heads", "kda.heads", "learning_rate"]
    widths = ["model.image_encoder.width", "model.value_encoder.width"]
    assert list(short_names(widths).values()) == ["image_encoder.width", "value_encoder.width"]
    assert short_names(["model.parameters"], ["parameters"]) == {"model.parameters": "model.parameters"}


def test_only_what_differs_is_shown(made_up: ModuleType) -> None:
    trials = [Trial(0, "complete", {"a.b": 1, "a.c": 2.0}, {"dice": 0.5})]
    lone = Standing("s", GOALS[:1], (), tuple(trials))
    assert differing(lone) == ["a.b", "a.c"]
    two = replace(lone, trials=(*trials, Trial(1, "complete", {"a.b": 1, "a.c": 3.0, "a.d": 0}, {"dice": 0.6})))
    assert differing(two) == ["a.c", "a.d"]
    assert kind_parameter(two) is None
    assert kind_parameter(made_up.study()) == "model.memory"


def test_words_of_measures_values_and_times() -> None:
    assert [measure_title(n) for n in ("dice", "latency_ms", "macs", "state_bytes")] == [
        "Dice", "latency", "MACs", "state bytes"
    ]  # fmt: skip
    assert measure_unit("latency_ms") == "ms"
    assert measure_unit("state_bytes") == measure_unit("parameters") == measure_unit("dice") == ""
    assert measure_form("dice", [0.9, 0.00001])(0.9) == "0.9000"
    assert measure_form("latency_ms", [3.14159, 120.0])(120) == "120.00"
    assert measure_form("macs", [1.4e6, 2e9])(1.4e6) == "1.40 M"
    assert measure_form("state_bytes", [4096.0])(4096) == "4.00 KiB"
    assert [value_words(v) for v in (None, True, 0.000316227, 8, "kpff")] == ["null", "true", "0.000316", "8", "kpff"]
    assert [duration(s) for s in (None, 41, 59.8, 200, 4000)] == ["–", "41 s", "1.0 min", "3.3 min", "1.1 h"]


@settings(deadline=None, max_examples=40)
@given(
    cells=st.lists(st.tuples(st.text("ab_", max_size=30), st.text("xyz", max_size=40), st.integers(0, 5)), min_size=1),
    width=st.integers(20, 200),
)
def test_columns_go_by_rank(cells: list[tuple[str, str, int]], width: int) -> None:
    columns = [Column(name, [cell], rank) for name, cell, rank in cells]
    assume(sum(rank == 0 for *_, rank in cells) * (NARROW + 2) <= width)
    kept, widest = fit(columns, width)
    assert sum(column.width(widest) + 2 for column in kept) - 2 <= width
    gone = [column.rank for column in columns if not any(column is other for other in kept)]
    assert all(rank > 0 for rank in gone)
    assert max((column.rank for column in kept), default=0) <= min(gone, default=5)
