"""Softmax memory: frames are kept as they are and read by attention (space-time memory)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from memx.memory._cost import bytes_moved
from memx.memory.base import Cost, Memory, Shape, Tokens, check_frame, state_dtype
from memx.memory.state import State
from memx.ops import space_time_attention
from memx.ops.attention import Similarity
from memx.registry import memories


@memories.register("softmax")
class SoftmaxMemory(Memory):
    """Space-time memory: keep the keys and values of frames; every token attends to all kept tokens.

        S ← S ∪ {(k_n, v_n)}
        read: r(n) = Σ_m softmax_m(scale · s(q_n, k_m)) v_m  over all m in S
        s(q, k) = q · k (dot), q · k / |q| |k| (cosine), −|q − k|² (l2)

    State: `key` (b s n k) and `value` (b o s n v) of s slots, oldest first, `valid` (b s), and `count` (b), the frames
    seen since the last reset. Frames 0, every, 2·every … after a reset are kept. When `capacity` frames are kept,
    the oldest makes room, or with `keep_first` the oldest but the first. The affinity is shared by all objects; an
    empty memory reads zeros. The state grows with the clip unless `capacity` is set.
    Raises ValueError for `keep_first` without a capacity.
    STM, arXiv 1904.00607; STCN (l2), arXiv 2106.05210; XMem (top-k, every 5th frame), arXiv 2207.07115.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        similarity: Annotated[Similarity, Field(description="dot, cosine, or l2: minus the squared distance")] = "dot",
        scale: Annotated[
            float | None,
            Field(gt=0, description="factor on the similarity; null: key channels^−½ for dot and l2, 10 for cosine"),
        ] = None,
        top_k: Annotated[int | None, Field(ge=1, description="tokens that a query reads at most; null: all")] = None,
        capacity: Annotated[int | None, Field(ge=1, description="frames kept at most; null: all")] = None,
        every: Annotated[int, Field(ge=1, description="keep every n-th frame, counted from the last reset")] = 1,
        keep_first: Annotated[
            bool, Field(description="with a capacity: when it is full, never drop the first frame")
        ] = False,
    ):
        super().__init__()
        if keep_first and capacity is None:
            raise ValueError("keep_first: true needs a capacity: without one no frame is ever dropped")
        self.key_dim, self.value_dim = key_dim, value_dim
        self.similarity: Similarity = similarity
        self.scale, self.top_k = scale, top_k
        self.capacity, self.every, self.keep_first = capacity, every, keep_first

    @property
    def forms(self) -> tuple[str, ...]:
        return ("recurrent", "parallel")

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        dtype = state_dtype(dtype)
        return State(
            key=torch.zeros(batch, 0, 0, self.key_dim, device=device, dtype=dtype),
            value=torch.zeros(batch, objects, 0, 0, self.value_dim, device=device, dtype=dtype),
            valid=torch.zeros(batch, 0, device=device, dtype=torch.bool),
            count=torch.zeros(batch, device=device, dtype=torch.int64),
        )

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        """Slots for `capacity` frames, none of them valid; without a capacity no slot, and a frame adds one."""
        (batch, objects), slots, n = state.value.shape[:2], self.capacity or 0, size[0] * size[1]
        return state.replace(
            key=state.key.new_zeros(batch, slots, n, self.key_dim),
            value=state.value.new_zeros(batch, objects, slots, n, self.value_dim),
            valid=state.valid.new_zeros(batch, slots),
        )

    def restart(self, state: State, frame: Tokens) -> State:
        check_frame(self, state, frame)
        if frame.reset is None:
            return state
        gone = frame.reset
        return State(
            key=torch.where(gone[:, None, None, None], state.key.new_zeros(()), state.key),
            value=torch.where(gone[:, None, None, None, None], state.value.new_zeros(()), state.value),
            valid=state.valid & ~gone[:, None],
            count=torch.where(gone, 0, state.count),
        )

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        key, value = state.key, state.value
        if key.shape[1] == 0:
            key = key.new_zeros(key.shape[0], 0, *frame.key.shape[1:])
            value = value.new_zeros(*value.shape[:2], 0, *frame.value.shape[2:])
        _same_tokens(key, frame.key.shape[1])
        slots = _Slots(self, state.valid, state.count, resets=frame.reset is not None)
        new_key, new_value = frame.key.to(key.dtype), frame.value.to(value.dtype)
        return State(
            key=slots.place(key, new_key),
            value=slots.place(value.transpose(1, 2), new_value).transpose(1, 2),
            valid=slots.valid,
            count=slots.count,
        )

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        valid = state.valid.unsqueeze(-1).expand(state.key.shape[:3]).flatten(1)
        return self._attend(frame.query, state.key.flatten(1, 2), state.value.flatten(2, 3), valid.unsqueeze(1), frame)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, like: Tokens) -> Tensor:
        out = space_time_attention(q, k, v, mask=mask, similarity=self.similarity, scale=self.scale, top_k=self.top_k)
        return out.to(like.value.dtype)

    def _scan(self, clip: Tokens, state: State, form: str) -> tuple[Tensor, State]:
        """All frames at once: the slots are worked out on frame numbers, then one masked attention reads them all."""
        b, t, o, n, _ = clip.value.shape
        held = state.key.shape[1]
        if held:
            _same_tokens(state.key, n)
        key = torch.cat([state.key.reshape(b, held, n, self.key_dim), clip.key.to(state.key.dtype)], dim=1)
        old = state.value.reshape(b, o, held, n, self.value_dim)
        value = torch.cat([old, clip.value.transpose(1, 2).to(old.dtype)], dim=2)

        frames = torch.arange(held + t, device=key.device).expand(b, -1)
        ids, valid, count, readable = frames[:, :held], state.valid, state.count, []
        for i in range(t):
            if clip.reset is not None:
                valid, count = valid & ~clip.reset[:, i, None], torch.where(clip.reset[:, i], 0, count)
            slots = _Slots(self, valid, count, resets=clip.reset is not None)
            ids, valid, count = slots.place(ids, frames[:, held + i]), slots.valid, slots.count
            seen = torch.zeros(b, held + t + 1, dtype=torch.bool, device=key.device)
            readable.append(seen.scatter(1, torch.where(valid, ids, held + t), True)[:, :-1])
        mask = torch.stack(readable, dim=1)
        mask = mask[:, :, None, :, None].expand(b, t, n, held + t, n).reshape(b, t * n, (held + t) * n)
        out = self._attend(clip.query.flatten(1, 2), key.flatten(1, 2), value.flatten(2, 3), mask, clip)
        return out.unflatten(2, (t, n)).transpose(1, 2), State(
            key=_take(key, ids, valid, 1), value=_take(value, ids, valid, 2), valid=valid, count=count
        )

    def cost(self, shape: Shape) -> Cost:
        n, o, k, v = shape.tokens, shape.objects, self.key_dim, self.value_dim
        kept, read = 0, 0
        for frame in range(shape.frames):
            if frame % self.every == 0:
                kept = min(kept + 1, self.capacity or kept + 1)
            read += kept
        slot = 4 * n * (k + o * v) + 1
        return Cost(
            macs=shape.batch * read * n * n * (k + o * v),
            pointwise=shape.batch * read * n * n * 4,
            bytes_moved=bytes_moved(shape, k, v, 0, 0) + shape.batch * read * slot * 2,
            state_bytes=shape.batch * (kept * slot + 8),
        )


def _same_tokens(held: Float[Tensor, "b s n k"], tokens: int) -> None:
    if held.shape[2] != tokens:
        raise ValueError(f"the memory holds frames of {held.shape[2]} tokens and cannot take one of {tokens}")


class _Slots:
    """Where the next frame goes: which slots survive, who keeps the frame, and the bookkeeping after it.

    Slots are aligned to the newest, so that batch items which keep different frames share one tensor.
    """

    def __init__(self, memory: SoftmaxMemory, valid: Bool[Tensor, "b s"], count: Int[Tensor, " b"], *, resets: bool):
        self.always, self.keep_first = memory.every == 1, memory.keep_first
        self.keeps = count % memory.every == 0
        self.count = count + 1
        self.drop: Tensor | None = None
        self.skip = 0
        after = self._aligned(valid, torch.ones_like(self.keeps))
        if memory.capacity is not None and after.shape[1] > memory.capacity:
            self.drop = after[:, 0]
            after = self._dropped(after)
        if (resets or memory.every > 1) and not torch.compiler.is_exporting():  # a graph's shapes know no values
            used = after.any(0)
            self.skip = int(used.int().argmax()) if used.numel() and bool(used.any()) else after.shape[1]
        self.valid = after[:, self.skip :]

    def place(self, slots: Tensor, new: Tensor) -> Tensor:
        """`slots` (b s ·) after `new` (b ·) was kept, or not, by each batch item."""
        after = self._aligned(slots, new)
        return (after if self.drop is None else self._dropped(after))[:, self.skip :]

    def _aligned(self, slots: Tensor, new: Tensor) -> Tensor:
        new = new.unsqueeze(1)
        if self.always:
            return torch.cat([slots, new], 1)
        return self._choose(self.keeps, torch.cat([slots, new], 1), torch.cat([torch.zeros_like(new), slots], 1))

    def _dropped(self, after: Tensor) -> Tensor:
        if not self.keep_first:
            return after[:, 1:]
        assert self.drop is not None
        return self._choose(self.drop, torch.cat([after[:, :1], after[:, 2:]], 1), after[:, 1:])

    @staticmethod
    def _choose(condition: Bool[Tensor, " b"], yes: Tensor, no: Tensor) -> Tensor:
        return torch.where(condition.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _take(pool: Tensor, ids: Int[Tensor, "b s"], valid: Bool[Tensor, "b s"], axis: int) -> Tensor:
    """The frames `ids` of a pool whose frames lie along `axis`; slots that are not valid are zero."""
    moved = pool.movedim(axis, 1)
    shape = (*ids.shape, *[1] * (moved.ndim - 2))
    taken = moved.gather(1, torch.where(valid, ids, 0).reshape(shape).expand(*ids.shape, *moved.shape[2:]))
    return torch.where(valid.reshape(shape), taken, taken.new_zeros(())).movedim(1, axis)
