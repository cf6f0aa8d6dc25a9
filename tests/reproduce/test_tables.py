"""Tables from made-up scores: figures, differences, orders, what failed, and what is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from memx.errors import CheckpointError, DataError
from memx.metrics.scores import PatientEF, Row, Scores
from memx.reproduce.result import QUICK, Result, RunRecord
from memx.reproduce.scores import PatientScores, read_lost, read_scores
from memx.reproduce.speed import FrameTime
from memx.reproduce.table import accuracy_rows, leading_source, orders, speed_rows
from memx.reproduce.write import markdown, terminal_table, words, write_result
from memx.zoo import System, find_system

PATIENTS = [f"p{i:02}" for i in range(12)]
DICE = {"no memory": 0.60, "accumulate": 0.90, "replace": 0.70, "β only": 0.95, "α only": 0.9349, "both": 0.935}
"""Made up: `β only` above `both`, against the paper; `α only` as good as `both`."""


@pytest.fixture(scope="module")
def gdkvm() -> System:
    return find_system("gdkvm")


def scores(mean: float, seed: int) -> PatientScores:
    """Patients share their difficulty, whatever the network; networks add some noise of their own."""
    hard = np.random.default_rng(0).normal(scale=0.03, size=len(PATIENTS))
    own = np.random.default_rng([seed, round(10_000 * mean)]).normal(scale=0.004, size=len(PATIENTS))
    dice = {p: float(mean + a + b) for p, a, b in zip(PATIENTS, hard, own, strict=True)}
    values = {"dice": dice, "iou": {p: v / (2 - v) for p, v in dice.items()}}
    values["dice_lost"] = {p: v - 0.1 for p, v in list(dice.items())[::2]}
    values |= {name: {p: 10 * (1 - v) for p, v in dice.items()} for name in ("hd", "hd95", "asd")}
    ef = {p: (50.0 + 3 * i, 52.0 + 3 * i + 100 * float(own[i])) for i, p in enumerate(PATIENTS)}
    return PatientScores("lv", "memx-1", values, "mm", ef, "Simpson biplane", missed=0)


def gates(system: System, *, seeds: int = 3, without: tuple[str, ...] = (), quick: bool = False) -> Result:
    table = system.table("gates")
    scored = {label: {k: scores(mean, k) for k in range(seeds)} for label, mean in DICE.items() if label not in without}
    found = accuracy_rows(table, scored, dict.fromkeys(DICE, seeds))
    source = leading_source(table, list(system.sources))
    assert source == "iccv2025"
    tested = orders(table, scored, source)
    return Result(system, "gates", table, "phantom", "made up", quick, found, tested, source)


def test_the_known_order_is_found_and_the_rest_is_not_claimed(gdkvm: System) -> None:
    verdicts = {(o.better, o.worse): o.verdict for o in gates(gdkvm).orders}
    assert len(verdicts) == 10
    assert all(verdicts[label, "replace"] == "shown" for label in DICE if label not in ("replace", "no memory"))
    assert verdicts["both", "accumulate"] == "shown"
    assert verdicts["both", "β only"] == "reversed"
    assert verdicts["both", "α only"] == "open"
    assert verdicts["β only", "α only"] == "shown"


def test_differences_are_paired_and_figures_are_means(gdkvm: System) -> None:
    rows = {row.label: row for row in gates(gdkvm).rows}
    cell = rows["accumulate"].cells["dice"]
    values = np.array([list(scores(0.90, k).values["dice"].values()) for k in range(3)])
    other = np.array([list(scores(0.935, k).values["dice"].values()) for k in range(3)])
    assert cell.estimate.value == pytest.approx(values.mean())
    assert cell.difference is not None
    assert cell.difference.value == pytest.approx((values - other).mean())
    assert cell.difference.high is not None
    assert cell.estimate.low is not None
    assert cell.estimate.high is not None
    assert cell.difference.high < 0
    paired = cell.difference.high - (cell.difference.low or 0)
    assert paired < (cell.estimate.high - cell.estimate.low) / 2, "patients' difficulty should cancel"
    assert cell.alike == (3, 3)
    assert rows["both"].cells["dice"].difference is None
    assert (rows["both"].patients, rows["both"].seeds, rows["both"].failed) == (12, 3, 0)


def test_the_words_say_where_every_column_is_from(gdkvm: System) -> None:
    result = gates(gdkvm)
    assert result.columns() == ["", "paper, CAMUS", "ours, phantom", "ours − both", "patients × seeds"]
    row = result.cells(result.rows[2])
    assert row[:2] == ["replace", "74.68"]
    assert row[2].startswith("Dice 70.")
    assert row[3].startswith("Dice −23.")
    assert all("\nDice, lost frames " in cell for cell in row[2:4])
    assert row[4] == "12 × 3"
    text = words(result)
    assert "paper, CAMUS: CAMUS, as the ICCV 2025 paper prints it" in text
    assert "ours, phantom: made up" in text
    assert "only figures of one column may be compared" in text
    assert "t interval over both" in text
    assert "Shown: both (95.11) above replace (74.68): +23." in text
    assert "Reversed: both (95.11) above β only (94.57): −1." in text
    assert "Not shown: both (95.11) above α only (94.26)" in text
    assert "3 of 3 seeds alike" in text


def test_a_row_without_runs_has_dashes_and_is_counted(gdkvm: System) -> None:
    result = gates(gdkvm, without=("replace",))
    row = result.cells(result.rows[2])
    assert row[1:] == ["74.68", "–", "–", "–\n3 failed"]
    assert "3 runs have no result" in words(result)
    assert {o.verdict for o in result.orders if "replace" in (o.better, o.worse)} == {"open"}
    assert "runs are missing" in words(result)


def test_a_patient_missed_is_counted_among_predictions(gdkvm: System) -> None:
    def missing(seed: int) -> PatientScores:
        whole = scores(0.93, seed)
        ef = {p: pair for p, pair in whole.ef.items() if seed or p != "p00"}
        return dataclasses.replace(whole, ef=ef, missed=len(whole.ef) - len(ef))

    table = gdkvm.table("lvef")
    rows = accuracy_rows(table, {"GDKVM, paper": {k: missing(k) for k in (0, 1)}}, {})
    result = Result(gdkvm, "lvef", table, "phantom", "made up", False, rows)
    assert "missed in 1 of 24 predictions" in words(result)
    ours = next(result.cells(row)[-2] for row in rows if row.label == "GDKVM, paper")
    assert ours.count(", 11 patients") == 3


def test_recipes_seeds_data_and_code_stand_below_the_table(gdkvm: System) -> None:
    result = dataclasses.replace(
        gates(gdkvm),
        runs=[RunRecord("both", k, "somewhere", f"{k:012}", "d" * 64, "abcdef0123", dirty=k == 1) for k in (0, 1)],
    )
    text = markdown(result)
    assert "- both: recipe 000000000000 (seed 0), 000000000001 (seed 1)" in text
    assert "- data dddddddddddd; memx abcdef0, abcdef0 and changes" in text
    assert "made with 2 states of memx's code" in text


def test_one_seed_is_said(gdkvm: System) -> None:
    assert "One seed: the intervals are over patients" in words(gates(gdkvm, seeds=1))


def test_quick_claims_nothing(gdkvm: System) -> None:
    result = gates(gdkvm, quick=True)
    assert result.notes()[0] == QUICK
    assert "Shown" not in words(result)
    assert f"**{QUICK}**" in markdown(result)


def test_published_rows_stand_beside_ours(gdkvm: System) -> None:
    table = gdkvm.table("main")
    scored = {"GDKVM, paper": {0: scores(0.93, 0)}, "GDKVM, re-release": {0: scores(0.92, 0)}}
    rows = accuracy_rows(table, scored, {})
    result = Result(gdkvm, "main", table, "phantom", "made up", False, rows)
    cells = {row.label: result.cells(row) for row in rows}
    heads = ["", "paper, CAMUS", "paper, EchoNet", "2026 paper, CAMUS", "re-release, CAMUS", "ours, phantom"]
    assert result.columns()[:6] == heads
    assert cells["XMem++"] == [
        "XMem++", "Dice 89.38\nIoU 85.81\nHD 4.03\nASD 4.87", "Dice 87.51\nIoU 83.57", "–", "–", "–", "–", "–",
    ]  # fmt: skip
    assert "HD95 3.72 mm" in cells["GDKVM, re-release"][4]
    ours = cells["GDKVM, paper"][5].split("\n")
    assert [line.split()[0] for line in ours] == ["Dice", "IoU", "HD", "HD95", "ASD"]
    assert " mm (" in ours[3]
    assert "ASD above an HD" in words(result)


def test_ejection_fractions_have_r_bias_and_method(gdkvm: System) -> None:
    table = gdkvm.table("lvef")
    rows = accuracy_rows(table, {"GDKVM, paper": {k: scores(0.93, k) for k in (0, 1)}}, {})
    cells = next(row.cells for row in rows if row.label == "GDKVM, paper")
    bias = [100 * np.random.default_rng([k, 9300]).normal(scale=0.004, size=12) + 2 for k in (0, 1)]
    assert cells["ef_bias"].estimate.value == pytest.approx(np.mean(bias))
    assert cells["ef_bias"].spread == pytest.approx(np.mean([b.std(ddof=1) for b in bias]))
    assert cells["ef_r"].estimate.value == pytest.approx(1, abs=0.01)
    assert cells["ef"].estimate.value == pytest.approx(np.mean(np.abs(bias)))
    result = Result(gdkvm, "lvef", table, "phantom", "made up", False, rows)
    assert "Our ejection fractions: Simpson biplane" in words(result)
    assert result.cells(rows[0])[1] == "EF r 0.891\nEF bias 0.86 ± 13.4 points"


TIMES = np.linspace(19, 21, 41)


def test_times_stand_beside_the_published(gdkvm: System) -> None:
    table = gdkvm.table("speed")
    times = {row.label: FrameTime(tuple(TIMES + i), 6, (112, 112)) for i, row in enumerate(table.rows[:5])}
    result = Result(
        gdkvm, "speed", table, "phantom", "made up", False, speed_rows(table, times), device="a processor, 1 thread"
    )
    assert result.cells(result.rows[4]) == [
        "both",
        "Dice 95.11\ntime 160.62 ms\nFPS 37",
        "time 24.00 ms (23.65 to 24.35), p95 24.90\nFPS 41.7",
        "reference",
    ]
    assert result.cells(result.rows[3])[3] == "time −1.00 ms (−1.00 to −1.00)", "rounds are paired"
    assert result.cells(result.rows[5]) == ["PKEcho-Net", "Dice 93.49\nFPS ≈ 205", "–", "–"]
    assert result.as_dict()["interval"]["over"] == "clips"
    assert "measured on a processor, 1 thread" in words(result)


def test_files_are_written_and_agree(gdkvm: System, tmp_path: Path) -> None:
    result = gates(gdkvm)
    report = write_result(result, tmp_path / "out")
    data = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))
    row = next(row for row in data["rows"] if row["label"] == "β only")
    assert row["published"] == {"iccv2025": {"dice": {"value": 94.57}}}
    assert row["ours"]["dice"]["unit"] == "fraction"
    assert row["ours"]["dice"]["estimate"]["seeds"] == 3
    assert data["orders"]["pairs"][0]["verdict"] in ("shown", "open", "reversed")
    assert data["statement"] == result.statement()
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert text.count("\n| ") == 8
    assert "<td>74.68</td>" in report.read_text(encoding="utf-8")
    assert terminal_table(result).row_count == 6


def test_scores_are_read_as_eval_writes_them(tmp_path: Path) -> None:
    def row(patient: str, view: str, structure: str, dice: float | None) -> Row:
        outcome = "both_empty" if dice is None else "scored"
        return Row(
            patient, view, 0, 9 if view == "4CH" else 0, "ED", structure, outcome, dice, dice, dice, dice, dice, "mm"
        )

    rows = (
        row("a", "2CH", "lv", 0.5), row("a", "4CH", "lv", 0.7), row("b", "2CH", "lv", 0.9),
        row("b", "4CH", "lv", None), row("c", "2CH", "lv", None), row("a", "2CH", "la", 0.1),
    )  # fmt: skip
    ef = (
        PatientEF("a", 50.0, 47.0, "Simpson biplane", "ml", 1, 1, 1, 1),
        PatientEF("b", 50.0, None, "Simpson biplane", "ml", 1, 1, 1, 1),
    )
    Scores("memx-1", "text", rows, ef, ef_structure="lv", draws=10).to_json(tmp_path / "scores.json")
    found = read_scores(tmp_path / "scores.json")
    assert found.of("dice") == pytest.approx({"a": 0.6, "b": 0.9})
    assert found.of("dice_lost") == {}
    lost = frozenset({("a", "4CH", 9), ("b", "4CH", 9), ("b", "2CH", 9)})
    assert read_scores(tmp_path / "scores.json", lost).of("dice_lost") == {"a": 0.7}
    assert found.of("ef") == {"a": 3.0}
    assert (found.structure, found.unit, found.method, found.missed) == ("lv", "mm", "Simpson biplane", 1)


@pytest.mark.parametrize("text", ["", "{}", '{"rows": []}', "[1]"])
def test_other_files_are_no_scores(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(CheckpointError, match="score the run anew"):
        read_scores(tmp_path / "scores.json")


def test_lost_frames_are_those_that_the_phantom_names(tmp_path: Path) -> None:
    assert read_lost(None) == read_lost(tmp_path) == frozenset()
    people = [{"name": "a", "lost": {"2CH": [1, 2], "4CH": []}}, {"name": "b", "lost": {"4CH": [0]}}, {"name": "c"}]
    (tmp_path / "memx.json").write_text(json.dumps({"patients": people}))
    assert read_lost(tmp_path) == {("a", "2CH", 1), ("a", "2CH", 2), ("b", "4CH", 0)}


@pytest.mark.parametrize("text", ["", "{}", '{"patients": [1]}', "[]", '{"lost": 0.4, "patients": [{"name": "a"}]}'])
def test_a_broken_summary_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "memx.json").write_text(text)
    with pytest.raises(DataError, match=r"memx\.json: not the summary of a phantom"):
        read_lost(tmp_path)
