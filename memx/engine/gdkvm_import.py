"""Released GDKVM checkpoints as run folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from memx.engine.checkpoint import differences, save_weights
from memx.engine.foreign import Foreign, read_foreign
from memx.engine.manifest import environment, manifest
from memx.engine.run import RunFolder
from memx.errors import CheckpointError
from memx.models.build import build
from memx.models.gdkvm_names import our_name, released_name
from memx.recipe import Recipe
from memx.report.html import Report, Table, write_report
from memx.report.sections import facts_section, recipe_section

STEMS = ("mask_encoder.conv1.weight", "pixel_fuser.conv.weight")
"""Convolutions over an object's mask and the sum of the others'. Single-object networks lack the last input channel."""
RELEASE_2025, RERELEASE = "gdkvm_release_2025", "gdkvm_rerelease"
COUNTER = "num_batches_tracked"
SINUSOID = "inv_freq"
_FREQUENCY_RTOL = 1e-5
"""Powers taken in float32 differ by so much from those taken in float64."""
_LISTED = 40
"""More tensors that do not fit are counted and not listed."""
_FREQUENCIES = 1.0 / 128.0 ** (torch.arange(0, 128, 2, dtype=torch.float64) / 128)


@dataclass(frozen=True)
class Fitted:
    """Released tensors as ours, ready to be loaded, and what had to be said on the way."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def recipe_of(foreign: Foreign) -> str:
    """The recipe of the trainer that wrote a checkpoint; of the re-release where it is not known which one did."""
    return RELEASE_2025 if foreign.container == "weights" else RERELEASE


def import_gdkvm(
    checkpoint: Path, recipe: Recipe, out: Path, *, foreign: Foreign | None = None
) -> tuple[RunFolder, tuple[str, ...]]:
    """Write the run folder of a released checkpoint; returns it, and what the reader should know.

    `recipe` says which release's equations the tensors are run with: their names and shapes are the same in both.
    `foreign` is what `checkpoint` holds, where that has been read already.
    Raises CheckpointError for a file that cannot be read safely or does not fit, with every tensor that is missing,
    surplus, misshapen or not finite; UserError when `out` is taken. Nothing is left behind then.
    """
    RunFolder.refuse_taken(out)
    model = build(recipe)
    foreign = read_foreign(checkpoint) if foreign is None else foreign
    fitted = fit(foreign.tensors, model, str(checkpoint))
    model.load_state_dict(fitted.tensors)
    notes = (*provenance(foreign, recipe), *fitted.notes)
    digest = _sha256(checkpoint)
    source = {
        "system": "gdkvm",
        "file": checkpoint.name,
        "bytes": checkpoint.stat().st_size,
        "sha256": digest,
        "container": foreign.container,
        "notes": list(notes),
    }
    run = RunFolder.create(recipe, out)
    try:
        run.write_json("manifest.json", {**manifest(recipe, {}), "imported": source})
        _write_report(run, source, notes)
        save_weights(run.best_weights, model, recipe, imported_from=checkpoint.name, imported_sha256=digest)
    except BaseException:
        for name in ("report.html", run.best_weights.name):
            (run.path / name).unlink(missing_ok=True)
        run.discard()
        raise
    return run, notes


def fit(released: Mapping[str, Tensor], model: nn.Module, source: str) -> Fitted:
    """Released tensors under our names, each of the shape that `model` wants.

    Batch counters (`num_batches_tracked`) may be missing: nothing in evaluation reads them. The sinusoids' frequencies
    (`inv_freq`) are no tensors of ours; they are compared with what we compute, as exactly as their dtype can hold it.
    A single-object stem gets a last input channel of zeros for the other objects' masks, as the released loader does
    with `init_as_zero_if_needed`. Raises CheckpointError for what does not fit, and for tensors under memx's names.
    """
    own = model.state_dict()
    mine = [name for name in released if name in own and released_name(name) != name]
    if mine:
        raise CheckpointError(
            f"{source}: its tensors have memx's names, not the releases': {_some(mine)}. It is of a network of memx; "
            "`memx.load` takes that one's run folder, or the .safetensors file of it, as it is"
        )
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    wrong: list[str] = []
    counted = 0
    for name, tensor in released.items():
        if name.endswith(f".{SINUSOID}"):
            if not _are_frequencies(tensor):
                wrong.append(f"  {name}: other frequencies than 1 / 128^(2i/128), i = 0 … 63")
            continue
        ours = our_name(name)
        if ours not in own or ours in tensors:
            wrong.append(f"  surplus: {name} {list(tensor.shape)}")
            continue
        counted += ours.endswith(COUNTER)
        if name in STEMS and _lacks_one_input(tensor, own[ours]):
            tensor = torch.cat([tensor, torch.zeros_like(tensor[:, :1])], dim=1)
            notes.append(
                f"{name} is of a single-object network: a last input channel of zeros was added for the other objects' "
                "masks. With one object this changes nothing; with more, the objects do not see each other there"
            )
        tensors[ours] = tensor
        if tensor.shape != own[ours].shape:
            wanted = list(own[ours].shape)
            wrong.append(f"  shape: {_both(name, ours)} is {list(tensor.shape)}, the recipe's model wants {wanted}")
        elif tensor.is_floating_point() and not tensor.isfinite().all():
            wrong.append(f"  not finite: {_both(name, ours)} has NaN or infinity")
    counters = {name for name in own if name.endswith(COUNTER)}
    wrong += [
        f"  missing: {_both(released_name(name), name)} {list(own[name].shape)}"
        for name in own
        if name not in tensors and name not in counters
    ]
    if wrong:
        if not any(our_name(name) in own for name in released):
            raise CheckpointError(f"{source}: no GDKVM checkpoint: it has {_some(list(released))}")
        shown = wrong if len(wrong) <= _LISTED else [*wrong[:_LISTED], f"  … and {len(wrong) - _LISTED} more"]
        other = "; so many say that the recipe is of another network" if len(wrong) > _LISTED else ""
        raise CheckpointError("\n".join([f"{source}: does not fit the recipe's model{other}:", *shown]))
    if missing := [name for name in counters if name not in tensors]:
        tensors |= {name: own[name] for name in missing}
        notes.append(
            f"{len(missing)} batch counters ({COUNTER}) are not in the file and start at 0; only training counts"
        )
    kinds = {str(t.dtype).removeprefix("torch.") for n, t in tensors.items() if n not in counters} - {"float32"}
    if kinds:
        notes.append(f"stored in {', '.join(sorted(kinds))}; kept in float32")
    return Fitted(tensors, tuple(notes))


def provenance(foreign: Foreign, recipe: Recipe) -> list[str]:
    """What is known of the release that a checkpoint is of, and what was assumed."""
    if foreign.container == "weights":
        known = "a training checkpoint with `weights`, as the trainer of the 2025 release writes them"
    elif foreign.container == "model" and "scaler" in foreign.beside:
        known = "a training checkpoint with `model` and `scaler`, as the trainer of the re-release writes them"
    elif foreign.container is not None:
        known = f"a training checkpoint with `{foreign.container}`, which tells of no release"
    else:
        known = "a state dict alone, which tells of no release"
    apart = {name: equations_apart(recipe, Recipe.load(name)) for name in (RERELEASE, RELEASE_2025)}
    computed = next((name for name, differing in apart.items() if not differing), None)
    notes = [
        f"{known[0].upper()}{known[1:]}. The tensors fit both releases, which name and shape them alike and differ in "
        f"what they compute: run as {computed or recipe.name}; --recipe {RERELEASE} or {RELEASE_2025} chooses"
    ]
    known_trainer = foreign.container == "weights" or (foreign.container == "model" and "scaler" in foreign.beside)
    if computed is None:
        nearest = recipe.name if recipe.name in apart else min(apart, key=lambda name: len(apart[name]))
        notes.insert(
            0,
            f"Beware: these are the equations of no release, and weights of one give wrong masks with others; from "
            f"{nearest} they differ in {', '.join(apart[nearest])}",
        )
    elif known_trainer and computed != recipe_of(foreign):
        notes.insert(0, "Beware: weights of one release give wrong masks with the equations of the other")
    return notes


def equations_apart(recipe: Recipe, other: Recipe) -> list[str]:
    """Dotted options of the model in which two recipes differ, but for where training starts and what it blanks."""
    first, second = (r.dump()["model"] for r in (recipe, other))
    return [
        place
        for place in differences(first, second, "model")
        if place.rpartition(".")[2] not in ("weights", "mask_dropout")
    ]


def _both(released: str, ours: str) -> str:
    """A tensor's released name, and ours where that is another."""
    return released if released == ours else f"{released} (ours: {ours})"


def _are_frequencies(tensor: Tensor) -> bool:
    """Whether these are the released sinusoids' frequencies, as exactly as their dtype can hold them."""
    if tensor.shape != _FREQUENCIES.shape or not tensor.is_floating_point():
        return False
    rtol = max(_FREQUENCY_RTOL, torch.finfo(tensor.dtype).eps)
    return torch.allclose(tensor.double(), _FREQUENCIES, rtol=rtol, atol=0)


def _lacks_one_input(tensor: Tensor, own: Tensor) -> bool:
    shape = list(own.shape)
    return list(tensor.shape) == [shape[0], shape[1] - 1, *shape[2:]]


def _some(names: list[str], most: int = 5) -> str:
    shown = ", ".join(sorted(names)[:most])
    return f"{shown}, … ({len(names)} tensors)" if len(names) > most else shown


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_report(run: RunFolder, source: Mapping[str, object], notes: tuple[str, ...]) -> Path:
    facts = [[name, str(source[name])] for name in ("file", "bytes", "sha256")]
    sections = [
        Table("Where the weights are from", ["Name", "Value"], facts, words=True),
        Table("What to know", ["Note"], [[f"{note}."] for note in notes], words=True),
        recipe_section(run.recipe.to_yaml()),
        facts_section("Environment", environment()),
    ]
    title = f"{run.recipe.name}: imported weights"
    return write_report(run.path / "report.html", Report(title, sections, run.recipe.description.rstrip(".")))
