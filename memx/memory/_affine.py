"""What the memories share whose frames act on the state affinely: S_t = decay_t ⊙ (M_t S_{t−1}) + W_t.

M_t, W_t and the decay depend on the frame alone. So they are computed for all frames of a clip at once, a short loop
carries S from frame to frame, and all frames are read at once: the `chunk` form, whose chunk is the frame.

Inside, the state is laid out (b, h, k, V): h gate heads over the value channels, V the value channels of one head of
all objects side by side. The keys are the frame's, so objects only widen V.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.memory._cost import bytes_moved
from memx.memory._features import FeatureMap, KeyNorm, feature_map, feature_map_operations
from memx.memory.base import Cost, Memory, Shape, Tokens, state_dtype
from memx.memory.state import State
from memx.ops import rank_one
from memx.ops.frame import Normalize, eigenvalue_macs, gram
from memx.ops.precision import no_autocast


@dataclass(frozen=True)
class FrameWrite:
    """What frames do to the state: S ← decay ⊙ S, erase what their keys recall, write their values."""

    key: Float[Tensor, "b n k"]
    value: Float[Tensor, "b h n V"]
    strength: Float[Tensor, "b h n"] | None = None
    """β of every token and head; None is 1."""
    decay: Float[Tensor, "b h 1 V"] | None = None
    """α of the frame, before any of its tokens is written."""
    log_decay: Float[Tensor, "b h n"] | None = None
    """Natural logarithm of the α of every token and head, which are then written one after another."""
    erase: bool = False
    joint: bool = True
    """All tokens at once, or one after another in raster order."""
    normalize: Normalize = "none"
    """How the joint erase is divided."""
    plain: Bool[Tensor, " b"] | None = None
    """Frames that meet an empty state and are written as they are: S = Σ k vᵀ, no α, no β and no erase."""

    def apply(self, S: Float[Tensor, "b h k V"]) -> Float[Tensor, "b h k V"]:
        """The state after the frame."""
        if self._sequential:
            return self._tokens(S if self.decay is None else self.decay * S, self.value)
        if self.erase:
            S = S - self._erasure() @ S
        if self.decay is not None:
            S = self.decay * S
        return S + self._written()

    def transition(self) -> tuple[Float[Tensor, "b h k k"] | None, Float[Tensor, "b h k V"]]:
        """M (None for the identity) and W of the frame: S ← decay ⊙ (M S) + W."""
        if self._sequential:
            b, h, n, width = self.value.shape
            k = self.key.shape[-1]
            eye = torch.eye(k, dtype=self.value.dtype, device=self.value.device).expand(b, h, k, k)
            start = torch.cat([self.value.new_zeros(b, h, k, width), eye], dim=-1)
            value = torch.cat([self.value, self.value.new_zeros(b, h, n, k)], dim=-1)
            W, M = self._tokens(start, value).split([width, k], dim=-1)
            return M, W
        if not self.erase:
            return None, self._written()
        G = self._erasure()
        return torch.eye(G.shape[-1], dtype=G.dtype, device=G.device) - G, self._written()

    @property
    def _sequential(self) -> bool:
        return self.log_decay is not None or (self.erase and not self.joint)

    def _strength(self) -> Tensor | None:
        if self.strength is None or self.plain is None:
            return self.strength
        return torch.where(self.plain[:, None, None], self.strength.new_ones(()), self.strength)

    def _erasure(self) -> Float[Tensor, "b h k k"]:
        return gram(self.key.unsqueeze(1), strength=self._strength(), normalize=self.normalize)

    def _written(self) -> Float[Tensor, "b h k V"]:
        key, strength = self.key.unsqueeze(1), self._strength()
        return (key if strength is None else key * strength.unsqueeze(-1)).mT @ self.value

    def _tokens(self, S: Float[Tensor, "b h k W"], value: Float[Tensor, "b h n W"]) -> Float[Tensor, "b h k W"]:
        heads, strength = value.shape[1], self._strength()
        key = self.key.unsqueeze(2).expand(-1, -1, heads, -1)
        erase, log_decay = (key if self.erase else None), self.log_decay
        if self.plain is not None:
            plain, nothing = self.plain[:, None, None], key.new_zeros(())
            erase = None if erase is None else torch.where(plain.unsqueeze(-1), nothing, erase)
            log_decay = None if log_decay is None else torch.where(plain, nothing, log_decay)
        steps = rank_one.Steps(
            query=None,
            erase=erase,
            write=key if strength is None else key * strength.transpose(1, 2).unsqueeze(-1),
            value=value.transpose(1, 2),
            log_decay=None if log_decay is None else log_decay.transpose(1, 2),
            reset=None,
            state=S,
        )
        return rank_one.chunked(steps, rank_one.default_chunk_size(key.shape[-1], channelwise=False))[1]


@dataclass(frozen=True)
class WriteMacs:
    """Multiply-accumulates of writing one frame: what a counter sees, and solves and eigenvalues, which it does not."""

    counted: int
    uncounted: int = 0


def sequential_macs(*, tokens: int, heads: int, key: int, width: int, erase: bool) -> WriteMacs:
    """Of writing the tokens of a frame one after another, `width` value channels a head."""
    size = rank_one.default_chunk_size(key, channelwise=False)
    sizes = (1, tokens, heads, key, width, size)
    counted = rank_one.chunked_state_macs(*sizes, erase=erase)
    return WriteMacs(counted, rank_one.chunked_solve_macs(*sizes) if erase else 0)


def joint_macs(
    *, tokens: int, heads: int, key: int, width: int, erase: bool, weighted: bool, normalize: Normalize
) -> WriteMacs:
    """Of writing the tokens of a frame at once; `weighted` says whether every head has a β of every token."""
    written = heads * tokens * key * width
    if not erase:
        return WriteMacs(written)
    spectral = normalize == "spectral"
    grams = (heads if weighted else 1) + (1 if weighted and spectral else 0)
    counted = written + grams * tokens * key * key + heads * key * key * width
    return WriteMacs(counted, eigenvalue_macs(key) if spectral else 0)


def pack(x: Float[Tensor, "b o r v"], heads: int) -> Float[Tensor, "b h r V"]:
    """Value channels of all objects side by side, head by head; for values (r = n) and states (r = k)."""
    return x.unflatten(-1, (heads, -1)).permute(0, 3, 2, 1, 4).flatten(3)


def unpack(x: Float[Tensor, "b h r V"], objects: int) -> Float[Tensor, "b o r v"]:
    """The inverse of `pack`."""
    return x.unflatten(-1, (objects, -1)).permute(0, 3, 2, 1, 4).flatten(3)


class AffineMemory(Memory):
    """A memory S (b o k v) that a frame changes affinely. A subclass says how in `frame_write`.

    `normalized` keeps z = Σ k beside S, as one more value channel that is always 1, and divides readouts by qᵀ z.
    `starts_plainly` keeps a flag of which batch items are empty and hands it to `frame_write`.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        key_map: FeatureMap | KeyNorm,
        heads: int = 1,
        normalized: bool = False,
        starts_plainly: bool = False,
    ):
        super().__init__()
        if value_dim % heads:
            raise ValueError(f"heads must divide the value channels: {heads} does not divide {value_dim}")
        if normalized and heads > 1:
            raise ValueError("a normalised readout has one head")
        self.key_dim, self.value_dim, self.heads = key_dim, value_dim, heads
        self.key_map: FeatureMap | KeyNorm = key_map
        self.normalized, self.starts_plainly = normalized, starts_plainly

    def frame_write(self, frame: Tokens, plain: Bool[Tensor, " b"] | None) -> FrameWrite:
        """What `frame` does to the state. Its key and query have been through the feature map."""
        raise NotImplementedError(f"{type(self).__name__} must define frame_write")

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
        state = State(S=torch.zeros(batch, objects, self.key_dim, self.value_dim, device=device, dtype=dtype))
        if self.normalized:
            state = state.replace(z=torch.zeros(batch, self.key_dim, device=device, dtype=dtype))
        if self.starts_plainly:
            state = state.replace(empty=torch.ones(batch, device=device, dtype=torch.bool))
        return state

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        with no_autocast(state.S.device):
            plain = state.empty if self.starts_plainly else None
            S = self.frame_write(self.mapped(frame, state), plain).apply(self._pack_state(state))
            return self._unpack_state(S, state)

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        with no_autocast(state.S.device):
            out = self.recall(self._pack_state(state), self.mapped(frame, state).query, state.S.shape[1])
            return out.to(frame.value.dtype)

    def _scan(self, clip: Tokens, state: State, form: str) -> tuple[Tensor, State]:
        b, t, objects = clip.value.shape[:3]
        with no_autocast(state.S.device):
            frames = self.mapped(clip.fold(), state)
            writes = self.frame_write(frames, self._plain(clip, state))
            M, W = writes.transition()
            transitions = None if M is None else M.unflatten(0, (b, t)).unbind(1)
            decays = None if writes.decay is None else writes.decay.unflatten(0, (b, t)).unbind(1)
            S, states = self._pack_state(state), []
            for i, written in enumerate(W.unflatten(0, (b, t)).unbind(1)):
                if clip.reset is not None:
                    S = torch.where(clip.reset[:, i, None, None, None], S.new_zeros(()), S)
                if transitions is not None:
                    S = transitions[i] @ S
                S = (S if decays is None else decays[i] * S) + written
                states.append(S)
            out = self.recall(torch.stack(states, dim=1).flatten(0, 1), frames.query, objects)
            return out.unflatten(0, (b, t)).to(clip.value.dtype), self._unpack_state(S, state)

    def mapped(self, frame: Tokens, state: State) -> Tokens:
        """The frame at the state's precision, its key and query through the feature map."""
        frame = frame.map(lambda x: x.to(state.S.dtype))
        return frame.replace(key=feature_map(frame.key, self.key_map), query=feature_map(frame.query, self.key_map))

    def packed_value(self, frame: Tokens) -> Float[Tensor, "b h n V"]:
        """The frame's values in the layout of the state, with the channel of ones where readouts are normalised."""
        value = pack(frame.value, self.heads)
        if not self.normalized:
            return value
        return torch.cat([value, value.new_ones(*value.shape[:-1], 1)], dim=-1)

    def recall(
        self, S: Float[Tensor, "b h k V"], query: Float[Tensor, "b n k"], objects: int
    ) -> Float[Tensor, "b o n v"]:
        """qᵀ S, divided by qᵀ z where readouts are normalised; an empty memory recalls zeros."""
        out = query.unsqueeze(1) @ S
        if self.normalized:
            out, total = out[..., :-1], out[..., -1:]
            out = out / torch.where(total == 0, torch.ones_like(total), total)
        return unpack(out, objects)

    def _plain(self, clip: Tokens, state: State) -> Bool[Tensor, " bt"] | None:
        if not self.starts_plainly:
            return None
        b, t = clip.value.shape[:2]
        plain = state.empty.new_zeros(b, t) if clip.reset is None else clip.reset
        return torch.cat([(plain[:, 0] | state.empty).unsqueeze(1), plain[:, 1:]], dim=1).flatten()

    def _pack_state(self, state: State) -> Float[Tensor, "b h k V"]:
        S = pack(state.S, self.heads)
        return torch.cat([S, state.z[:, None, :, None]], dim=-1) if self.normalized else S

    def _unpack_state(self, S: Float[Tensor, "b h k V"], before: State) -> State:
        after = before
        if self.normalized:
            S, z = S[..., :-1], S[..., -1]
            after = after.replace(z=z.squeeze(1))
        if self.starts_plainly:
            after = after.replace(empty=torch.zeros_like(before.empty))
        return after.replace(S=unpack(S, before.S.shape[1]))

    def affine_cost(
        self,
        shape: Shape,
        *,
        write: WriteMacs,
        gate_macs: int = 0,
        state_operations: int = 1,
        feature_dim: int = 0,
    ) -> Cost:
        """The cost from what a frame's write and gates take; `state_operations` are multiplies an entry of S."""
        frames, n, k = shape.batch * shape.frames, shape.tokens, self.key_dim
        width = shape.objects * self.value_dim + (1 if self.normalized else 0)
        flags = (k * 4 if self.normalized else 0) + (1 if self.starts_plainly else 0)
        state = 4 * shape.objects * k * self.value_dim + flags
        features = 2 * n * k * feature_map_operations(self.key_map)
        division = n * width if self.normalized else 0
        return Cost(
            macs=frames * (write.counted + gate_macs + n * k * width),
            uncounted_macs=frames * write.uncounted,
            pointwise=frames * (features + division + state_operations * k * width),
            bytes_moved=bytes_moved(shape, self.key_dim, self.value_dim, feature_dim, state),
            state_bytes=shape.batch * state,
        )
