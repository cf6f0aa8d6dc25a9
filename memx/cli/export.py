"""`memx export RUN --to FORMAT`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from memx.export import Agreement


def export(
    run: Annotated[Path, typer.Argument(help="A run folder, or a .safetensors file of memx.")],
    to: Annotated[
        str,
        typer.Option(
            help="safetensors: weights with the recipe inside | onnx: one step of the model | torch: the same step by "
            "torch.export (.pt2)"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; none: the recipe's name, beside the weights.", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height and width of a frame, 112 or 112x160; none: the recipe's data.size.", show_default=False
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Clips at once; none: 1.", show_default=False)] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Leave the batch open, instead of --batch.")] = False,
    objects: Annotated[
        int | None, typer.Option(min=1, help="Objects; none: one a structure of the recipe.", show_default=False)
    ] = None,
    opset: Annotated[
        int | None, typer.Option(min=18, help="Version of ONNX's operators; none: torch's choice.", show_default=False)
    ] = None,
    atol: Annotated[float, typer.Option(min=0, help="Largest difference of a mask's probabilities.")] = 1e-4,
    rtol: Annotated[
        float,
        typer.Option(min=0, help="Largest difference of logits and of the state, as a share of the largest number."),
    ] = 1e-3,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a trained model for other programs, and check that it still gives the same.

    ONNX and torch files hold one step, (frame, state …) → (masks, logits, next state …), and say in their metadata how
    to run it. The file is read back, run over a drawn clip and held to the model before it appears.
    """
    from rich.console import Console

    from memx.errors import UserError, unknown
    from memx.export import Format, Options, Tolerance
    from memx.export import export as write

    formats = [member.value for member in Format]
    if to not in formats:
        raise UserError(unknown("format", to, formats))
    fixed = {"--size": size, "--batch": batch, "--dynamic": dynamic or None, "--objects": objects, "--opset": opset}
    if to != Format.ONNX:
        _refuse({"--opset": opset}, "is ONNX's")
    if to == Format.SAFETENSORS:
        _refuse(fixed, "is fixed in a graph; weights take any")
    if dynamic and batch is not None:
        raise UserError("--dynamic leaves the batch open and --batch fixes it; give one of the two")
    options = Options(
        size=None if size is None else _size(size),
        batch=None if dynamic else batch or 1,
        objects=objects,
        opset=opset,
        tolerance=Tolerance(atol, rtol),
    )
    console = Console(highlight=False)
    with console.status(f"exporting {run}"):
        written = write(run, Format(to), out, options=options, overwrite=overwrite)
    megabytes = written.path.stat().st_size / 1e6
    console.print(f"wrote   {written.path} ({megabytes:.1f} MB)", soft_wrap=True)
    if written.state:
        console.print(f"state   {', '.join(written.state)}", soft_wrap=True)
    for line in _said(written.agreement, atol, rtol):
        console.print(line, soft_wrap=True)


def _said(found: Agreement, atol: float, rtol: float) -> Iterator[str]:
    """What the check found, and what it could not find."""
    from memx.export.check import ROUNDING

    batches = " and ".join(str(batch) for batch in found.batches)
    state = max((leaf.largest for leaf in found.state.values()), default=0.0)
    yield (
        f"checked {found.frames} drawn frames by {found.engine}, in a batch of {batches}: masks differ from the "
        f"model's by at most {found.masks.largest:.1e} (--atol {atol:g}), logits by {found.logits.largest:.1e} and the "
        f"state by {state:.1e} of the largest number (--rtol {rtol:g})"
    )
    if max(found.masks.largest, found.masks.rounding) > atol or max(found.logits.largest, state) > rtol:
        yield (
            f"Beware: rounding in float32 alone moves the model's masks by {found.masks.rounding:.1e} and its logits "
            f"by {found.logits.rounding:.1e} of the largest; the file was held to {ROUNDING} times what rounding does"
        )
    if found.spread <= atol:
        yield (
            f"Beware: over the drawn frames the model's masks vary by {found.spread:.1e} only, so they tell this model "
            "from no other; logits and the state do"
        )


def _refuse(options: dict[str, object], why: str) -> None:
    from memx.errors import UserError

    for name, value in options.items():
        if value is not None:
            raise UserError(f"{name} {why}; leave it away")


def _size(text: str) -> tuple[int, int]:
    import re

    from memx.errors import UserError

    found = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text)
    if not found or min(sides := [int(side) for side in found.groups() if side]) < 16:
        raise UserError(f"--size {text}: is height and width in pixels, at least 16: 112 or 112x160")
    return sides[0], sides[-1]
