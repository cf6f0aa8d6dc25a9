"""A step as an ONNX file, and the file run by onnxruntime."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from memx.errors import UserError
from memx.export.facts import KEY
from memx.export.operations import DECOMPOSED
from memx.export.program import where

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require() -> None:
    """Raise UserError unless the packages are there that write and check ONNX files."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'--to onnx needs {", ".join(missing)}: pip install "memx-video[export]"')


def write(path: Path, program: ExportedProgram, facts: dict[str, Any], *, opset: int | None) -> None:
    """Convert a traced step and write it with its description. Raises UserError for what ONNX cannot say."""
    names = [leaf["name"] for leaf in facts["state"]]
    outputs = [leaf["next"] for leaf in facts["state"]]
    program = program.run_decompositions(DECOMPOSED)
    try:
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=["frame", *names],
            output_names=["masks", "logits", *outputs],
        )
        assert converted is not None
    except Exception as error:
        raise UserError(f"ONNX cannot say what this model does: {_reason(error, program)}") from error
    model = converted.model
    _forget_sources(model)
    model.metadata_props[KEY] = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    model.producer_name, model.producer_version = "memx", facts["memx"]
    converted.save(path, external_data=False)


class OnnxStep:
    """An exported step as onnxruntime runs it, on the CPU."""

    def __init__(self, path: Path):
        import onnxruntime

        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class but this
            raise UserError(f"onnxruntime {onnxruntime.__version__} cannot run the step: {error}") from error
        self.facts: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
        self.engine = f"onnxruntime {onnxruntime.__version__}"

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]:
        names = [leaf["name"] for leaf in self.facts["state"]]
        outputs = ["masks", "logits", *(leaf["next"] for leaf in self.facts["state"])]
        feed = {"frame": frame, **dict(zip(names, state, strict=True))}
        return [np.asarray(x) for x in self.session.run(outputs, feed)]


def _forget_sources(model: Any) -> None:
    """Remove the lines of Python, with their paths on this machine, that the converter leaves in the file."""
    model.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for value in (*graph.inputs, *graph.outputs):
            value.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
    for value in model.graph.initializers.values():
        value.metadata_props.clear()


def _reason(error: BaseException, program: ExportedProgram) -> str:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    for cause in causes:
        found = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(cause))
        if found:
            return f"operation {found[1]} is in the way{where(program, found[1])}. --to torch can say it"
    text = str(causes[-1]).strip().splitlines()
    return text[0] if text else type(error).__name__
