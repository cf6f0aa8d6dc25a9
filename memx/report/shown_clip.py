"""One evaluated clip as the report shows it: both outlines on every frame, and how its area and volume go."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from memx.metrics.clinical import Volume, ejection_fraction, single_plane_volume
from memx.metrics.rows import Phase
from memx.report.aspect import square_pixels
from memx.report.curve_figures import Curve, time_curves
from memx.report.html import Figure, Video
from memx.report.legend import COLOURS, Picture, strip
from memx.report.overlay import Layer, paint_layers
from memx.report.overlay_video import OverlayVideo

TRUTH = (255, 255, 255)
_SIDE = 320  # shorter side that frames are enlarged to, in pixels
_FPS = 12.0  # where the frame rate is not known
_MOST = 3  # structures whose areas are drawn
_SECONDS = 2.0  # the least that a clip takes to play; a short one is slowed down


@dataclass(frozen=True, eq=False)
class ShownClip:
    """A clip that a model segmented, kept with its frames for the report.

    frames          (t, c, y, x), c 1 or 3, 0 … 255
    prediction      (t, y, x): 0 background, 1 … the structures in order
    truth           (o, t, y, x): a mask a structure, empty in frames without labels
    dice            frame → mean over the structures as the protocol takes it; frames that were scored only
    clip_frames     (t,) which frames of the clip on disk these are, from 0
    ed, es          frames that the data set marks, among these; None where it does not
    """

    patient: str
    view: str
    structures: tuple[str, ...]
    frames: UInt8[np.ndarray, "t c y x"]
    prediction: UInt8[np.ndarray, "t y x"]
    truth: Bool[np.ndarray, "o t y x"]
    labelled: tuple[int, ...]
    dice: Mapping[int, float]
    clip_frames: tuple[int, ...]
    spacing: tuple[float, float] | None = None
    fps: float | None = None
    ed: int | None = None
    es: int | None = None

    @property
    def title(self) -> str:
        return " ".join(filter(None, (self.patient, self.view)))

    @property
    def mean_dice(self) -> float:
        """Over the frames that were scored."""
        return float(np.mean(list(self.dice.values())))

    @property
    def worst_frame(self) -> int:
        return min(self.dice, key=lambda frame: self.dice[frame])

    def phase(self, frame: int) -> Phase:
        return "ED" if frame == self.ed else "ES" if frame == self.es else "other"

    def picture(self, frame: int) -> Picture:
        """A frame in its true proportions: the truth in white, over it the prediction in the structures' colours."""
        image = torch.from_numpy(self.frames[frame]).float() / 255
        layers = []
        for number, name in enumerate(self.structures, start=1):
            seen, mask = square_pixels(image, self.truth[number - 1, frame].astype(np.uint8), self.spacing)
            layers.append(Layer(mask, {name: 1}, (TRUTH,), alpha=0.0))
        seen, mask = square_pixels(image, self.prediction[frame], self.spacing)
        layers.append(Layer(mask, {name: number for number, name in enumerate(self.structures, start=1)}, alpha=0.0))
        return paint_layers(seen, layers, min_side=_SIDE)

    def caption(self, frame: int, dice: str = "Dice") -> str:
        """Which frame of the clip on disk, its phase, and its overlap, called `dice`, where it was scored."""
        phase = self.phase(frame).replace("other", "")
        if frame in self.dice:
            found = f"{'mean ' * (len(self.structures) > 1)}{dice} {self.dice[frame]:.3f}"
        else:
            found = "" if frame in self.labelled else "no truth"
        return " · ".join(filter(None, (f"frame {self.clip_frames[frame] + 1}", phase, found)))

    def video(self, dice: str = "Dice") -> Video:
        """The clip with both outlines on every frame, playing; `dice` is what the protocol calls its overlap.

        Words stand above the picture, since the player's controls are below.
        """
        legend = {name: number for number, name in enumerate(self.structures, start=1)} | {
            "truth": len(self.structures) + 1
        }
        colours = (*(COLOURS[i % len(COLOURS)] for i in range(len(self.structures))), TRUTH)
        fps = min(self.fps or _FPS, max(1.0, len(self.frames) / _SECONDS))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            with OverlayVideo(path, fps=fps) as video:
                for frame in range(len(self.frames)):
                    picture = self.picture(frame)
                    above = strip(
                        picture.shape[1], legend, colours, self.caption(frame, dice)
                    )  # below are the controls
                    video.write(np.concatenate([above, picture]))
            data = path.read_bytes()
        return Video(self.title, data, f"{dice} {self.mean_dice:.3f} over {len(self.dice)} scored frames")

    def curves(self) -> Figure:
        """Areas over the clip, predicted and true; where the data set marks ED and ES, a ventricle's volume and EF too.

        The frames are those of the clip on disk.
        """
        if self.ed is not None and self.es is not None:
            return self._ventricle(self.ed, self.es)
        curves = [self._area(number) for number in range(1, min(len(self.structures), _MOST) + 1)]
        names = ", ".join(curve.quantity for curve in curves)
        return Figure.drawn(
            f"{self.title}: area",
            partial(time_curves, curves, frames=self.clip_frames),
            f"{names} over {len(self.frames)} frames of {self.title}, predicted and true",
        )

    def _area(self, number: int) -> Curve:
        pixel = self.spacing[0] * self.spacing[1] if self.spacing else 1.0
        return Curve(
            f"{self.structures[number - 1]} area",
            "mm²" if self.spacing else "px",
            [float(mask.sum()) * pixel for mask in self.prediction == number],
            {t: float(self.truth[number - 1, t].sum()) * pixel for t in self.labelled},
        )

    def _ventricle(self, ed: int, es: int) -> Figure:
        name = self.structures[0]
        volumes = [single_plane_volume(mask, self.spacing) for mask in self.prediction == 1]
        references = {t: single_plane_volume(self.truth[0, t], self.spacing) for t in self.labelled}
        volume = Curve(
            f"{name} volume",
            volumes[0].unit,
            [item.value for item in volumes],
            {t: item.value for t, item in references.items()},
        )
        at = {"predicted": (volumes[ed], volumes[es]), "true": (references.get(ed), references.get(es))}
        found = ", ".join(f"{origin} {value:.0f}%" for origin, pair in at.items() if (value := _ef(*pair)) is not None)
        words = [
            "ED and ES as the data set marks them",
            f"EF {found}" if found else "",
            f"Volume by {volumes[0].method}",
        ]
        return Figure.drawn(
            f"{self.title}: area and volume",
            partial(time_curves, [self._area(1), volume], frames=self.clip_frames, ed=ed, es=es),
            f"{name} area and volume over {len(volumes)} frames of {self.title}, predicted and true",
            ". ".join(filter(None, words)) + ".",
        )


def _ef(edv: Volume | None, esv: Volume | None) -> float | None:
    """In percent; None where a volume is not known or nothing was found."""
    return ejection_fraction(edv, esv).value if edv and esv and edv.value > 0 and esv.value > 0 else None
