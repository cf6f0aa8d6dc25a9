"""Sections that a report is composed of, made from what a run, an evaluation or a prediction knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from memx.metrics.rows import Row
from memx.metrics.scores import SHOWN, Scores
from memx.metrics.summaries import Summary
from memx.report.agreement_figures import ef_bland_altman, ef_scatter
from memx.report.figures import area_curve, dice_distribution, learning_curves
from memx.report.html import Code, Data, Figure, Gallery, Section, Table, Text, Tile, Tiles


def score_sections(scores: Scores, *, worst: int = 10) -> list[Section]:
    """An evaluation: headline figures, summary table, agreement of EF, all Dice, the worst cases, the protocol."""
    found: list[Section] = [score_tiles(scores), score_table(scores), *ef_galleries(scores)]
    if any(row.dice is not None for row in scores.rows):
        found += [dice_figure(scores), worst_table(scores, worst)]
    return [*found, Text("Protocol", scores.description), Data("scores", scores.as_dict())]


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
        note += f"; missed in {missed[method]}, where nothing was found at ED" if missed[method] else ""
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
            _case(row),
            row.structure,
            f"{row.dice:.3f}",
            "–" if row.hd95 is None else f"{row.hd95:.2f} {row.unit}",
            words.get(row.outcome, ""),
        ]
        for row in scored[:limit]
    ]
    return Table("Worst cases first", ["Case", "Structure", scores.titles["dice"], "HD95", "Remark"], rows)


def frames_section(
    title: str, frames: Sequence[UInt8[np.ndarray, "y x 3"]], captions: Sequence[str], note: str = ""
) -> Gallery:
    """Frames (y, x, 3) uint8 side by side, such as the worst cases with their contours; below each other on a phone.

    The first line of a caption is its title, the rest is set small.
    """
    figures = []
    for frame, caption in zip(frames, captions, strict=True):
        head, _, rest = caption.partition("\n")
        buffer = BytesIO()
        Image.fromarray(frame).save(buffer, "png", optimize=True)
        figures.append(Figure(head, buffer.getvalue(), caption.replace("\n", ", "), rest))
    return Gallery(title, figures, note)


def learning_section(
    iterations: Sequence[float],
    train_loss: Sequence[float],
    val_iterations: Sequence[float] = (),
    val_dice: Sequence[float] = (),
) -> Figure:
    """The learning curves of a run."""
    draw = partial(learning_curves, iterations, train_loss, val_iterations=val_iterations, val_dice=val_dice)
    return Figure.drawn("Learning curves", draw, "Training loss and validation Dice over iterations")


def curve_section(
    values: Sequence[float],
    *,
    unit: str,
    quantity: str = "LV area",
    fps: float | None = None,
    ed: int | None = None,
    es: int | None = None,
    reference: Sequence[float] | None = None,
    note: str = "",
) -> Figure:
    """An area or volume curve with end diastole and end systole marked."""
    draw = partial(area_curve, values, unit=unit, quantity=quantity, fps=fps, ed=ed, es=es, reference=reference)
    return Figure.drawn(f"{quantity} over time", draw, f"{quantity} of {len(values)} frames in {unit}", note)


def environment_section(environment: Mapping[str, Any]) -> Table:
    """What the figures were made with; nested entries become dotted names, and what is None is left out."""
    rows = [[name, value] for name, value in _flat(environment)]
    return Table("Environment", ["Name", "Value"], rows, words=True)


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


def _case(row: Row) -> str:
    phase = row.phase if row.phase != "other" else f"frame {row.frame}"
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
