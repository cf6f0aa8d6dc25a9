"""`memx profile [RECIPE|RUN]`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device


class Axis(StrEnum):
    """What grows."""

    FRAMES = "frames"
    OBJECTS = "objects"
    SIZE = "size"
    STATE = "state"


class Precision(StrEnum):
    """Autocast of the timed calls."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def profile(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE|RUN] [overrides]",
            help="A recipe by name or file, or a run folder; then path.to.key=value …. None: gdkvm_camus.",
            show_default=False,
        ),
    ] = None,
    flops: Annotated[bool, typer.Option("--flops", help="Parameters and arithmetic by component.")] = False,
    fps: Annotated[
        bool, typer.Option("--fps", help="Times of a frame and of a clip, and each component's share.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Bytes of weights, state and of what a call holds.")] = False,
    scaling: Annotated[
        list[Axis] | None,
        typer.Option(
            help="How memories and networks with them grow along this axis; may be given again.", show_default=False
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="A memory beside the recipe's, for --scaling; may be given again. None: linear and softmax.",
            show_default=False,
        ),
    ] = None,
    place: Annotated[
        list[int] | None,
        typer.Option(min=1, help="A place of the axis, for --scaling; may be given again.", show_default=False),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds of timed calls of one mode and batch, or to reach a place of --scaling."),
    ] = 10.0,
    frames: Annotated[
        int | None, typer.Option(min=2, help="Frames of the clip; none: data.frames.", show_default=False)
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Clips at once; may be given again. None: 1 and train.batch.", show_default=False),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed clips, or as many as begin within the budget.")] = 5,
    depth: Annotated[int, typer.Option(min=1, help="Levels of components that are shown.")] = 1,
    precision: Annotated[
        Precision | None, typer.Option(help="Autocast; none: train.precision.", show_default=False)
    ] = None,
    card: Annotated[
        str, typer.Option(help="A card that is not here, whose speed --fps projects; an unknown name lists them.")
    ] = "rtx_3090",
    compile: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile make the optimised network's step; takes a minute.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with all levels of components.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for report.html, profile.json, tables and plots. None: RUN/profile of a run folder.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure a network: arithmetic, frames a second and memory; without an option, all three. Or how it scales."""
    from memx.cli.common import pick_device
    from memx.cli.profiling import run_profile
    from memx.profile.run import PARTS, Part
    from memx.profile.scaling import PLACES

    asked = {"flops": flops, "fps": fps, "memory": memory}
    parts: list[Part] = [part for part in PARTS if asked[part] or not (any(asked.values()) or scaling)]
    _refuse_without({"--place": place, "--beside": beside}, scaling, f"--scaling {'|'.join(Axis)}")
    _refuse_without({"--compile": compile}, "fps" in parts, "--fps")
    run_profile(
        words or [],
        parts=parts,
        scaling=[axis for axis in PLACES if axis in (scaling or [])],
        beside=beside or ["linear", "softmax"],
        places=place,
        budget=budget,
        frames=frames,
        batches=batch,
        rounds=rounds,
        depth=depth,
        device=pick_device(device),
        precision=precision and precision.value,
        card=card,
        compile=compile,
        json=json,
        out=out,
    )


def _refuse_without(given: Mapping[str, object], there: object, needed: str) -> None:
    """Options that do nothing unless another one is there."""
    from memx.errors import UserError

    if not there and (idle := [name for name, value in given.items() if value]):
        raise UserError(f"{', '.join(idle)}: has no effect without {needed}; add it, or leave {' '.join(idle)} away")
