"""What an inspection found, drawn: a figure with title, caption and file name for each thing that can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from memx.inspect.clip import ClipRecord
from memx.inspect.clip_gradients import ClipGradients
from memx.inspect.training_gradients import TrainingGradients
from memx.metrics.clinical import find_ed_es
from memx.report.inspect_figures import gate_curves, gate_maps, state_curves, symbol
from memx.report.inspect_gradient_figures import clip_gradient_maps, training_gradient_curves
from memx.report.inspect_readout import MapRow, readout_sheet
from memx.report.style import ImageFormat


class Draw(Protocol):
    """Draws for a light or a dark page."""

    def __call__(self, *, format: ImageFormat = "png", dark: bool = False) -> bytes: ...


@dataclass(frozen=True)
class Drawing:
    """A figure: what it is called on a page and on disk, what is seen and how it was computed."""

    file: str
    title: str
    draw: Draw
    alt: str
    note: str


def drawings(
    record: ClipRecord, gradients: ClipGradients | None, training: TrainingGradients | None
) -> Iterator[Drawing]:
    """The figures that this memory and this clip give, in the order of a page."""
    marks = phases(record)
    if record.gates:
        yield from _gates(record, marks)
    yield _state(record, marks)
    if record.readout_map is not None:
        yield _readout(record, marks)
    if gradients is not None:
        yield from _clip_gradients(record, gradients)
    if training is not None:
        yield _training(training)


def phases(record: ClipRecord) -> dict[str, int]:
    """Predicted end diastole and end systole, from the area of the first structure; empty where it was never found."""
    found = find_ed_es(record.areas[:, 0]) if record.frames > 1 else None
    return {} if found is None or found.ed == found.es else {"ED": found.ed, "ES": found.es}


def _gates(record: ClipRecord, marks: dict[str, int]) -> Iterator[Drawing]:
    names = ", ".join(symbol(gate.name) for gate in record.gates)
    objects = max(gate.channels.shape[1] for gate in record.gates)
    curves = Drawing(
        "gate_curves.png",
        f"{names} over time",
        partial(gate_curves, record.gates, marks=marks),
        f"Curves of {names} over {record.frames} frames",
        "Mean of each gate over all its entries, frame by frame; the band holds the middle 90% of the entries. α "
        "is what the state is multiplied by, β what weighs the frame. A first frame that meets an empty state may"
        " be written with a fixed gate.",
    )
    maps = Drawing(
        "gates.png",
        f"{names} over time and channels",
        partial(gate_maps, record.gates, marks=marks),
        f"Heat maps of {names} over {record.frames} frames by channel and by key channel",
        "Left: the gate by head or value channel. Middle: the standard deviation of what the left map is a mean of. "
        "Right: by key channel, a row of the state. Every map has a scale of its own, from the smallest to the largest "
        "value after the first frame.",
    )
    for drawing, draw in ((curves, gate_curves), (maps, gate_maps)):
        if objects == 1:
            yield drawing
            continue
        stem, suffix = drawing.file.rsplit(".", 1)
        for place, structure in enumerate(record.structures):
            yield replace(
                drawing,
                file=f"{stem}_{_file_word(structure)}.{suffix}",
                title=f"{drawing.title}: {structure}",
                draw=partial(draw, record.gates, object=place, marks=marks),
            )


def _state(record: ClipRecord, marks: dict[str, int]) -> Drawing:
    matrix = (
        "Left: norms of the state S after each frame, Frobenius √(Σ σ²) and spectral (the largest σ), σ its singular "
        "values. Middle: its effective rank, exp(−Σ p ln p) with p = σ / Σ σ (Roy and Vetterli 2007): how many "
        "directions it uses. Right:"
    )
    other = "Left: the bytes of the state, which is no matrix, so that it has no norm or rank to show. Right:"
    return Drawing(
        "state.png",
        "The state",
        partial(
            state_curves,
            frobenius=record.frobenius,
            spectral=record.spectral,
            effective_rank=record.effective_rank,
            rank_limit=record.rank_limit,
            state_bytes=record.state_bytes,
            readout_norm=record.readout_norm,
            structures=record.structures,
            marks=marks,
        ),
        f"Norm and effective rank of the state, and the mean norm of the readout, over {record.frames} frames",
        f"{other if record.effective_rank is None else matrix} the mean over the tokens of the readout's norm ‖r(n)‖.",
    )


def _readout(record: ClipRecord, marks: dict[str, int]) -> Drawing:
    several = len(record.structures) > 1
    rows = []
    for place, structure in enumerate(record.structures):
        of = f"\n{structure}" if several else ""
        share = f"{record.component_share[place]:.0%}"
        norms = [picture.norm[place] for picture in record.pictures if picture.norm is not None]
        along = [picture.component[place] for picture in record.pictures if picture.component is not None]
        rows += [
            MapRow(f"size{of}", "‖r(n)‖", norms),
            MapRow(f"component 1{of}", f"uᵀ(r(n) − r̄), {share}", along, True),
        ]
    words = {frame: name for name, frame in marks.items()}
    captions = [
        f"frame {picture.number + 1}" + (f" · {words[picture.number]}" if picture.number in words else "")
        for picture in record.pictures
    ]
    return Drawing(
        "readout.png",
        "What is read, and where",
        partial(
            readout_sheet,
            [picture.frame for picture in record.pictures],
            [picture.labels for picture in record.pictures],
            rows,
            captions,
            spacing=record.spacing,
        ),
        f"{len(captions)} frames with the predicted contour, the norm of the readout and its first principal component",
        "Top: the predicted contour. Below: the norm of what each token recalls, ‖r(n)‖, a block a token, drawn "
        "over the frame; then what tells the places of a frame apart: r(n) less its mean r̄ over the frame, along"
        " the direction u in which it varies most over the clip (the per cent of this variance that u has stands "
        "at the scale). One scale for all frames of a row.",
    )


def _clip_gradients(record: ClipRecord, gradients: ClipGradients) -> Iterator[Drawing]:
    objects = max(gate.channels.shape[1] for gate in gradients.gates)
    for place in range(objects):
        structure = record.structures[place]
        channels = {gate.name: gate.channels[:, min(place, gate.channels.shape[1] - 1)] for gate in gradients.gates}
        yield Drawing(
            "clip_gradients.png" if objects == 1 else f"clip_gradients_{_file_word(structure)}.png",
            "Gradients to the gates on this clip" + (f": {structure}" if objects > 1 else ""),
            partial(
                clip_gradient_maps,
                channels,
                {pair: found.pearson for pair, found in gradients.pairs.items()},
                supervised=gradients.supervised.tolist(),
                channel={gate.name: gate.channel for gate in gradients.gates},
            ),
            f"Heat maps of the loss's gradient to {', '.join(symbol(name) for name in channels)} over frames",
            "The gradient of the run's loss on this clip, as training samples it, to the gates of each frame, "
            "summed over key channels and tokens; blue: a larger gate would lower the loss. Right: Pearson's r "
            "between the entries of two gates' gradients at one frame. It is left out, and the map is 0, where a gate "
            "does nothing, as α on an empty state, or is a constant, as β of a first frame that is written plainly. "
            "Triangles, where not all frames are supervised, mark those that are.",
        )


def _training(training: TrainingGradients) -> Drawing:
    steps = len(training.loss)
    start = {
        "fresh": f"The first {steps} steps of the run, done once more in memory",
        "trained": f"{steps} steps in memory, from the run's weights and with its optimiser's settings",
    }[training.start]
    return Drawing(
        "training_gradients.png",
        "Gradients to the gates over training steps",
        partial(
            training_gradient_curves,
            training.norms,
            training.pearson,
            training.cosine,
            {name: values.shape[1] for name, values in training.channels.items()},
            training.matrix,
        ),
        f"Size and correlation of the gradients to the gates over {steps} training steps",
        f"{start}. "
        "Left: Frobenius norm of ∂L/∂gate over a batch, without gates that are constants, as β of a first frame that "
        "is written plainly. Middle: Pearson's r and cosine between the entries of two"
        " gates' gradients at one step, over all clips and frames of its batch. Thin lines: each step; full "
        "lines: running mean over a tenth of the steps, three at least. Right: Pearson's r over the steps between the "
        "gradients of every two channels (heads or value channels), each summed over the batch, frames and all "
        "other axes; grey: a constant one.",
    )


def _file_word(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
