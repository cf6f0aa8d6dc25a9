"""The `torch` backend: the rules in plain torch operations, on every device, exact at every extreme."""

from __future__ import annotations

import torch
from torch import Tensor

from memx.ops import rank_one
from memx.ops.call import Call
from memx.ops.precision import compute_dtype, no_autocast
from memx.ops.quarantine import bad_rows, cleared, poison, spoiled


def run(call: Call) -> tuple[Tensor, Tensor]:
    """Output (b t h v) in the dtype of v, and the state (b h k v) in at least float32."""
    inputs = (call.q, call.k, call.v, call.log_decay, call.beta, call.initial_state)
    dtype = compute_dtype(*inputs)
    with no_autocast(call.q.device):
        q, k, v, g, beta, state = (None if x is None else x.to(dtype) for x in inputs)
        assert q is not None
        assert k is not None
        assert v is not None
        if state is None:
            state = v.new_zeros(v.shape[0], v.shape[2], k.shape[-1], v.shape[-1])

        bad = bad_rows(k) | bad_rows(v)
        if beta is not None:
            bad = bad | ~torch.isfinite(beta)
        if g is not None:
            bad = bad | (~(g < torch.inf) if g.ndim == 3 else ~(g < torch.inf).all(-1))
        bad_query = bad_rows(q)
        after = spoiled(bad, call.reset, ~torch.isfinite(state).all(-1).all(-1))

        k, v, state = cleared(k, bad), cleared(v, bad), cleared(state, after[:, 0])
        write = k if beta is None else k * cleared(beta, bad).unsqueeze(-1)
        steps = rank_one.Steps(
            query=cleared(q, bad_query) * call.scale,
            erase=k if call.erases else None,
            write=write,
            value=v,
            log_decay=None if g is None else cleared(g, bad),
            reset=call.reset,
            state=state,
        )
        if call.form == "recurrent":
            out, final = rank_one.recurrent(steps)
        else:
            channelwise = g is not None and g.ndim == 4
            size = call.chunk_size or rank_one.default_chunk_size(k.shape[-1], channelwise=channelwise)
            out, final = rank_one.chunked(steps, size)
        assert out is not None
        out = out + poison(after[:, 1:] | bad_query, out).unsqueeze(-1)
        final = final + poison(after[:, -1], final)[..., None, None]
        return out.to(call.v.dtype), final
