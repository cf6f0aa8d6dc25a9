"""From a trained network to the one that is run, held to the trained one's masks before anybody uses it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

import memx.models.optimize.blocks  # noqa: F401  (registers how blocks are lowered)
from memx.models.base import TOLERANCE, VideoModel
from memx.models.optimize.convolution import PACKS, FusedConv2d
from memx.models.optimize.fixed_step import Capture, FixedStep, compiled, cuda_graph
from memx.models.optimize.lowering import Lowering
from memx.models.precision import DTYPES, inference_precision

_FRAMES = 3
"""Frames at the least that networks are compared on: a captured step runs from the second or third on."""


@dataclass(frozen=True, repr=False)
class Optimized:
    """A network that is run, and what it was held to.

    model       the fast one, or the plain one where `refused` says why
    applied     what was done to it
    remarks     what was wanted and could not be done, and why
    frames      that it was held to the plain one on
    difference  largest of a probability over these; None where it cannot be run or gives no numbers
    allowed     largest that was let pass
    refused     why the plain network is used, empty where the fast one is
    """

    model: VideoModel
    applied: tuple[str, ...]
    remarks: tuple[str, ...]
    frames: int
    difference: float | None
    allowed: float
    refused: str = ""

    def __repr__(self) -> str:
        return f"Optimized({'; '.join(self.sentences())})"

    def sentences(self) -> list[str]:
        """What was done and what was not, for the reader of a terminal or a report."""
        if self.refused:
            return [f"not optimised: {self.refused}", *self.remarks]
        held = (
            f"masks within {self.difference:.1e} of the plain network's over {self.frames} frames "
            f"(at most {self.allowed:.1e} allowed)"
        )
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

    Both networks then stream `video`, its last frame again where it has fewer than three. The fast one is returned only
    where no probability differs by more than `tolerance` from the plain network's in float32, or by more than the plain
    network's own do at `precision` (and, on CUDA, with TF32 where torch's settings allow it); otherwise the plain one,
    with the reason. `precision` (fp32, bf16, fp16) is the autocast that it will be run under. The fast network has
    weights of its own, those of now.

    Raises ValueError for a model in training mode, for one that is optimised already, for a precision that there is not
    and for a negative tolerance.
    """
    if model.training:
        raise ValueError("optimize: the model is in training mode; call model.eval() first")
    if any(isinstance(module, (FixedStep, FusedConv2d)) for module in model.modules()):
        raise ValueError("optimize: the model is optimised already; optimise the one that it was made of")
    if precision not in DTYPES:
        raise ValueError(f"optimize: precision is {precision!r}; wants one of {', '.join(DTYPES)}")
    if not tolerance >= 0:
        raise ValueError(f"optimize: tolerance must be at least 0, not {tolerance:g}")
    video = video[:, [min(t, video.shape[1] - 1) for t in range(max(_FRAMES, video.shape[1]))]]
    device = video.device.type
    with _exact():
        reference = _stream(model, video, objects, "fp32")
    own = None
    if precision != "fp32" or device == "cuda":
        own = _largest(_stream(model, video, objects, precision), reference)
    allowed = max(tolerance, own or 0.0)
    plain = Optimized(model, (), (), video.shape[1], None, allowed)

    remarks: list[str] = []
    dtype = _dtype(device, precision)
    if precision != "fp32" and dtype is None:
        remarks.append(f"convolutions in float32: this processor has none in {precision}")
    try:
        lowered = Lowering(dtype)(model)
        assert isinstance(lowered, VideoModel)
        masks = _stream(lowered, video, objects, precision)
    except Exception as error:  # a component of the user's own may raise anything; the plain network runs
        return replace(plain, remarks=tuple(remarks), refused=f"it cannot be run: {_reason(error)}")
    difference = _largest(masks, reference)
    if difference is None:
        return replace(plain, remarks=tuple(remarks), refused="its masks are no numbers")
    if difference > allowed:
        refused = f"its masks differ by {difference:.1e} from the plain network's, and {allowed:.1e} is allowed"
        return replace(plain, remarks=tuple(remarks), difference=difference, refused=refused)

    applied = ["convolutions with folded normalisation, channels-last"]
    fast = lowered
    for name, capture in _captures(device, compile):
        found = _captured(lowered, capture, video, objects, precision, reference, allowed)
        if isinstance(found, str):
            remarks.append(f"no {name}: {found}")
            continue
        fast, difference = found
        applied.append(name)
        break
    packed = any(isinstance(module, FusedConv2d) and module.packs for module in lowered.modules())
    if device == "cpu" and packed and fast is lowered:
        applied.append("weights laid out for oneDNN")
    elif device == "cpu" and not PACKS:
        remarks.append("this build of torch has no oneDNN: convolutions are torch's own")
    return replace(plain, model=fast, applied=tuple(applied), remarks=tuple(remarks), difference=difference)


def _captured(
    lowered: VideoModel,
    capture: Capture,
    video: Tensor,
    objects: int,
    precision: str,
    reference: Tensor,
    allowed: float,
) -> tuple[FixedStep, float] | str:
    """The network with its step captured and its difference, or why there is none."""
    try:
        fixed = FixedStep(lowered, capture)
        difference = _largest(_stream(fixed, video, objects, precision), reference)
    except Exception as error:  # whatever a compiler or a driver raises; the network still runs without
        return _reason(error)
    fixed.open = False
    if not fixed.captured:
        return f"the state did not keep its shapes over {video.shape[1]} frames"
    if difference is None:
        return "its masks are no numbers"
    if difference > allowed:
        return f"its masks differ by {difference:.1e}, and {allowed:.1e} is allowed"
    return fixed, difference


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


def _largest(masks: Tensor, reference: Tensor) -> float | None:
    """The largest difference; None where there are masks that are no numbers."""
    found = float((masks - reference).abs().max())
    return found if math.isfinite(found) else None


@contextmanager
def _exact() -> Iterator[None]:
    """Float32 without TF32 on CUDA, whatever torch's settings are."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
