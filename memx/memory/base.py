"""The memory contract: what every mechanism takes, gives and obeys. tests/contracts/ holds all to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memx.memory.state import State, where_batch


@dataclass(frozen=True)
class Tokens:
    """What a frame, or a clip of frames, brings to a memory. Keys belong to the frame, values to the objects.

    A frame has the shapes below; a clip has `t` after `b` in each.
    """

    key: Float[Tensor, "b n k"]
    query: Float[Tensor, "b n k"]
    value: Float[Tensor, "b o n v"]
    feature: Float[Tensor, "b n c"] | None = None
    reset: Bool[Tensor, " b"] | None = None
    """True where the memory must forget everything before this frame."""

    def frames(self) -> Iterator[Tokens]:
        """The frames of a clip, one after another."""
        for t in range(self.key.shape[1]):
            yield self.frame(t)

    def frame(self, t: int) -> Tokens:
        """Frame `t` of a clip."""
        return Tokens(
            self.key[:, t],
            self.query[:, t],
            self.value[:, t],
            None if self.feature is None else self.feature[:, t],
            None if self.reset is None else self.reset[:, t],
        )

    def slice(self, start: int, stop: int) -> Tokens:
        """Frames start..stop of a clip, as a clip."""
        return Tokens(
            self.key[:, start:stop],
            self.query[:, start:stop],
            self.value[:, start:stop],
            None if self.feature is None else self.feature[:, start:stop],
            None if self.reset is None else self.reset[:, start:stop],
        )

    def replace(self, **changes: Tensor | None) -> Tokens:
        return replace(self, **changes)


@dataclass(frozen=True)
class Shape:
    """The size of a job, for `Memory.cost`."""

    batch: int = 1
    frames: int = 1
    objects: int = 1
    tokens: int = 256
    """Tokens of one frame: y · x at the memory's stride."""


@dataclass(frozen=True)
class Cost:
    """What a memory costs for a clip of `Shape.frames` frames, on the plain (recurrent) form, from an empty state."""

    macs: int
    """Multiply-accumulates in matrix products and projections: what torch's FlopCounterMode counts, halved."""
    pointwise: int
    """Elementwise multiplies, exponentials and the like, which no counter reports: gates, decays, softmax."""
    bytes_moved: int
    """Bytes of tokens read, readouts written, and states read and written, at float32."""
    state_bytes: int
    """Bytes of the state after the clip, at float32."""

    @property
    def flops(self) -> int:
        return 2 * self.macs + self.pointwise


class Memory(nn.Module):
    """A mechanism that writes frames into a state and reads them back; see DESIGN in the docs for the laws it obeys.

    It is *block-causal*: every token of a frame reads the state after (or before) the whole frame was written.
    A subclass gives `init_state`, `write`, `read` and `cost`. `scan` folds them over a clip; a subclass that has a
    faster form for whole clips names it in `forms` and overrides `_scan`.

    The constructor takes the facts before the `*` (any of `key_dim`, `value_dim`, `feature_dim`) and options after it.
    """

    reads: ClassVar[Literal["after_write", "before_write"]] = "after_write"

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that this instance can be scanned in; the first is what `auto` takes."""
        return ("recurrent",)

    def why_not(self, form: str) -> str:
        """Why `form` is not among `forms`: the reason that the error gives."""
        return "it is not defined for this mechanism"

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """The empty state, at least float32."""
        raise NotImplementedError(f"{type(self).__name__} must define init_state")

    def write(self, state: State, frame: Tokens) -> State:
        """The state after `frame`. Begin with `state = self.restart(state, frame)`, so that a reset is heeded."""
        raise NotImplementedError(f"{type(self).__name__} must define write")

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        """What the frame's queries recall from `state`. With `reads = "before_write"` it begins with `restart`, too."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def cost(self, shape: Shape) -> Cost:
        """What a clip of this shape costs on the plain form."""
        raise NotImplementedError(f"{type(self).__name__} must define cost")

    def restart(self, state: State, frame: Tokens) -> State:
        """`state`, but empty for the batch items that `frame.reset` names."""
        if frame.reset is None:
            return state
        batch, objects = frame.value.shape[:2]
        leaf = next(x for x in state.tensors().values() if x.is_floating_point())
        empty = self.init_state(batch, objects, device=leaf.device, dtype=leaf.dtype)
        return where_batch(frame.reset, empty, state)

    def step(self, state: State, frame: Tokens) -> tuple[Float[Tensor, "b o n v"], State]:
        """One frame: write then read, or read then write, as `reads` says."""
        if self.reads == "before_write":
            return self.read(state, frame), self.write(state, frame)
        state = self.write(state, frame)
        return self.read(state, frame), state

    def scan(
        self, clip: Tokens, state: State | None = None, *, form: str = "auto"
    ) -> tuple[Float[Tensor, "b t o n v"], State]:
        """A whole clip: readouts of every frame and the state after the last.

        `form="recurrent"` folds `write` and `read` and is the oracle; other forms give the same, faster.
        Raises ValueError for a form that this mechanism or these options cannot have, and says why.
        """
        if state is None:
            batch, _, objects = clip.value.shape[:3]
            state = self.init_state(batch, objects, device=clip.value.device, dtype=clip.value.dtype)
        if form == "auto":
            form = self.forms[0]
        if form not in ("recurrent", *self.forms):
            raise ValueError(
                f"{type(self).__name__} has no form {form!r}: {self.why_not(form)}. It has: {', '.join(self.forms)}"
            )
        return (
            self._fold(clip, state) if form == "recurrent" or clip.key.shape[1] == 0 else self._scan(clip, state, form)
        )

    def _scan(self, clip: Tokens, state: State, form: str) -> tuple[Tensor, State]:
        raise NotImplementedError(f"{type(self).__name__} names {form!r} in `forms` but does not define _scan")

    def _fold(self, clip: Tokens, state: State) -> tuple[Tensor, State]:
        outputs = []
        for frame in clip.frames():
            out, state = self.step(state, frame)
            outputs.append(out)
        if not outputs:
            b, t, o, n, v = clip.value.shape
            return clip.value.new_zeros(b, t, o, n, v), state
        return torch.stack(outputs, dim=1), state


def state_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The precision a state is kept in: at least float32, whatever the tokens and autocast say."""
    return torch.float64 if dtype == torch.float64 else torch.float32
