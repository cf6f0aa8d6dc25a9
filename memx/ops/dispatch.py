"""Who computes a rule: each backend says whether it can take a call, and why not.

`auto` takes the first backend that takes the call *and* keeps every promise of memx.ops (exact resets, exact
log-decays down to −∞, no NaN from the future). A backend that is fast but promises less has to be asked for by name.
Nothing falls back in silence: a backend that was asked for and cannot take the call is an error with the reason.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from memx.ops import fla_rules, torch_rules
from memx.ops.call import Call

log = logging.getLogger("memx.ops")


@dataclass(frozen=True)
class Backend:
    """One implementation of the rules."""

    name: str
    description: str
    exact: bool
    """Whether it keeps every promise of memx.ops; only such backends are chosen by `auto`."""
    missing: Callable[[], str | None]
    """Why it cannot be used on this machine at all, or None."""
    refuses: Callable[[Call], str | None]
    """Why it cannot take this call, or None."""
    run: Callable[[Call], tuple[Tensor, Tensor]]

    def why_not(self, call: Call) -> str | None:
        return self.missing() or self.refuses(call)


@dataclass(frozen=True)
class Availability:
    """One line of `memx.ops.backends()`."""

    name: str
    description: str
    exact: bool
    available: bool
    reason: str
    """Why it is not available; empty where it is."""


def backends() -> list[Availability]:
    """Every backend of memx.ops with whether it can be used on this machine, and why not."""
    rows = []
    for backend in _BACKENDS:
        reason = backend.missing() or ""
        rows.append(Availability(backend.name, backend.description, backend.exact, not reason, reason))
    return rows


def choose(call: Call, name: str) -> Backend:
    """The backend for a call. Raises ValueError when the one that was asked for cannot take it, and says why."""
    if name == "auto":
        chosen = next(b for b in _BACKENDS if b.exact and b.why_not(call) is None)
    else:
        known = {b.name: b for b in _BACKENDS}
        if name not in known:
            raise ValueError(f"{call.op}: there is no backend {name!r}; there are auto, {', '.join(known)}")
        chosen = known[name]
        reason = chosen.why_not(call)
        if reason:
            raise ValueError(f"{call.op}: backend {name!r} cannot take this call: {reason}")
    if not torch.compiler.is_compiling():
        _note(call.op, chosen.name, call.q.device.type)
    return chosen


@functools.cache
def _note(op: str, backend: str, device: str) -> None:
    log.info("%s on %s runs on backend %s", op, device, backend)


_BACKENDS = (
    Backend(
        "torch",
        "torch operations, every device and dtype, exact",
        exact=True,
        missing=lambda: None,
        refuses=lambda call: None,
        run=torch_rules.run,
    ),
    Backend(
        "fla",
        "flash-linear-attention's Triton kernels, half precision on CUDA; a log-decay of −∞ or a NaN in the future "
        "is not contained",
        exact=False,
        missing=fla_rules.missing,
        refuses=fla_rules.refuses,
        run=fla_rules.run,
    ),
)
