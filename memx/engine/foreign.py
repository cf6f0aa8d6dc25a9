"""Checkpoints of other programs: tensors by name, read without running any code that they carry."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memx.engine.checkpoint import read_weights
from memx.errors import CheckpointError, first_line

CONTAINERS = ("weights", "model", "state_dict", "model_state_dict")
"""Where training checkpoints keep their state dict."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class Foreign:
    """A state dict, and what lay around it.

    tensors     by the names that the file gives them, without the wrappers' prefixes
    container   key of the training checkpoint that held them; None for a state dict alone
    beside      the other keys of that training checkpoint
    wrappers    prefixes that were taken off every name, the outermost first
    """

    tensors: dict[str, Tensor]
    container: str | None = None
    beside: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()


def read_foreign(path: Path) -> Foreign:
    """Read a `.pth` of PyTorch, a state dict or a training checkpoint around one, or a safetensors file.

    Raises CheckpointError for a file that is missing, damaged, needs code to be run, holds no state dict, or is memx's
    own: that one has its recipe with it, which would be lost.
    """
    if (path / "recipe.yaml").is_file():
        raise CheckpointError(f"{path}: a run folder of memx; `memx.load` and memx's commands take it as it is")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    with path.open("rb") as file:
        start = file.read(2)
    if start != b"PK" and start[:1] != b"\x80":  # neither a zip archive nor a pickle
        tensors, header = read_weights(path)
        if header.get("format") == "memx":
            raise CheckpointError(
                f"{path}: a file of memx, with its recipe inside; `memx.load` and `memx export` take it as it is"
            )
        return _unwrapped(tensors, None, ())
    content = _read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, no state dict (tensors by name)")
    if _is_state_dict(content):
        return _unwrapped(content, None, ())
    found = [key for key in CONTAINERS if _is_state_dict(content.get(key))]
    if len(found) != 1:
        keys = ", ".join(str(key) for key in list(content)[:12]) or "none"
        reason = f"several state dicts ({', '.join(found)})" if found else "no state dict"
        raise CheckpointError(
            f"{path}: holds {reason}; a state dict is looked for at the top and under {', '.join(CONTAINERS)}. "
            f"Its keys: {keys}"
        )
    beside = tuple(str(key) for key in content if key != found[0])
    return _unwrapped(content[found[0]], found[0], beside)


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "GLOBAL" in reason or "weights_only" in reason.lower() or "Unsupported" in reason:
            raise CheckpointError(
                f"{path}: refused: it holds more than tensors and plain values, and reading it would run code of the "
                f"file ({_named(reason)}). Ask its authors for the state dict alone: "
                "torch.save(model.state_dict(), path), or safetensors"
            ) from None
        raise CheckpointError(f"{path}: damaged, or no PyTorch checkpoint: {first_line(error)}") from None
    except Exception as error:
        raise CheckpointError(f"{path}: damaged, or no PyTorch checkpoint: {first_line(error)}") from None


def _named(reason: str) -> str:
    """What torch's refusal is about, without its advice to read the file unsafely."""
    for line in reason.splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.split("WeightsUnpickler error:")[-1].split(" was not an allowed")[0].strip()
    return "pickled objects"


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _unwrapped(tensors: Mapping[str, Tensor], container: str | None, beside: tuple[str, ...]) -> Foreign:
    found, wrappers = dict(tensors), []
    while prefix := next((p for p in WRAPPERS if found and all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
        wrappers.append(prefix)
    return Foreign(found, container, beside, tuple(wrappers))
