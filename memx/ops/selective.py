"""Selective scan (Mamba-1): a diagonal state space whose step size, input and output maps depend on the token."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from memx.ops.form import Form, check_form
from memx.ops.precision import compute_dtype, no_autocast
from memx.ops.quarantine import bad_rows, cleared, poison, spoiled
from memx.ops.shapes import Sizes


def selective_scan(
    x: Float[Tensor, "b t v"],
    dt: Float[Tensor, "b t v"],
    A: Float[Tensor, "k v"],
    B: Float[Tensor, "b t k"],
    C: Float[Tensor, "b t k"],
    *,
    D: Float[Tensor, " v"] | None = None,
    initial_state: Float[Tensor, "b k v"] | None = None,
    reset: Bool[Tensor, "b t"] | None = None,
    form: Form = "chunk",
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "b t v"], Float[Tensor, "b k v"]]:
    """Selective scan over tokens.

        S_t = exp(Δ_t A) ⊙ S_{t−1} + B_t (Δ_t x_t)ᵀ          out_t = S_tᵀ C_t + D ⊙ x_t

    A < 0 and Δ > 0 are given as they are (after softplus and −exp), unchecked. The state has the state-space size as
    `k` first and the channels last, as everywhere in memx.ops; Mamba's own layout is its transpose. The chunk form is
    a parallel prefix scan within chunks of `chunk_size` (default 64) tokens; every exponent is Δ A ≤ 0.
    Raises ValueError for shapes that do not fit. Gu and Dao, arXiv 2312.00752.
    """
    sizes = Sizes("selective_scan")
    sizes.check("x", x, "b t v")
    sizes.check("dt", dt, "b t v")
    sizes.check("A", A, "k v")
    sizes.check("B", B, "b t k")
    sizes.check("C", C, "b t k")
    if D is not None:
        sizes.check("D", D, "v")
    if initial_state is not None:
        sizes.check("initial_state", initial_state, "b k v")
    if reset is not None:
        sizes.check("reset", reset, "b t", flags=True)
        reset = reset.bool()
    check_form("selective_scan", form, chunk_size)

    out_dtype, dtype = x.dtype, compute_dtype(x, dt, A, B, C, D, initial_state)
    with no_autocast(x.device):
        x, dt, A, B, C = (y.to(dtype) for y in (x, dt, A, B, C))
        if initial_state is None:
            S = x.new_zeros(x.shape[0], *A.shape)
        else:
            S = initial_state.to(dtype)
        bad, bad_query = bad_rows(x) | bad_rows(dt) | bad_rows(B), bad_rows(C)
        after = spoiled(bad, reset, ~torch.isfinite(S).all(-1).all(-1))
        x, dt, B, C = cleared(x, bad), cleared(dt, bad), cleared(B, bad), cleared(C, bad_query)
        S = cleared(S, after[:, 0])

        size = 1 if form == "recurrent" else chunk_size or 64
        outputs = []
        for start in range(0, x.shape[1], size):
            part = slice(start, start + size)
            states = _prefix_states(
                S, x[:, part], dt[:, part], A, B[:, part], None if reset is None else reset[:, part]
            )
            outputs.append((C[:, part].unsqueeze(-2) @ states).squeeze(-2))
            S = states[:, -1]
        out = torch.cat(outputs, dim=1) if outputs else torch.zeros_like(x)
        if D is not None:
            out = out + D.to(dtype) * x
        out = out + poison(after[:, 1:] | bad_query, out).unsqueeze(-1)
        return out.to(out_dtype), S + poison(after[:, -1], S)[..., None, None]


def _prefix_states(
    S: Float[Tensor, "b k v"],
    x: Float[Tensor, "b t v"],
    dt: Float[Tensor, "b t v"],
    A: Float[Tensor, "k v"],
    B: Float[Tensor, "b t k"],
    reset: Bool[Tensor, "b t"] | None,
) -> Float[Tensor, "b t k v"]:
    """The state after every token, by doubling: (a₂, w₂) ∘ (a₁, w₁) = (a₂ a₁, a₂ w₁ + w₂)."""
    decay = (dt.unsqueeze(-2) * A).exp()
    if reset is not None:
        decay = torch.where(reset[..., None, None], decay.new_zeros(()), decay)
    states = B.unsqueeze(-1) * (dt * x).unsqueeze(-2)
    states = torch.cat([(states[:, 0] + decay[:, 0] * S).unsqueeze(1), states[:, 1:]], dim=1)
    step = 1
    while step < x.shape[1]:
        states = torch.cat([states[:, :step], states[:, step:] + decay[:, step:] * states[:, :-step]], dim=1)
        decay = torch.cat([decay[:, :step], decay[:, step:] * decay[:, :-step]], dim=1)
        step *= 2
    return states


def selective_summary(
    x: Float[Tensor, "*batch t v"],
    dt: Float[Tensor, "*batch t v"],
    A: Float[Tensor, "k v"],
    B: Float[Tensor, "*batch t k"],
) -> tuple[Float[Tensor, "*batch k v"], Float[Tensor, "*batch k v"]]:
    """What a run of tokens does to the state as a whole: S ← decay ⊙ S + write.

        decay = exp(A Σ_t Δ_t),    write = Σ_t exp(A Σ_{s>t} Δ_s) ⊙ B_t (Δ_t x_t)ᵀ

    The sums over later tokens are taken as such and not as differences, so no exponent is above 0.
    """
    later = F.pad(dt.flip(-2), (0, 0, 1, 0)).cumsum(-2).flip(-2)
    decay = (later[..., 0, :].unsqueeze(-2) * A).exp()
    kept = (later[..., 1:, :].unsqueeze(-2) * A).exp()
    write = (kept * B.unsqueeze(-1) * (dt * x).unsqueeze(-2)).sum(-3)
    return decay, write
