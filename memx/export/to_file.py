"""Export: write, read back, hold to the model, and only then put in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from memx.engine.checkpoint import load, load_checkpoint, restore, save_weights
from memx.errors import UserError
from memx.export import onnx_file, torch_file
from memx.export.check import Agreement, ModelStep, Tolerance, hold
from memx.export.clip import drawn_clip
from memx.export.facts import describe
from memx.export.program import trace
from memx.export.quiet import quiet
from memx.export.step import start
from memx.files import atomic
from memx.models.base import VideoModel
from memx.recipe import Recipe


class Format(StrEnum):
    """What can be written."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    TORCH = "torch"


SUFFIXES = {Format.SAFETENSORS: ".safetensors", Format.ONNX: ".onnx", Format.TORCH: ".pt2"}


@dataclass(frozen=True)
class Options:
    """What is fixed in a graph, and how close it must be.

    size       height and width of a frame; None: the recipe's data.size
    batch      clips at once; None leaves the batch axis open
    objects    objects; None: one for each of the recipe's structures
    opset      version of ONNX's operators; None: the converter's choice
    tolerance  largest differences from the model
    """

    size: tuple[int, int] | None = None
    batch: int | None = 1
    objects: int | None = None
    opset: int | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True)
class Exported:
    """What was written: the file, the names of its state tensors (none in safetensors) and how it was checked."""

    path: Path
    state: tuple[str, ...]
    agreement: Agreement


def export(
    source: Path, to: Format, out: Path | None = None, *, options: Options = Options(), overwrite: bool = False
) -> Exported:
    """Write a run folder's network, or a `.safetensors` file's, for other programs.

    safetensors   the weights, with the filled recipe inside: for `memx.load`
    onnx, torch   one step of the network: (frame, state …) → (masks, logits, next state …)

    `out` is `<name of the recipe>.<suffix>` beside the weights unless given. What was written is read back, run over a
    drawn clip and held to the network, masks, logits and state, before the file appears. Raises UserError where they
    differ by more than the tolerance, the file is there already (unless `overwrite`), or something in the network
    cannot be exported.
    """
    if to == Format.ONNX:
        onnx_file.require()
    recipe, tensors = load_checkpoint(source)
    path = out or (source if source.is_dir() else source.parent) / (recipe.name + SUFFIXES[to])
    if path.suffix != SUFFIXES[to]:
        raise UserError(f"--out {path}: --to {to} writes a {SUFFIXES[to]} file")
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{path}: is there already; choose another --out, or --overwrite it")
    model = restore(recipe, tensors, str(source))
    if to == Format.SAFETENSORS:
        return _weights(model, recipe, path, options)
    with quiet():
        return _graph(model, recipe, path, to, options)


def _weights(model: VideoModel, recipe: Recipe, path: Path, options: Options) -> Exported:
    if recipe.plugins:
        raise UserError(
            f"the recipe needs plug-ins ({', '.join(Path(p).name for p in recipe.plugins)}), which one file cannot "
            "carry; keep the run folder, or export to onnx or torch"
        )
    size, objects = recipe.data.size, recipe.objects
    clip = drawn_clip(1, recipe.data.channels, size)
    state = start(model, clip[:, 0], objects)
    facts = describe(recipe, state, size=size, batch=1, objects=objects)
    with atomic(path) as part:
        save_weights(part, model, recipe)
        agreement = hold(ModelStep(load(part), state, facts), model, clip, objects, options.tolerance)
    return Exported(path, (), agreement)


def _graph(model: VideoModel, recipe: Recipe, path: Path, to: Format, options: Options) -> Exported:
    size = options.size or recipe.data.size
    objects = options.objects or recipe.objects
    fixed = {"size": size, "batch": options.batch, "objects": objects}
    program = trace(model, channels=recipe.data.channels, **fixed)
    clip = drawn_clip(options.batch or 3, recipe.data.channels, size)
    state = start(model, clip[: options.batch or 1, 0], objects)
    facts = describe(recipe, state, **fixed)
    with atomic(path) as part:
        if to == Format.ONNX:
            onnx_file.write(part, program, facts, opset=options.opset)
            step = onnx_file.OnnxStep(part)
        else:
            torch_file.write(part, program, facts)
            step = torch_file.TorchStep(part)
        agreement = hold(step, model, clip, objects, options.tolerance)
    return Exported(path, tuple(leaf.name for leaf in state), agreement)
