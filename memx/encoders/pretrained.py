"""Pretrained weights of the encoders: where they are looked for, how they are read and fitted."""

from __future__ import annotations

import contextlib
import os
import pickle
import urllib.error
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from memx.errors import CheckpointError

_URL = "https://download.pytorch.org/models/"
_IMAGENET = {
    18: "resnet18-f37072fd.pth",
    34: "resnet34-b627a593.pth",
    50: "resnet50-0676ba61.pth",
    101: "resnet101-63fe2227.pth",
}
_COUNTER = "num_batches_tracked"
_enabled: ContextVar[bool] = ContextVar("memx_pretrained", default=True)


@contextlib.contextmanager
def no_pretrained() -> Iterator[None]:
    """Build encoders without reading their `weights`: a checkpoint that follows holds all tensors already."""
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)


def load_resnet_weights(model: nn.Module, weights: str, depth: int, image_channels: int) -> None:
    """Load torchvision-named weights into a ResNet: every tensor of the model must be there and fit.

    The stem is adapted to `image_channels`; the classifier and the stages that were not built are left aside.
    Raises CheckpointError naming the file and the tensors.
    """
    if not _enabled.get():
        return
    if weights == "imagenet":
        source, found = _IMAGENET[depth], _read_imagenet(depth)
    else:
        source, found = weights, _read(Path(weights))
    own = {name: x for name, x in model.state_dict().items() if not name.endswith(_COUNTER)}
    found = {name.removeprefix("module."): x for name, x in found.items() if not name.endswith(_COUNTER)}
    if "conv1.weight" in found:
        found["conv1.weight"] = adapt_stem(found["conv1.weight"], own["conv1.weight"], image_channels)
    found = {name: x for name, x in found.items() if name in own or not name.startswith(("fc.", "layer3.", "layer4."))}
    missing = [name for name in own if name not in found]
    surplus = [name for name in found if name not in own]
    misfit = [
        f"{name} is {list(found[name].shape)}, the encoder's {list(own[name].shape)}"
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    if missing or surplus or misfit:
        lines = [f"weights {source} do not fit this ResNet-{depth}:"]
        lines += [f"  missing: {_some(missing)}"] * bool(missing)
        lines += [f"  not in the encoder: {_some(surplus)}"] * bool(surplus)
        lines += [f"  of another shape: {_some(misfit)}"] * bool(misfit)
        raise CheckpointError(
            "\n".join([*lines, "ImageNet weights want width: 64 and norm: batch or frozen, and the same depth"])
        )
    model.load_state_dict(found, strict=False)


def adapt_stem(weight: Tensor, own: Tensor, image_channels: int) -> Tensor:
    """Fit the first convolution's filters to another number of input channels.

    As many input channels as `own`: as they are. Filters over RGB: the picture's channels c get them as they are when
    c = 3, else Σ_rgb / c each; channels after the picture keep those of `own`. Anything else is returned as it is.
    """
    if weight.shape[1] == own.shape[1] == image_channels or weight.shape[1] != 3 or weight.shape[2:] != own.shape[2:]:
        return weight
    picture = (
        weight
        if image_channels == 3
        else weight.sum(1, keepdim=True).expand(-1, image_channels, -1, -1) / image_channels
    )
    return torch.cat([picture.to(own), own[:, image_channels:]], dim=1) if picture.shape[0] == own.shape[0] else weight


def _read_imagenet(depth: int) -> Mapping[str, Tensor]:
    name = _IMAGENET[depth]
    folder = os.environ.get("MEMX_WEIGHTS")
    if folder and (Path(folder) / name).is_file():
        return _read(Path(folder) / name)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return torch.hub.load_state_dict_from_url(
            _URL + name, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"ImageNet weights for ResNet-{depth} are not here and could not be fetched ({error}).\n"
            f"Put {name} (from {_URL}{name}) into {folder or 'a folder named by $MEMX_WEIGHTS'} or {cache},\n"
            "or start from random weights with `weights: null`"
        ) from None


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(
            f"encoder weights {path}: no such file; `weights` is null, imagenet, or the path of a state dict"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(str(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"encoder weights {path} cannot be read as a state dict of tensors: {reason}") from None
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise CheckpointError(f"encoder weights {path} hold no plain state dict (names to tensors)")
    return found


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
