"""The public rules over the one recurrence of ops/rank_one.py: linear attention, delta rule, gated delta rule."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from memx.ops.call import Call
from memx.ops.dispatch import choose
from memx.ops.form import Form, check_form
from memx.ops.shapes import Sizes


def linear_attention(
    q: Float[Tensor, "b t h k"],
    k: Float[Tensor, "b t h k"],
    v: Float[Tensor, "b t h v"],
    *,
    log_decay: Float[Tensor, "b t h"] | Float[Tensor, "b t h k"] | None = None,
    scale: float | None = None,
    initial_state: Float[Tensor, "b h k v"] | None = None,
    reset: Bool[Tensor, "b t"] | None = None,
    form: Form = "chunk",
    chunk_size: int | None = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, "b t h v"], Float[Tensor, "b h k v"]]:
    """Linear attention with an optional decay: retention, GLA and SSD are this with their own decays.

        S_t = exp(g_t) ⊙ S_{t−1} + k_t v_tᵀ          out_t = scale · S_tᵀ q_t

    log_decay is natural-log and at most 0 (which is not checked), one a head (b t h) or one a key channel (b t h k).
    `reset` marks tokens before which the state is forgotten. scale defaults to k^−½. The state is at least float32.
    `form="chunk"` is differentiated once, in reverse mode; `form="recurrent"` also in forward mode and again and again.
    Raises ValueError for shapes and dtypes that do not fit and for a backend that cannot take the call, TypeError for
    what is no tensor.
    Katharopoulos et al., arXiv 2006.16236; Yang et al. (GLA), arXiv 2312.06635; Dao and Gu (SSD), arXiv 2405.21060.
    """
    return _run(
        "linear_attention", q, k, v, log_decay, None, False, scale, initial_state, reset, form, chunk_size, backend
    )


def delta_rule(
    q: Float[Tensor, "b t h k"],
    k: Float[Tensor, "b t h k"],
    v: Float[Tensor, "b t h v"],
    *,
    beta: Float[Tensor, "b t h"] | None = None,
    scale: float | None = None,
    initial_state: Float[Tensor, "b h k v"] | None = None,
    reset: Bool[Tensor, "b t"] | None = None,
    form: Form = "chunk",
    chunk_size: int | None = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, "b t h v"], Float[Tensor, "b h k v"]]:
    """The delta rule: what the key recalls is replaced, by the share β, by the value.

        S_t = S_{t−1} + β_t k_t (v_t − S_{t−1}ᵀ k_t)ᵀ          out_t = scale · S_tᵀ q_t

    beta None is 1. Unit keys and 0 ≤ β ≤ 2 keep the state from growing. Shapes, resets and errors as in
    `linear_attention`. Schlag et al., arXiv 2102.11174; chunk form after Yang et al., arXiv 2406.06484.
    """
    return _run("delta_rule", q, k, v, None, beta, True, scale, initial_state, reset, form, chunk_size, backend)


def gated_delta_rule(
    q: Float[Tensor, "b t h k"],
    k: Float[Tensor, "b t h k"],
    v: Float[Tensor, "b t h v"],
    *,
    log_decay: Float[Tensor, "b t h"] | Float[Tensor, "b t h k"] | None = None,
    beta: Float[Tensor, "b t h"] | None = None,
    scale: float | None = None,
    initial_state: Float[Tensor, "b h k v"] | None = None,
    reset: Bool[Tensor, "b t"] | None = None,
    form: Form = "chunk",
    chunk_size: int | None = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, "b t h v"], Float[Tensor, "b h k v"]]:
    """The gated delta rule: decay, then correct by what the key recalls, then read.

        S' = exp(g_t) ⊙ S_{t−1}
        S_t = S' + β_t k_t (v_t − S'ᵀ k_t)ᵀ          out_t = scale · S_tᵀ q_t

    log_decay one a head (gated delta) or one a key channel (KDA), None for none; beta None is 1. The rest as in
    `linear_attention`. Yang et al., arXiv 2412.06464; Kimi Team (KDA), arXiv 2510.26692.
    """
    return _run(
        "gated_delta_rule", q, k, v, log_decay, beta, True, scale, initial_state, reset, form, chunk_size, backend
    )


def _run(
    op: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    beta: Tensor | None,
    erases: bool,
    scale: float | None,
    initial_state: Tensor | None,
    reset: Tensor | None,
    form: str,
    chunk_size: int | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    sizes = Sizes(op)
    sizes.check("k", k, "b t h k")
    sizes.check("q", q, "b t h k")
    sizes.check("v", v, "b t h v")
    if log_decay is not None:
        sizes.check("log_decay", log_decay, "b t h", "b t h k")
    if beta is not None:
        sizes.check("beta", beta, "b t h")
    if initial_state is not None:
        sizes.check("initial_state", initial_state, "b h k v")
    if reset is not None:
        sizes.check("reset", reset, "b t", flags=True)
    check_form(op, form, chunk_size)
    factor = float(max(sizes["k"], 1) ** -0.5) if scale is None else scale
    boundary = None if reset is None else reset.bool()
    call = Call(op, q, k, v, log_decay, beta, erases, factor, initial_state, boundary, form, chunk_size)
    return choose(call, backend).run(call)
