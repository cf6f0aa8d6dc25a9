"""A step of fixed shapes as one captured call: compiled, or recorded in a CUDA graph and replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.output import Output

Tensors = tuple[Tensor, ...]
Flat = Callable[[Tensors], Tensors]
"""A step between flat lists: (frame, state …) → (masks, logits, next state …)."""
Capture = Callable[[Flat, Tensors], Flat]
"""Makes a faster form of a flat step for tensors of these shapes; its results may not share memory between calls."""


class FixedStep(VideoModel):
    """A model whose steps are captured once a shape, and otherwise run as they are.

    While `open`, a step is captured after the first frame whose state keeps its shapes; a state that grows with every
    frame never is. Once closed, frames of other shapes than were captured run as they are, so that nothing is run that
    nobody looked at. Gradients are not kept.

    captured  shapes → what runs them
    """

    def __init__(self, model: VideoModel, capture: Capture):
        super().__init__()
        self.model = model
        self.capture = capture
        self.captured: dict[tuple[object, ...], Flat] = {}
        self.open = True
        if hasattr(model, "stride"):
            self.stride = model.stride
        self.train(model.training)

    def forward(self, video: Float[Tensor, "b t c y x"], objects: int = 1, *, auxiliary: bool | None = None) -> Output:
        return self.model(video, objects, auxiliary=auxiliary)

    def init_state(
        self,
        batch: int = 1,
        objects: int = 1,
        *,
        size: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        return self.model.init_state(batch, objects, size=size, device=device, dtype=dtype)

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        return self.model.allocate(state, size)

    @torch.no_grad()
    def step(
        self, frame: Float[Tensor, "b c y x"], state: State, *, auxiliary: bool | None = None
    ) -> tuple[Output, State]:
        if auxiliary:
            return self.model.step(frame, state, auxiliary=True)
        tensors = state.tensors()
        paths, before = tuple(tensors), (frame, *tensors.values())
        key = (paths, *_shapes(before), _autocast(frame.device))
        if key not in self.captured:
            output, after = self.model.step(frame, state, auxiliary=False)
            found = after.tensors()
            if self.open and tuple(found) == paths and _shapes(tuple(found.values())) == _shapes(before[1:]):
                self.captured[key] = self.capture(self._flat(paths), before)
            return output, after
        masks, logits, *rest = self.captured[key](before)
        return Output(masks, logits), State.from_tensors(dict(zip(paths, rest, strict=True)))

    def _flat(self, paths: tuple[str, ...]) -> Flat:
        def step(tensors: Tensors) -> Tensors:
            state = State.from_tensors(dict(zip(paths, tensors[1:], strict=True)))
            output, after = self.model.step(tensors[0], state, auxiliary=False)
            found = after.tensors()
            return (output.masks, output.logits, *(found[path] for path in paths))

        return step


def _shapes(tensors: Tensors) -> tuple[object, ...]:
    return tuple((tuple(x.shape), x.dtype, x.device) for x in tensors)


def _autocast(device: torch.device) -> torch.dtype | None:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def compiled(step: Flat, example: Tensors) -> Flat:
    """The step through torch.compile, with the weights as constants. Takes a minute, and on the CPU a C++ compiler."""
    fast = torch.compile(step, fullgraph=True, dynamic=False, options={"freezing": True})

    def call(tensors: Tensors) -> Tensors:
        return tuple(x.clone() for x in fast(tuple(x.contiguous() for x in tensors)))

    call(example)
    return call


def cuda_graph(step: Flat, example: Tensors) -> Flat:
    """The step recorded once in a CUDA graph; a call copies its tensors in, replays all kernels, and copies out.

    One launch and some copies instead of hundreds of launches, which with a batch of one take longer than what they
    calculate. Calls from several threads take turns, since they share the tensors that are copied into.
    """
    device = example[0].device
    lock = threading.Lock()
    graph = torch.cuda.CUDAGraph()
    # What autocast casts may not outlive the recording: the graph would read freed memory.
    cast = torch.autocast(
        "cuda",
        dtype=torch.get_autocast_dtype("cuda"),
        enabled=torch.is_autocast_enabled("cuda"),
        cache_enabled=False,
    )
    with torch.cuda.device(device), cast:
        held = tuple(x.clone() for x in example)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(held)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph, stream=side):
            results = step(held)

    def replay(tensors: Tensors) -> Tensors:
        with lock, torch.cuda.device(device):
            for place, tensor in zip(held, tensors, strict=True):
                place.copy_(tensor)
            graph.replay()
            return tuple(x.clone() for x in results)

    return replay
