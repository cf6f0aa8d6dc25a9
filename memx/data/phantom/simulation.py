"""One clip of one view of one patient: the pictures and what is true about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import label

from memx.data.phantom import anatomy, cycle, tissue, ultrasound
from memx.data.phantom.contact import contact
from memx.data.phantom.population import Patient
from memx.data.phantom.scatterers import scatter
from memx.data.phantom.solid import ViewName
from memx.data.polygon import fill_polygon

LV, MYOCARDIUM, ATRIUM = 1, 2, 3


@dataclass(frozen=True)
class Simulation:
    """A simulated clip.

    video     (t, y, x) uint8
    labels    (t, y, x) uint8: 0 background, 1 LV cavity, 2 myocardium, 3 left atrium; from the geometry, not the image
    spacing   millimetres of a row and of a column
    fps       frames a second
    ed, es    0-based frames of end diastole and end systole
    volumes   (t,) millilitres of the left ventricle
    outline   (t, m, 2) the cavity's outline as (column, row) in pixels, from the left annulus over the apex
    lost      0-based frames in which part of the sector has no echoes
    """

    video: UInt8[np.ndarray, "t y x"]
    labels: UInt8[np.ndarray, "t y x"]
    spacing: tuple[float, float]
    fps: float
    ed: int
    es: int
    volumes: Float[np.ndarray, " t"]
    outline: Float[np.ndarray, "t m 2"]
    lost: tuple[int, ...] = ()


def simulate(
    patient: Patient,
    view: ViewName,
    *,
    size: int = 256,
    aspect: float = 2.0,
    frames: int | None = None,
    span: Literal["half", "cycle"] = "half",
    fps: float = 50.0,
    square: bool = False,
    lost: float = 0.0,
    images: bool = True,
) -> Simulation:
    """Simulate one view of one patient.

    size     rows of the picture; the columns follow from the sector
    aspect   width of a pixel over its height: 2 as in CAMUS's older release, 1 for square pixels
    frames   number of frames; None: what heart rate and frame rate give
    span     `half`: ED to ES (in some patients ES to ED) as in CAMUS; `cycle`: a full cycle or more at `fps`
    square   size × size square pixels instead
    lost     share of frames, never ED, in which part of the sector has no echoes (`contact`); the labels stay
    images   False leaves the video black and costs little time: the truth alone
    """
    seen = patient.views[view]
    if span == "half":
        timing = cycle.half(patient, frames, backwards=seen.reversed)
    else:
        timing = cycle.cycles(patient, fps, frames)
    if square:
        grid = ultrasound.Grid.square(seen.depth, seen.half_angle, size)
    else:
        grid = ultrasound.Grid.around(seen.depth, seen.half_angle, size, aspect)
    # Scatterers are laid out in the heart at ED, which goes before the frames and is not shown.
    shape = anatomy.build(patient, view, np.concatenate(([0.0], timing.phases)))
    count = len(timing.phases)
    labels = np.stack([_labels(shape, i + 1, grid) for i in range(count)])
    video = np.zeros_like(labels)
    machine = ultrasound.scanner(patient, view, size)
    gain = contact(patient, view, frames=count, lines=machine.lines, share=lost, kept=(timing.ed,))
    if images:
        stream = int(view[0])
        tissues = tissue.ribbons(patient, view, shape, ultrasound.gaps(patient))
        scatterers = scatter(tissues, patient.rng(50, stream))
        video = ultrasound.film(machine, scatterers, range(1, count + 1), grid, patient.rng(60, stream), gain)
    return Simulation(
        video=video,
        labels=labels,
        spacing=(grid.row_mm, grid.col_mm),
        fps=timing.fps,
        ed=timing.ed,
        es=timing.es,
        volumes=shape.volumes[1:],
        outline=_pixels(shape.cavity()[1:], grid),
        lost=tuple(map(int, np.flatnonzero((gain < 1).any(axis=1)))),
    )


def _pixels(curve: np.ndarray, grid: ultrasound.Grid) -> np.ndarray:
    return np.stack((grid.columns_of(curve[..., 0]), grid.rows_of(curve[..., 1])), axis=-1)


def _labels(shape: anatomy.Anatomy, frame: int, grid: ultrasound.Grid) -> UInt8[np.ndarray, "y x"]:
    out = np.zeros((grid.rows, grid.cols), np.uint8)
    for value, curve in ((MYOCARDIUM, shape.muscle()), (ATRIUM, shape.atrium), (LV, shape.cavity())):
        x, y = _pixels(curve[frame], grid).T
        out[fill_polygon(x, y, (grid.rows, grid.cols), edges=False)] = value
    for value in (LV, MYOCARDIUM, ATRIUM):
        parts = np.zeros(out.shape, np.int32)
        label(out == value, output=parts)
        if parts.max() > 1:  # a sliver thinner than a pixel, as where the atrium meets the annulus
            largest = np.bincount(parts.ravel())[1:].argmax() + 1
            out[(parts > 0) & (parts != largest)] = 0
    return out
