"""A step traced by torch.export."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

import memx
from memx.errors import UserError
from memx.export.step import Leaf, Step, start
from memx.models.base import VideoModel

_TRACED_BATCH, _TRACED_LENGTH = 2, 3
"""Sizes that open axes have while tracing: no two alike, and neither 0 nor 1, which tracing takes for constants."""


def trace(
    model: VideoModel, *, channels: int, size: tuple[int, int], batch: int | None, objects: int
) -> ExportedProgram:
    """One step of `model` as a graph; `batch=None` leaves the batch axis open.

    Frame size and objects are fixed. An axis of the state that grows with every frame is open, too.
    Raises UserError naming what in the model cannot be traced, and where.
    """
    frame = torch.zeros(_TRACED_BATCH if batch is None else batch, channels, *size)
    state = start(model, frame, objects)
    args = (frame, *(_lengthened(leaf) for leaf in state))
    rows = {0: Dim.DYNAMIC} if batch is None else {}
    shapes = (rows, tuple(rows | ({} if leaf.grows is None else {leaf.grows: Dim.DYNAMIC}) for leaf in state))
    step = Step(model, tuple(leaf.path for leaf in state)).eval()
    try:
        with torch.no_grad():
            program = torch.export.export(step, args, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise UserError(f"the model cannot be traced: {_reason(error)}") from error
    _keeps_shapes(program, state)
    return program


def forget_sources(program: ExportedProgram) -> None:
    """Remove the lines of Python, with their paths on this machine, that every node remembers."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def where(program: ExportedProgram, operation: str) -> str:
    """The line of code that a traced operation comes from, or nothing where it is not known."""
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target).startswith(operation):
            return source_line(node.meta.get("stack_trace") or "")
    return ""


def source_line(text: str) -> str:
    """`, at ops/frame.py, line 38, in gram`: the innermost line of the package in a traceback."""
    root = str(Path(memx.__file__).parent)
    found: Sequence[tuple[str, str, str]] = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', text)
    inside = [(Path(file).relative_to(root), line, name) for file, line, name in found if file.startswith(root)]
    inside = [place for place in inside if place[0].parts[0] != "export"]
    if not inside:
        return ""
    file, line, name = inside[-1]
    return f", at memx/{file.as_posix()}, line {line}, in {name}"


def _keeps_shapes(program: ExportedProgram, state: Sequence[Leaf]) -> None:
    """Raise UserError for a tensor of the state that comes out with another shape than it went in with."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature: Any = program.graph_signature
    pairs = zip(signature.user_inputs[1:], signature.user_outputs[2:], strict=True)
    for leaf, (before, after) in zip(state, [(values[i], values[o]) for i, o in pairs], strict=True):
        changed = [axis for axis in range(before.ndim) if str(before.shape[axis]) != str(after.shape[axis])]
        if [axis for axis in changed if axis != leaf.grows]:
            raise UserError(
                f"a frame changes the state's {leaf.name} from {list(before.shape)} to {list(after.shape)}, which a "
                "graph of fixed shapes cannot follow; `allocate` of the memory gives a state with room for what is "
                "written"
            )


def _lengthened(leaf: Leaf) -> Tensor:
    """A leaf with some length along the axis that grows."""
    if leaf.grows is None:
        return leaf.initial
    shape = list(leaf.initial.shape)
    shape[leaf.grows] = _TRACED_LENGTH
    return leaf.initial.new_zeros(shape)


def _reason(error: Exception) -> str:
    """torch's first sentence about it, and the line of the package where it came up."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")] or [type(error).__name__]
    sentence = lines[1] if lines[0].startswith("Constraints violated") and len(lines) > 1 else lines[0]
    return sentence + source_line("".join(traceback.format_tb(error.__traceback__)))
