"""Implementations of the gated delta rule, ours and others', behind one signature.

Every `rule` takes q, k (b t h k), v (b t h v), natural log-decays and β (b t h), an initial state (b h k v) and a
scale, and gives the output and the final state. The adapters only put arguments in their places: orders, layouts and
fixed scales differ between the packages.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memx import ops

Rule = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""(q, k, v, log_decay, beta, initial_state, scale) → (out, final state)."""


@dataclass(frozen=True)
class Peer:
    """One implementation."""

    name: str
    description: str
    package: str
    """The distribution whose version is recorded."""
    rule: Rule
    missing: Callable[[], str | None]
    """Why it cannot be used on this machine, or None."""
    refuses: Callable[[torch.device, torch.dtype, int], str | None]
    """Why it cannot take a device, a dtype and a number of key channels, or None."""
    stepwise: bool = False
    """It goes token by token, and its backward pass keeps states of every token."""
    differentiable: bool = True

    def why_not(self, device: torch.device, dtype: torch.dtype, key_dim: int) -> str | None:
        return self.missing() or self.refuses(device, dtype, key_dim)

    def version(self) -> str | None:
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def peers() -> dict[str, Peer]:
    """Every implementation that an adapter is here for, by name, whether installed or not."""
    return {peer.name: peer for peer in _PEERS}


def _ours(form: Any) -> Rule:
    def rule(
        q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, initial_state: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        return ops.gated_delta_rule(
            q,
            k,
            v,
            log_decay=log_decay,
            beta=beta,
            initial_state=initial_state,
            scale=scale,
            form=form,
            backend="torch",
        )

    return rule


@functools.cache
def _function(module: str, name: str) -> Callable[..., Any]:
    """A function without the wrappers that would choose another implementation in its place."""
    return inspect.unwrap(getattr(importlib.import_module(module), name))


@functools.cache
def _import_error(package: str, module: str) -> str | None:
    """Why a module cannot be imported, or None; it is imported to find out, since packages break in many ways."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == module.split(".")[0]:
            return f"{package} is not installed"
        return f"{package} needs {error.name}, which is not installed"
    except Exception as error:
        return f"{package} cannot be imported here: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return None


_QWEN = "transformers.models.qwen3_next.modeling_qwen3_next"


def _transformers(name: str) -> Rule:
    """Arguments g and beta; the scale is always k^−½, so that another one goes into the query."""

    def rule(
        q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, initial_state: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        own = q.shape[-1] ** -0.5
        q = q if scale == own else q * (scale / own)
        function = _function(_QWEN, name)
        return function(q, k, v, g=log_decay, beta=beta, initial_state=initial_state, output_final_state=True)

    return rule


def _fla(module: str, name: str) -> Rule:
    """By keyword: the order of g and beta differs between fla's functions."""

    def rule(
        q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, initial_state: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        return _function(module, name)(
            q=q, k=k, v=v, g=log_decay, beta=beta, scale=scale, initial_state=initial_state, output_final_state=True
        )

    return rule


def _any(device: torch.device, dtype: torch.dtype, key_dim: int) -> str | None:
    return None


def _single_precision(device: torch.device, dtype: torch.dtype, key_dim: int) -> str | None:
    return "it computes in float32 whatever it is given" if dtype == torch.float64 else None


def _kernel(device: torch.device, dtype: torch.dtype, key_dim: int) -> str | None:
    if device.type != "cuda":
        return "its kernels run on CUDA"
    if dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"its kernels do not take {dtype}"
    return f"its kernels take at most 256 key channels, not {key_dim}" if key_dim > 256 else None


def _missing_transformers() -> str | None:
    return _import_error("transformers", _QWEN)


_FLA_NAIVE = "fla.ops.gated_delta_rule.naive"
_FLA = "fla.ops.gated_delta_rule"


def _missing_fla() -> str | None:
    return _import_error("triton", "triton") or _import_error("flash-linear-attention", _FLA_NAIVE)


def _missing_fla_kernels() -> str | None:
    return None if torch.cuda.is_available() else "it needs a CUDA device, and torch sees none"


def _here() -> str | None:
    return None


_PEERS = (
    Peer("memx_chunk", "memx.ops, chunk form, backend torch", "memx-video", _ours("chunk"), _here, _any),
    Peer(
        "memx_recurrent",
        "memx.ops, recurrent form, backend torch",
        "memx-video",
        _ours("recurrent"),
        _here,
        _any,
        stepwise=True,
    ),
    Peer(
        "transformers_chunk",
        "torch_chunk_gated_delta_rule of transformers' Qwen3-Next, chunks of 64",
        "transformers",
        _transformers("torch_chunk_gated_delta_rule"),
        _missing_transformers,
        _single_precision,
    ),
    Peer(
        "transformers_recurrent",
        "torch_recurrent_gated_delta_rule of transformers' Qwen3-Next",
        "transformers",
        _transformers("torch_recurrent_gated_delta_rule"),
        _missing_transformers,
        _single_precision,
        stepwise=True,
    ),
    Peer(
        "fla_naive_chunk",
        "naive_chunk_gated_delta_rule of flash-linear-attention, chunks of 64, in torch operations",
        "flash-linear-attention",
        _fla(_FLA_NAIVE, "naive_chunk_gated_delta_rule"),
        _missing_fla,
        _single_precision,
    ),
    Peer(
        "fla_naive_recurrent",
        "naive_recurrent_gated_delta_rule of flash-linear-attention, in torch operations",
        "flash-linear-attention",
        _fla(_FLA_NAIVE, "naive_recurrent_gated_delta_rule"),
        _missing_fla,
        _single_precision,
        stepwise=True,
    ),
    Peer(
        "fla_chunk",
        "chunk_gated_delta_rule of flash-linear-attention, Triton kernels",
        "flash-linear-attention",
        _fla(_FLA, "chunk_gated_delta_rule"),
        lambda: _missing_fla_kernels() or _missing_fla(),
        _kernel,
    ),
    Peer(
        "fla_fused_recurrent",
        "fused_recurrent_gated_delta_rule of flash-linear-attention, a Triton kernel without a backward pass",
        "flash-linear-attention",
        _fla(_FLA, "fused_recurrent_gated_delta_rule"),
        lambda: _missing_fla_kernels() or _missing_fla(),
        _kernel,
        differentiable=False,
    ),
)
