"""What several commands share: their arguments, and telling overrides from files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="path.to.key=value …, e.g. train.batch=4 model.memory=linear", show_default=False),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that registers components; may be given again.", show_default=False),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …; auto takes a GPU if there is one")]


def load_plugins(paths: Sequence[Path] | None) -> None:
    """Import the files that the user named."""
    from memx.plugins import load_plugin

    for path in paths or ():
        load_plugin(path)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that name things, and words that are overrides (`path.to.key=value`, unless a file is called so)."""
    overrides = [w for w in words if re.match(r"^[A-Za-z_]\w*(\.-?\w+)*=", w) and not _is_file(w)]
    return [w for w in words if w not in overrides], overrides


def refuse_training_overrides(overrides: Sequence[str]) -> None:
    """What decided the weights cannot be changed after training."""
    from memx.errors import UserError

    for text in overrides:
        if text.split("=")[0].split(".")[0] in ("train", "loss", "seed"):
            raise UserError(f"override {text}: the run is trained already, so this has no effect; leave it away")


def _is_file(word: str) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # longer than a file's name can be
        return False


def pick_device(name: str) -> str:
    """`auto` resolved; a device that is not here is refused."""
    import torch

    from memx.errors import UserError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("memx does not run on it")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        known = "cpu, cuda, cuda:<number>, mps or auto"
        reason = "no such device" if "Expected one of" in str(error) else str(error).splitlines()[0]
        raise UserError(f"--device {name}: not available here: {reason}; it is one of {known}") from None
    return name
