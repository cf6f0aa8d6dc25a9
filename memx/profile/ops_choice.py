"""Shapes and implementations of the benchmark by the names that a user gives."""

from __future__ import annotations

from collections.abc import Sequence

from memx.errors import UserError, unknown
from memx.profile.ops_bench import BASE
from memx.profile.ops_cases import LONG, SHAPES, OpShape
from memx.profile.peers import Peer, peers

EXTRAS = {"transformers": "hf", "flash-linear-attention": "cuda"}
"""The extra of memx that brings a package."""


def choose_shapes(names: Sequence[str] | None, *, quick: bool) -> tuple[OpShape, ...]:
    """The shapes of these names, in their own order; without names all, or the short ones for a quick run."""
    known = {shape.name: shape for shape in SHAPES}
    for name in names or ():
        if name not in known:
            raise UserError(f"--shape: {unknown('shape', name, known)}")
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    return tuple(shape for shape in SHAPES if not quick or shape.t < LONG)


def _with_remedy(reason: str, peer: Peer) -> str:
    """Why a peer is not there, and the command that brings it."""
    extra = EXTRAS.get(peer.package)
    if extra is None or not reason.endswith("is not installed"):
        return reason
    return f'{reason}; in the folder of memx: python -m pip install -c constraints.txt -e ".[{extra}]"'


def choose_peers(names: Sequence[str] | None) -> tuple[dict[str, Peer], dict[str, str]]:
    """The implementations to measure, memx's own first, and the others that are not installed, with the reason.

    One that was named and is not installed is an error.
    """
    known = peers()
    for name in names or ():
        if name not in known:
            raise UserError(f"--peer: {unknown('implementation', name, known)}")
    ours = set(BASE.values())
    wanted = {name: peer for name, peer in known.items() if name in ours or not names or name in names}
    reasons = {name: _with_remedy(reason, peer) for name, peer in wanted.items() if (reason := peer.missing())}
    for name in names or ():
        if name in reasons:
            raise UserError(f"--peer {name}: {reasons[name]}")
    return {name: peer for name, peer in wanted.items() if name not in reasons}, reasons
