"""All tokens of one frame written at once: GDKVM's joint delta rule."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from memx.ops.precision import compute_dtype, no_autocast
from memx.ops.quarantine import cleared
from memx.ops.shapes import Sizes

Normalize = Literal["none", "tokens", "spectral"]


def _check_normalize(op: str, normalize: str | None) -> None:
    if normalize is not None and normalize not in get_args(Normalize):
        raise ValueError(f"{op}: normalize must be none, tokens or spectral, not {normalize!r}")


def gram(
    k: Float[Tensor, "*#batch n k"],
    *,
    strength: Float[Tensor, "*#batch n"] | None = None,
    normalize: Normalize | None = None,
) -> Float[Tensor, "*#batch k k"]:
    """What a frame's keys erase together: G = Σ_n β_n k_n k_nᵀ, divided by n (`tokens`) or λ_max(Σ k kᵀ) (`spectral`).

    With strengths β in [0, 1] and either normalisation no eigenvalue exceeds 1 (for `tokens`: with keys of norm at
    most 1), so I − G does not expand. An all-zero G stays zero.
    """
    _check_normalize("gram", normalize)
    written = k if strength is None else k * strength.unsqueeze(-1)
    G = written.mT @ k
    if normalize == "tokens":
        return G / max(k.shape[-2], 1)
    if normalize == "spectral":
        plain = G if strength is None else (k.mT @ k)
        # NaN has no eigenvalues, and one clip's must not keep the others from theirs: G is NaN there as it is
        top = _largest_eigenvalue(cleared(plain, ~torch.isfinite(plain).all(-1).all(-1)))[..., None, None]
        return G / torch.where(top > 0, top, torch.ones_like(top))
    return G


def _largest_eigenvalue(A: Float[Tensor, "*batch k k"]) -> Float[Tensor, "*batch"]:
    """λ_max of symmetric matrices without negative eigenvalues; for an all-zero matrix in a graph, NaN.

    Other runtimes have no eigenvalues. A graph takes λ_max ≤ (tr A^m)^(1/m) ≤ k^(1/m) λ_max with m = 2²², 22 squarings
    of which each is divided by its trace: 10⁻⁶ of relative error in float32.
    """
    if not torch.compiler.is_exporting():
        return torch.linalg.eigvalsh(A)[..., -1]
    logarithm = torch.zeros_like(A[..., 0, 0])
    for i in range(23):
        A = A @ A if i else A
        trace = A.diagonal(dim1=-2, dim2=-1).sum(-1)
        logarithm = logarithm + trace.log() / 2**i
        A = A / trace[..., None, None]
    return logarithm.exp()


def eigenvalue_macs(k: int) -> int:
    """Multiply-accumulates of the eigenvalues of one symmetric (k, k) matrix, as `normalize="spectral"` takes them.

    2k³/3: the reduction to a tridiagonal matrix, beside which the k² of the rest is left out. Golub and Van Loan,
    Matrix Computations, §8.3.
    """
    return -(-2 * k**3 // 3)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


def frame_delta_rule(
    S: Float[Tensor, "b k v"] | Float[Tensor, "b o k v"],
    k: Float[Tensor, "b n k"],
    v: Float[Tensor, "b n v"] | Float[Tensor, "b o n v"],
    *,
    alpha: Tensor | float = 1.0,
    beta: Tensor | float = 1.0,
    normalize: Normalize | None = None,
    erase: bool = True,
) -> Float[Tensor, "b k v"] | Float[Tensor, "b o k v"]:
    """The state after all tokens of one frame were written jointly.

        S ← α ⊙ (S − β ⊙ G S) + β ⊙ Σ_n k_n v_nᵀ,    G = Σ_n k_n k_nᵀ

    alpha (a factor, not a logarithm) and beta broadcast against S. Objects `o` share the keys, and G is computed
    once for them. `normalize` divides G, and only G, by the number of tokens or by its largest eigenvalue: the plain
    rule is non-expansive only while β λ_max(G) < 2, and with softmax keys λ_max(G) is about n / k. Without `erase`
    the state is α ⊙ S + β ⊙ Σ k vᵀ. The result is at least float32.
    Raises ValueError for shapes that do not fit. GDKVM, arXiv 2512.10252.
    """
    sizes = Sizes("frame_delta_rule")
    layout = sizes.check("S", S, "b k v", "b o k v")
    sizes.check("k", k, "b n k")
    sizes.check("v", v, layout.replace("k", "n"))
    _check_normalize("frame_delta_rule", normalize)
    for name, gate in (("alpha", alpha), ("beta", beta)):
        if isinstance(gate, Tensor) and not _broadcasts(gate.shape, S.shape):
            shapes = f"S {tuple(S.shape)}, but its shape is {tuple(gate.shape)}"
            raise ValueError(f"frame_delta_rule: {name} must broadcast against {shapes}")
    dtype = compute_dtype(S, k, v)
    with no_autocast(S.device):
        S, k, v = S.to(dtype), k.to(dtype), v.to(dtype)
        kept = S
        shared = k if S.ndim == 3 else k.unsqueeze(1)
        if erase:
            G = gram(shared, normalize=normalize)
            kept = S - beta * (G @ S)
        return alpha * kept + beta * (shared.mT @ v)
