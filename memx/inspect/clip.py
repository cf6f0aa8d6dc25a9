"""A clip on disk through a model, frame by frame, with what the memory did at each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from memx.data.streams import Stream
from memx.engine.segment import Box, SegmentedFrame, segment_stream, shown_box
from memx.inspect.gate_series import GateSeries, GateSummaries
from memx.inspect.recording import MemoryFrame, NotSteppedError, memory_of, recording
from memx.inspect.spectrum import principal, spectrum
from memx.memory.base import Memory
from memx.models.base import VideoModel
from memx.models.padding import crop, padded_size
from memx.recipe import Recipe

SHOWN = 6
"""Frames that are kept as pictures."""


@dataclass(frozen=True)
class Picture:
    """A frame kept to be drawn: pixels, labels, and maps of the readout where the model was shown the frame.

    norm       (o, y, x) ‖r(n)‖ at the clip's own size; NaN outside what the model was shown
    component  (o, y, x) what of r(n) lies along the first principal component; see `record_clip`

    Both are None where the model does not say the grid of its tokens, or its stride.
    """

    number: int
    frame: Float[Tensor, "c y x"]
    labels: Int[np.ndarray, "y x"]
    norm: Float[np.ndarray, "o y x"] | None
    component: Float[np.ndarray, "o y x"] | None


@dataclass(frozen=True)
class ClipRecord:
    """What the memory did on a clip of `frames` frames.

    gates            each gate over time; empty for a memory that meets none
    frobenius, spectral, effective_rank
                     (t, o) of the state's matrix after each frame, or None where the state is no matrix
    rank_limit       the smaller side of the matrix: the largest effective rank there can be
    state_bytes      bytes of the memory's state after each frame
    readout_norm     (t, o) mean of ‖r(n)‖ over the tokens
    readout_map      (t, o, y, x) ‖r(n)‖ on the token grid, or None where there is no such map
    component_share  (o) share of the readout's variance within frames that its first principal component has
    areas            (t, o) pixels of each predicted structure, at the clip's own size
    pictures         `SHOWN` frames, evenly spaced, the first and the last among them
    """

    name: str
    structures: tuple[str, ...]
    frames: int
    fps: float | None
    spacing: tuple[float, float] | None
    box: Box
    gates: tuple[GateSeries, ...]
    frobenius: Float[np.ndarray, "t o"] | None
    spectral: Float[np.ndarray, "t o"] | None
    effective_rank: Float[np.ndarray, "t o"] | None
    rank_limit: int | None
    state_bytes: Int[np.ndarray, " t"]
    readout_norm: Float[np.ndarray, "t o"]
    readout_map: Float[np.ndarray, "t o y x"] | None
    component_share: Float[np.ndarray, " o"]
    areas: Int[np.ndarray, "t o"]
    pictures: tuple[Picture, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """Every figure as a named array, with the axes of the attributes."""
        found: dict[str, np.ndarray | None] = {
            "frobenius": self.frobenius,
            "spectral": self.spectral,
            "effective_rank": self.effective_rank,
            "state_bytes": self.state_bytes,
            "readout_norm": self.readout_norm,
            "readout_map": self.readout_map,
            "component_share": self.component_share,
            "areas": self.areas,
        }
        for gate in self.gates:
            parts = {"channels": gate.channels, "spread": gate.spread, "rows": gate.rows}
            parts |= {"mean": gate.mean, "p05": gate.bottom, "p95": gate.top}
            found |= {f"{gate.name}/{part}": array for part, array in parts.items()}
        return {name: array for name, array in found.items() if array is not None}


def record_clip(
    model: VideoModel,
    recipe: Recipe,
    stream: Stream,
    *,
    device: str = "cpu",
    crop: Literal["auto", "none"] = "auto",
    on_frame: Callable[[], Any] = lambda: None,
) -> ClipRecord:
    """Run the model over a clip and keep what its memory did. What is kept grows with the frames, not with the pixels.

    The first principal component of the readout is, for each object, the unit vector u along which r(n) − r̄ varies
    most over the tokens of all frames, r̄ being the mean over the tokens of a frame; its largest entry is positive. A
    picture's `component` is uᵀ(r(n) − r̄): what tells the places of a frame apart.

    Raises UserError for a model without a memory, NotSteppedError for one that does not call its memory's `step` once
    a frame, and what reading the clip raises.
    """
    memory, box = memory_of(model), shown_box(stream, crop)
    collected = _Collected(memory, _chosen(stream), box, recipe.data.size, getattr(model, "stride", None))
    with recording(memory) as frames:
        for number, found in enumerate(segment_stream(model, recipe, stream, box, device=device)):
            if len(frames) != 1:
                raise NotSteppedError(model, len(frames), 1)
            collected.add(number, found, frames[-1], recipe.data.structures)
            frames.clear()
            on_frame()
    return collected.record(stream, tuple(recipe.data.structures))


def _chosen(stream: Stream) -> frozenset[int]:
    """Frames to keep as pictures; a container that does not say how many it has is counted."""
    length = stream.length if stream.length is not None else sum(1 for _ in stream)
    return frozenset(int(i) for i in np.linspace(0, length - 1, min(SHOWN, length)).round())


class _Collected:
    """The figures of the frames so far."""

    def __init__(self, memory: Memory, chosen: frozenset[int], box: Box, size: tuple[int, int], stride: int | None):
        self.memory, self.chosen, self.box, self.size, self.stride = memory, chosen, box, size, stride
        self.gates = GateSummaries()
        self.spectra: list[np.ndarray] = []
        self.rank_limit: int | None = None
        self.state_bytes: list[int] = []
        self.norms: list[np.ndarray] = []
        self.maps: list[np.ndarray] = []
        self.areas: list[list[int]] = []
        self.kept: list[tuple[int, SegmentedFrame, Tensor, tuple[int, int] | None]] = []
        self.scatter: Tensor | None = None

    def add(self, number: int, found: SegmentedFrame, seen: MemoryFrame, structures: Mapping[str, Any]) -> None:
        self.gates.add(seen.gates)
        matrix = self.memory.matrix(seen.state)
        if matrix is not None:
            figures = spectrum(matrix[0].detach())
            rows = (figures.frobenius, figures.spectral, figures.effective_rank)
            self.spectra.append(np.stack([row.cpu().numpy() for row in rows]))
            self.rank_limit = min(matrix.shape[-2:])
        self.state_bytes.append(seen.state.nbytes)
        norm = seen.readout[0].detach().double().norm(dim=-1).cpu()
        self.norms.append(norm.mean(-1).numpy())
        if seen.grid is not None and self.stride is not None:
            self.maps.append(norm.unflatten(-1, seen.grid).numpy())
        self.areas.append([int((found.labels == index).sum()) for index in range(1, len(structures) + 1)])
        readout = seen.readout[0].detach().double().cpu()
        centred = readout - readout.mean(1, keepdim=True)
        self.scatter = centred.mT @ centred + (0 if self.scatter is None else self.scatter)
        if number in self.chosen:
            self.kept.append((number, found, readout, seen.grid))

    def _pictures(self, components: Float[Tensor, "o v"]) -> Iterator[Picture]:
        for number, found, readout, grid in self.kept:
            norm = component = None
            if grid is not None and self.stride is not None:
                along = ((readout - readout.mean(1, keepdim=True)) @ components.unsqueeze(-1)).squeeze(-1)
                padded = padded_size(self.size, self.stride)
                norm = self._over_the_frame(readout.norm(dim=-1).unflatten(-1, grid), padded, found)
                component = self._over_the_frame(along.unflatten(-1, grid), padded, found)
            yield Picture(number, found.frame, found.labels, norm, component)

    def _over_the_frame(
        self, norm: Float[Tensor, "o y x"], padded: tuple[int, int], found: SegmentedFrame
    ) -> Float[np.ndarray, "o Y X"]:
        """A map at the clip's own size: tokens as blocks, what the model padded cut off, the crop undone."""
        top, bottom, left, right = self.box
        shown = crop(functional.interpolate(norm[None], size=padded, mode="nearest-exact"), self.size)
        shown = functional.interpolate(shown, size=(bottom - top, right - left), mode="nearest-exact")[0]
        over = np.full((norm.shape[0], *found.labels.shape), np.nan)
        over[:, top:bottom, left:right] = shown.numpy()
        return over

    def record(self, stream: Stream, structures: tuple[str, ...]) -> ClipRecord:
        spectra = np.stack(self.spectra) if self.spectra else None
        assert self.scatter is not None
        components, share = principal(self.scatter)
        return ClipRecord(
            name=stream.name,
            structures=structures,
            frames=len(self.state_bytes),
            fps=stream.fps,
            spacing=stream.spacing,
            box=self.box,
            gates=self.gates.series(),
            frobenius=None if spectra is None else spectra[:, 0],
            spectral=None if spectra is None else spectra[:, 1],
            effective_rank=None if spectra is None else spectra[:, 2],
            rank_limit=self.rank_limit,
            state_bytes=np.array(self.state_bytes),
            readout_norm=np.stack(self.norms),
            readout_map=np.stack(self.maps) if self.maps else None,
            component_share=share.numpy(),
            areas=np.array(self.areas),
            pictures=tuple(self._pictures(components)),
        )
