"""The `torch` backend: the rules in plain torch operations, on every device, exact at every extreme."""

from __future__ import annotations

import torch
from torch import Tensor

from memx.ops import quarantine, rank_one
from memx.ops.call import Call
from memx.ops.precision import compute_dtype, no_autocast
from memx.ops.quarantine import bad_rows, cleared, poison, spoiled


def run(call: Call) -> tuple[Tensor, Tensor]:
    """Output (b t h v) in the dtype of v, and the state (b h k v) in at least float32."""
    inputs = (call.q, call.k, call.v, call.log_decay, call.beta, call.initial_state)
    dtype = compute_dtype(*inputs)
    with no_autocast(call.q.device):
        q, k, v, g, beta, state = [x if x is None or x.dtype == dtype else x.to(dtype) for x in inputs]
        assert q is not None
        assert k is not None
        assert v is not None
        if state is None:
            state = v.new_zeros(v.shape[0], v.shape[2], k.shape[-1], v.shape[-1])
        looks = quarantine.may_look(v)
        if looks and v.shape[1] == 1 and call.reset is None:
            gates = {"beta": beta, "log_decay": g, "erases": call.erases, "scale": call.scale}
            out, final = rank_one.one_step(q, k, v, state, **gates)
            if quarantine.plainly_finite(out, final):  # then so was everything that they come from
                return out.to(call.v.dtype), final
        if looks and quarantine.plainly_finite(q, k, v, beta, state, logarithm=g):
            out, final = _compute(call, q, k, v, g, beta, state)
        else:
            out, final = _quarantined(call, q, k, v, g, beta, state)
        return out.to(call.v.dtype), final


def _compute(
    call: Call, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    steps = rank_one.Steps(
        query=q,
        erase=k if call.erases else None,
        write=k if beta is None else k * beta.unsqueeze(-1),
        value=v,
        log_decay=g,
        reset=call.reset,
        state=state,
        scale=call.scale,
    )
    if call.form == "recurrent" or v.shape[1] == 1:
        out, final = rank_one.recurrent(steps)
    else:
        out, final = rank_one.chunked(steps, call.chunk_size)
    assert out is not None
    return out, final


def _quarantined(
    call: Call, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """With tokens that are not finite cleared, and what depends on them made NaN."""
    bad = bad_rows(k) | bad_rows(v)
    if beta is not None:
        bad = bad | ~torch.isfinite(beta)
    if g is not None:
        bad = bad | (~(g < torch.inf) if g.ndim == 3 else ~(g < torch.inf).all(-1))
        g = cleared(g, bad)
    bad_query = bad_rows(q)
    after = spoiled(bad, call.reset, ~torch.isfinite(state).all(-1).all(-1))
    k, v, q = cleared(k, bad), cleared(v, bad), cleared(q, bad_query)
    beta = None if beta is None else cleared(beta, bad)
    out, final = _compute(call, q, k, v, g, beta, cleared(state, after[:, 0]))
    out = out + poison(after[:, 1:] | bad_query, out).unsqueeze(-1)
    return out, final + poison(after[:, -1], final)[..., None, None]
