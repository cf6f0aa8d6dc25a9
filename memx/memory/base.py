"""The memory contract: what every mechanism takes, gives and obeys. tests/contracts/ holds all to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memx.memory.gate import Gate, Watcher, watching
from memx.memory.state import State, where_batch
from memx.ops import quarantine
from memx.ops.shapes import Sizes
from memx.registry import Slot


@dataclass(frozen=True)
class Tokens:
    """What a frame, or a clip of frames, brings to a memory. Keys belong to the frame, values to the objects.

    A frame has no axis `t`; a clip has it after `b` in each.
    """

    key: Float[Tensor, "b *t n k"]
    query: Float[Tensor, "b *t n k"]
    value: Float[Tensor, "b *t o n v"]
    feature: Float[Tensor, "b *t n c"] | None = None
    reset: Bool[Tensor, "b *t"] | None = None
    """True where the memory must forget everything before this frame."""
    size: tuple[int, int] | None = None
    """(y, x) of the frame's grid of tokens in raster order, y · x = n, for memories that look at neighbours."""

    def frames(self) -> Iterator[Tokens]:
        """The frames of a clip, one after another."""
        for t in range(self.key.shape[1]):
            yield self.frame(t)

    def frame(self, t: int) -> Tokens:
        """Frame `t` of a clip."""
        return self._all(lambda x: x[:, t])

    def slice(self, start: int, stop: int) -> Tokens:
        """Frames start..stop of a clip, as a clip."""
        return self._all(lambda x: x[:, start:stop])

    def __getitem__(self, index: Any) -> Tokens:
        """Some items of the batch, by slice, mask or list: `tokens[1:2]`."""
        if isinstance(index, int):
            raise TypeError("index a batch with a slice or a list, so that the batch axis stays: tokens[i : i + 1]")
        return self._all(lambda x: x[index])

    def fold(self) -> Tokens:
        """The frames of a clip as so many batch items: a frame whose batch is b · t."""
        return self._all(lambda x: x.flatten(0, 1))

    def replace(self, **changes: Tensor | tuple[int, int] | None) -> Tokens:
        return replace(self, **changes)

    def map(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        """`function` applied to every tensor but `reset`."""
        feature = None if self.feature is None else function(self.feature)
        return Tokens(function(self.key), function(self.query), function(self.value), feature, self.reset, self.size)

    def _all(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        feature = None if self.feature is None else function(self.feature)
        reset = None if self.reset is None else function(self.reset)
        return Tokens(function(self.key), function(self.query), function(self.value), feature, reset, self.size)


@dataclass(frozen=True)
class Shape:
    """The size of a job, for `Memory.cost`."""

    batch: int = 1
    frames: int = 1
    objects: int = 1
    tokens: int = 256
    """Tokens of one frame: y · x at the memory's stride."""

    def __post_init__(self) -> None:
        for name, least in (("batch", 0), ("frames", 0), ("objects", 1), ("tokens", 1)):
            if (size := getattr(self, name)) < least:
                raise ValueError(f"Shape: {name} must be at least {least}, not {size}")


@dataclass(frozen=True)
class Cost:
    """What a memory costs for a clip of `Shape.frames` frames, on the plain (recurrent) form, from an empty state.

    `macs` can be held against torch's counter, exactly. What the counter leaves out stands apart and is part of
    `flops` too: `uncounted_macs` (solves and eigenvalues, which it reports as 0) and `pointwise`.
    """

    macs: int
    """Multiply-accumulates in matrix products and projections: what torch's FlopCounterMode counts, halved."""
    pointwise: int
    """Elementwise multiplies, exponentials and the like, which no counter reports: gates, decays, softmax."""
    bytes_moved: int
    """Bytes of tokens read, readouts written, and states read and written, at float32."""
    state_bytes: int
    """Bytes of the state after the clip, at float32."""
    uncounted_macs: int = 0
    """Multiply-accumulates that FlopCounterMode does not see, by formula: triangular solves and eigenvalues."""

    @property
    def flops(self) -> int:
        """Floating-point operations: two a multiply-accumulate, counted or not, and one a pointwise operation."""
        return 2 * (self.macs + self.uncounted_macs) + self.pointwise


class Memory(nn.Module):
    """A mechanism that writes frames into a state and reads them back; docs/concepts.md has the laws it obeys.

    It is *block-causal*: every token of a frame reads the state after (or before) the whole frame was written.
    A subclass gives `init_state`, `write`, `read` and `cost`. `scan` folds them over a clip; a subclass that has a
    faster form for whole clips names it in `forms` and overrides `_scan`.

    The constructor takes the facts before the `*` (any of `key_dim`, `value_dim`, `feature_dim`) and options after it.
    Tokens are held against the attributes `key_dim` and `value_dim` of a memory that keeps them.

    A faster form takes a whole clip at once and gives what the fold gives:

        forms = ("chunk", "recurrent")            # the first is what `auto` takes

        def _scan(self, clip, state, form):       # → readouts (b t o n v), state after the last frame
            ...

    `clip` has at least one frame, and nothing in it or in `state` is NaN; `state` is what was given to `scan`, or the
    empty one. `clip.reset` (b t) may be set and must be heeded before its frame, in every item for itself; it is None
    where there is none. `form` is one of `forms` other than "recurrent".
    """

    reads: ClassVar[Literal["after_write", "before_write"]] = "after_write"

    value_heads: int = 1
    """Heads over contiguous groups of value channels that do not see each other: permuting them, with their
    parameters, permutes the result. 1 where there is no such symmetry."""

    bounded: bool = True
    """Whether what decays the state is at most 1 in size, however extreme the parameters."""

    watcher: Watcher | None = None
    """Who is shown the gates that a write uses; see `meet` and `memx.memory.gate.watching`."""

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

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        """An empty `state` with room for frames of `size` (y, x) tokens, for graphs whose shapes are fixed.

        It recalls what `state` recalls, and its shapes stay as they are whatever is written, but for an axis that
        grows with every frame: that one has length 0. The default is right where shapes never change.
        """
        return state

    def write(self, state: State, frame: Tokens) -> State:
        """The state after `frame`. Begin with `state = self.restart(state, frame)`, so that a reset is heeded."""
        raise NotImplementedError(f"{type(self).__name__} must define write")

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        """What the frame's queries recall from `state`; heeding the frame's reset is left to `step`."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def cost(self, shape: Shape) -> Cost:
        """What a clip of this shape costs on the plain form."""
        raise NotImplementedError(f"{type(self).__name__} must define cost")

    def cautions(self, shape: Shape) -> list[str]:
        """What may go wrong with clips of this shape and these options, a sentence each; `memx check` prints it."""
        return []

    def gates_met(self, state: State, frame: Tokens) -> dict[str, Gate]:
        """The gates that `frame` meets at `state`, by name: those that `write` uses, since it is `write` that is asked.

        Empty for a memory without gates. Names, axes and ranges: `memx.memory.gate.Gate`.
        """
        met: dict[str, Gate] = {}
        with watching(self, met.__setitem__):
            self.write(state, frame)
        return met

    def meet(
        self,
        name: str,
        used: Tensor,
        axes: str,
        *,
        low: float = 0.0,
        high: float = 1.0,
        log: bool = False,
        fixed: Bool[Tensor, " b"] | None = None,
    ) -> Tensor:
        """`used`, unchanged, after it was shown to whoever watches: how a memory names a gate of its `write`.

        `alpha` is what the state is multiplied by and `beta` what weighs the frame; `log` says that `used` is the
        logarithm, `fixed` for which batch items it is a constant in this frame. The gradient to a gate is the one
        through what is computed from the tensor that is returned. In `scan`, forms other than `recurrent` meet the
        gates of b · t frames at once.
        """
        if self.watcher is None:
            return used
        used = used.view_as(used)  # a node of its own in the graph
        self.watcher(name, Gate(used, axes, low, high, log, fixed))
        return used

    def matrix(self, state: State) -> Float[Tensor, "b o k v"] | None:
        """The state as one matrix an object, from key channels to value channels; None where it is none."""
        S = state.S if "S" in state else None
        return S if isinstance(S, Tensor) and S.ndim == 4 else None

    def restart(self, state: State, frame: Tokens) -> State:
        """`state`, but empty for the batch items that `frame.reset` names.

        Raises ValueError where the frame does not fit the memory or the state.
        """
        check_frame(self, state, frame)
        if frame.reset is None:
            return state
        batch, objects = frame.value.shape[:2]
        leaf = next(x for x in state.tensors().values() if x.is_floating_point())
        empty = self.init_state(batch, objects, device=leaf.device, dtype=leaf.dtype)
        return where_batch(frame.reset, empty, state)

    def step(self, state: State, frame: Tokens) -> tuple[Float[Tensor, "b o n v"], State]:
        """One frame: write then read, or read then write, as `reads` says.

        This is the mechanism as it is, without the quarantine of `scan`: a NaN in a frame goes where arithmetic
        takes it, and a frame that the mechanism does not keep (softmax with `every`) leaves no NaN in the state.
        """
        if self.reads == "before_write":
            state = self.restart(state, frame)
            return self.read(state, frame), self.write(state, frame)
        state = self.write(state, frame)
        return self.read(state, frame), state

    def scan(
        self, clip: Tokens, state: State | None = None, *, form: str = "auto"
    ) -> tuple[Float[Tensor, "b t o n v"], State]:
        """A whole clip: readouts of every frame and the state after the last.

        `form="recurrent"` folds `write` and `read` and is the oracle; other forms give the same, faster.
        A NaN or an infinity in a frame makes that readout, the later ones up to a reset, and the state NaN, in every
        form and whether or not the mechanism keeps that frame, and leaves earlier readouts and their gradients as
        they are.
        Raises ValueError for tokens whose shapes do not fit, and for a form that this mechanism or these options
        cannot have, and says why.
        """
        _check(self, state, clip, "scan", "t ")
        if state is None:
            batch, _, objects = clip.value.shape[:3]
            state = self.init_state(batch, objects, device=clip.value.device, dtype=clip.value.dtype)
        if form == "auto":
            form = self.forms[0]
        if form not in ("recurrent", *self.forms):
            raise ValueError(
                f"{type(self).__name__} has no form {form!r}: {self.why_not(form)}. It has: {', '.join(self.forms)}"
            )
        if clip.key.shape[1] == 0:
            return torch.zeros_like(clip.value), state
        clip, state, spoiled = _quarantine(clip, state)
        out, state = fold(self, clip, state) if form == "recurrent" else self._scan(clip, state, form)
        return _poisoned(out, state, spoiled)

    def _scan(self, clip: Tokens, state: State, form: str) -> tuple[Tensor, State]:
        raise NotImplementedError(f"{type(self).__name__} names {form!r} in `forms` but does not define _scan")


def fold(memory: Memory, clip: Tokens, state: State) -> tuple[Float[Tensor, "b t o n v"], State]:
    """`step`, frame after frame: what every form of `scan` must equal on finite tokens."""
    outputs = []
    for frame in clip.frames():
        out, state = memory.step(state, frame)
        outputs.append(out)
    return (torch.stack(outputs, dim=1) if outputs else torch.zeros_like(clip.value)), state


MemorySlot = Annotated[Callable[..., Memory], Slot("memory")]


def state_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The precision a state is kept in: at least float32, whatever the tokens and autocast say."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_frame(memory: Memory, state: State, frame: Tokens) -> None:
    """Hold a frame, and the state that it meets, against each other and against the memory's channels.

    Raises ValueError naming the argument, its shape, and the size that it must have.
    """
    _check(memory, state, frame, "write", "")


def _check(memory: Memory, state: State | None, tokens: Tokens, call: str, t: str) -> None:
    """`t` is the axis of frames, with a blank after it, or nothing."""
    where = f"{type(memory).__name__}.{call}"
    sizes = Sizes(where)
    for axis, fact in (("k", "key_dim"), ("v", "value_dim")):
        if isinstance(size := getattr(memory, fact, None), int):
            sizes.known[axis] = (size, f"the memory's {fact}")
    sizes.check("key", tokens.key, f"b {t}n k")
    sizes.check("query", tokens.query, f"b {t}n k")
    sizes.check("value", tokens.value, f"b {t}o n v")
    if tokens.feature is not None:
        sizes.check("feature", tokens.feature, f"b {t}n c")
    if tokens.reset is not None:
        sizes.check("reset", tokens.reset, f"b {t}".strip(), flags=True)
    if tokens.size is not None and tokens.size[0] * tokens.size[1] != sizes["n"]:
        raise ValueError(f"{where}: size {tokens.size} must multiply to n = {sizes['n']}, as in key")
    for axis, what in (("o", "object"), ("n", "token")):
        if sizes[axis] < 1:
            shape = tuple(tokens.value.shape)
            raise ValueError(
                f"{where}: there is no {what}: {axis} must be at least 1, but the shape of value is {shape}"
            )
    for name, x in {} if state is None else state.tensors().items():
        if x.shape[0] != sizes["b"]:
            raise ValueError(f"{where}: state {name} has b = {x.shape[0]}, the tokens have b = {sizes['b']}")
        if name == "S" and x.ndim == 4 and x.shape[1] != sizes["o"]:
            raise ValueError(f"{where}: state S has o = {x.shape[1]}, the tokens have o = {sizes['o']}")


def _quarantine(clip: Tokens, state: State) -> tuple[Tokens, State, Bool[Tensor, "b t1"]]:
    """Clip and state with what is not finite cleared, and where that spoils the result (see ops/quarantine.py).

    Entry 0 is the state's own, entry t + 1 frame t's. A state may hold −∞ (a running maximum), but not NaN or +∞.
    """
    parts = [clip.key, clip.query, clip.value, *([] if clip.feature is None else [clip.feature])]
    bad = torch.stack([~torch.isfinite(x).flatten(2).all(-1) for x in parts]).any(0)
    lost = torch.zeros_like(bad[:, 0])
    for x in state.tensors().values():
        if x.is_floating_point():
            lost = lost | ~(x < torch.inf).flatten(1).all(-1)
    reset = None if clip.reset is None else clip.reset.bool()
    clip = clip.map(lambda x: quarantine.cleared(x, bad)).replace(reset=reset)
    state = state.map(lambda x: quarantine.cleared(x, lost) if x.is_floating_point() else x)
    return clip, state, quarantine.spoiled(bad, reset, lost)


def _poisoned(out: Tensor, state: State, spoiled: Bool[Tensor, "b t1"]) -> tuple[Tensor, State]:
    def spoil(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        return x + quarantine.poison(spoiled[:, -1], x).reshape(-1, *[1] * (x.ndim - 1))

    return out + quarantine.poison(spoiled[:, 1:], out)[..., None, None, None], state.map(spoil)
