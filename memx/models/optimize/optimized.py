"""From a trained network to the one that is run, held to the trained one's masks before anybody uses it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

import memx.models.optimize.blocks  # noqa: F401  (registers how blocks are lowered)
from memx.models.base import VideoModel
from memx.models.optimize.convolution import PACKS
from memx.models.optimize.fixed_step import Capture, FixedStep, compiled, cuda_graph
from memx.models.optimize.lowering import Lowering
from memx.models.precision import DTYPES, inference_precision

TOLERANCE = 1e-3
"""Largest difference of a probability that an optimised network may have."""


@dataclass(frozen=True)
class Optimized:
    """A network that is run, and what it was held to.

    model       the fast one, or the plain one where `refused` says why
    applied     what was done to it
    remarks     what was wanted and could not be done, and why
    difference  largest of a probability, over the frames that it was held to; None where it could not be run
    allowed     largest that was let pass
    refused     why the plain network is used, empty where the fast one is
    """

    model: VideoModel
    applied: tuple[str, ...]
    remarks: tuple[str, ...]
    difference: float | None
    allowed: float
    refused: str = ""

    def sentences(self) -> list[str]:
        """What was done and what was not, for the reader of a terminal or a report."""
        if self.refused:
            return [f"not optimised: {self.refused}", *self.remarks]
        held = f"masks within {self.difference:.1e} of the plain network's (at most {self.allowed:.1e} allowed)"
        return [f"optimised: {', '.join(self.applied)}; {held}", *self.remarks]


def optimize(
    model: VideoModel,
    video: Float[Tensor, "b t c y x"],
    objects: int = 1,
    *,
    precision: str = "fp32",
    compile: bool = False,
    tolerance: float = TOLERANCE,
) -> Optimized:
    """The same network in the form that runs fastest on the device of `video`, where `model` is as well.

    Batch normalisation becomes part of the convolutions, whose channels lie side by side; on the CPU oneDNN gets their
    weights in its own layout once, and adds and activates while it writes. On CUDA a step of fixed shapes is recorded
    in a CUDA graph and replayed. `compile` takes torch.compile instead, which needs a minute.

    Both networks then stream `video`. The fast one is returned only where no probability differs by more than
    `tolerance` from the plain network's in float32, or by more than the plain network's own at `precision` does;
    otherwise the plain one, with the reason. `precision` (fp32, bf16, fp16) is the autocast that it will be run under.
    The fast network is made of the weights as they are now; training `model` on does not reach it.

    Raises ValueError for a model in training mode.
    """
    if model.training:
        raise ValueError("optimize: the model is in training mode; call model.eval() first")
    device = video.device.type
    reference = _stream(model, video, objects, "fp32")
    own = 0.0 if precision == "fp32" else _largest(_stream(model, video, objects, precision), reference)
    allowed = max(tolerance, own)

    lowered = Lowering(_dtype(device, precision))(model)
    assert isinstance(lowered, VideoModel)
    applied, remarks = ["convolutions with folded normalisation, channels-last"], []
    if device == "cpu" and PACKS and not compile:
        applied.append("weights laid out for oneDNN")
    elif device == "cpu" and not compile:
        remarks.append("this build of torch has no oneDNN: convolutions are torch's own")
    fast, masks = lowered, None
    for name, capture in _captures(device, compile):
        try:
            candidate = FixedStep(lowered, capture)
            masks = _stream(candidate, video, objects, precision)
        except Exception as error:  # whatever a compiler or a driver raises; the network still runs without
            remarks.append(f"no {name}: {_reason(error)}")
            continue
        if not candidate.captured:
            remarks.append(f"no {name}: the state did not keep its shapes over {video.shape[1]} frames")
            continue
        fast = candidate
        applied.append(name)
        break
    if masks is None or fast is lowered:
        masks = _stream(lowered, video, objects, precision)
    difference = _largest(masks, reference)
    refused = ""
    if not difference <= allowed:
        refused = f"its masks differ by {difference:.1e} from the plain network's, and {allowed:.1e} is allowed"
    return Optimized(model if refused else fast, tuple(applied), tuple(remarks), difference, allowed, refused)


def _captures(device: str, compile: bool) -> list[tuple[str, Capture]]:
    """What may be tried, in order."""
    tried: list[tuple[str, Capture]] = [("compiled step", compiled)] if compile else []
    return tried + ([("CUDA graph", cuda_graph)] if device == "cuda" else [])


def _dtype(device: str, precision: str) -> torch.dtype | None:
    """What convolutions calculate in: the precision, where the processor has it; None: what their weights are."""
    if precision == "fp32":
        return None
    dtype = DTYPES[precision]
    has = device != "cpu" or (dtype == torch.bfloat16 and PACKS and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype if has else None


@torch.no_grad()
def _stream(model: VideoModel, video: Tensor, objects: int, precision: str) -> Float[Tensor, "b t o y x"]:
    size = (video.shape[-2], video.shape[-1])
    state = model.init_state(video.shape[0], objects, size=size, device=video.device)
    masks = []
    with inference_precision(str(video.device), precision):
        for t in range(video.shape[1]):
            output, state = model.step(video[:, t], state)
            masks.append(output.masks.float())
    return torch.stack(masks, dim=1)


def _largest(masks: Tensor, reference: Tensor) -> float:
    return float((masks - reference).abs().max())


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
