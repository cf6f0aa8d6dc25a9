"""Checkpoints: weights in safetensors with the recipe inside, and a resumable training state without pickled code."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from memx.engine.run import RunFolder
from memx.errors import CheckpointError, first_line, nearest
from memx.files import atomic
from memx.models.base import VideoModel
from memx.models.build import build
from memx.recipe import Recipe
from memx.recipe_source import parse_yaml


def save_weights(path: Path, model: nn.Module, recipe: Recipe, **facts: str) -> None:
    """Write a model's tensors, with the filled recipe in the file's header (without paths of this machine)."""
    shown = recipe.model_copy(
        update={
            "plugins": [Path(plugin).name for plugin in recipe.plugins],
            "data": recipe.data.model_copy(update={"root": None}),
        }
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    header = {"format": "memx", "recipe": shown.to_yaml(), "plugins": json.dumps(recipe.plugin_digests), **facts}
    # Python writes the bytes, so that a full disk is an OSError, which `atomic` explains.
    with atomic(path) as part:
        part.write_bytes(safetensors.torch.save(tensors, metadata=header))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file. Raises CheckpointError when it is missing or damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: not a safetensors checkpoint, or cut short: {error}") from None


def load(path: str | Path, *, device: torch.device | str = "cpu") -> VideoModel:
    """The trained network of a run folder or of a `.safetensors` file, in evaluation mode.

    The recipe comes from the run folder, or from the file itself. No code is run but that of plug-ins that lie in the
    run folder. Raises CheckpointError when there is no checkpoint, or it does not fit its recipe.
    """
    recipe, tensors = load_checkpoint(Path(path))
    return restore(recipe, tensors, str(path)).to(device)


def restore(recipe: Recipe, tensors: Mapping[str, Tensor], source: str) -> VideoModel:
    """The network that a recipe describes with these tensors, in evaluation mode; no pretrained weights are fetched.

    Raises CheckpointError naming the tensors of `source` that are missing, surplus or misshapen.
    """
    model = build(recipe)
    fill(model, tensors, source)
    return model.eval()


def load_checkpoint(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, Tensor]]:
    """Recipe and tensors of a run folder or a `.safetensors` file that `save_weights` wrote.

    The recipe, after overrides, must describe the model that the weights were written for: the recipe in the file's
    header says which. Both are filled by today's code, so that an option that is new since then does no harm.
    Raises CheckpointError when they differ, naming where.
    """
    if path.is_dir():
        run = RunFolder.open(path)
        recipe = Recipe.load(run.path / "recipe.yaml", overrides)
        inside = (run.path / "plugins").resolve()
        outside = [p for p in recipe.plugins if p.endswith(".py") and not Path(p).is_relative_to(inside)]
        if outside:
            raise CheckpointError(
                f"{run.path / 'recipe.yaml'}: plug-ins of a run lie in its plugins/, not at {outside[0]}"
            )
        tensors, header = read_weights(run.weights)
        _same_model(recipe, header, run.weights)
        return recipe, tensors
    if not path.exists():
        raise CheckpointError(f"{path}: no such run folder or checkpoint; `memx train` writes run folders under runs/")
    tensors, header = read_weights(path)
    if "recipe" not in header:
        raise CheckpointError(f"{path}: holds no recipe, so memx cannot know the model; give the run folder instead")
    name = f"{path} (header)"
    plugins = parse_yaml(header["recipe"], name).data.get("plugins")
    if plugins:
        raise CheckpointError(f"{path}: its recipe needs plug-ins ({plugins}); give the run folder instead")
    recipe = Recipe.from_yaml(header["recipe"], overrides, name=name)
    _same_model(recipe, header, path)
    return recipe, tensors


def _same_model(recipe: Recipe, header: Mapping[str, str], weights: Path) -> None:
    """Raise CheckpointError unless the weights were written for the model that `recipe` describes."""
    if "recipe" not in header:
        return
    data = {**parse_yaml(header["recipe"], f"{weights} (header)").data, "plugins": recipe.plugins}
    written = Recipe.from_dict(data)
    differing = differences(written.dump()["model"], recipe.dump()["model"], "model")
    if written.data.channels != recipe.data.channels:
        differing.append("data.channels")
    if json.loads(header.get("plugins", "[]")) != recipe.plugin_digests:
        differing.append("the plug-ins' code")
    if differing:
        raise CheckpointError(
            f"{weights}: was written for another model; it differs from the recipe's in {', '.join(differing)}. "
            "Use the recipe that it was trained with, or train anew"
        )


def differences(first: Any, second: Any, place: str) -> list[str]:
    """Dotted places at which two trees of plain data differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = list(dict.fromkeys([*first, *second]))
        return [d for k in keys for d in differences(first.get(k), second.get(k), f"{place}.{k}".lstrip("."))]
    return [] if first == second else [place]


def refuse_other_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Raise CheckpointError unless the run's recipe and plug-ins are these, in all that decides the trained weights."""
    file = run.path / "recipe.yaml"
    data = parse_yaml(file.read_text(encoding="utf-8"), str(file)).data
    copies = [run.path / name for name in data.get("plugins", []) if name.endswith(".py")]
    own = [hashlib.sha256(copy.read_bytes()).hexdigest() for copy in copies if copy.is_file()]
    given = zip(recipe.plugins, recipe.plugin_digests, strict=True)
    differing = differences(Recipe.from_dict({**data, "plugins": recipe.plugins}).decisive(), recipe.decisive(), "") + [
        "the plug-ins' code"
    ] * (own != [digest for plugin, digest in given if plugin.endswith(".py")])
    if differing:
        raise CheckpointError(
            f"{run.path}: holds a run of another recipe; they differ in {', '.join(differing)}. Choose another --out, "
            f"or go on with that run by: memx train --resume {run.path}"
        )


def fill(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load tensors into a model; refuses missing, surplus and misshapen ones by name, all at once."""
    own = model.state_dict()
    wrong = [f"  missing: {name} {list(own[name].shape)}" for name in own if name not in tensors]
    for name, tensor in tensors.items():
        if name not in own:
            guess = nearest(name, own)
            wrong.append(f"  surplus: {name} {list(tensor.shape)}" + (f" (the model has {guess})" if guess else ""))
        elif tensor.shape != own[name].shape:
            wrong.append(f"  shape: {name} is {list(tensor.shape)}, the model wants {list(own[name].shape)}")
    if wrong:
        shown = wrong[:12] + ([f"  … and {len(wrong) - 12} more"] if len(wrong) > 12 else [])
        lines = "\n".join(shown)
        raise CheckpointError(f"{source}: this checkpoint belongs to another recipe:\n{lines}")
    model.load_state_dict(dict(tensors))


def save_training_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write optimiser, generators and counters: tensors and plain values only."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    with atomic(path) as part:
        part.write_bytes(content.getbuffer())


def load_training_state(path: Path) -> dict[str, Any]:
    """Read what `save_training_state` wrote; pickled code is refused (`weights_only=True`).

    Raises CheckpointError when it is missing or damaged: the checksums of the archive are verified, which `torch.load`
    does not do.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {bad} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no training state to resume from; start without --resume") from None
    except Exception as error:
        raise CheckpointError(
            f"{path}: damaged or unsafe training state: {first_line(error)}. Put back a copy of it, or train anew "
            "into another folder; the weights beside it are files of their own and may well be whole"
        ) from None
