"""The report of a profile: what a run folder and `--out` hold afterwards, and that the page shows the same figures."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from memx.profile.drawing import Drawing
from memx.profile.endurance import NetworkPoint
from memx.profile.scaling_sections import growth_panels
from memx.profile.sections import profile_sections
from memx.profile.verdicts import Scaling
from memx.recipe import Recipe

TINY = [
    "gdkvm_phantom",
    "data.size=32",
    "data.frames=2",
    "train.batch=2",
    "model.image_encoder.width=8",
    "model.value_encoder.width=8",
]
SCALING = ["--scaling", "frames", "--beside", "softmax", "--place", "2", "--place", "4"]
ALL = [*(f"--{part}" for part in ("flops", "fps", "memory")), "--rounds", "1"]
ORDER = ["arithmetic", "speed", "stages", "optimised", "roofline", "memory"]
FIGURES = {f"{name}.png" for name in ORDER}
TABLES = {"arithmetic.csv", "speed.csv", "stages.csv", "optimised.csv"}
PAGE = {"profile.json", "report.html"}
GROWN = {f"scaling_frames{kind}.{end}" for kind in ("", "_networks") for end in ("csv", "png")}


class Texts(HTMLParser):
    """What a page loads, its headings, and the JSON that it carries."""

    def __init__(self, html: str):
        super().__init__()
        self.loads: list[str] = []
        self.headings: list[str] = []
        self.data = ""
        self._within = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._within = tag
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "href") and value]

    def handle_data(self, data):
        if self._within == "h2" and data.strip():
            self.headings.append(data.strip())
        if self._within == "script":
            self.data += data

    def handle_endtag(self, tag):
        self._within = ""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_folder_gets_its_profile(command, tmp_path: Path) -> None:
    """With every part and an axis, in three kinds of files that say the same."""
    import memx
    from memx.engine.checkpoint import save_weights
    from memx.engine.run import RunFolder

    recipe = Recipe.load(TINY[0], TINY[1:])
    run = RunFolder.create(recipe, tmp_path / "run")
    save_weights(run.best_weights, memx.build(recipe), recipe)
    status, out, err = command("profile", run.path, *ALL, *SCALING)
    assert status == 0, err
    folder = run.path / "profile"
    assert f"report {folder / 'report.html'}" in out
    assert {path.name for path in folder.iterdir()} == FIGURES | TABLES | PAGE | GROWN
    data = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    assert set(data["files"]) == FIGURES | TABLES | PAGE | GROWN
    assert data["recipe"]["hash"] == Recipe.load(run.path / "recipe.yaml").hash

    html = (folder / "report.html").read_text(encoding="utf-8")
    page = Texts(html)
    assert all(value.startswith(("data:", "#")) for value in page.loads)
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"data:[^\"']*", "", html))
    assert json.loads(page.data) == data, "the page carries what profile.json says"
    for heading in (
        "At a glance",
        "Arithmetic and parameters by component",
        "What other counters say",
        "Time a frame",
        "Where the time goes",
        "Memory",
        "Networks against frames seen",
        "Memories alone against frames seen",
    ):
        assert heading in page.headings
    for sentence in (line for kinds in data["verdicts"].values() for lines in kinds.values() for line in lines):
        assert sentence in out
        assert all(part in html for part in sentence.split(": ")[1:]), sentence
    tables_say_what_the_json_says(folder, data)


def tables_say_what_the_json_says(folder: Path, data: dict[str, Any]) -> None:
    frame = data["arithmetic"]["frame"]
    arithmetic = {row["component"]: row for row in rows(folder / "arithmetic.csv")}
    assert int(arithmetic["model"]["flops"]) == frame["flops"]
    for part in frame["parts"]:
        row = arithmetic[part["path"]]
        assert [int(row[name]) for name in ("parameters", "macs", "flops")] == [
            part[name] for name in ("parameters", "macs", "flops")
        ]
        assert int(row["flops"]) == 2 * int(row["macs"]) + int(row["elementwise"])

    speed = rows(folder / "speed.csv")
    assert [(row["mode"], int(row["batch"])) for row in speed] == [
        (item["mode"], item["batch"]) for item in data["speed"]
    ]
    for row, item in zip(speed, data["speed"], strict=True):
        assert float(row["ms_per_frame"]) == item["ms_per_frame"]
        assert float(row["ms_per_frame_p95"]) >= float(row["ms_per_frame"])
    assert {row["component"]: float(row["ms"]) for row in rows(folder / "stages.csv")} == pytest.approx(
        data["stages_ms"]
    )
    networks = rows(folder / "scaling_frames_networks.csv")
    assert [(row["memory"], int(row["at"]), int(row["state_bytes"])) for row in networks] == [
        (point["memory"], point["at"], point["state_bytes"]) for point in data["scaling_networks"]["frames"]
    ]


def test_a_second_profile_replaces_the_first_whole(command, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("mine\n")
    assert command("profile", *TINY, "--flops", *SCALING, "--out", tmp_path)[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.csv",
        "arithmetic.csv",
        "arithmetic.png",
    } | PAGE | GROWN
    assert command("profile", *TINY, "--memory", "--rounds", "1", "--out", tmp_path)[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"notes.csv", "memory.png", "speed.csv"} | PAGE
    assert json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["scaling"] == {}


def test_only_files_of_a_profile_go(command, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    kept = (tmp_path / "keep.csv", folder / "keep.txt", folder / "keep")
    for path in kept:
        path.write_text("")
    (folder / "gone.csv").write_text("")
    listed = ["../../keep.csv", "keep.txt", 7, "keep", "gone.csv"]
    (folder / "profile.json").write_text(json.dumps({"files": listed}))
    assert command("profile", *TINY, "--flops", "--out", folder)[0] == 0
    assert all(path.exists() for path in kept)
    assert not (folder / "gone.csv").exists()


def test_a_recipe_writes_nothing_unasked(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command("profile", *TINY, "--flops")
    assert status == 0, err
    assert "report" not in out.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_every_figure_has_words_and_a_dark_side() -> None:
    import memx
    from memx.profile.cards import find_card
    from memx.profile.run import profile

    recipe = Recipe.load(TINY[0], TINY[1:])
    found = profile(recipe, memx.build(recipe), rounds=1, card=find_card("rtx_3090"))
    reached = [NetworkPoint("a", 10, 0.1, 1.0, 2**20, 2**28), NetworkPoint("a", 100, 0.2, 1.0, 2**20, 2**28)]
    gone = Scaling("frames", (), [NetworkPoint("b", 10, missed="1 s were not enough")])
    drawings = [
        part for part in profile_sections(found, [Scaling("frames", (), reached), gone]) if isinstance(part, Drawing)
    ]
    assert [item.name for item in drawings] == [*ORDER, "scaling_frames_networks"]
    for item in drawings:
        figure = item.section()
        assert figure.alt
        assert figure.image.lstrip().startswith(b"<?xml")
        assert figure.dark not in (None, figure.image)
        assert item.png().startswith(b"\x89PNG")


def test_curves_of_time_do_not_see_the_load_of_the_machine() -> None:
    loaded = [NetworkPoint("a", 10, 0.010, 1.0, 8, 2**20), NetworkPoint("a", 100, 0.030, 1.02, 8, 2**20)]
    panels = growth_panels(loaded)
    assert panels["ms a frame"]["a"].values == pytest.approx([10, 10.2])
    assert panels["resident memory, MiB"]["a"].values == [1, 1]
    assert "on the device, MiB" not in panels
    assert growth_panels([NetworkPoint("a", 10)]) == {}
