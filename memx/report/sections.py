"""Sections that a report is composed of, made from what a run, an evaluation or a prediction knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from memx.metrics.rows import Row
from memx.metrics.scores import SHOWN, Scores
from memx.metrics.summaries import Summary
from memx.metrics.temporal import CLIP_MEASURES, DEFINITIONS
from memx.report.agreement_figures import ef_bland_altman, ef_scatter
from memx.report.curve_figures import Course, Curve, dice_course, time_curves
from memx.report.figures import dice_distribution, learning_curves
from memx.report.html import Code, Data, Figure, Gallery, Section, Table, Text, Tile, Tiles, Video
from memx.report.shown_clip import ShownClip

_NO_COURSE = (
    "No clip was scored without a gap, so there is no Dice over time, no drift and no roughness. "
    "Where all frames have labels, memx eval RUN evaluate.frames=all evaluate.masks=all gives them."
)


def score_sections(scores: Scores, worst: Sequence[ShownClip] = (), *, frames: str = "") -> list[Section]:
    """An evaluation: headline figures, agreement of EF, the worst clips and masks, all Dice, the protocol.

    frames  a sentence that says which frames of a clip were shown and scored
    """
    found: list[Section] = [score_tiles(scores), score_table(scores)]
    if worst:
        found.append(clip_gallery(worst, scores.titles["dice"]))
    found += ef_galleries(scores)
    if any(row.dice is not None for row in scores.rows):
        found += [worst_table(scores), dice_figure(scores)]
    if scores.dice_by_frame:
        found += [course_figure(scores), course_table(scores)]
    else:
        found.append(Text("Dice over time", _NO_COURSE))
    return [
        *found,
        Text("Protocol", "\n".join(filter(None, (frames, scores.description)))),
        Data("scores", scores.as_dict()),
    ]


def clip_gallery(clips: Sequence[ShownClip], dice: str) -> Gallery:
    """Clips that play with both outlines, each beside its curves; `dice` is what the protocol calls its overlap."""
    items = [item for clip in clips for item in (clip.video(dice), clip.curves())]
    note = "Outlines in colour are predicted, those in white the truth, where a frame has labels."
    return Gallery("The worst clips first", items, note, pairs=True)


def score_tiles(scores: Scores) -> Tiles:
    """The headline figures of the structure whose ejection fraction is taken, or of the first one."""
    structure = scores.ef_structure if scores.ef_structure in scores.structures else scores.structures[0]
    items = [item for item in scores.overall if item.structure == structure]
    level = f"{scores.level:.0%}"
    tiles = [_tile(item, scores.titles["dice"], 3, level) for item in items if item.metric == "dice"]
    tiles += [_tile(item, "HD95", 2, level) for item in items if item.metric == "hd95"]
    for method, item in scores.ef_agreement().items():
        tiles.append(Tile("EF error", f"{item.mae:.1f} points", f"{method}, mean absolute, n = {item.n}"))
    masks = sum(row.structure == structure for row in scores.rows)
    tiles.append(Tile("Patients", str(len(scores.patients)), f"{masks} {structure} masks"))
    return Tiles(f"{structure} at a glance", tiles, scores.convention.warning)


def score_table(scores: Scores) -> Table:
    """Dice, IoU, HD95, ASD and EF error, a structure a row, with what was counted and left out."""
    rows = []
    for structure in scores.structures:
        dice = next(item for item in scores.overall if item.structure == structure and item.metric == "dice")
        cells = scores.cells(structure)
        rows.append([structure, *cells, str(dice.n), str(dice.n_one_empty), str(dice.n_both_empty)])
    shown = [scores.titles[metric] for metric in SHOWN]
    columns = ["Structure", *shown, "EF error", "n", "one empty", "both empty"]
    intervals = f" with {scores.level:.0%} bootstrap intervals over patients" if scores.draws else ""
    note = (
        f"Means over masks{intervals}, protocol {scores.protocol}. One side empty, in n: "
        f"{scores.convention.one_empty}. Both empty: {scores.convention.both_empty}."
    )
    return Table("Scores", columns, rows, note)


def ef_galleries(scores: Scores) -> list[Gallery]:
    """Scatter and Bland–Altman plot of the ejection fraction, a pair for every method that was used."""
    galleries = []
    missed = scores.ef_missed()
    for method, item in scores.ef_agreement().items():
        cases = [case for case in scores.ef if case.method == method]
        pairs = [(case.truth, case.prediction) for case in cases if case.prediction is not None]
        truth, prediction = [t for t, _ in pairs], [p for _, p in pairs]
        note = f"By {method}: {item.words('points')}"
        note += f"; missed in {missed[method]}, where nothing was found at ED or ES" if missed[method] else ""
        said = sorted({case.note for case in cases if "assumed" in case.note})
        note += "".join(f". {words}" for words in said[:1])
        plots = [
            Figure.drawn(
                "Predicted against true",
                partial(ef_scatter, truth, prediction, method=method),
                f"Scatter plot of {item.n} predicted against true ejection fractions; mean error {item.mae:.1f} points",
            ),
            Figure.drawn(
                "Difference against mean",
                partial(ef_bland_altman, truth, prediction, method=method),
                f"Bland–Altman plot of {item.n} ejection fractions; bias {item.bias:+.1f} points",
            ),
        ]
        galleries.append(Gallery("Ejection fraction", plots, note + "."))
    return galleries


def dice_figure(scores: Scores) -> Figure:
    """The Dice of every mask, a row a structure."""
    groups: dict[str, list[tuple[str, float]]] = {}
    for row in scores.rows:
        if row.dice is not None:
            groups.setdefault(row.structure, []).append((_case(row), row.dice))
    count = sum(map(len, groups.values()))
    title = scores.titles["dice"]
    alt = f"{title} of {count} masks of {', '.join(groups)}"
    note = "A dot is a mask; line: median, box: middle half, named: the worst. A triangle lies beyond the axis."
    draw = partial(dice_distribution, groups, quantity=title)
    return Figure.drawn(f"{title} of every mask", draw, alt, note)


def worst_table(scores: Scores, limit: int = 10) -> Table:
    """The masks of the lowest Dice, the worst first."""
    scored = sorted(
        (row for row in scores.rows if row.dice is not None), key=lambda row: (row.dice or 0.0, row.patient)
    )
    words = {"prediction_empty": "nothing predicted", "truth_empty": "nothing there", "both_empty": "empty in both"}
    rows = [
        [
            "\n".join(filter(None, (_case(row), words.get(row.outcome, "")))),
            row.structure,
            f"{row.dice:.3f}",
            "–" if row.hd95 is None else f"{row.hd95:.2f} {row.unit}",
        ]
        for row in scored[:limit]
    ]
    return Table("The worst masks first", ["Case", "Structure", scores.titles["dice"], "HD95"], rows)


def course_figure(scores: Scores) -> Figure:
    """Mean Dice frame by frame over the clips that were scored without a gap."""
    courses: dict[str, Course] = {}
    for structure in dict.fromkeys(item.structure for item in scores.dice_by_frame):
        items = [item for item in scores.dice_by_frame if item.structure == structure]
        found = [(item.mean, *(item.interval or (None, None))) for item in items]
        mean, low, high = np.array(found, dtype=np.float64).T
        courses[structure] = Course([int(dict(item.by)["frame"]) for item in items], mean, low, high)
    title = scores.titles["dice"]
    clips = len({(course.patient, course.view) for course in scores.clips})
    several = any(item.interval is not None for item in scores.dice_by_frame)
    band = f", with its {scores.level:.0%} interval over patients" if several else ""
    alt = f"Mean {title} of {', '.join(courses)} over {clips} clips, frame by frame"
    note = f"Mean over the {clips} clips that were scored without a gap, counted from the first frame scored{band}."
    return Figure.drawn(f"{title} over time", partial(dice_course, courses, quantity=title), alt, note)


def course_table(scores: Scores) -> Table:
    """Drift of Dice and roughness of the area curves over those clips."""
    rows = []
    for structure in dict.fromkeys(item.structure for item in scores.clip_summaries):
        items = {item.metric: item for item in scores.clip_summaries if item.structure == structure}
        rows.append([structure, *(_measure(items[name]) if name in items else "–" for name in CLIP_MEASURES)])
    columns = ["Structure", *(scores.titles[name] for name in CLIP_MEASURES)]
    note = "; ".join(f"{name.replace('_', ' ')}: {text}" for name, text in DEFINITIONS.items())
    return Table("Drift and roughness", columns, rows, f"{note[0].upper()}{note[1:]}.")


def learning_section(
    iterations: Sequence[float],
    train_loss: Sequence[float],
    val_iterations: Sequence[float] = (),
    val_dice: Sequence[float] = (),
) -> Figure:
    """The learning curves of a run."""
    draw = partial(learning_curves, iterations, train_loss, val_iterations=val_iterations, val_dice=val_dice)
    return Figure.drawn("Learning curves", draw, "Training loss and validation Dice over iterations")


def overlay_gallery(
    overlay: bytes, curves: Sequence[Curve], *, fps: float | None, ed: int | None, es: int | None, note: str
) -> Gallery:
    """A segmented clip that plays, beside curves such as area and volume with end diastole and end systole marked."""
    names = " and ".join(curve.quantity for curve in curves)
    draw = partial(time_curves, curves, fps=fps, ed=ed, es=es)
    figure = Figure.drawn(f"{names} over time", draw, f"{names} of {len(curves[0].values)} frames", note)
    video = Video("Overlay", overlay, "Masks of the model; nobody has checked them.")
    return Gallery("Overlay and curves", [video, figure], pairs=True)


def facts_section(title: str, facts: Mapping[str, Any]) -> Table:
    """Names and values, such as what figures were made with; nested names become dotted, and None is left out."""
    return Table(title, ["Name", "Value"], [[name, value] for name, value in _flat(facts)], words=True)


def recipe_section(text: str) -> Code:
    """The filled recipe as it stands in the run folder."""
    return Code("Recipe", text, "The filled recipe: every option, the defaults too.")


def _tile(item: Summary, label: str, digits: int, level: str) -> Tile:
    if item.mean is None:
        return Tile(label, "–", "nothing to score")
    unit = f" {item.unit}" if item.unit else ""
    interval = (
        "" if item.interval is None else f"{level} interval " + "–".join(f"{end:.{digits}f}" for end in item.interval)
    )
    return Tile(label, f"{item.mean:.{digits}f}{unit}", interval)


def _measure(item: Summary) -> str:
    if item.mean is None:
        return "–"
    form = "{:+.4f}" if item.metric == "dice_slope" else "{:.3f}"
    interval = "" if item.interval is None else "\n" + " to ".join(form.format(end) for end in item.interval)
    return f"{form.format(item.mean)}{interval}".replace("-", "−")


def _case(row: Row) -> str:
    phase = row.phase if row.phase != "other" else f"frame {row.clip_frame + 1}"
    return " ".join(filter(None, (row.patient, row.view, phase)))


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{above}{name}.")
        elif value is not None:
            found.append(
                (f"{above}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
            )
    return found
