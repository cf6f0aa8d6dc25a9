"""Gated delta memory: GDKVM's, and its relatives by option."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from memx.memory._affine import AffineMemory, pack
from memx.memory._cautions import Erase, raw_decay
from memx.memory._decay import DecayPer, as_met, initial_rates, initial_steps, log_decay_of, step_size
from memx.memory._features import KeyNorm
from memx.memory._frame_writes import FrameWrite, JointWrite, SummedWrite, TokenWrite, decayed_sum, weighted
from memx.memory._gates import feature_of, project, required
from memx.memory.base import Cost, Shape, Tokens
from memx.memory.state import State
from memx.ops import frame_delta_rule
from memx.ops.frame import Normalize
from memx.ops.precision import no_autocast
from memx.registry import memories

_HEADS = 8


@memories.register("gated_delta")
class GatedDeltaMemory(AffineMemory):
    """Gated delta memory: decay the state, erase what the frame's keys recall, write the frame's values.

        S_t = α ⊙ (S_{t−1} − β ⊙ G S_{t−1}) + β ⊙ Σ_n k_n v_nᵀ,    G = Σ_n k_n k_nᵀ        (write: joint)
        S ← α ⊙ S_{t−1}, then for every token  S ← S + β ⊙ k_n (v_n − Sᵀ k_n)ᵀ             (write: tokens)
        S_t = α ⊙ (S_{t−1} − G S_{t−1}) + Σ_n β_n k_n v_nᵀ,    G = Σ_n β_n k_n k_nᵀ        (joint, gates: token)
        S ← α ⊙ S_{t−1}, then for every token  S ← S + β_n k_n (v_n − Sᵀ k_n)ᵀ             (tokens, gates: token)
        S ← α_n S, then S ← S + β_n k_n (v_n − Sᵀ k_n)ᵀ, for every token                   (the same, decay_per: token)
        read: r(n) = q_nᵀ S_t

    with β = σ(W_b x) and α = exp(a), a = −exp(A_log) · softplus(W_a x + dt_bias), for each of `heads` groups of value
    channels. With `gates: state`, x is the state before the frame, seen row by row, so that every key channel and
    object has gates of its own, and the memory can only be run frame by frame. With `gates: token`, x is the feature
    of each token: β weighs every token (in G, too), and clips have the form `chunk` (but for `write: tokens` with
    decay raw or alpha_layout tiled, which are not one logarithm a head). The state is decayed once a frame, by the
    mean of a over the frame's tokens, or with `decay_per: token` before each token, by its own,
    which is gated DeltaNet over all tokens of all frames (without erase: a gated linear attention). State S (b o k v)
    and the flag `empty` (b).

    The ablation of the paper: accumulate: alpha, beta, erase false. Replace: alpha, beta false. β only: alpha false.
    α only: beta, erase false. Both: the defaults. For the equations of the 2025 release: decay raw, alpha_layout
    tiled; for its authors' re-release: the defaults.

    Stability: jointly written, a frame does not expand the state only while β λ_max(G) ≤ 2; with softmax keys
    λ_max(G) is about n / k. With `gates: token` there is no such limit for `normalize: spectral`, nor with l2 or
    softmax keys for `normalize: tokens` and `write: tokens`; key_norm: none leaves those two unbounded. With
    `gates: state` every row has a β of its own, and a normalised frame (with `write: tokens`, a token) can still expand
    the state, by up to 2/√3 (docs/concepts.md). With `decay: raw` α is negative and of any size.
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
                description="with write: joint, divide G, and only G, by the number of tokens or its largest "
                "eigenvalue; none: paper and releases"
            ),
        ] = "none",
        decay: Annotated[
            Literal["exp", "raw"],
            Field(description="exp: α = exp(a) in (0, 1] (paper, re-release); raw: α = a, negative (2025 release)"),
        ] = "exp",
        decay_per: Annotated[
            Literal["frame", "token"],
            Field(description="decay once a frame, or before each token; token needs gates: token and write: tokens"),
        ] = "frame",
        alpha_layout: Annotated[
            Literal["interleaved", "tiled"],
            Field(
                description="value channels of a head's α: neighbours (0 0 1 1), as β's (paper, re-release), or in "
                "turn (0 1 0 1; 2025 release)"
            ),
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
        super().__init__(key_dim, value_dim, key_map=key_norm, heads=heads)
        self.gates, self.joint, self.erase = gates, write == "joint", erase
        self.normalize: Normalize = normalize
        self.decay_per: DecayPer = decay_per
        self.alpha, self.beta, self.decay = alpha, beta, decay
        self.bounded, self.starts_plainly = decay == "exp", start == "write"
        self.state_gated = gates == "state" and (alpha or beta)
        self.interleaved = not alpha or alpha_layout == "interleaved" or heads == 1
        self.value_heads = heads if self.interleaved else 1
        self.decays_apart = alpha and erase and not self.joint and not (decay == "exp" and self.interleaved)
        self.gate_dim = value_dim
        if gates == "token":
            self.gate_dim = required(feature_dim, "gates: token") if alpha or beta else 0
        if alpha:
            self.a_proj = nn.Linear(self.gate_dim, heads, bias=False)
            self.A_log = nn.Parameter(initial_rates(heads))
            self.dt_bias = nn.Parameter(initial_steps(heads))
        if beta:
            self.b_proj = nn.Linear(self.gate_dim, heads, bias=False)

    @property
    def forms(self) -> tuple[str, ...]:
        return ("recurrent",) if self.state_gated or self.decays_apart else super().forms

    def why_not(self, form: str) -> str:
        if form == "chunk" and self.state_gated:
            return (
                "with gates: state the gates of a frame need the state before it, so frames cannot be computed at "
                "once; gates: token can be chunked"
            )
        if form == "chunk" and self.decays_apart:
            return (
                "with write: tokens the chunk form takes decays as logarithms, one a head, which decay: raw "
                "(negative) and alpha_layout: tiled do not have; decay: exp with alpha_layout: interleaved, or "
                "write: joint, can be chunked"
            )
        return super().why_not(form)

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        state = super().init_state(batch, objects, device=device, dtype=dtype)
        if not self.starts_plainly:
            return state
        return state.replace(empty=torch.ones(batch, device=device, dtype=torch.bool))

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        if self.state_gated:
            with no_autocast(state.S.device):
                state = state.replace(S=self._by_state(state, frame.map(lambda x: x.to(state.S.dtype))))
            return state.replace(empty=torch.zeros_like(state.empty)) if self.starts_plainly else state
        if self.decays_apart:
            with no_autocast(state.S.device):
                x = feature_of(frame, "gates: token").to(state.S.dtype)
                alpha = self._channels(self._meet_alpha(self._decay(self._exponent(x).mean(-1)), "b h"))
                state = state.replace(S=alpha[:, None, None, :] * state.S)
        return super().write(state, frame.replace(reset=None))

    def state_gates(self, state: State) -> tuple[Float[Tensor, "b o k v"] | None, Float[Tensor, "b o k h"] | None]:
        """α, for every value channel, and β, for every head, that the next frame meets; None where switched off."""
        alpha, beta = self._by_head(state)
        return None if alpha is None else self._channels(alpha), beta

    def _by_head(self, state: State) -> tuple[Float[Tensor, "b o k h"] | None, Float[Tensor, "b o k h"] | None]:
        alpha = self._decay(self._exponent(state.S).mT) if self.alpha else None
        beta = None
        if self.beta:
            beta = project(state.S, self.b_proj).sigmoid().mT
            if self.starts_plainly:
                beta = torch.where(state.empty[:, None, None, None], beta.new_ones(()), beta)
        return alpha, beta

    def _meet_alpha(self, alpha: Float[Tensor, "*batch h"], axes: str) -> Float[Tensor, "*batch h"]:
        low, high = (0.0, 1.0) if self.decay == "exp" else (-math.inf, 0.0)
        return self.meet("alpha", alpha, axes, low=low, high=high)

    def _exponent(self, x: Float[Tensor, "*batch n c"]) -> Float[Tensor, "*batch h n"]:
        return log_decay_of(self.A_log[:, None], step_size(project(x, self.a_proj, self.dt_bias)))

    def _decay(self, exponent: Float[Tensor, "*batch h"]) -> Float[Tensor, "*batch h"]:
        return exponent.exp() if self.decay == "exp" else exponent

    def _channels(self, alpha: Float[Tensor, "*batch h"]) -> Float[Tensor, "*batch v"]:
        """α of the heads laid out over the value channels."""
        if self.interleaved:
            return self._neighbours(alpha)
        return alpha.repeat(*[1] * (alpha.ndim - 1), self.value_dim // self.heads)

    def _neighbours(self, gate: Float[Tensor, "*batch h"]) -> Float[Tensor, "*batch v"]:
        return gate.repeat_interleave(self.value_dim // self.heads, dim=-1)

    def _by_state(self, state: State, frame: Tokens) -> Float[Tensor, "b o k v"]:
        """S after a frame whose gates come from the state, row by row.

        Token after token β scales the rows of what is written, object by object: every object and head has its own
        write key β ⊙ k, and the erase key k is the same for all.
        """
        key, (alpha, beta) = self.keys(frame.key), self._by_head(state)
        alpha = None if alpha is None else self._channels(self._meet_alpha(alpha, "b o k h"))
        if beta is not None:
            beta = self.meet("beta", beta, "b o k h", fixed=state.empty if self.starts_plainly else None)
        if self.joint or not self.erase:
            return frame_delta_rule(
                state.S,
                key,
                frame.value,
                alpha=1.0 if alpha is None else alpha,
                beta=1.0 if beta is None else self._neighbours(beta),
                normalize=self.normalize,
                erase=self.erase,
            )
        o, h = state.S.shape[1], self.heads if beta is not None else 1
        S = state.S if alpha is None else alpha * state.S
        write = erase = key.unsqueeze(1)
        if self.starts_plainly:
            erase = torch.where(state.empty[:, None, None, None], erase.new_zeros(()), erase)
        if beta is not None:
            write = write * beta.transpose(2, 3).flatten(1, 2).unsqueeze(2)

        def apart(x: Tensor) -> Tensor:
            """(b o r v) → (b o·h r v/h)"""
            return x.unflatten(-1, (h, -1)).transpose(2, 3).flatten(1, 2)

        after = TokenWrite(erase, write, apart(frame.value)).apply(apart(S))
        return after.unflatten(1, (o, h)).transpose(2, 3).flatten(3)

    def clip_write(self, clip: Tokens, state: State) -> tuple[FrameWrite, Mapping[str, Tensor]]:
        if not self.starts_plainly:
            return self.frame_write(clip.fold()), {}
        b, t = clip.key.shape[:2]
        plain = state.empty.new_zeros(b, t) if clip.reset is None else clip.reset
        plain = torch.cat([(plain[:, 0] | state.empty).unsqueeze(1), plain[:, 1:]], dim=1)
        return self.frame_write(clip.fold(), plain.flatten()), {"empty": torch.zeros_like(plain)}

    def frame_write(self, frame: Tokens, plain: Bool[Tensor, " b"] | None = None) -> FrameWrite:
        """`plain` marks frames that meet an empty state and are written as they are: S = Σ k vᵀ."""
        strength = log_decay = None
        key, value = self.keys(frame.key).unsqueeze(1), self.packed_value(frame)
        if self.beta:
            strength = project(feature_of(frame, "gates: token"), self.b_proj).sigmoid()
            if plain is not None:
                strength = torch.where(plain[:, None, None], strength.new_ones(()), strength)
            strength = self.meet("beta", strength, "b h n", fixed=plain)
        if self.alpha:
            log_decay = self._exponent(feature_of(frame, "gates: token"))
        if self.joint or (not self.erase and self.decay_per == "frame"):
            decay = None if log_decay is None else self._frame_decay(log_decay, frame.value.shape[1])
            if self.erase:
                return JointWrite(key, value, strength, decay, self.normalize)
            return SummedWrite(weighted(key, strength), value, decay)
        if log_decay is not None and plain is not None:
            log_decay = torch.where(plain[:, None, None], log_decay.new_zeros(()), log_decay)
        if not self.erase:
            key = weighted(key, strength)
            if log_decay is None:
                return SummedWrite(key, value)
            return decayed_sum(key, value, self.meet_decay(log_decay, "token", plain), "token")
        if log_decay is not None:
            log_decay = None if self.decays_apart else self.meet_decay(log_decay, self.decay_per, plain)
        if log_decay is not None:
            log_decay = as_met(log_decay, self.decay_per, key.shape[2])
        erase = key if plain is None else torch.where(plain[:, None, None, None], key.new_zeros(()), key)
        return TokenWrite(erase, weighted(key, strength), value, log_decay)

    def _frame_decay(self, exponent: Float[Tensor, "b h n"], objects: int) -> Float[Tensor, "b h 1 #V"]:
        alpha = self._meet_alpha(self._decay(exponent.mean(-1)), "b h")
        if self.interleaved:
            return alpha[..., None, None]
        return pack(self._channels(alpha)[:, None, None, :].expand(-1, objects, -1, -1), self.heads)

    def cost(self, shape: Shape) -> Cost:
        n, o, k, v = shape.tokens, shape.objects, self.rows, self.value_dim
        gates = int(self.alpha) + int(self.beta)
        if self.erase and not self.joint:
            own = o * (self.heads if self.beta else 1)  # a state's gates, and what they weigh, are each object's own
            heads = own if self.state_gated else self.heads
            write = TokenWrite.macs(steps=n, heads=heads, rows=k, width=o * v // heads)
        else:
            heads = 1 if self.state_gated else self.heads
            sizes = {"tokens": n, "heads": heads, "rows": k, "width": o * v // heads}
            gated = self.beta and not self.state_gated
            write = SummedWrite.macs(**sizes)
            if self.erase:
                write = JointWrite.macs(**sizes, weighted=gated, normalize=self.normalize)
        gate_rows = o * k * v if self.state_gated else n * self.gate_dim
        return self.affine_cost(
            shape,
            write=write,
            gate_macs=gates * gate_rows * self.heads,
            state_operations=1 + gates + int(self.erase),
            feature_dim=self.gate_dim if gates and not self.state_gated else 0,
            other_bytes=int(self.starts_plainly),
        )

    def cautions(self, shape: Shape) -> list[str]:
        found: list[str] = []
        if self.erase:
            by_row = self.beta and self.state_gated
            erase = Erase(self.joint, self.key_map, 1.0, self.normalize, by_row)
            found += erase.cautions(shape.tokens, self.key_dim)
        return found + (raw_decay() if self.alpha and self.decay == "raw" else [])
