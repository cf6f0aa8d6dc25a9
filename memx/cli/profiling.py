"""Profile with tables on the terminal: what `memx profile` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memx.cli.common import split_overrides
from memx.cli.fast import fast_pieces
from memx.cli.plain import mib, plain_table
from memx.cli.projection import projection_pieces
from memx.cli.scaling import facts_of, memories_of, run_scaling, scaling_pieces
from memx.engine.checkpoint import load_checkpoint, restore
from memx.errors import UserError
from memx.models.base import VideoModel
from memx.models.build import build
from memx.profile.cards import find_card
from memx.profile.components import Component
from memx.profile.fresh import settle
from memx.profile.report import json_text, profile_data, write_profile
from memx.profile.run import Arithmetic, Part, Profile, profile
from memx.profile.scaling import Axis
from memx.profile.speed import MODE_WORDS
from memx.recipe import Recipe

DEFAULT = "gdkvm_camus"


def run_profile(
    words: Sequence[str],
    *,
    parts: Sequence[Part],
    scaling: Sequence[Axis],
    beside: Sequence[str],
    places: Sequence[int] | None,
    budget: float,
    frames: int | None,
    batches: Sequence[int] | None,
    rounds: int,
    depth: int,
    device: str,
    precision: str | None,
    card: str,
    compile: bool,
    json: bool,
    out: Path | None,
) -> Profile:
    """Profile the recipe or run that the words name and print it; a report goes to `out` or into the run's folder."""
    known = find_card(card)
    recipe, model = find_model(words)
    _refuse_early(recipe, model, scaling, beside, out)
    if "fps" in parts and not is_trained(words):
        generator = torch.Generator().manual_seed(0)
        settle(model, torch.rand(2, 2, recipe.data.channels, *recipe.data.size, generator=generator), recipe.objects)
    found = profile(
        recipe,
        model,
        parts=parts,
        batches=batches or (1, recipe.train.batch),
        frames=frames,
        rounds=rounds,
        budget=budget,
        device=device,
        precision=precision,
        card=known,
        compile=compile,
    )
    scalings = run_scaling(
        recipe, model, scaling, beside=beside, places=places, budget=budget, device=device, precision=precision
    )
    folder = out or run_folder(words)
    page = None if folder is None else write_profile(folder, recipe, found, scalings)
    if json:
        print(
            (page.parent / "profile.json").read_text("utf-8") if page else json_text(profile_data(found, scalings)),
            end="",
        )
        return found
    console = Console(highlight=False)
    for piece in [*pieces(found, parts, depth), *scaling_pieces(scalings)]:
        console.print(piece, soft_wrap=isinstance(piece, str))
    if page is not None:
        console.print(f"\nreport {page}", soft_wrap=True)
    return found


def run_folder(words: Sequence[str]) -> Path | None:
    """`profile` in the run folder that the words name; None where they name none."""
    names, _ = split_overrides(words)
    return Path(names[0]) / "profile" if names and (Path(names[0]) / "recipe.yaml").is_file() else None


def is_trained(words: Sequence[str]) -> bool:
    """Whether the words name a run or a file of weights."""
    names, _ = split_overrides(words)
    return bool(names) and ((Path(names[0]) / "recipe.yaml").is_file() or names[0].endswith(".safetensors"))


def find_model(words: Sequence[str]) -> tuple[Recipe, VideoModel]:
    """The recipe and the network that the words name: a run's, or one with fresh weights."""
    names, overrides = split_overrides(words)
    if len(names) > 1:
        raise UserError(f"one recipe or run at a time; got {', '.join(names)}")
    name = names[0] if names else DEFAULT
    if is_trained(words):
        recipe, tensors = load_checkpoint(Path(name), overrides)
        return recipe, restore(recipe, tensors, name)
    recipe = Recipe.load(name, overrides)
    return recipe, build(recipe)


def _refuse_early(
    recipe: Recipe, model: VideoModel, scaling: Sequence[Axis], beside: Sequence[str], out: Path | None
) -> None:
    """What would be found to be wrong after minutes of measuring only."""
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; name a folder")
    if scaling:
        facts_of(recipe, model, "cpu")
        memories_of(recipe, beside)


def pieces(found: Profile, parts: Sequence[Part], depth: int) -> Iterator[str | Table]:
    """What is printed, from the top: tables, each with a sentence that says how its figures were taken."""
    height, width = found.size
    objects = f"{found.objects} object{'s' * (found.objects > 1)}"
    yield (
        f"{found.recipe} {found.hash}: {found.parameters:,} parameters, {height} × {width}, {objects}, "
        f"{found.precision} on {found.device}"
    )
    if found.arithmetic is not None:
        yield ""
        yield arithmetic_table(found.arithmetic, depth)
        yield (
            f"A streamed frame, the second of a clip, and a clip of {found.arithmetic.frames} frames at once; batch 1, "
            "in evaluation.\nFLOPs: two a multiply-accumulate (MAC), one an elementwise operation.\n"
            "Elem.: elementwise operations. MiB: what operators read and write, as eager execution does. Clip: GFLOPs."
        )
        yield from _checks(found.arithmetic)
    if "fps" in parts:
        yield ""
        yield speed_table(found)
        yield (
            f"Clips of {found.speeds[0].frames} frames. Frame by frame, every frame is timed by itself; a clip at once "
            "is one call.\nThe device is waited for. Frames of all clips of a batch count. The first call, which warms "
            "up, is in no\nother figure; n calls are."
        )
        yield ""
        yield stage_table(found)
        yield (
            f"Medians of a streamed frame, batch 1, together {1000 * sum(found.stages.values()):,.2f} ms while every "
            "component is watched, which takes time itself."
        )
    if found.fast is not None:
        yield from fast_pieces(found.fast)
    if found.projection is not None:
        yield from projection_pieces(found.projection)
    if "memory" in parts:
        yield ""
        yield memory_table(found)
        yield f"Peak: tensors alive at once beyond input and weights ({mib(found.parameter_bytes)})."


def arithmetic_table(found: Arithmetic, depth: int) -> Table:
    """A component a row: parameters, and the arithmetic of a streamed frame and of a clip."""
    table = plain_table("arithmetic")
    table.add_column("component", no_wrap=True)
    for column in ("M params", "M MACs", "M elem.", "M FLOPs", "share", "MiB", "clip, G"):
        table.add_column(column, justify="right")
    clip = {component.path: component for component in found.clip.walk()}
    for component, level in _shown(found.frame, depth):
        if not (component.parameters or component.whole.flops):
            continue
        ran = component.ran or component.whole.flops
        share = component.whole.flops / found.frame.whole.flops
        cells = [
            f"{component.whole.macs.total() / 1e6:,.2f}",
            f"{component.whole.pointwise.total() / 1e6:,.1f}",
            f"{component.whole.flops / 1e6:,.1f}",
            f"{share:.1%}",
            f"{component.whole.bytes / 2**20:,.1f}",
            f"{clip[component.path].whole.flops / 1e9:,.2f}",
        ]
        name = f"{'  ' * level}{component.name}"
        table.add_row(name, f"{component.parameters / 1e6:,.3f}", *(cells if ran else ["not used", "", "", "", "", ""]))
    return table


def _shown(component: Component, depth: int, level: int = 0) -> Iterator[tuple[Component, int]]:
    yield component, level
    if level < depth:
        for part in component.parts:
            yield from _shown(part, depth, level + 1)


def _checks(found: Arithmetic) -> Iterator[str]:
    ours = found.frame.whole.macs.total()
    yield f"MACs of that frame: memx {ours / 1e6:,.2f} M"
    for other in found.others:
        yield f"  {other.tool} {other.macs / 1e6:,.2f} M ({(other.macs - ours) / 1e6:+,.2f} M): {other.says}"
    if found.declared is not None:
        memory = next(part for part in found.frame.parts if part.path == "memory").whole.macs.total()
        yield f"  the memory declares {found.declared / 1e6:,.2f} M; counted {memory / 1e6:,.2f} M"


def speed_table(found: Profile) -> Table:
    """Times, a mode and batch a row."""
    table = plain_table("speed")
    table.add_column("mode", no_wrap=True)
    for column in ("batch", "ms/frame", "p95", "ms/clip", "frames/s", "n", "first call, ms"):
        table.add_column(column, justify="right")
    for item in found.speeds:
        table.add_row(
            MODE_WORDS[item.mode],
            str(item.batch),
            f"{item.ms_per_frame:,.2f}",
            f"{item.ms_per_frame_p95:,.2f}",
            f"{item.ms_per_clip:,.1f}",
            f"{item.fps:,.1f}",
            str(item.seconds.count),
            f"{1000 * item.first:,.1f}",
        )
    return table


def stage_table(found: Profile) -> Table:
    """Each component's share of a streamed frame."""
    total = sum(found.stages.values())
    table = plain_table("where the time goes")
    table.add_column("component", no_wrap=True)
    table.add_column("ms a frame", justify="right")
    table.add_column("share", justify="right")
    for name, seconds in sorted(found.stages.items(), key=lambda item: -item[1]):
        table.add_row(name or "(between them)", f"{1000 * seconds:,.2f}", f"{seconds / total:.1%}")
    return table


def memory_table(found: Profile) -> Table:
    """Bytes of weights, of the state, and of what a call holds."""
    table = plain_table("memory")
    table.add_column("mode", no_wrap=True)
    for column in ("batch", "frames", "peak", "state after the clip"):
        table.add_column(column, justify="right")
    for item in found.speeds:
        mode = {"stream": "a frame", "clip": "a clip at once"}[item.mode]
        table.add_row(Text(mode), str(item.batch), str(item.frames), mib(item.peak_bytes), mib(item.state_bytes))
    return table
