"""What the memories share whose frames act on the state affinely: S_t = M_t S_{t−1} + W_t, with decays as part of M.

M_t and W_t depend on the frame alone. So they are prepared for all frames of a clip at once, a short loop carries S
from frame to frame, and all frames are read at once: the `chunk` form, whose chunk is the frame.

Inside, the state is laid out (b, h, k, V): h gate heads over the value channels, V the value channels of one head of
all objects side by side. The keys are the frame's, so objects only widen V.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.memory._cost import bytes_moved
from memx.memory._decay import DecayPer, pooled
from memx.memory._features import FeatureMap, KeyNorm, feature_map, feature_map_operations, known_map
from memx.memory._frame_writes import FrameWrite, WriteMacs
from memx.memory.base import Cost, Memory, Shape, Tokens, state_dtype
from memx.memory.state import State
from memx.ops.precision import no_autocast


def pack(x: Float[Tensor, "b o r v"], heads: int) -> Float[Tensor, "b h r V"]:
    """Value channels of all objects side by side, head by head; for values (r = n) and states (r = k)."""
    return x.unflatten(-1, (heads, -1)).permute(0, 3, 2, 1, 4).flatten(3)


def unpack(x: Float[Tensor, "b h r V"], objects: int) -> Float[Tensor, "b o r v"]:
    """The inverse of `pack`."""
    return x.unflatten(-1, (objects, -1)).permute(0, 3, 2, 1, 4).flatten(3)


class AffineMemory(Memory):
    """A memory S (b o k v) that a frame changes affinely. A subclass says how in `frame_write`.

    `rows` are the rows of S where they are not the key channels: `keys` and `queries` then map to them. `normalized`
    keeps z = Σ key beside S, as one more value channel of every head that is always 1, for readouts divided by qᵀ z.
    Where the state has other leaves, which follow from the tokens alone and not from S, a subclass adds them in
    `init_state` and returns them from `clip_write`.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        heads: int = 1,
        key_map: FeatureMap | KeyNorm = "none",
        rows: int | None = None,
        normalized: bool = False,
    ):
        super().__init__()
        if value_dim % heads:
            raise ValueError(f"heads must divide the value channels: {heads} does not divide {value_dim}")
        self.key_dim, self.value_dim, self.heads, self.rows = key_dim, value_dim, heads, rows or key_dim
        self.key_map: FeatureMap | KeyNorm = known_map(key_map)
        self.normalized = normalized

    def frame_write(self, frame: Tokens) -> FrameWrite:
        """What a frame, at the state's precision, does to the packed state; `keys` maps its keys."""
        raise NotImplementedError(f"{type(self).__name__} must define frame_write")

    def clip_write(self, clip: Tokens, state: State) -> tuple[FrameWrite, Mapping[str, Float[Tensor, "b t *rest"]]]:
        """What the frames of a clip do to the packed state, and the other leaves of the state after each frame.

        The frames are one batch of b · t; `state` is the one before the clip.
        """
        return self.frame_write(clip.fold()), {}

    def keys(self, key: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n r"]:
        """The keys as they meet the rows of S."""
        return feature_map(key, self.key_map)

    def queries(self, query: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n r"]:
        """The queries as they meet the rows of S."""
        return feature_map(query, self.key_map)

    def meet_decay(
        self, log_decay: Float[Tensor, "b h n *k"], per: DecayPer, fixed: Bool[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h *nk"]:
        """The log-decays of a frame's tokens, or once a frame their mean, met as `alpha`; `fixed` as in `meet`."""
        axes = "b h" if per == "frame" else "b h n"
        axes = f"{axes} k" if log_decay.ndim == 4 else axes
        return self.meet("alpha", pooled(log_decay, per), axes, log=True, fixed=fixed)

    def recall(self, S: Float[Tensor, "b h r V"], frame: Tokens, leaves: State) -> Float[Tensor, "b o n v"]:
        """What the queries of `frame`, mapped by `queries`, read: qᵀ S.

        `leaves` are the other leaves of the state. A normalised memory divides by qᵀ z; empty, it recalls zeros.
        """
        out = self.queries(frame.query).unsqueeze(1) @ S
        if self.normalized:
            out, total = out[..., :-1], out[..., -1:]
            out = out / torch.where(total == 0, torch.ones_like(total), total)
        return unpack(out, frame.value.shape[1])

    @property
    def forms(self) -> tuple[str, ...]:
        return ("chunk", "recurrent")

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        dtype = state_dtype(dtype)
        state = State(S=torch.zeros(batch, objects, self.rows, self.value_dim, device=device, dtype=dtype))
        if self.normalized:
            heads = () if self.heads == 1 else (self.heads,)
            state = state.replace(z=torch.zeros(batch, *heads, self.rows, device=device, dtype=dtype))
        return state

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        with no_autocast(state.S.device):
            clip = _at(state, frame.replace(reset=None)).map(lambda x: x.unsqueeze(1))
            write, leaves = self.clip_write(clip, state)
            after = state.replace(**{name: x[:, -1] for name, x in leaves.items()})
            return self._with(after, write.apply(self._packed(state)))

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        with no_autocast(state.S.device):
            out = self.recall(self._packed(state), _at(state, frame), state)
            return out.to(frame.value.dtype)

    def _scan(self, clip: Tokens, state: State, form: str) -> tuple[Tensor, State]:
        b, t = clip.value.shape[:2]
        with no_autocast(state.S.device):
            tokens = _at(state, clip)
            write, leaves = self.clip_write(tokens, state)
            states = write.states(self._packed(state), clip.reset, t)
            each = State(**{name: x.flatten(0, 1) for name, x in leaves.items()})
            out = self.recall(states.flatten(0, 1), tokens.fold(), each).unflatten(0, (b, t))
            after = state.replace(**{name: x[:, -1] for name, x in leaves.items()})
            return out.to(clip.value.dtype), self._with(after, states[:, -1])

    def packed_value(self, frame: Tokens) -> Float[Tensor, "b h n V"]:
        """The frame's values in the layout of the state, with the channel of ones where z is kept."""
        value = pack(frame.value, self.heads)
        if not self.normalized:
            return value
        return torch.cat([value, value.new_ones(*value.shape[:-1], 1)], dim=-1)

    def _packed(self, state: State) -> Float[Tensor, "b h r V"]:
        S = pack(state.S, self.heads)
        return torch.cat([S, state.z.reshape(*S.shape[:3], 1)], dim=-1) if self.normalized else S

    def _with(self, state: State, S: Float[Tensor, "b h r V"]) -> State:
        """`state` with the packed S (and z) in place of its own."""
        if self.normalized:
            S, z = S[..., :-1], S[..., -1]
            state = state.replace(z=z.reshape(state.z.shape))
        return state.replace(S=unpack(S, state.S.shape[1]))

    def width(self, shape: Shape) -> int:
        """Value channels of one head in the packed state, z included."""
        return shape.objects * self.value_dim // self.heads + int(self.normalized)

    def affine_cost(
        self,
        shape: Shape,
        *,
        write: WriteMacs,
        gate_macs: int = 0,
        gate_operations: int = 0,
        state_operations: int = 1,
        feature_dim: int = 0,
        other_bytes: int = 0,
    ) -> Cost:
        """The cost from what a frame's write and gates take.

        `state_operations` are multiplies an entry of S and frame, `gate_operations` the elementwise operations of the
        gates and of what they weigh, `other_bytes` what the leaves beside S and z take.
        """
        frames, n, entries = shape.batch * shape.frames, shape.tokens, self.rows * self.heads * self.width(shape)
        normalizer = self.heads if self.normalized else 0
        state = 4 * self.rows * (shape.objects * self.value_dim + normalizer) + other_bytes
        features = 2 * n * self.key_dim * feature_map_operations(self.key_map)
        division = n * self.heads * self.width(shape) if self.normalized else 0
        return Cost(
            macs=frames * (write.counted + gate_macs + n * entries),
            uncounted_macs=frames * write.uncounted,
            pointwise=frames * (features + gate_operations + division + state_operations * entries),
            bytes_moved=bytes_moved(shape, self.key_dim, self.value_dim, feature_dim, state),
            state_bytes=shape.batch * state,
        )


def _at(state: State, tokens: Tokens) -> Tokens:
    """Tokens at the state's precision."""
    return tokens.map(lambda x: x.to(state.S.dtype))
