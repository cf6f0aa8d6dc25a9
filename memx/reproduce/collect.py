"""From run folders to a result: scores, orders, and what the runs were made with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from memx.engine.run import RunFolder
from memx.reproduce.data import long_frames
from memx.reproduce.plan import Plan
from memx.reproduce.result import Result, RunRecord
from memx.reproduce.runs import PlacedRun
from memx.reproduce.scores import Lost, PatientScores, read_lost, read_scores
from memx.reproduce.speed import FrameTime
from memx.reproduce.table import accuracy_rows, leading_source, orders, speed_rows


def accuracy_result(plan: Plan, placed: Mapping[str, Sequence[PlacedRun]], fingerprint: str) -> Result:
    """The table of the runs that have scores; a run without any is counted as failed."""
    scored: dict[str, dict[int, PatientScores]] = {}
    records: list[RunRecord] = []
    cache: dict[Path, PatientScores] = {}
    lost = read_lost(plan.recipe.data.root)
    for label, runs in placed.items():
        for item in runs:
            if item.stage != "scored":
                continue
            if item.path not in cache:
                cache[item.path] = _read(item, lost)
            scored.setdefault(label, {})[item.run.seed] = cache[item.path]
            records.append(_record(label, item, fingerprint))
    wanted = {label: len(runs) for label, runs in placed.items()}
    source = leading_source(plan.table, list(plan.system.sources))
    return Result(
        plan.system,
        plan.name,
        plan.table,
        plan.data,
        _ours(plan, list(cache.values())),
        plan.quick,
        accuracy_rows(plan.table, scored, wanted),
        orders(plan.table, scored, source) if source else (),
        source,
        records,
    )


def speed_result(plan: Plan, times: Mapping[str, FrameTime], device: str) -> Result:
    """The table of measured times."""
    one = next(iter(times.values()))
    y, x = one.size
    ours = (
        f"{plan.settings.recipe} at {y} × {x}, random weights, batch 1, float32: clips of {one.frames} frames streamed "
        f"through model.step from an empty memory; median of {len(one.clips)} clips, rows in turns"
    )
    rows = speed_rows(plan.table, times)
    return Result(plan.system, plan.name, plan.table, plan.data, ours, plan.quick, rows, device=device)


def _read(item: PlacedRun, lost: Lost) -> PatientScores:
    """A run's scores; where longer clips were scored, too, their Dice beside them."""
    first, *longer = (item.scores(scoring) for scoring in item.scorings)
    found = read_scores(first, lost)
    for path in longer:
        found = replace(found, values={**found.values, "dice_long": read_scores(path).values["dice"]})
    return found


def _ours(plan: Plan, scores: Sequence[PatientScores]) -> str:
    recipe = plan.recipe
    y, x = recipe.data.size
    what = (
        f"{_data_words(plan)}; recipe {plan.settings.recipe}, {recipe.train.iterations} steps of "
        f"{recipe.train.batch} clips × {recipe.data.frames} frames × {y} × {x}"
    )
    if plan.long is not None:
        what += f"; long clips have {long_frames(plan.settings, quick=plan.quick)} frames"
    if plan.overrides:
        what += f"; changed by the call: {shlex.join(plan.overrides)}"
    if scores:
        split = recipe.evaluate.split
        of = {f"{s.structure} of {_count(s.patients)} of the {split} split, protocol {s.protocol}" for s in scores}
        what += f"; {'; '.join(sorted(of))}"
    return what


def _data_words(plan: Plan) -> str:
    """What the data are: the protocol's words with the phantom's options, or the folder that stands in its place."""
    if plan.source.options is not None:
        options = ", ".join(f"{name} {value}" for name, value in plan.source.options.items())
        return f"{plan.settings.protocol}; phantom: {options}"
    if plan.settings.phantom is not None:
        return f"the data in {plan.source.root}, in place of the phantom that the table is made for"
    return plan.settings.protocol


def _count(patients: int) -> str:
    return f"{patients} patient{'s' * (patients != 1)}"


def _record(label: str, item: PlacedRun, fingerprint: str) -> RunRecord:
    git = RunFolder(item.path).read_json("manifest.json")["environment"].get("git") or {}
    return RunRecord(
        label,
        item.run.seed,
        str(item.path),
        item.run.recipe.hash,
        fingerprint,
        git.get("revision") or "",
        bool(git.get("dirty")),
    )
