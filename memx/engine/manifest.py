"""What a run was made with: code, machine, libraries, data."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from memx._version import __version__
from memx.recipe import Recipe

_LIBRARIES = ("torch", "numpy", "scipy", "monai", "accelerate", "safetensors", "pydantic", "nibabel", "av", "pydicom")
CODE = (":(top)memx", ":(top)recipes", ":(top)zoo", ":(top)pyproject.toml")
"""What a run's figures hang on, as git's paths: a user's own files beside them change nothing."""


def environment() -> dict[str, Any]:
    """Machine and libraries, as `memx env` prints them."""
    from memx import ops

    return {
        "memx": __version__,
        "git": git_revision(Path(__file__).resolve().parent),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cuda": torch.version.cuda,
        "backends": {
            item.name: "available" if item.available else f"not available: {item.reason}" for item in ops.backends()
        },
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def manifest(recipe: Recipe, data: dict[str, Any], argv: list[str] | None = None) -> dict[str, Any]:
    """The record that a run folder keeps."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [without_password(word) for word in (argv if argv is not None else sys.argv[1:])],
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "seed": recipe.seed,
        "data": data,
        "environment": environment(),
    }


def without_password(word: str) -> str:
    """A word of a command, with `***` for what a URL in it says of a password."""
    word = re.sub(r"(://[^:/@\s]*):[^@\s]*@(?:[^/?\s]*@)?", r"\1:***@", word)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", word)


def device_words(device: str) -> str:
    """The device's name, with the threads of a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device == "cpu":
        threads = torch.get_num_threads()
        return f"{processor_name()}, {threads} thread{'s' * (threads > 1)}"
    return device


def processor_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_revision(folder: Path) -> dict[str, Any] | None:
    """Revision of the checkout that memx runs from, and whether its `CODE` was changed; None for an installed wheel."""

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", __file__)
    revision = git("rev-parse", "HEAD") if tracked else None
    return {"revision": revision, "dirty": bool(git("status", "--porcelain", "--", *CODE))} if revision else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
