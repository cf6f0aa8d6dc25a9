"""Many networks at once: all are built before any is timed, each is timed as often, and every row says what it is."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memx.engine.checkpoint import save_weights
from memx.engine.run import RunFolder
from memx.errors import RecipeError, UserError
from memx.memory.base import Cost, Memory
from memx.memory.linear import LinearMemory
from memx.memory.state import State
from memx.models.build import build
from memx.profile import side_by_side
from memx.profile.components import UncountedError, count
from memx.profile.entries import Entry, find_entries
from memx.profile.run_dice import Dice, NoDice
from memx.profile.side_by_side import Settings, measure
from memx.profile.side_by_side_report import figure_points, record
from memx.profile.side_by_side_words import remarks
from memx.recipe import Recipe
from memx.recipe_source import shipped_recipes
from memx.registry import memories

TINY = ["data.size=32", "data.frames=2"]
QUICK = Settings(rounds=3)


def entry(label: str, *overrides: str) -> Entry:
    return Entry(label, label, Recipe.load("gdkvm_phantom", [*TINY, *overrides]), NoDice("not trained"))


@pytest.fixture(scope="module")
def measured() -> side_by_side.SideBySide:
    entries = [entry("one"), entry("grows", "model.memory=softmax"), entry("one again")]
    return measure(entries, QUICK, baseline="grows")


def test_each_is_timed_in_every_round_and_held_to_the_baseline_of_that_round(measured) -> None:
    assert [len(item.seconds) for item in measured.rows] == [3, 3, 3]
    base = measured.rows[1]
    assert measured.baseline == "grows"
    assert base.ratios == (1.0, 1.0, 1.0)
    for item in measured.rows:
        assert item.ratios == pytest.approx([a / b for a, b in zip(item.seconds, base.seconds, strict=True)])
        assert item.fps == pytest.approx(1 / item.times.median)


def test_the_state_of_a_memory_that_grows_is_read_at_both_places(measured) -> None:
    one, grows, again = (item.state_bytes for item in measured.rows)
    assert one[10] == one[100] == again[10]
    assert grows[100] > grows[10]
    assert (grows[100] - grows[10]) % 90 == 0, "as much more with every frame"


def test_macs_are_those_of_the_frame_that_is_timed(measured) -> None:
    recipe = measured.rows[0].entry.recipe
    model, frame = build(recipe).eval(), torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        state = model.step(frame, model.init_state(1, 1, size=(32, 32)))[1]
        assert measured.rows[0].macs == count(model, lambda: model.step(frame, state)).whole.macs.total()
    assert measured.rows[0].macs == measured.rows[2].macs
    assert measured.rows[1].memory == "softmax"


def test_one_size_for_all(measured) -> None:
    found = measure([entry("one")], replace(QUICK, size=(48, 48)))
    assert found.rows[0].size == (48, 48)
    assert found.rows[0].macs > measured.rows[0].macs
    assert found.rows[0].entry.recipe.data.size == (32, 32)


def test_what_cannot_be_run_is_named_before_anything_is_timed(own_registry, monkeypatch: pytest.MonkeyPatch) -> None:
    @memories.register("broken_in_write")
    class Broken(LinearMemory):
        """Raises."""

        def write(self, state, frame):
            raise RuntimeError("boom")

    @memories.register("free_of_charge")
    class Silent(Memory):
        """Holds numbers that no rule counts."""

        reads = "after_write"

        def __init__(self, key_dim: int, value_dim: int):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(1))

        def init_state(self, batch, objects=1, *, device=None, dtype=None):
            return State(S=torch.zeros(batch, objects, device=device))

        def write(self, state, frame):
            return state

        def read(self, state, frame):
            return torch.zeros_like(frame.value)

        def cost(self, shape):
            return Cost(macs=1, pointwise=0, bytes_moved=0, state_bytes=0)

    timed: list[object] = []
    monkeypatch.setattr(side_by_side, "in_turns", lambda *args, **options: timed.append(args))
    with pytest.raises(UserError, match="wrong: cannot segment frames of 32 × 32: RuntimeError: boom"):
        measure([entry("good"), entry("wrong", "model.memory=broken_in_write")], QUICK)
    with pytest.raises(UncountedError, match=r"silent: .*nothing was counted"):
        measure([entry("good"), entry("silent", "model.memory=free_of_charge")], QUICK)
    with pytest.raises(RecipeError, match="odd: "):
        measure([entry("good"), entry("odd", "data.structures={lv: [1], la: [2]}")], QUICK)
    with pytest.raises(UserError, match="--baseline god: unknown recipe 'god'; did you mean 'good'"):
        measure([entry("good")], QUICK, baseline="god")
    assert not timed


def test_what_is_over_the_budget_has_no_time_and_says_so() -> None:
    found = measure([entry("one")], replace(QUICK, budget=1e-9))
    (item,) = found.rows
    assert (item.fps, item.ratio, item.times) == (None, None, None)
    assert list(item.state_bytes) == [10]
    assert figure_points(found) == []
    said = "\n".join(remarks(found))
    assert "one was not timed: its first frame took" in said
    assert "Frame 100 was not reached within the budget" in said


def test_dice_that_do_not_compare_are_said_not_to(measured) -> None:
    good = Dice(0.9, "test", "Dice", "eval/test/scores.json", (0.88, 0.92), 0.95, 4, "a")
    others = [good, replace(good, title="row-wise Dice"), replace(good, split="val", data="b", interval=None)]
    rows = tuple(
        replace(item, entry=replace(item.entry, dice=dice)) for item, dice in zip(measured.rows, others, strict=True)
    )
    said = "\n".join(remarks(replace(measured, rows=rows)))
    assert "Validation Dice is of the patients that chose the weights, and flatters: one again." in said
    assert "row-wise Dice instead of Dice: grows." in said
    assert "Dice by different protocols do not compare." in said
    assert "These Dice are of different data sets, which do not compare." in said
    assert "95% interval over patients" in said
    points = figure_points(replace(measured, rows=rows))
    assert [point.remark for point in points] == ["", "", "validation"]


def test_equal_hashes_are_said_to_be_one_network(measured) -> None:
    assert "one, one again have one hash: how their times differ is the noise of this measurement." in "\n".join(
        remarks(measured)
    )


def test_recipes_that_travel_with_memx_are_the_default() -> None:
    assert [item.label for item in find_entries([])] == list(shipped_recipes())


def test_labels_are_short_and_of_one_only(tmp_path: Path) -> None:
    recipe = Recipe.load("gdkvm_phantom", TINY)
    for name in ("a", "b"):
        RunFolder.create(recipe, tmp_path / name / "run")
    save_weights(tmp_path / "w.safetensors", build(recipe), recipe)
    (tmp_path / "mine.yaml").write_text("base: gdkvm_phantom\n")
    sources = ["gdkvm_phantom", "gdkvm_phantom", *(str(tmp_path / name) for name in ("mine.yaml", "w.safetensors"))]
    found = find_entries([*sources, str(tmp_path / "a/run"), str(tmp_path / "b/run")], TINY)
    assert [item.label for item in found] == [
        *("gdkvm_phantom", "gdkvm_phantom #2", "mine", "w.safetensors"),
        *(str(tmp_path / "a/run"), str(tmp_path / "b/run")),
    ]
    assert {item.recipe.hash for item in found} == {recipe.hash}


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_words_that_are_no_subcommand_are_recipes(command, tmp_path: Path) -> None:
    RunFolder.create(Recipe.load("gdkvm_phantom", TINY), tmp_path / "mine")
    words = ("gdkvm_phantom", tmp_path / "mine", *TINY, "--rounds", 2, "--baseline", "mine", "--json")
    said: list[dict] = []
    for before in (("bench",), ("bench", "recipes")):
        status, out, err = command(*before, *words)
        assert status == 0, err
        said.append(json.loads(out))
    for first, second in zip(said[0]["recipes"], said[1]["recipes"], strict=True):
        assert (first["name"], first["hash"], first["macs"]) == (second["name"], second["hash"], second["macs"])
        assert len(first["samples_ms"]) == first["ms"]["count"] == 2
        assert set(first["state_bytes"]) == {"10", "100"}
    assert said[0]["settings"]["baseline"] == "mine"
    assert said[0]["recipes"][1]["no_dice"] == "not scored"
    assert command("bench", TINY[0], "--rounds", "none")[0] == 2, "an override comes first, and --rounds is read"


def test_tables_and_files(command, tmp_path: Path) -> None:
    words = ("gdkvm_phantom", "gdkvm_phantom", *TINY, "--rounds", 2, "--out", tmp_path / "out")
    status, out, err = command("bench", *words)
    assert status == 0, err
    for said in (
        "2 networks in turns, fp32 on",
        " 1.40 ",
        "gdkvm_phantom #2",
        "1.00 ×",
        "gated_delta",
        "KiB at 100",
    ):
        assert said in out
    data = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    with (tmp_path / "out" / "bench.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ms_median"]) for row in rows] == [item["ms"]["median"] for item in data["recipes"]]
    assert [row["dice"] for row in rows] == ["", ""]
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "2 networks side by side" in page
    assert 'id="bench"' in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gdkvm_pahntom"], "neither a subcommand nor a recipe, file or run; did you mean 'gdkvm_phantom'?"),
        (["opps"], "did you mean 'ops'? Subcommands: data, ops, recipes. Recipes: gdkvm_camus"),
        (["recipes", "gdkvm_pahntom"], "unknown recipe 'gdkvm_pahntom'; did you mean 'gdkvm_phantom'"),
        (["."], "not a run folder: it has no recipe.yaml"),
        (["gdkvm_phantom", "model.memory=lienar"], "did you mean 'linear'"),
        (["gdkvm_phantom", "--baseline", "gdkvm_camus"], "--baseline gdkvm_camus: unknown recipe 'gdkvm_camus'"),
        (["gdkvm_phantom", "--device", "gpu"], "--device gpu: not available here"),
        (["gdkvm_phantom", "--size", "4"], "--size"),
    ],
)
def test_mistakes(command, words: list[str], says: str) -> None:
    status, out, err = command("bench", *words)
    assert status == 2
    assert says in err
    assert not out


def test_out_must_not_be_a_file(command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = command("bench", "gdkvm_phantom", "--out", tmp_path / "file")
    assert status == 2
    assert "is a file; it is a folder" in err


def test_a_record_is_plain_data(measured) -> None:
    assert json.loads(json.dumps(record(measured), allow_nan=False))["recipes"][1]["memory"] == "softmax"
