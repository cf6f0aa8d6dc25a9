import csv
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from memx.errors import DataError
from memx.metrics import Pair, Protocol, dice, label_pairs, surface_distances

SPACING = (1.0, 0.8)


def ventricle(length, radius, size=(112, 128), spacing=SPACING):
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    along, across = (90 - y) * spacing[0], (x - size[1] / 2) * spacing[1]
    return ((along / length) ** 2 + (across / radius) ** 2 <= 1) & (along >= 0)


def pair(prediction, truth, *, spacing=SPACING, patient="p1", view="4CH", structure="LV", phase="ED", frame=0):
    return Pair(prediction, truth, spacing, patient, view, structure, phase, frame)


def cohort(patients=5, views=("2CH", "4CH"), spacing=SPACING):
    generator = np.random.default_rng(7)
    for number in range(patients):
        for view in views:
            for frame, (phase, squeeze) in enumerate((("ED", 1.0), ("ES", 0.8))):
                length, radius = 70 * squeeze**0.5, (20 + number) * squeeze
                miss = generator.normal(0, 1, 2)
                guess, truth = ventricle(length + miss[0], radius + miss[1]), ventricle(length, radius)
                yield pair(guess, truth, spacing=spacing, patient=f"p{number}", view=view, phase=phase, frame=frame)


NOTHING = np.zeros((112, 128), bool)


def test_rows_are_the_metrics_of_each_mask():
    pairs = list(cohort())
    scores = Protocol().score(pairs)
    assert len(scores.rows) == 20
    for row, item in zip(scores.rows, pairs, strict=True):
        far = surface_distances(item.prediction, item.truth, SPACING)
        assert far is not None
        assert (row.dice, row.hd95, row.asd) == (dice(item.prediction, item.truth), far.hd95, far.asd)
        assert (row.patient, row.view, row.phase, row.unit) == (item.patient, item.view, item.phase, "mm")
    found = {item.metric: item for item in scores.summaries()}
    values = np.array([row.dice for row in scores.rows])
    assert found["dice"].mean == pytest.approx(values.mean())
    assert found["dice"].sd == pytest.approx(values.std(ddof=1))
    assert found["dice"].median == pytest.approx(np.median(values))
    assert (found["dice"].n, found["dice"].n_patients, found["hd95"].unit) == (20, 5, "mm")
    interval = found["dice"].interval
    assert interval is not None
    assert interval[0] < values.mean() < interval[1]


def test_empty_masks_are_counted_and_never_a_one():
    mask = ventricle(70, 25)
    scores = Protocol().score(
        [
            pair(mask, mask, patient="a"),
            pair(NOTHING, NOTHING, patient="b"),
            pair(NOTHING, mask, patient="c"),
            pair(mask, NOTHING, patient="d"),
        ]
    )
    assert [row.outcome for row in scores.rows] == ["scored", "both_empty", "prediction_empty", "truth_empty"]
    found = {item.metric: item for item in scores.summaries()}
    assert (found["dice"].n, found["dice"].n_both_empty, found["dice"].n_one_empty) == (3, 1, 2)
    assert found["dice"].mean == pytest.approx(1 / 3)
    assert found["hd95"].mean == pytest.approx(2 / 3 * math.hypot(112 * 1.0, 128 * 0.8))


def test_ejection_fraction_is_biplane_where_both_views_are_there():
    scores = Protocol().score(cohort())
    assert {case.method for case in scores.ef} == {"Simpson biplane"}
    found = scores.ef_agreement()["Simpson biplane"]
    assert found.n == 5
    assert found.mae == pytest.approx(np.mean([abs((c.prediction or 0) - c.truth) for c in scores.ef]))
    true = 100 * (1 - 0.8**2.5)
    assert all(case.truth == pytest.approx(true, abs=2) for case in scores.ef)
    assert all(case.unit == "ml" for case in scores.ef)


@pytest.mark.parametrize(
    ("views", "spacing", "method", "unit"),
    [
        (("4CH",), SPACING, "Simpson single-plane 4CH", "ml"),
        (("2CH",), SPACING, "Simpson single-plane 2CH", "ml"),
        (("2CH", "4CH"), None, "area-length 4CH", "px³"),
        (("",), None, "area-length", "px³"),
    ],
)
def test_the_method_follows_what_is_there_and_is_named(views, spacing, method, unit):
    scores = Protocol().score(cohort(views=views, spacing=spacing))
    assert {(case.method, case.unit) for case in scores.ef} == {(method, unit)}
    assert method in scores.cells("LV")[-1]
    assert ("assumed square" in scores.ef[0].note) == (spacing is None)


def test_a_missed_ventricle_is_a_missed_ejection_fraction():
    pairs = [*cohort(3, ("4CH",)), pair(NOTHING, ventricle(70, 25), patient="x")]
    pairs.append(pair(NOTHING, ventricle(60, 20), patient="x", phase="ES", frame=1))
    pairs.append(pair(ventricle(60, 20), ventricle(60, 20), patient="y"))
    scores = Protocol().score(pairs)
    assert scores.ef_missed() == {"Simpson single-plane 4CH": 1}
    assert scores.ef_agreement()["Simpson single-plane 4CH"].n == 3
    assert scores.no_ef == (("y", "no view has both an ED and an ES frame"),)
    assert [case.prediction is None for case in scores.ef] == [False, False, False, True]


def test_summaries_by_view_and_phase():
    scores = Protocol().score(cohort(2))
    groups = {item.by for item in scores.summaries("view", "phase")}
    expected = {
        (("structure", "LV"), ("view", view), ("phase", phase)) for view in ("2CH", "4CH") for phase in ("ED", "ES")
    }
    assert groups == expected


def test_groups_are_summaries_of_their_own_rows(tmp_path):
    """View, phase, both, and patient: each group counted and averaged by hand, in memory, JSON and CSV alike."""
    extra = [pair(NOTHING, NOTHING, patient="p0", view="2CH", frame=5, phase="other")]
    extra += [pair(NOTHING, ventricle(60, 20), patient="p1", view="2CH", frame=5, phase="other")]
    scores = Protocol(draws=200).score([*cohort(3), *extra])
    scores.write(tmp_path)
    data = json.loads((tmp_path / "scores.json").read_text())
    with (tmp_path / "summaries.csv").open() as file:
        table = [row for row in csv.DictReader(file) if row["over"] == "masks" and not row["frame"]]
    assert len(table) == len(data["summaries"]) + len(data["groups"])
    for item, line in zip([*data["summaries"], *data["groups"]], table, strict=True):
        rows = [
            row
            for row in scores.rows
            if all(getattr(row, name) == item[name] for name in ("view", "phase", "patient") if name in item)
        ]
        values = [value for row in rows if (value := getattr(row, item["metric"])) is not None]
        assert (item["n"], line["n"]) == (len(values), str(len(values)))
        assert item["n_patients"] == len({row.patient for row in rows if row.dice is not None})
        assert item["n_both_empty"] == sum(row.outcome == "both_empty" for row in rows)
        assert item["n_one_empty"] == sum(row.outcome == "prediction_empty" for row in rows)
        if not values:
            assert item["mean"] is None
            assert line["mean"] == ""
            continue
        assert item["mean"] == pytest.approx(np.mean(values))
        assert item["median"] == pytest.approx(np.median(values))
        assert item["sd"] == (pytest.approx(np.std(values, ddof=1)) if len(values) > 1 else None)
        assert float(line["mean"]) == item["mean"]
        assert (item["interval"] is None) == (item["n_patients"] < 2)
        if item["interval"]:
            assert [float(line["ci_low"]), float(line["ci_high"])] == item["interval"]
    keys = {tuple(name for name in ("view", "phase", "patient") if name in item) for item in data["groups"]}
    assert keys == {("view",), ("phase",), ("view", "phase"), ("patient",)}


def test_no_draws_means_no_interval_and_says_so():
    scores = Protocol(draws=0).score(cohort(3))
    assert all(item.interval is None for item in (*scores.overall, *scores.grouped))
    assert "Means have no interval." in scores.description
    assert "interval over patients" not in str(scores.table().caption)
    with pytest.raises(ValueError, match="draws is -1"):
        Protocol(draws=-1)
    with pytest.raises(ValueError, match="level 95"):
        Protocol(level=95)


def test_the_agreement_of_the_ejection_fraction_is_told_with_its_method(tmp_path):
    scores = Protocol(draws=50).score(cohort(6))
    scores.write(tmp_path)
    found = scores.ef_agreement()["Simpson biplane"]
    assert found.icc is not None
    assert found.r_interval is not None
    with (tmp_path / "agreement.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["method"], line["unit"], line["icc_form"]) == (
        "Simpson biplane",
        "%",
        "ICC(2,1): two-way random effects, absolute agreement, single measurement",
    )
    for name in ("mae", "bias", "sd", "low", "high", "r", "icc"):
        assert float(line[name]) == getattr(found, name)
    assert (float(line["r_ci_low"]), float(line["r_ci_high"])) == found.r_interval
    with (tmp_path / "ef.csv").open() as file:
        cases = list(csv.DictReader(file))
    assert [float(case["prediction"]) for case in cases] == [case.prediction for case in scores.ef]
    assert {case["method"] for case in cases} == {"Simpson biplane"}
    caption = str(scores.table().caption)
    for words in ("EF by Simpson biplane: n = 6", "bias", "limits of agreement", "Pearson r", "ICC(2,1)"):
        assert words in caption


def test_two_units_are_never_averaged():
    mask, near = ventricle(70, 25), ventricle(70, 22)
    scores = Protocol().score([pair(near, mask, patient="a"), pair(near, mask, patient="b", spacing=None)])
    found = [item for item in scores.summaries() if item.metric == "asd"]
    assert sorted((item.unit, item.n) for item in found) == [("mm", 1), ("px", 1)]


def test_files_hold_everything(tmp_path):
    scores = Protocol().score([*cohort(), pair(NOTHING, NOTHING, structure="LA", frame=4, phase="other")])
    scores.to_json(tmp_path / "scores.json")
    scores.to_csv(tmp_path / "scores.csv")
    data = json.loads((tmp_path / "scores.json").read_text())
    assert data["protocol"] == {"name": "memx-1", "description": Protocol().describe()}
    assert len(data["rows"]) == 21
    assert data["ef"]["agreement"][0]["method"] == "Simpson biplane"
    assert {item["structure"] for item in data["summaries"]} == {"LV", "LA"}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    assert len(rows) == 21
    assert rows[-1]["dice"] == ""
    assert float(rows[0]["dice"]) == scores.rows[0].dice
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.json"]


def test_the_table_names_unit_interval_and_method():
    scores = Protocol().score([*cohort(), pair(NOTHING, ventricle(9, 9), structure="LA", frame=1)])
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(scores.table())
    text = console.export_text()
    for word in ("LV", "LA", "Dice", "IoU", "HD95", "ASD", "mm", "EF error", "points", "Simpson biplane", "95%"):
        assert word in text
    assert "One mask empty in 1" in text


def test_refuses_by_name():
    mask = ventricle(70, 25)
    cases = {
        r"patient p1, view 4CH, frame 0, LV: the prediction is \(56, 64\) and the truth \(112, 128\); resize": [
            pair(mask[::2, ::2], mask)
        ],
        r"frame 0, LV: the prediction is float64 of shape \(112, 128\); wants a boolean": [pair(mask * 1.0, mask)],
        "frame 0, LV: comes twice": [pair(mask, mask), pair(mask, mask)],
        "frame 1, LV: a second ED frame": [pair(mask, mask), pair(mask, mask, frame=1)],
        "unknown phase 'ed'; there are: ED, ES, other": [pair(mask, mask, phase="ed")],
        "there is no mask to score": [],
    }
    for message, pairs in cases.items():
        with pytest.raises(DataError, match=message):
            Protocol().score(pairs)


def test_label_maps_become_a_pair_a_structure():
    truth = np.array([[0, 1], [2, 2]])
    found = label_pairs(truth, truth, {"LV": 1, "LA": 3}, spacing=None, patient="p", view="4CH", phase="ES", frame=3)
    pairs = list(found)
    assert [(item.structure, int(item.truth.sum())) for item in pairs] == [("LV", 1), ("LA", 0)]
    assert [row.outcome for row in Protocol().score(pairs).rows] == ["scored", "both_empty"]
