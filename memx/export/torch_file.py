"""A step as a torch.export archive (.pt2), which runs with torch and without memx."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from memx.export.facts import KEY
from memx.export.program import forget_sources

FILE = f"{KEY}.json"
"""The file in the archive that holds the description."""


def write(path: Path, program: ExportedProgram, facts: dict[str, Any]) -> None:
    """Write a traced step with its description, and without the Python lines it was traced from."""
    forget_sources(program)
    content = io.BytesIO()
    description = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    torch.export.save(program, content, extra_files={FILE: description})
    path.write_bytes(content.getbuffer())


class TorchStep:
    """An exported step as torch runs it."""

    def __init__(self, path: Path):
        extra: dict[str, Any] = {FILE: ""}
        self.module = torch.export.load(path, extra_files=extra).module()
        self.facts: dict[str, Any] = json.loads(extra[FILE])
        self.engine = f"torch {torch.__version__}"

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = self.module(torch.from_numpy(frame), *map(torch.from_numpy, state))
        return [x.numpy() for x in outputs]
