"""Gated delta memory: GDKVM's, and its relatives by option."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory._affine import AffineMemory, FrameWrite, joint_macs, pack, sequential_macs
from memx.memory._decay import decay_rate
from memx.memory._features import KeyNorm
from memx.memory.base import Cost, Shape, Tokens
from memx.memory.state import State
from memx.ops import frame_delta_rule, rank_one
from memx.ops.frame import Normalize
from memx.ops.precision import no_autocast
from memx.registry import memories

_HEADS = 8


@memories.register("gated_delta")
class GatedDeltaMemory(AffineMemory):
    """Gated delta memory: decay the state, erase what the frame's keys recall, write the frame's values.

        S_t = α ⊙ (S_{t−1} − β ⊙ G S_{t−1}) + β ⊙ Σ_n k_n v_nᵀ,    G = Σ_n k_n k_nᵀ        (write: joint)
        S ← α ⊙ S_{t−1}, then for every token  S ← S + β ⊙ k_n (v_n − Sᵀ k_n)ᵀ             (write: tokens)
        read: r(n) = q_nᵀ S_t

    with β = σ(W_b x) and α = exp(a), a = −exp(A_log) · softplus(W_a x + dt_bias), for each of `heads` groups of value
    channels. With `gates: state`, x is the state before the frame, seen row by row, so that every key channel and
    object has gates of its own, and the memory can only be run frame by frame. With `gates: token`, x is the feature
    of each token: β weighs every token (in G, too), and clips have the form `chunk`. The state is decayed once a frame,
    by the mean of a over the frame's tokens, or with `decay_per: token` before each token, by its own:

        S ← α_n ⊙ S, then S ← S + β_n ⊙ k_n (v_n − Sᵀ k_n)ᵀ, for every token    (gates: token, write: tokens)

    which is gated DeltaNet over all tokens of all frames (without erase: a gated linear attention). State S (b o k v)
    and the flag `empty` (b).

    The ablation of the paper: accumulate: alpha, beta, erase false. Replace: alpha, beta false. β only: alpha false.
    α only: beta, erase false. Both: the defaults. For the equations of the 2025 release: decay raw, alpha_layout
    tiled; for its authors' re-release: the defaults.

    Stability: jointly written, a frame does not expand the state only while β λ_max(G) < 2; with softmax keys
    λ_max(G) is about n / k. `normalize` tokens or spectral, or `write: tokens` with l2 keys, has no such limit.
    Raises ValueError when `heads` does not divide the value channels, for token gates without token features, and for
    options that would do nothing: `normalize` without a joint erase, the shape of α without α, gates of neither.
    GDKVM, arXiv 2512.10252; gated delta rule, arXiv 2412.06464.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Annotated[
            int, Field(ge=1, description="gate heads; each gates value channels / heads channels; must divide them")
        ] = _HEADS,
        gates: Annotated[
            Literal["state", "token"], Field(description="what α and β are computed from: state before, or features")
        ] = "state",
        write: Annotated[
            Literal["joint", "tokens"], Field(description="write a frame's tokens at once, or one after another")
        ] = "joint",
        alpha: Annotated[bool, Field(description="decay the state; false: α = 1")] = True,
        beta: Annotated[bool, Field(description="weigh erase and write; false: β = 1")] = True,
        erase: Annotated[bool, Field(description="erase what the keys recall before writing")] = True,
        normalize: Annotated[
            Normalize,
            Field(
                description="with write: joint, divide G, and only G, by the number of tokens or its largest eigenvalue"
            ),
        ] = "none",
        decay: Annotated[
            Literal["exp", "raw"], Field(description="α = exp(a), or a itself as in the 2025 release (negative)")
        ] = "exp",
        decay_per: Annotated[
            Literal["frame", "token"],
            Field(description="decay once a frame, or before each token; token needs gates: token and write: tokens"),
        ] = "frame",
        alpha_layout: Annotated[
            Literal["interleaved", "tiled"],
            Field(description="value channels of a head's α: neighbours (0 0 1 1), as β's, or in turn (0 1 0 1)"),
        ] = "interleaved",
        key_norm: Annotated[KeyNorm, Field(description="map over the channels of keys and queries")] = "softmax",
        start: Annotated[
            Literal["write", "gate"],
            Field(description="into an empty state: write the frame plainly, S = Σ k vᵀ, or gate it as any other"),
        ] = "write",
    ):
        if normalize != "none" and not (erase and write == "joint"):
            raise ValueError(f"normalize: {normalize} divides the joint erase: it needs write: joint and erase: true")
        if not alpha and (decay, decay_per, alpha_layout) != ("exp", "frame", "interleaved"):
            raise ValueError(
                "decay, decay_per and alpha_layout say what α is: other than the defaults need alpha: true"
            )
        if not (alpha or beta) and (gates, heads) != ("state", _HEADS):
            raise ValueError("gates and heads say what α and β are: other than the defaults need alpha or beta: true")
        if decay_per == "token" and (gates, write, decay, alpha_layout) != ("token", "tokens", "exp", "interleaved"):
            raise ValueError(
                "decay_per: token needs gates: token and write: tokens, with decay: exp and alpha_layout: interleaved"
            )
        heads = heads if alpha or beta else 1
        super().__init__(key_dim, value_dim, key_map=key_norm, heads=heads, starts_plainly=start == "write")
        self.gates, self.joint, self.erase = gates, write == "joint", erase
        self.normalize: Normalize = normalize
        self.alpha, self.beta, self.decay, self.alpha_layout = alpha, beta, decay, alpha_layout
        self.decay_per, self.bounded = decay_per, decay == "exp"
        self.state_gated = gates == "state" and (alpha or beta)
        tied = not alpha or alpha_layout == "interleaved" or heads == 1
        self.value_heads = heads if tied else 1
        self.gate_dim = value_dim
        if gates == "token":
            if feature_dim is None and (alpha or beta):
                raise ValueError("gates: token needs token features, which this place in the model does not supply")
            self.gate_dim = feature_dim or 0
        if alpha:
            self.a_proj = nn.Linear(self.gate_dim, heads, bias=False)
            self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
            step = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        if beta:
            self.b_proj = nn.Linear(self.gate_dim, heads, bias=False)

    @property
    def forms(self) -> tuple[str, ...]:
        return ("recurrent",) if self.state_gated else super().forms

    def why_not(self, form: str) -> str:
        if form == "chunk" and self.state_gated:
            return (
                "with gates: state the gates of a frame need the state before it, so frames cannot be computed at "
                "once; gates: token can be chunked"
            )
        return super().why_not(form)

    def write(self, state: State, frame: Tokens) -> State:
        if not self.state_gated:
            return super().write(state, frame)
        state = self.restart(state, frame)
        with no_autocast(state.S.device):
            frame = self.mapped(frame, state)
            alpha, beta = self.state_gates(state)
            if self.joint or not self.erase:
                S = frame_delta_rule(
                    state.S,
                    frame.key,
                    frame.value,
                    alpha=1.0 if alpha is None else alpha,
                    beta=1.0 if beta is None else self._neighbours(beta),
                    normalize=self.normalize,
                    erase=self.erase,
                )
            else:
                S = self._write_tokens(state, frame, alpha, beta)
            state = state.replace(S=S)
            return state.replace(empty=torch.zeros_like(state.empty)) if self.starts_plainly else state

    def state_gates(self, state: State) -> tuple[Float[Tensor, "b o k v"] | None, Float[Tensor, "b o k h"] | None]:
        """α, for every value channel, and β, for every head, that the next frame meets; None where switched off."""
        alpha = self._channels(self._decay(self._exponent(state.S))) if self.alpha else None
        beta = None
        if self.beta:
            beta = F.linear(state.S, self.b_proj.weight.to(state.S.dtype)).sigmoid()
            if self.starts_plainly:
                beta = torch.where(state.empty[:, None, None, None], beta.new_ones(()), beta)
        return alpha, beta

    def _exponent(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch h"]:
        step = F.softplus(F.linear(x, self.a_proj.weight.to(x.dtype)) + self.dt_bias.to(x.dtype))
        return -decay_rate(self.A_log, x.dtype) * step.clamp(max=torch.finfo(x.dtype).max)

    def _decay(self, exponent: Float[Tensor, "*batch h"]) -> Float[Tensor, "*batch h"]:
        return exponent.exp() if self.decay == "exp" else exponent

    def _channels(self, alpha: Float[Tensor, "*batch h"]) -> Float[Tensor, "*batch v"]:
        """α of the heads laid out over the value channels."""
        if self.alpha_layout == "interleaved":
            return self._neighbours(alpha)
        return alpha.repeat(*[1] * (alpha.ndim - 1), self.value_dim // self.heads)

    def _neighbours(self, gate: Float[Tensor, "*batch h"]) -> Float[Tensor, "*batch v"]:
        return gate.repeat_interleave(self.value_dim // self.heads, dim=-1)

    def _write_tokens(
        self, state: State, frame: Tokens, alpha: Tensor | None, beta: Tensor | None
    ) -> Float[Tensor, "b o k v"]:
        """Token after token with the state's own gates: β scales the rows of what is written, object by object.

        So every object and head has its own write key β ⊙ k, and the erase key k is the same for all.
        """
        o = state.S.shape[1]
        S = state.S if alpha is None else alpha * state.S
        h = self.heads if beta is not None else 1
        erase = frame.key.unsqueeze(2)
        if self.starts_plainly:
            erase = torch.where(state.empty[:, None, None, None], erase.new_zeros(()), erase)
        write = frame.key.unsqueeze(2)
        if beta is not None:
            write = write * beta.transpose(2, 3).flatten(1, 2).unsqueeze(1)
        steps = rank_one.Steps(
            query=None,
            erase=erase.expand(-1, -1, o * h, -1),
            write=write.expand(-1, -1, o * h, -1),
            value=frame.value.unflatten(-1, (h, -1)).permute(0, 2, 1, 3, 4).flatten(2, 3),
            log_decay=None,
            reset=None,
            state=S.unflatten(-1, (h, -1)).transpose(2, 3).flatten(1, 2),
        )
        final = rank_one.chunked(steps, rank_one.default_chunk_size(self.key_dim, channelwise=False))[1]
        return final.unflatten(1, (o, h)).transpose(2, 3).flatten(3)

    def frame_write(self, frame: Tokens, plain: Bool[Tensor, " b"] | None) -> FrameWrite:
        strength = decay = log_decay = None
        if self.beta or self.alpha:
            if frame.feature is None:
                raise ValueError("gates: token reads Tokens.feature, which is None")
            if self.beta:
                strength = F.linear(frame.feature, self.b_proj.weight.to(frame.feature.dtype)).sigmoid().mT
            if self.decay_per == "token":
                log_decay = self._exponent(frame.feature).mT
            elif self.alpha:
                alpha = self._channels(self._decay(self._exponent(frame.feature).mean(-2)))
                objects = frame.value.shape[1]
                decay = pack(alpha[:, None, None, :].expand(-1, objects, -1, -1), self.heads)
        return FrameWrite(
            frame.key,
            self.packed_value(frame),
            strength=strength,
            decay=decay,
            log_decay=log_decay,
            erase=self.erase,
            joint=self.joint,
            normalize=self.normalize,
            plain=plain,
        )

    def cost(self, shape: Shape) -> Cost:
        n, o, k, v = shape.tokens, shape.objects, self.key_dim, self.value_dim
        gates = int(self.alpha) + int(self.beta)
        if self.decay_per == "token" or (self.erase and not self.joint):
            own = o * (self.heads if self.beta else 1)  # a state's gates, and what they weigh, are each object's own
            heads = own if self.state_gated else self.heads
            write = sequential_macs(tokens=n, heads=heads, key=k, width=o * v // heads, erase=self.erase)
        else:
            heads = 1 if self.state_gated else self.heads
            write = joint_macs(
                tokens=n,
                heads=heads,
                key=k,
                width=o * v // heads,
                erase=self.erase,
                weighted=self.beta and not self.state_gated,
                normalize=self.normalize,
            )
        gate_rows = o * k * v if self.state_gated else n * self.gate_dim
        return self.affine_cost(
            shape,
            write=write,
            gate_macs=gates * gate_rows * self.heads,
            state_operations=1 + gates + int(self.erase),
            feature_dim=self.gate_dim if gates and not self.state_gated else 0,
        )
